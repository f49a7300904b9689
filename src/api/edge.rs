//! Around every request of the public API: its id, the limits, the headers that every answer has,
//! the metrics and the access log; and a net under handlers that panic.
//!
//! Lookups go from here to their handler; everything else goes through actix's router.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use futures_util::FutureExt;

use super::client_address::{Certainty, ClientAddress, client_address};
use super::error::ApiError;
use super::request_id::RequestId;
use super::{ApiState, Worker, cors, lookup, routes};
use crate::clock::Stopwatch;
use crate::metrics::{BodyFormat, FinishedRequest, Route};
use crate::request_body::BodyError;
use crate::resolve::{HOPS_HEADER, Hops};
use crate::types::Origin;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FINGERPOST_HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the edge knows of a request, for its handler.
pub(super) struct Context {
    request_id: RequestId,
    client: ClientAddress,
    route: Route,
    hops: Option<Hops>,
    format: Cell<BodyFormat>,
    records: Cell<u64>,
}

impl Context {
    /// The context that [`serve`] gave a request that went through the router.
    pub(super) fn of(request: &HttpRequest) -> Rc<Self> {
        request
            .extensions()
            .get::<Rc<Self>>()
            .cloned()
            .expect("the edge gives every request a context before its handler runs")
    }

    pub(super) fn route(&self) -> Route {
        self.route
    }

    /// How many routers forwarded the request.
    pub(super) fn hops(&self) -> Hops {
        self.hops.unwrap_or_default()
    }

    pub(super) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Where the request came from, if that is certain: not through a proxy that did not say for whom
    /// it asks, nor through one that nobody told us to trust, which gives itself away by its headers.
    pub(super) fn certain_client(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr().map(|addr| addr.ip().to_canonical());
        let names_another = [X_FORWARDED_FOR, header::FORWARDED]
            .iter()
            .any(|name| request.headers().contains_key(name));
        let is_untrusted_proxy = names_another && peer == Some(self.client.ip);
        let is_sure = self.client.certainty == Certainty::Sure && !is_untrusted_proxy;
        is_sure.then_some(self.client.ip)
    }

    /// The network that the client counts under; behind a proxy that does not name its client, the
    /// proxy's.
    pub(super) fn origin(&self) -> Origin {
        Origin::of_client(self.client.ip)
    }

    /// Tells the metrics which format the answer has.
    pub(super) fn set_format(&self, format: BodyFormat) {
        self.format.set(format);
    }

    /// Tells the metrics how many provider records the answer has.
    pub(super) fn set_records(&self, records: u64) {
        self.records.set(records);
    }
}

/// The middleware.
pub(super) async fn serve(
    worker: Rc<Worker>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let stopwatch = Stopwatch::start();
    let _in_flight = worker.counts.request_started();
    let state = &worker.state;
    let context = context(&request, state);
    if let Err(error) = admit(&request, state, &context) {
        let response = error.to_response(context.request_id());
        return Ok(finish(&worker, &context, request.into_response(response), stopwatch));
    }
    if let Some(asked) = routes::looked_up(&request) {
        let response = lookup::get(request.request(), &worker, &context, asked).await;
        return Ok(finish(&worker, &context, request.into_response(response), stopwatch));
    }
    let context = Rc::new(context);
    request.extensions_mut().insert(context.clone());
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(finish(&worker, &context, response, stopwatch))
}

fn context(request: &ServiceRequest, state: &ApiState) -> Context {
    let own_id = request.headers().get(X_REQUEST_ID).map(HeaderValue::as_bytes);
    Context {
        request_id: state.request_ids.kept_or_new(own_id),
        client: client(request, state),
        route: routes::of(request.path()),
        hops: hops(request),
        format: Cell::new(BodyFormat::Other),
        records: Cell::new(0),
    }
}

fn client(request: &ServiceRequest, state: &ApiState) -> ClientAddress {
    // Only a socket that is already closed has no address.
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip());
    let lines = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
    client_address(peer, lines(X_FORWARDED_FOR), lines(header::FORWARDED), &state.trusted_proxies)
}

/// The limits that need nothing but the request's head.
fn admit(request: &ServiceRequest, state: &ApiState, context: &Context) -> Result<(), ApiError> {
    let is_preflight = request.method() == Method::OPTIONS;
    if let Some(limiter) = state.limiter.as_ref().filter(|_| !is_preflight) {
        limiter.check(context.client).map_err(|retry_after| {
            state.metrics.rate_limited();
            ApiError::RateLimited { retry_after_s: retry_after.get() }
        })?;
    }
    if head_bytes(request) > state.header_bytes_max {
        return Err(ApiError::HeadersTooLarge { bytes_max: state.header_bytes_max });
    }
    check_hops(context)?;
    match declared_body_bytes(request) {
        Some(bytes) if bytes > state.body_bytes_max => {
            Err(BodyError::TooLarge { bytes_max: state.body_bytes_max }.into())
        }
        _ => Ok(()),
    }
}

/// What the header says; `None` if it makes no sense.
fn hops(request: &ServiceRequest) -> Option<Hops> {
    match request.headers().get(FINGERPOST_HOPS) {
        None => Some(Hops::default()),
        Some(value) => value.to_str().ok().and_then(Hops::parse),
    }
}

fn check_hops(context: &Context) -> Result<(), ApiError> {
    match context.hops {
        Some(hops) if hops.is_past_limit() => Err(ApiError::TooManyHops { hops_max: Hops::MAX }),
        Some(_) => Ok(()),
        None => {
            let reason = "not a whole number".to_owned();
            Err(ApiError::Invalid { part: HOPS_HEADER, reason })
        }
    }
}

fn head_bytes(request: &ServiceRequest) -> usize {
    const SEPARATORS: usize = ": \r\n".len();
    let headers = request.headers().iter();
    headers.map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS).sum()
}

fn declared_body_bytes(request: &ServiceRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Awaits a handler's work, and turns whatever comes of it, a panic included, into an answer.
pub(super) async fn answer(
    context: &Context,
    work: impl Future<Output = Result<HttpResponse, ApiError>>,
) -> HttpResponse {
    let result = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(ApiError::Panicked(panic_text(panic.as_ref()).to_owned())));
    result.unwrap_or_else(|error| error.to_response(context.request_id()))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What every answer goes through on its way out.
fn finish(
    worker: &Worker,
    context: &Context,
    mut response: ServiceResponse,
    stopwatch: Stopwatch,
) -> ServiceResponse {
    add_headers(&mut response, context, &worker.state);
    let body_bytes = match response.response().body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    let finished = FinishedRequest {
        route: context.route,
        status: response.status().as_u16(),
        format: context.format.get(),
        duration: stopwatch.elapsed(),
        body_bytes,
        records: context.records.get(),
    };
    worker.counts.request_finished(finished);
    if worker.state.access_log {
        log(context, response.request(), &finished);
    }
    response
}

fn add_headers(response: &mut ServiceResponse, context: &Context, state: &ApiState) {
    let is_options = response.request().method() == Method::OPTIONS;
    if is_options && response.status() == StatusCode::OK {
        *response.response_mut().status_mut() = StatusCode::NO_CONTENT;
    }
    let headers = response.headers_mut();
    cors::open(headers);
    if is_options {
        cors::finish(headers, routes::methods(context.route, state));
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id().as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn log(context: &Context, request: &HttpRequest, finished: &FinishedRequest) {
    tracing::info!(
        request_id = context.request_id().as_str(),
        client = %context.client.ip,
        method = request.method().as_str(),
        path = request.path(),
        status = finished.status,
        body_bytes = finished.body_bytes,
        duration_us = u64::try_from(finished.duration.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}
