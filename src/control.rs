//! The control plane: static routes, pools and the routes of peers, kept across restarts and
//! published to lookups as one immutable snapshot.
//!
//! Every change is durable before lookups see it; lookups never wait for one. Stored state that
//! cannot be read is an error at startup: a router that forgot what is blocked or metered must not
//! run.

mod identity;
mod peers;
mod pools;
mod statics;
mod targets;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::detached::detached;
use crate::dispatch::pool::{BookError, PoolDraft, PoolId, PoolSummary};
use crate::dispatch::{RouteAuth, RouteEntry, RouteOrigin, RouteUpdate};
use crate::resolve::{RouteTable, Router};
use crate::state::{ControlStore, ControlStoreError};
use crate::text::with_causes;
use crate::types::{RoutePrefix, TargetId};

use peers::UpdateOutcome;

pub(crate) use identity::Identity;
pub(crate) use peers::{PeerParts, PeerRouters, PeersParts, UnknownPeer, UpdateRefused};
pub use pools::EndpointParts;
pub(crate) use pools::{
    ExplainedEndpoint, ExplainedPool, PoolExplanation, PoolOutcome, Pools, PoolsError,
};
pub(crate) use statics::{StaticRoute, Statics, StaticsError};
pub(crate) use targets::{RuleResolver, Target, TargetKind, Targets};

/// Interval between sweeps of expired routes from peers. Lookups do not depend on it: each route
/// carries its expiry in the table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The dependencies of a control plane.
pub(crate) struct ControlParts {
    /// The store of static routes, pools and budgets.
    pub(crate) state: Arc<dyn ControlStore>,
    /// The source of the current time.
    pub(crate) clock: Clock,
    /// The name and the routing secret of this router.
    pub(crate) identity: Identity,
    /// The possible next hops.
    pub(crate) targets: Targets,
    /// The configured endpoints, from which pools are provisioned.
    pub(crate) endpoints: Vec<EndpointParts>,
    /// The peer routers, and the routes advertised to them.
    pub(crate) peers: PeersParts,
    /// The router that reads the published table.
    pub(crate) router: Arc<Router>,
}

/// The control plane of one server.
pub(crate) struct Control {
    identity: Identity,
    targets: Targets,
    router: Arc<Router>,
    statics: Statics,
    pools: Pools,
    peers: Arc<PeerRouters>,
    clock: Clock,
    table: ArcSwap<RouteTable>,
    /// Serialises publishing, so that an older table never replaces a newer one.
    publishing: Mutex<()>,
}

