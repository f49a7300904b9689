//! The composition root: the only place that puts the parts together.
//!
//! [`Sockets::bind`] binds both addresses, so that a port in use is reported before a long restart.
//! [`Server::start`] starts the admin listener, [`Server::open`] the public one.
//! [`Server::shutdown`] is the only way down: stop accepting, then drain requests in flight within
//! a bound.

mod listener;
mod maintenance;
mod memory;
mod peers;
mod stores;
mod targets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, HttpServer, web};
use futures_util::FutureExt;
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::admin::{
    self, AdminParts, AdminPassword, AdminState, Component, PasswordError, Readiness, StorageCheck,
};
use crate::api::{self, ApiParts, ApiState};
use crate::clock::{Clock, whole_seconds};
use crate::config::Settings;
use crate::control::{Control, ControlError, ControlParts, EndpointParts, Identity};
use crate::dispatch::HOLD_DOWN_MS;
use crate::http_client::HttpClientError;
use crate::ingest::Announcer;
use crate::metrics::{Gauges, Metrics};
use crate::resolve::{AnswerCache, LocalResolver, Resolver, Router};
use crate::state::ControlStore;
use crate::store::{Health, IpnsStore, Store};
use crate::types::TargetId;
use listener::BoundSocket;
use maintenance::{Maintenance, Upkeep};
pub use stores::{Stores, StoresError};
use targets::Configured;

/// Open connections on the admin listener: it is for an operator and a few scrapers.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// The dependencies of a server, usually made by [`Parts::new`] of [`Stores`].
pub struct Parts {
    /// Where announcements are kept.
    pub store: Arc<dyn Store>,
    /// Where IPNS records are kept.
    pub ipns: Arc<dyn IpnsStore>,
    /// The store of the control plane.
    pub state: Arc<dyn ControlStore>,
    /// The resolver of the target `local`.
    pub local: Arc<dyn Resolver>,
    /// What pools are made of.
    pub endpoints: Vec<EndpointParts>,
    /// What the server counts.
    pub(crate) metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Clock,
    /// How long peers keep our routes after our last message.
    pub hold_down: Duration,
}

impl Parts {
    /// These stores, and a resolver over them.
    pub fn new(stores: Stores, clock: Clock) -> Self {
        let Stores { store, ipns, state, .. } = stores;
        let local = Arc::new(LocalResolver::new(store.clone(), ipns.clone(), clock.clone()));
        let metrics = Arc::new(Metrics::new());
        let (endpoints, hold_down) = (Vec::new(), Duration::from_millis(HOLD_DOWN_MS));
        Self { store, ipns, state, local, endpoints, metrics, clock, hold_down }
    }
}

/// A running server.
pub struct Server {
    settings: Settings,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    state: Arc<ApiState>,
    public: Listener,
    admin: Running,
    admin_state: web::Data<AdminState>,
    admin_addr: SocketAddr,
    maintenance: Maintenance,
}

/// The public listener: bound only, or taking connections.
enum Listener {
    Bound(BoundSocket),
    Open(SocketAddr, Running),
}

/// A running actix server.
struct Running {
    handle: ServerHandle,
    task: JoinHandle<std::io::Result<()>>,
}

