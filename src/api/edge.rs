//! Around every request of the public API: its id, the limits, the headers that every answer has,
//! the metrics and the access log; and a net under handlers that panic.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use futures_util::FutureExt;

use super::client_address::{ClientAddress, client_address};
use super::error::ApiError;
use super::request_id::RequestId;
use super::{ApiState, cors, routes};
use crate::clock::Stopwatch;
use crate::metrics::{BodyFormat, FinishedRequest, Route};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the edge knows of a request, for its handler.
#[derive(Clone)]
pub(super) struct Context(Rc<ContextInner>);

struct ContextInner {
    request_id: RequestId,
    client: ClientAddress,
    route: Route,
    format: Cell<BodyFormat>,
}

impl Context {
    /// The context that [`serve`] gave the request.
    pub(super) fn of(request: &HttpRequest) -> Self {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .expect("the edge gives every request a context before its handler runs")
    }

    pub(super) fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }

    /// Tells the metrics which format the answer has.
    pub(super) fn set_format(&self, format: BodyFormat) {
        self.0.format.set(format);
    }
}

/// The middleware.
pub(super) async fn serve(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let stopwatch = Stopwatch::start();
    let state = request
        .app_data::<web::Data<ApiState>>()
        .cloned()
        .expect("the API is never configured without its state");
    let _in_flight = state.metrics.request_started();
    let context = context(&request, &state);
    request.extensions_mut().insert(context.clone());
    let mut response = match admit(&request, &state, context.0.client) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => {
            let response = error.to_response(context.request_id());
            request.into_response(response).map_into_boxed_body()
        }
    };
    add_headers(&mut response, &context);
    finish(&state, &context, &response, stopwatch);
    Ok(response)
}

fn context(request: &ServiceRequest, state: &ApiState) -> Context {
    let own_id = request.headers().get(X_REQUEST_ID).map(HeaderValue::as_bytes);
    Context(Rc::new(ContextInner {
        request_id: state.request_ids.kept_or_new(own_id),
        client: client(request, state),
        route: routes::of(request.path()),
        format: Cell::new(BodyFormat::Other),
    }))
}

fn client(request: &ServiceRequest, state: &ApiState) -> ClientAddress {
    // Only a socket that is already closed has no address.
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip());
    let lines = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
    client_address(peer, lines(X_FORWARDED_FOR), lines(header::FORWARDED), &state.trusted_proxies)
}

/// The limits that need nothing but the request's head.
fn admit(
    request: &ServiceRequest,
    state: &ApiState,
    client: ClientAddress,
) -> Result<(), ApiError> {
    let is_preflight = request.method() == Method::OPTIONS;
    if let Some(limiter) = state.limiter.as_ref().filter(|_| !is_preflight) {
        limiter.check(client).map_err(|retry_after| {
            state.metrics.rate_limited();
            ApiError::RateLimited { retry_after_s: retry_after.get() }
        })?;
    }
    if head_bytes(request) > state.header_bytes_max {
        return Err(ApiError::HeadersTooLarge { bytes_max: state.header_bytes_max });
    }
    match declared_body_bytes(request) {
        Some(bytes) if bytes > state.body_bytes_max => {
            Err(ApiError::BodyTooLarge { bytes_max: state.body_bytes_max })
        }
        _ => Ok(()),
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
    request: &HttpRequest,
    work: impl Future<Output = Result<HttpResponse, ApiError>>,
) -> HttpResponse {
    let result = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(ApiError::Panicked(panic_text(panic.as_ref()).to_owned())));
    result.unwrap_or_else(|error| error.to_response(Context::of(request).request_id()))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn add_headers(response: &mut ServiceResponse<actix_web::body::BoxBody>, context: &Context) {
    let is_options = response.request().method() == Method::OPTIONS;
    if is_options && response.status() == StatusCode::OK {
        *response.response_mut().status_mut() = StatusCode::NO_CONTENT;
    }
    let headers = response.headers_mut();
    cors::open(headers);
    if is_options {
        cors::finish(headers);
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id().as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn finish(
    state: &ApiState,
    context: &Context,
    response: &ServiceResponse<actix_web::body::BoxBody>,
    stopwatch: Stopwatch,
) {
    let body_bytes = match response.response().body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    let duration = stopwatch.elapsed();
    let status = response.status().as_u16();
    state.metrics.request_finished(FinishedRequest {
        route: context.0.route,
        status,
        format: context.0.format.get(),
        duration,
        body_bytes,
    });
    if state.access_log {
        tracing::info!(
            request_id = context.request_id().as_str(),
            client = %context.0.client.ip,
            method = response.request().method().as_str(),
            path = response.request().path(),
            status,
            body_bytes,
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}
