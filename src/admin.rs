//! The admin listener: health, readiness, metrics.
//!
//! Its own listener, loopback by default, without CORS: nothing here is for pages or the public.

mod health;

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::{App, Error, HttpResponse, web};
use futures_util::future::BoxFuture;

pub use health::{Component, Readiness};

/// Renders the metrics, with the gauges as of now.
pub type RenderMetrics = dyn Fn() -> BoxFuture<'static, String> + Send + Sync;

/// What the admin listener works with. One for all threads.
pub struct AdminState {
    readiness: Arc<Readiness>,
    render_metrics: Box<RenderMetrics>,
}

impl AdminState {
    /// The state of an admin listener.
    pub fn new(readiness: Arc<Readiness>, render_metrics: Box<RenderMetrics>) -> Self {
        Self { readiness, render_metrics }
    }
}

/// The actix application of the admin listener.
pub fn app(
    state: web::Data<AdminState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let get = |path, handler| web::resource(path).route(handler);
    App::new()
        .app_data(state)
        .service(get("/healthz", web::get().to(healthz)).route(web::head().to(healthz)))
        .service(get("/readyz", web::get().to(readyz)).route(web::head().to(readyz)))
        .service(get("/metrics", web::get().to(metrics)))
        .default_service(web::to(unknown_path))
}

async fn healthz() -> HttpResponse {
    text(HttpResponse::Ok(), "ok\n".to_owned())
}

async fn readyz(state: web::Data<AdminState>) -> HttpResponse {
    let waiting_for = state.readiness.waiting_for();
    if waiting_for.is_empty() {
        return text(HttpResponse::Ok(), "ready\n".to_owned());
    }
    let lines = waiting_for.iter().map(|reason| format!("not ready: {reason}\n")).collect();
    text(HttpResponse::ServiceUnavailable(), lines)
}

async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let rendered = (state.render_metrics)().await;
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, OPEN_METRICS)).body(rendered)
}

async fn unknown_path() -> HttpResponse {
    let paths = "unknown path; the admin listener answers /healthz, /readyz and /metrics\n";
    text(HttpResponse::NotFound(), paths.to_owned())
}

fn text(mut response: actix_web::HttpResponseBuilder, body: String) -> HttpResponse {
    response
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}