/// Why the control plane cannot be opened.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The state store failed.
    #[error(transparent)]
    State(#[from] ControlStoreError),
    /// A stored document cannot be parsed.
    #[error("the stored {what} `{key}` cannot be read: {reason}")]
    Document {
        /// The kind of document.
        what: &'static str,
        /// Its key.
        key: String,
        /// The reason.
        reason: String,
    },
    /// The stored pools are inconsistent.
    #[error("the stored pools contradict each other")]
    Pools(#[from] BookError),
    /// Two endpoints have the same name.
    #[error("two endpoints are called `{0}`")]
    Endpoint(String),
}

impl ControlError {
    /// What a change fails with whose store cannot be read again.
    fn into_store_error(self) -> ControlStoreError {
        match self {
            Self::State(error) => error,
            Self::Document { .. } | Self::Pools(_) | Self::Endpoint(_) => {
                ControlStoreError::Unavailable { reason: with_causes(&self) }
            }
        }
    }
}

impl Control {
    /// Reads the stored state and publishes it.
    pub(crate) async fn open(parts: ControlParts) -> Result<Arc<Self>, ControlError> {
        let ControlParts { state, clock, identity, targets, endpoints, peers, router } = parts;
        let control = Arc::new(Self {
            pools: Pools::open(state.clone(), clock.clone(), endpoints).await?,
            statics: Statics::open(state, clock.clone()).await?,
            peers: Arc::new(PeerRouters::new(peers, &identity, clock.clone())),
            clock,
            table: ArcSwap::from_pointee(RouteTable::new([])),
            publishing: Mutex::new(()),
            identity,
            targets,
            router,
        });
        control.publish();
        Ok(control)
    }

    /// The static routes.
    pub(crate) fn statics(&self) -> &Statics {
        &self.statics
    }

    /// The pools.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The routes exchanged with peer routers.
    pub(crate) fn peers(&self) -> &Arc<PeerRouters> {
        &self.peers
    }

    /// The possible next hops.
    pub(crate) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The table as lookups see it, the default route included.
    pub(crate) fn table(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// The `auth` value of a route: as received, or signed with our secret.
    pub(crate) fn auth(&self, route: &RouteEntry) -> RouteAuth {
        route.auth.unwrap_or_else(|| RouteAuth::of(&self.identity.secret, &route.prefix))
    }

    /// Creates a static route; an existing one for the prefix is an error.
    pub(crate) async fn create_static(
        self: &Arc<Self>,
        prefix: RoutePrefix,
        next_hop: TargetId,
    ) -> Result<StaticRoute, StaticsError> {
        self.change(|control| async move { control.statics.create(prefix, next_hop).await }).await
    }

    /// Replaces the next hop of a static route atomically.
    pub(crate) async fn replace_static(
        self: &Arc<Self>,
        prefix: RoutePrefix,
        next_hop: TargetId,
    ) -> Result<StaticRoute, StaticsError> {
        self.change(|control| async move { control.statics.replace(prefix, next_hop).await }).await
    }

    /// Removes the static route of a prefix.
    pub(crate) async fn remove_static(
        self: &Arc<Self>,
        prefix: RoutePrefix,
    ) -> Result<(), StaticsError> {
        self.change(|control| async move { control.statics.remove(prefix).await }).await
    }

    /// Creates a pool.
    pub(crate) async fn create_pool(
        self: &Arc<Self>,
        draft: PoolDraft,
    ) -> Result<PoolSummary, PoolsError> {
        self.change(|control| async move { control.pools.create(draft).await }).await
    }

    /// Updates the fields of a pool that the draft gives.
    pub(crate) async fn change_pool(
        self: &Arc<Self>,
        id: PoolId,
        draft: PoolDraft,
    ) -> Result<PoolSummary, PoolsError> {
        self.change(|control| async move { control.pools.change(id, draft).await }).await
    }

    /// Deletes a pool.
    pub(crate) async fn remove_pool(self: &Arc<Self>, id: PoolId) -> Result<(), PoolsError> {
        self.change(|control| async move { control.pools.remove(id).await }).await
    }

    /// Applies a route update from a peer.
    pub(crate) fn update_from_peer(
        &self,
        peer: &TargetId,
        update: RouteUpdate,
    ) -> Result<(), UpdateRefused> {
        let UpdateOutcome { accepted, is_visible } = self.peers.update(peer, update)?;
        if is_visible {
            self.publish();
        }
        accepted
    }

    /// Runs the route exchange with all peers and expires their routes, until it is cancelled.
    ///
    /// # Panics
    ///
    /// One of its tasks did.
    pub(crate) async fn run(self: Arc<Self>, cancelled: CancellationToken) {
        tokio::select! {
            () = self.peers.clone().run(cancelled) => {}
            () = self.sweep_peers() => {}
        }
    }

    async fn sweep_peers(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            if self.peers.sweep(self.clock.now_ms()) {
                self.publish();
            }
        }
    }

    /// Makes a change and publishes it, even if the caller goes away: a durable change that is not
    /// published would be overwritten by the next one. After one that failed, too: it may be durable, and
    /// what is stored may have been read again.
    async fn change<T, E, F>(self: &Arc<Self>, change: impl FnOnce(Arc<Self>) -> F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ControlStoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (control, change) = (self.clone(), change(self.clone()));
        let published = async move {
            let changed = change.await;
            control.publish();
            changed
        };
        detached(published).await.unwrap_or_else(|unfinished| {
            Err(ControlStoreError::Unavailable { reason: unfinished.to_string() }.into())
        })
    }

    /// Rebuilds the table and publishes it to lookups.
    fn publish(&self) {
        let _publishing = self.publishing.lock();
        let entries = self.entries();
        let has_routes = !entries.is_empty();
        let all = entries.into_iter().chain([Self::default_route()]);
        let table = Arc::new(RouteTable::new(all.map(|entry| {
            let resolver = self.targets.resolver(&entry.next_hop, &self.pools);
            (entry, resolver)
        })));
        self.table.store(table.clone());
        self.router.set_table(has_routes.then_some(table));
    }

    /// All routes except the default one.
    fn entries(&self) -> Vec<RouteEntry> {
        let statics = self.statics.all().into_iter();
        let statics =
            statics.map(|route| Self::own_route(route.prefix, route.next_hop, RouteOrigin::Static));
        statics.chain(self.peers.entries(self.clock.now_ms())).collect()
    }

    fn default_route() -> RouteEntry {
        let target = TargetId::parse(TargetId::DEFAULT).expect("it is a legal name");
        Self::own_route(RoutePrefix::everything(), target, RouteOrigin::Default)
    }

    fn own_route(prefix: RoutePrefix, next_hop: TargetId, origin: RouteOrigin) -> RouteEntry {
        RouteEntry { prefix, next_hop, origin, path: Vec::new(), expires_at_ms: None, auth: None }
    }
}
