//! The control plane: what an operator and peer routers decide about who answers what, kept across
//! restarts and published to lookups as one immutable snapshot.
//!
//! Every change is durable before it shows; lookups never wait for one. What is stored and cannot be
//! read is an error at the start: a router that forgot what is blocked or metered must not run.

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
use crate::state::{StateError, StateStore};
use crate::types::{AccountId, RoutePrefix};

use peers::UpdateOutcome;

pub use identity::Identity;
pub use peers::{PeerParts, PeerRouters, PeersParts, UnknownPeer, UpdateRefused};
pub use pools::{
    EndpointParts, ExplainedEndpoint, ExplainedPool, PoolExplanation, PoolOutcome, Pools,
    PoolsError, RuleUpstream,
};
pub use statics::{StaticRoute, Statics, StaticsError};
pub use targets::{RuleResolver, Target, TargetKind, Targets};

/// How often routes of peers that fell silent are taken out of the table. Lookups do not wait for it:
/// each route has its end in the table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What a control plane is made of.
pub struct ControlParts {
    /// Where what is decided is kept.
    pub state: Arc<dyn StateStore>,
    /// What time it is.
    pub clock: Clock,
    /// Who this router is.
    pub identity: Identity,
    /// Whom routes can point to.
    pub targets: Targets,
    /// What pools are made of.
    pub endpoints: Vec<EndpointParts>,
    /// Who tells us routes, and what we tell.
    pub peers: PeersParts,
    /// Whom the snapshots go to.
    pub router: Arc<Router>,
}

/// The control plane of one server.
pub struct Control {
    identity: Identity,
    targets: Targets,
    router: Arc<Router>,
    statics: Statics,
    pools: Pools,
    peers: Arc<PeerRouters>,
    clock: Clock,
    table: ArcSwap<RouteTable>,
    /// Held while a table is made, so that an older one never takes the place of a newer one.
    publishing: Mutex<()>,
}

/// Why there is no control plane.
#[derive(Debug, Error)]
pub enum ControlError {
    /// What is stored cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A document is not what it should be.
    #[error("the stored {what} `{key}` cannot be read: {reason}")]
    Document {
        /// What it is.
        what: &'static str,
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Documents of pools contradict each other.
    #[error("the stored pools contradict each other")]
    Pools(#[from] BookError),
    /// Two endpoints of one name.
    #[error("two endpoints are called `{0}`")]
    Endpoint(String),
}

impl Control {
    /// Reads what was decided before, and publishes it.
    pub fn open(parts: ControlParts) -> Result<Arc<Self>, ControlError> {
        let ControlParts { state, clock, identity, targets, endpoints, peers, router } = parts;
        let control = Arc::new(Self {
            pools: Pools::open(state.clone(), clock.clone(), endpoints)?,
            statics: Statics::open(state, clock.clone())?,
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
    pub fn statics(&self) -> &Statics {
        &self.statics
    }

    /// The pools.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The routes from and to peer routers.
    pub fn peers(&self) -> &Arc<PeerRouters> {
        &self.peers
    }

    /// Whom routes can point to.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Who this router is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The table as lookups see it, the default route included.
    pub fn table(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// The proof of a route, as it is shown.
    pub fn auth(&self, route: &RouteEntry) -> RouteAuth {
        route.auth.unwrap_or_else(|| RouteAuth::of(&self.identity.secret, &route.prefix))
    }

    /// Sets a static route where there is none.
    pub async fn create_static(
        self: &Arc<Self>,
        prefix: RoutePrefix,
        next_hop: AccountId,
    ) -> Result<StaticRoute, StaticsError> {
        self.change(|control| async move { control.statics.create(prefix, next_hop).await }).await
    }

    /// Gives the static route of a prefix another account, at once.
    pub async fn replace_static(
        self: &Arc<Self>,
        prefix: RoutePrefix,
        next_hop: AccountId,
    ) -> Result<StaticRoute, StaticsError> {
        self.change(|control| async move { control.statics.replace(prefix, next_hop).await }).await
    }

    /// Removes the static route of a prefix.
    pub async fn remove_static(self: &Arc<Self>, prefix: RoutePrefix) -> Result<(), StaticsError> {
        self.change(|control| async move { control.statics.remove(prefix).await }).await
    }

    /// Creates a pool.
    pub async fn create_pool(
        self: &Arc<Self>,
        draft: PoolDraft,
    ) -> Result<PoolSummary, PoolsError> {
        self.change(|control| async move { control.pools.create(draft).await }).await
    }

    /// Changes what the draft of a pool gives.
    pub async fn change_pool(
        self: &Arc<Self>,
        id: PoolId,
        draft: PoolDraft,
    ) -> Result<PoolSummary, PoolsError> {
        self.change(|control| async move { control.pools.change(id, draft).await }).await
    }

    /// Deletes a pool.
    pub async fn remove_pool(self: &Arc<Self>, id: PoolId) -> Result<(), PoolsError> {
        self.change(|control| async move { control.pools.remove(id).await }).await
    }

    /// Takes in what a peer says of its routes.
    pub fn update_from_peer(
        &self,
        peer: &AccountId,
        update: RouteUpdate,
    ) -> Result<(), UpdateRefused> {
        let UpdateOutcome { taken, is_visible } = self.peers.update(peer, update)?;
        if is_visible {
            self.publish();
        }
        taken
    }

    /// Talks to all peers, and takes out the routes of silent ones, until it is cancelled.
    ///
    /// # Panics
    ///
    /// One of its tasks did.
    pub async fn run(self: Arc<Self>, cancelled: CancellationToken) {
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

    /// Makes a change and publishes it, even if the caller goes away: what is durable must show, or
    /// the next change would be written over it.
    async fn change<T, E, F>(self: &Arc<Self>, change: impl FnOnce(Arc<Self>) -> F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StateError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (control, change) = (self.clone(), change(self.clone()));
        let published = async move {
            let changed = change.await?;
            control.publish();
            Ok(changed)
        };
        detached(published).await.unwrap_or_else(|unfinished| {
            Err(StateError::Unavailable { reason: unfinished.to_string() }.into())
        })
    }

    /// Makes the table anew and hands it to lookups.
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

    /// Every route but the default one.
    fn entries(&self) -> Vec<RouteEntry> {
        let statics = self.statics.all().into_iter();
        let statics =
            statics.map(|route| Self::own_route(route.prefix, route.next_hop, RouteOrigin::Static));
        statics.chain(self.peers.entries(self.clock.now_ms())).collect()
    }

    fn default_route() -> RouteEntry {
        let account = AccountId::parse(AccountId::DEFAULT).expect("it is a legal name");
        Self::own_route(RoutePrefix::everything(), account, RouteOrigin::Default)
    }

    fn own_route(prefix: RoutePrefix, next_hop: AccountId, origin: RouteOrigin) -> RouteEntry {
        RouteEntry { prefix, next_hop, origin, path: Vec::new(), expires_at_ms: None, auth: None }
    }
}
