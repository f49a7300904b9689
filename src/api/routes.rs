//! The route table of the public API: which path and method leads to which handler.
//!
//! [`looked_up`] is the route of lookups; all others are routes of actix's router, which costs a
//! match of a regular expression, a boxed future for each layer, and the CORS middleware.
//!
//! What is known but not offered answers 501, everything else 400.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::edge::Context;
use super::error::ApiError;
use super::lookup::Asked;
use super::{ApiState, announce, closest, cors, ipns};
use crate::metrics::Route;

const PROVIDERS: &str = "/routing/v1/providers/{cid}";
const ANNOUNCE: [&str; 2] = ["/routing/v1/providers", "/routing/v1/providers/"];
const PEERS: &str = "/routing/v1/peers/{peer_id}";
const IPNS: &str = "/routing/v1/ipns/{name}";
const CLOSEST_PEERS: &str = "/routing/v1/dht/closest/peers/{key}";

/// The methods of a resource that can be read.
const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// The methods of a resource that can be read and replaced.
const REPLACE_METHODS: &str = "GET, HEAD, PUT, OPTIONS";

/// The methods of a path, as they stand in `Allow` and in preflights.
pub(super) fn methods(route: Route, state: &ApiState) -> &'static str {
    let can_be_put = match route {
        Route::Ipns => state.ipns,
        Route::Announce => state.announcing.is_some(),
        Route::Providers | Route::Peers | Route::ClosestPeers | Route::Unknown => false,
    };
    if can_be_put { REPLACE_METHODS } else { READ_METHODS }
}

/// Which of the templates a path is of, whatever becomes of its request.
pub(super) fn of(path: &str) -> Route {
    let is_id = |rest: &str| !rest.is_empty() && !rest.contains('/');
    let Some(rest) = path.strip_prefix("/routing/v1/") else { return Route::Unknown };
    match rest.split_once('/') {
        None if rest == "providers" => Route::Announce,
        Some(("providers", "")) => Route::Announce,
        Some(("providers", id)) if is_id(id) => Route::Providers,
        Some(("peers", id)) if is_id(id) => Route::Peers,
        Some(("ipns", id)) if is_id(id) => Route::Ipns,
        Some(("dht", rest)) if rest.strip_prefix("closest/peers/").is_some_and(is_id) => {
            Route::ClosestPeers
        }
        _ => Route::Unknown,
    }
}

/// The lookup that a request is, if it is one.
pub(super) fn looked_up(request: &ServiceRequest) -> Option<Asked<'_>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let path = request.match_info().as_str();
    let (_, id) = path.rsplit_once('/')?;
    match of(path) {
        Route::Providers => Some(Asked::Providers(id)),
        Route::Peers => Some(Asked::Peers(id)),
        Route::Ipns | Route::Announce | Route::ClosestPeers | Route::Unknown => None,
    }
}

/// Adds every other route to an actix application.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(looked_up_elsewhere(PROVIDERS))
        .service(looked_up_elsewhere(PEERS))
        .service(
            web::resource(ANNOUNCE.to_vec())
                .route(options())
                .default_service(web::to(announce::serve)),
        )
        .service(
            web::resource(IPNS)
                .route(options())
                .route(web::get().to(ipns::get))
                .route(web::head().to(ipns::get))
                .route(web::put().to(ipns::put))
                .default_service(web::to(method_not_supported)),
        )
        .service(
            web::resource(CLOSEST_PEERS)
                .route(options())
                .route(web::get().to(closest::get))
                .route(web::head().to(closest::get))
                .default_service(web::to(method_not_supported)),
        )
        .default_service(web::to(unknown_path));
}

fn options() -> actix_web::Route {
    web::route().method(Method::OPTIONS).to(async || cors::preflight())
}

/// What is left of a resource whose GET and HEAD are lookups.
fn looked_up_elsewhere(path: &str) -> actix_web::Resource {
    web::resource(path).route(options()).default_service(web::to(method_not_supported))
}

async fn method_not_supported(request: HttpRequest, state: web::Data<ApiState>) -> HttpResponse {
    let method = request.method().to_string();
    let route = Context::of(&request).route();
    if route == Route::Ipns && !state.ipns {
        return refuse(&request, &ipns::NOT_OFFERED);
    }
    let allow = methods(route, &state);
    refuse(&request, &ApiError::MethodNotSupported { method, allow })
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    refuse(&request, &ApiError::UnknownPath)
}

fn refuse(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    error.to_response(Context::of(request).request_id())
}
