//! Around every request of the public API: its context, the limits, the dispatch to its handler, the
//! headers that every answer has, the metrics and the access log; and a net under handlers that panic.
//!
//! actix's router has no routes here: matching its patterns, a boxed future for each layer and a
//! middleware for CORS would cost as much as all the rest.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Payload, ServiceFactory, ServiceRequest, ServiceResponse, fn_service};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::{App, Error, HttpRequest, HttpResponse};
use futures_util::FutureExt;

use super::context::{Context, X_REQUEST_ID};
use super::endpoint::{Endpoint, methods};
use super::error::ApiError;
use super::state::{ApiState, Worker};
use super::{announce, cors, ipns, lookup};
use crate::body::BodyError;
use crate::clock::Stopwatch;
use crate::metrics::FinishedRequest;
use crate::types::{HOPS_HEADER, Hops, Limit};

/// The methods of announcing, as its 501 names them.
const ANNOUNCE_METHODS: &str = "PUT, OPTIONS";

/// The actix application of the public API: one for each worker.
pub(crate) fn app(
    state: Arc<ApiState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let worker = Rc::new(Worker { counts: state.metrics.worker(), state });
    let serve = move |request| serve(worker.clone(), request);
    App::new().default_service(fn_service(serve))
}

/// Answers a request.
async fn serve(worker: Rc<Worker>, request: ServiceRequest) -> Result<ServiceResponse, Error> {
    let stopwatch = Stopwatch::start();
    let _in_flight = worker.counts.request_started();
    let (request, payload) = request.into_parts();
    let endpoint = Endpoint::of_path(request.match_info().as_str());
    let context = Context::new(worker.clone(), request.clone(), endpoint.route());
    let result = match check_limits(&context) {
        Ok(()) => AssertUnwindSafe(dispatch(&context, payload, endpoint))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(ApiError::Panicked(panic_text(&*panic).to_owned()))),
        Err(error) => Err(error),
    };
    let response = result.unwrap_or_else(|error| {
        worker.state.failures.log(&error, &context.request_id);
        if let Some(limit) = error.limit() {
            worker.state.metrics.refused(limit.name(), 1);
        }
        error.to_response(&context.request_id)
    });
    Ok(ServiceResponse::new(request, finish(&context, response, stopwatch)))
}

/// Hands a request to the handler of its endpoint and method. What a lookup does not need is boxed,
/// so that its future is small.
async fn dispatch(
    context: &Context,
    payload: Payload,
    endpoint: Endpoint<'_>,
) -> Result<HttpResponse, ApiError> {
    let (state, method) = (context.state(), context.request.method());
    let (is_read, is_put) = (matches!(*method, Method::GET | Method::HEAD), method == Method::PUT);
    let allow = match endpoint {
        _ if method == Method::OPTIONS => return Ok(HttpResponse::NoContent().finish()),
        Endpoint::Unknown => return Err(ApiError::UnknownPath),
        Endpoint::Providers(cid) if is_read => return lookup::providers(context, cid).await,
        Endpoint::Peers(peer) if is_read => return lookup::peers(context, peer).await,
        Endpoint::ClosestPeers(key) if is_read => {
            return Box::pin(lookup::closest_peers(context, key)).await;
        }
        Endpoint::Ipns(_) if !state.ipns => return Err(ApiError::NotOffered { what: "IPNS" }),
        Endpoint::Ipns(name) if is_read => return Box::pin(ipns::get(context, name)).await,
        Endpoint::Ipns(name) if is_put => return Box::pin(ipns::put(context, payload, name)).await,
        Endpoint::Announce => {
            let not_offered = ApiError::NotOffered { what: "announcing providers" };
            let announcing = state.announcing.as_ref().ok_or(not_offered)?;
            if is_put {
                return Box::pin(announce::put(context, payload, announcing)).await;
            }
            ANNOUNCE_METHODS
        }
        Endpoint::Providers(_)
        | Endpoint::Peers(_)
        | Endpoint::Ipns(_)
        | Endpoint::ClosestPeers(_) => methods(context.route, state),
    };
    Err(ApiError::MethodNotSupported { method: method.to_string(), allow })
}

/// The limits that need nothing but the request's head.
fn check_limits(context: &Context) -> Result<(), ApiError> {
    let (request, state) = (&context.request, context.state());
    let is_preflight = request.method() == Method::OPTIONS;
    if let Some(limiter) = state.limiter.as_ref().filter(|_| !is_preflight) {
        limiter.check(context.client, context.now_ms).map_err(|retry_after| {
            ApiError::RateLimited { retry_after_s: retry_after.get(), limit: Limit::ClientRequests }
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

fn head_bytes(request: &HttpRequest) -> usize {
    const SEPARATORS: usize = ": \r\n".len();
    let headers = request.headers().iter();
    headers.map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS).sum()
}

fn declared_body_bytes(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What every answer goes through on its way out.
fn finish(context: &Context, mut response: HttpResponse, stopwatch: Stopwatch) -> HttpResponse {
    // actix would echo the wish and close the connection without saying so.
    if context.request.head().connection_type() == ConnectionType::Upgrade {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    add_headers(context, &mut response);
    let body_bytes = match response.body().size() {
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
    context.worker.counts.request_finished(finished);
    if context.state().access_log {
        log(context, &finished);
    }
    response
}

fn add_headers(context: &Context, response: &mut HttpResponse) {
    let headers = response.headers_mut();
    cors::allow_every_origin(headers);
    if context.request.method() == Method::OPTIONS {
        cors::describe_methods(headers, methods(context.route, context.state()));
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn log(context: &Context, finished: &FinishedRequest) {
    tracing::info!(
        request_id = context.request_id.as_str(),
        client = %context.client.ip,
        method = context.request.method().as_str(),
        path = context.request.path(),
        status = finished.status,
        body_bytes = finished.body_bytes,
        duration_us = u64::try_from(finished.duration.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}
