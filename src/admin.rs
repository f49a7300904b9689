//! The admin listener: health, readiness, metrics, and the admin API.
//!
//! A separate listener, loopback by default, without CORS: nothing here is for browsers or the
//! public. Everything except health, readiness and metrics requires a password (`auth`), and one
//! file renders every error as JSON (`error`).

mod accept;
mod auth;
mod body;
mod error;
mod export;
mod health;
mod import;
mod password;
mod peer;
mod pools;
mod providers;
mod routes;
mod stats;
#[cfg(test)]
mod testing;
mod users;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::{App, Error, HttpResponse, Resource, web};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stopwatch};
use crate::config::Settings;
use crate::control::Control;
use crate::ingest::ImportOptions;
use crate::metrics::Metrics;
use crate::store::{IpnsStore, Store};
use error::AdminError;

pub(crate) use export::write_line as write_export_line;
pub(crate) use health::{Component, Readiness, StorageCheck};
pub(crate) use password::{ADMIN_USER, AdminPassword, PasswordError, stored_password};
pub use pools::{pool_draft, pool_list};
pub(crate) use users::PeerCredentials;
use users::Users;
pub(crate) use wire::{
    ImportEvent, NamedId, NotAskedView, PoolAnswer, PoolEndpointView, PoolRoute, PoolView, Problem,
    RejectedEntry, RemovedGroups, RouteExplanation, RouteList, StaticRouteList, StaticRouteRequest,
    StaticRouteView, Stats,
};
pub use wire::{PoolList, PoolRefusal};

/// Renders the metrics, with the gauges as of now.
pub(crate) type RenderMetrics = dyn Fn() -> BoxFuture<'static, String> + Send + Sync;

/// The dependencies of the admin listener.
pub(crate) struct AdminParts {
    /// Where announcements are kept.
    pub(crate) store: Arc<dyn Store>,
    /// Where IPNS records are kept.
    pub(crate) ipns: Arc<dyn IpnsStore>,
    /// The control plane.
    pub(crate) control: Arc<Control>,
    /// What the server counts.
    pub(crate) metrics: Arc<Metrics>,
    /// What time it is.
    pub(crate) clock: Clock,
    /// What the server waits for.
    pub(crate) readiness: Arc<Readiness>,
    /// The answer of `/metrics`.
    pub(crate) render_metrics: Box<RenderMetrics>,
    /// The operator's password.
    pub(crate) password: AdminPassword,
    /// The credentials of the peer routers.
    pub(crate) peers: Vec<PeerCredentials>,
}

/// The state of the admin listener, shared by all its threads.
pub(crate) struct AdminState {
    store: Arc<dyn Store>,
    ipns: Arc<dyn IpnsStore>,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    clock: Clock,
    readiness: Arc<Readiness>,
    render_metrics: Box<RenderMetrics>,
    users: Users,
    metrics_auth: bool,
    client_timeout: Duration,
    import_options: ImportOptions,
    import_idle_timeout: Duration,
    imports: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    stopping: CancellationToken,
    uptime: Stopwatch,
}

impl AdminState {
    /// The state of an admin listener.
    pub(crate) fn new(settings: &Settings, parts: AdminParts) -> Self {
        let AdminParts {
            store,
            ipns,
            control,
            metrics,
            clock,
            readiness,
            render_metrics,
            password,
            peers,
        } = parts;
        let import_options = ImportOptions::with_settings(settings, clock.now_ms());
        Self {
            store,
            ipns,
            control,
            metrics,
            clock,
            readiness,
            render_metrics,
            users: Users::new(password, peers),
            metrics_auth: settings.metrics_auth,
            client_timeout: settings.client_timeout,
            import_options,
            import_idle_timeout: settings.import_idle_timeout,
            imports: Arc::new(Semaphore::new(import::IMPORTS_MAX)),
            exports: Arc::new(Semaphore::new(export::EXPORTS_MAX)),
            stopping: CancellationToken::new(),
            uptime: Stopwatch::start(),
        }
    }

    /// Ends running imports and exports, so that they do not delay a shutdown. Acknowledged entries
    /// stay.
    pub(crate) fn end_transfers(&self) {
        self.stopping.cancel();
    }
}

/// The actix application of the admin listener.
pub(crate) fn app(
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
    App::new()
        .app_data(state)
        .wrap(from_fn(auth::require_password))
        .service(only("/healthz", "GET", web::get().to(healthz)).route(web::head().to(healthz)))
        .service(only("/readyz", "GET", web::get().to(readyz)).route(web::head().to(readyz)))
        .service(only("/metrics", "GET", web::get().to(metrics)))
        .service(only("/admin/import", "POST", web::post().to(import::import)))
        .service(only("/admin/export", "GET", web::get().to(export::export)))
        .service(only("/admin/stats", "GET", web::get().to(stats::stats)))
        .service(only(
            "/admin/providers/{provider}",
            "DELETE",
            web::delete().to(providers::remove_provider),
        ))
        .service(
            only(
                "/admin/providers/{provider}/hidden",
                "PUT, DELETE",
                web::put().to(providers::hide_provider),
            )
            .route(web::delete().to(providers::show_provider)),
        )
        .service(only(
            "/admin/providers/{provider}/contexts/{context}",
            "DELETE",
            web::delete().to(providers::remove_context),
        ))
        .configure(pools::services)
        .configure(routes::configure)
        .configure(peer::configure)
        .default_service(web::to(|| async { AdminError::UnknownPath.into_response() }))
}

/// A path that one method is for.
fn only(path: &str, allow: &'static str, route: actix_web::Route) -> Resource {
    let refuse = move || async move { AdminError::MethodNotAllowed { allow }.into_response() };
    web::resource(path).route(route).default_service(web::to(refuse))
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
    text(error::not_ready(), lines)
}

async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let rendered = (state.render_metrics)().await;
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, OPEN_METRICS)).body(rendered)
}

fn text(mut response: actix_web::HttpResponseBuilder, body: String) -> HttpResponse {
    response
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}