/// Why a server failed to start or stopped.
#[derive(Debug, Error)]
pub enum ServerError {
    /// An address cannot be used.
    #[error("cannot listen on {addr} ({setting})")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The setting that names it.
        setting: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// The admin API has no password.
    #[error("the admin API has no password")]
    Password(#[from] PasswordError),
    /// The control plane cannot be read.
    #[error("the control plane does not start")]
    Control(#[from] ControlError),
    /// A peer router cannot be talked to as it is configured.
    #[error("the peer `{name}` cannot be reached (admin_url)")]
    Peer {
        /// Its name.
        name: TargetId,
        /// What is wrong.
        source: HttpClientError,
    },
    /// An upstream, an endpoint or a peer cannot be asked as it is configured.
    #[error("`{name}` cannot be asked")]
    Upstream {
        /// Its name.
        name: TargetId,
        /// What is wrong.
        source: HttpClientError,
    },
    /// A server's threads could not be started, or ended with an error.
    #[error("the {listener} listener stopped")]
    Stopped {
        /// Which listener.
        listener: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Both addresses, taken. Connections are refused until the server listens.
pub struct Sockets {
    public: BoundSocket,
    admin: BoundSocket,
}

impl Sockets {
    /// Takes both addresses that the settings name.
    ///
    /// # Errors
    ///
    /// [`ServerError::Bind`].
    pub fn bind(settings: &Settings) -> Result<Self, ServerError> {
        let bind = |addr, setting| {
            BoundSocket::bind(addr).map_err(|source| ServerError::Bind { addr, setting, source })
        };
        Ok(Self {
            public: bind(settings.listen, "listen")?,
            admin: bind(settings.admin_listen, "admin_listen")?,
        })
    }
}

impl Server {
    /// Starts the admin listener. Connections to the public address are refused until
    /// [`Server::open`].
    pub async fn start(
        settings: Settings,
        parts: Parts,
        sockets: Sockets,
    ) -> Result<Self, ServerError> {
        let Sockets { public, admin: admin_socket } = sockets;
        let admin_addr = admin_socket.addr();
        let password = AdminPassword::load_or_make(&settings)?;
        let (router, control, cache) = open_control(&settings, &parts).await?;
        let Parts { store, ipns, metrics, clock, state: decided, .. } = parts;
        let api_parts = ApiParts {
            resolver: router,
            announcer: Announcer::new(&settings, store.clone(), clock.clone()),
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        let state = Arc::new(ApiState::new(&settings, api_parts));
        let storage = storage_checks(store.clone(), ipns.clone(), decided);
        let readiness = Arc::new(Readiness::new(storage));
        let admin_parts = AdminParts {
            store: store.clone(),
            ipns: ipns.clone(),
            control: control.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            readiness: readiness.clone(),
            render_metrics: render_metrics(MetricsSources {
                store: store.clone(),
                ipns: ipns.clone(),
                metrics: metrics.clone(),
                state: state.clone(),
                cache,
            }),
            password,
            peers: peers::credentials(&settings),
        };
        let admin_state = web::Data::new(AdminState::new(&settings, admin_parts));
        let served = admin_state.clone();
        let app = move || admin::app(served.clone());
        let admin = listen(&settings, ListenOptions::admin(), &admin_socket, app)
            .map_err(|source| ServerError::Stopped { listener: "admin", source })?;
        let upkeep = Upkeep {
            store: store.clone(),
            ipns,
            state: state.clone(),
            control,
            metrics: metrics.clone(),
            clock,
        };
        let maintenance = Maintenance::start(maintenance::tasks(upkeep), &readiness);
        let public = Listener::Bound(public);
        Ok(Self {
            settings,
            store,
            metrics,
            readiness,
            state,
            public,
            admin,
            admin_state,
            admin_addr,
            maintenance,
        })
    }

    /// Starts the public listener, and declares the server ready.
    pub fn open(&mut self) -> Result<(), ServerError> {
        let Listener::Bound(socket) = &self.public else { return Ok(()) };
        let addr = socket.addr();
        let state = self.state.clone();
        let app = move || api::app(state.clone());
        let running = listen(&self.settings, ListenOptions::public(&self.settings), socket, app)
            .map_err(|source| ServerError::Stopped { listener: "public", source })?;
        self.public = Listener::Open(addr, running);
        self.readiness.set_ready(Component::Imports);
        self.readiness.set_ready(Component::Listener);
        Ok(())
    }

    /// The address of the public API.
    pub fn public_addr(&self) -> SocketAddr {
        match &self.public {
            Listener::Bound(socket) => socket.addr(),
            Listener::Open(addr, _) => *addr,
        }
    }

    /// The address of the admin listener.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Where announcements go.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the server counts.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns only if a listener ends by itself, which it should not.
    pub(crate) async fn stopped(&mut self) -> ServerError {
        let Listener::Open(_, public) = &mut self.public else {
            return self.admin.ended("admin").await;
        };
        tokio::select! {
            error = public.ended("public") => error,
            error = self.admin.ended("admin") => error,
        }
    }

    /// Stops accepting, finishes what is in flight within `shutdown_timeout`, and ends.
    pub async fn shutdown(self) {
        self.readiness.set_not_ready(Component::Listener);
        self.admin_state.end_transfers();
        let stop_public = async {
            if let Listener::Open(_, public) = self.public {
                public.stop().await;
            }
        };
        // Concurrently, so that shutdown takes as long as the slowest part.
        tokio::join!(stop_public, self.maintenance.stop(), self.admin.stop());
    }
}

/// Opens the control plane, and the resolver that follows its table.
async fn open_control(
    settings: &Settings,
    parts: &Parts,
) -> Result<(Arc<Router>, Arc<Control>, Arc<AnswerCache>), ServerError> {
    let name = settings.router_name.get().cloned();
    let secret = settings.routing_secret.reveal();
    let now_ms = parts.clock.now_ms();
    let identity = Identity::load_or_make(&*parts.state, name, secret, now_ms).await?;
    let Configured { targets, default, mut endpoints, cache } =
        targets::configured(settings, parts)?;
    endpoints.extend(parts.endpoints.iter().cloned());
    let router = Arc::new(Router::new(default, parts.clock.clone()));
    let control = Control::open(ControlParts {
        state: parts.state.clone(),
        clock: parts.clock.clone(),
        targets,
        endpoints,
        peers: peers::configured(settings, parts, &identity)?,
        identity,
        router: router.clone(),
    })
    .await?;
    Ok((router, control, cache))
}

impl Running {
    fn start(server: actix_web::dev::Server) -> Self {
        Self { handle: server.handle(), task: tokio::spawn(server) }
    }

    async fn ended(&mut self, listener: &'static str) -> ServerError {
        let source = match (&mut self.task).await {
            Ok(Ok(())) => std::io::Error::other("it ended without an error"),
            Ok(Err(error)) => error,
            Err(panic) => std::io::Error::other(panic),
        };
        ServerError::Stopped { listener, source }
    }

    async fn stop(self) {
        self.handle.stop(true).await;
        // A listener that had failed has said so in `ended`.
        let _ = self.task.await;
    }
}

/// The options of a listener.
struct ListenOptions {
    workers: usize,
    connections_max: usize,
    /// Whether a client that has sent its request may close its half of the connection; if not, it has
    /// gone away, which ends its request at once.
    half_closed: bool,
}

impl ListenOptions {
    fn public(settings: &Settings) -> Self {
        let workers = settings.workers.get();
        Self { workers, connections_max: settings.connections_max, half_closed: false }
    }

    fn admin() -> Self {
        Self { workers: 1, connections_max: ADMIN_CONNECTIONS_MAX, half_closed: true }
    }
}

/// Serves `app`, of which each worker makes its own, on a socket.
fn listen<F, T, B>(
    settings: &Settings,
    options: ListenOptions,
    socket: &BoundSocket,
    app: F,
) -> std::io::Result<Running>
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let ListenOptions { workers, connections_max, half_closed } = options;
    let write_timeout = settings.write_timeout;
    let server = HttpServer::new(app)
        .workers(workers)
        .max_connections(connections_max.div_ceil(workers))
        .client_request_timeout(settings.client_timeout)
        .client_disconnect_timeout(settings.client_timeout)
        .keep_alive(keep_alive(settings.keep_alive))
        .h1_allow_half_closed(half_closed)
        .on_connect(move |connection, _| listener::limit_writes(connection, write_timeout))
        .shutdown_timeout(whole_seconds(settings.shutdown_timeout))
        .disable_signals()
        .listen(socket.listen()?)?
        .run();
    Ok(Running::start(server))
}

fn keep_alive(duration: Duration) -> actix_web::http::KeepAlive {
    if duration.is_zero() {
        actix_web::http::KeepAlive::Disabled
    } else {
        actix_web::http::KeepAlive::Timeout(duration)
    }
}

/// The storage checks of readiness: dead threads and unreachable stores.
fn storage_checks(
    store: Arc<dyn Store>,
    ipns: Arc<dyn IpnsStore>,
    decided: Arc<dyn ControlStore>,
) -> Vec<Box<StorageCheck>> {
    let check = |what: &'static str, health: Box<dyn Fn() -> Health + Send + Sync>| {
        let check = move || {
            let Health { is_ready, detail, .. } = health();
            let detail = detail.unwrap_or_else(|| "it cannot be reached".to_owned());
            (!is_ready).then(|| format!("{what}: {detail}"))
        };
        Box::new(check) as Box<StorageCheck>
    };
    vec![
        check("the store of announcements", Box::new(move || store.health())),
        check("the store of IPNS records", Box::new(move || ipns.health())),
        check("the control plane's state", Box::new(move || decided.health())),
    ]
}

/// What metrics are read from.
#[derive(Clone)]
struct MetricsSources {
    store: Arc<dyn Store>,
    ipns: Arc<dyn IpnsStore>,
    metrics: Arc<Metrics>,
    state: Arc<ApiState>,
    cache: Arc<AnswerCache>,
}

fn render_metrics(sources: MetricsSources) -> Box<admin::RenderMetrics> {
    Box::new(move || {
        let MetricsSources { store, ipns, metrics, state, cache } = sources.clone();
        async move {
            // Gauges of a store that does not answer read as zero.
            let stats = store.stats().await.unwrap_or_default();
            let journal = stats.journal.unwrap_or_default();
            let is_failing = stats.journal.is_some() && !store.health().is_writable;
            let ipns = ipns.stats().await.unwrap_or_default();
            let kept = cache.stats();
            metrics.answers().set_cache(kept.entries, kept.bytes);
            metrics.render(Gauges {
                index_entries: stats.entries.unwrap_or(0),
                index_keys: stats.keys.unwrap_or(0),
                index_groups: stats.groups.unwrap_or(0),
                index_bytes: stats.bytes.unwrap_or(0),
                index_memory_max: stats.bytes_max.unwrap_or(0),
                index_stranger_entries: stats.stranger_entries.unwrap_or(0),
                journal_bytes: journal.bytes,
                journal_garbage_bytes: journal.garbage_bytes,
                journal_disk_free_bytes: journal.disk_free_bytes.unwrap_or(0),
                journal_failing: u64::from(is_failing),
                journal_compaction_failing: u64::from(journal.is_compaction_failing),
                ipns_records: ipns.records,
                ipns_failing: u64::from(ipns.is_failing),
                rate_limit_clients: state.clients_tracked(),
            })
        }
        .boxed()
    })
}
