//! The route table of the public API: which path and method leads to which handler.
//!
//! What is known but not offered answers 501, everything else 400.

use actix_web::{HttpRequest, HttpResponse, web};

use super::edge::Context;
use super::error::ApiError;
use super::{cors, providers};
use crate::metrics::Route;

const PROVIDERS: &str = "/routing/v1/providers/{cid}";
const ANNOUNCE: [&str; 2] = ["/routing/v1/providers", "/routing/v1/providers/"];
const PEERS: &str = "/routing/v1/peers/{peer_id}";
const IPNS: &str = "/routing/v1/ipns/{name}";
const CLOSEST_PEERS: &str = "/routing/v1/dht/closest/peers/{key}";

/// The methods of a resource that can be read.
const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// Adds every route to an actix application.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(PROVIDERS)
                .route(web::get().to(providers::get))
                .route(web::head().to(providers::get))
                .route(options())
                .default_service(web::to(method_not_supported)),
        )
        .service(not_offered(&ANNOUNCE, Route::Announce, "announcing providers"))
        .service(not_offered(&[PEERS], Route::Peers, "looking up peers"))
        .service(not_offered(&[IPNS], Route::Ipns, "IPNS"))
        .service(not_offered(&[CLOSEST_PEERS], Route::ClosestPeers, "looking up the closest peers"))
        .default_service(web::to(unknown_path));
}

fn options() -> actix_web::Route {
    web::route().method(actix_web::http::Method::OPTIONS).to(async || cors::preflight())
}

fn not_offered(paths: &[&'static str], route: Route, what: &'static str) -> actix_web::Resource {
    let refuse = move |request: HttpRequest| {
        std::future::ready(refuse(&request, route, &ApiError::NotOffered { what }))
    };
    web::resource(paths.to_vec()).route(options()).default_service(web::to(refuse))
}

async fn method_not_supported(request: HttpRequest) -> HttpResponse {
    let method = request.method().to_string();
    let error = ApiError::MethodNotSupported { method, allow: READ_METHODS };
    refuse(&request, Route::Providers, &error)
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    refuse(&request, Route::Unknown, &ApiError::UnknownPath)
}

fn refuse(request: &HttpRequest, route: Route, error: &ApiError) -> HttpResponse {
    let context = Context::of(request);
    context.set_route(route);
    error.to_response(context.request_id())
}
