//! The exchange of routes with peer routers.
//!
//! Each peer has two tasks: one requests its routes, again whenever it falls silent (`request`);
//! one sends it ours while it subscribes to them (`send`). All state is in memory and is learned
//! again within seconds of a restart.
//!
//! Invariants: a route of a peer always leads to that peer; it is published at once, and expires
//! with the peer's hold-down unless an update renews it. Our advertisements are updated in the same
//! step. Nothing waits for a peer except the peer's own tasks. An unreachable peer is retried
//! forever with exponential backoff, and costs two log lines.

mod backoff;
mod request;
mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Identity;
use crate::clock::{Clock, UnixMs};
use crate::dispatch::{
    Dropped, HOLD_DOWN_MS, ImportPolicy, LastKnown, OwnRoute, ReceivedRoutes, RouteAuth,
    RouteControl, RouteEntry, RouteLog, RouteOrigin, RouteUpdate, RoutingTableId, SyncMode,
    advertised,
};
use crate::invariant;
use crate::metrics::{PeerCounts, PeerOutcome};
use crate::resolve::{PeerLink, PeerLinkError};
use crate::types::{RoutePrefix, TargetId};
use send::{PendingUpdate, Subscription};

/// The configuration of the exchange.
pub(crate) struct PeersParts {
    /// The parts of the key space that this router advertises as its own.
    pub(crate) advertise: Vec<RoutePrefix>,
    /// How long peers keep our routes after our last message.
    pub(crate) hold_down: Duration,
    /// The peers.
    pub(crate) peers: Vec<PeerParts>,
}

impl Default for PeersParts {
    /// No peers, and nothing to advertise.
    fn default() -> Self {
        let hold_down = Duration::from_millis(HOLD_DOWN_MS);
        Self { advertise: Vec::new(), hold_down, peers: Vec::new() }
    }
}

/// The configuration of one peer.
pub(crate) struct PeerParts {
    /// The target that its routes lead to, and its name in updates.
    pub(crate) id: TargetId,
    /// The prefixes that it may advertise, including everything below them.
    pub(crate) accept: Vec<RoutePrefix>,
    /// The most routes kept of it.
    pub(crate) routes_max: usize,
    /// The connection to it.
    pub(crate) link: Arc<dyn PeerLink>,
    /// Its metrics.
    pub(crate) counts: PeerCounts,
}

const HAS_STATE: &str = "the peers are those that have a state";

/// The routes from and to all peers.
pub(crate) struct PeerRouters {
    us: TargetId,
    own: Vec<OwnRoute>,
    hold_down: Duration,
    clock: Clock,
    peers: BTreeMap<TargetId, Arc<PeerRouter>>,
    state: Mutex<State>,
}

/// The immutable part of a peer, with its notifications.
struct PeerRouter {
    id: TargetId,
    link: Arc<dyn PeerLink>,
    counts: PeerCounts,
    /// An update arrived from it.
    received: Notify,
    /// Its request shows no knowledge of our table: it has probably restarted and forgotten our
    /// request.
    restarted: Notify,
    /// It has subscribed or unsubscribed.
    subscribed: Notify,
    /// There are unsent changes.
    has_unsent: Notify,
}

struct State {
    log: RouteLog,
    of_peers: BTreeMap<TargetId, PeerState>,
}

struct PeerState {
    received: ReceivedRoutes,
    subscription: Subscription,
    has_dropped: bool,
}

/// The result of an update.
pub(super) struct UpdateOutcome {
    /// Whether it was accepted.
    pub(super) accepted: Result<(), UpdateRefused>,
    /// Whether the table must be published again: routes were added, removed or extended.
    pub(super) is_visible: bool,
}

/// No peer has this name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no peer of this name is configured")]
pub(crate) struct UnknownPeer;

/// Why an update was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum UpdateRefused {
    /// No peer has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// It leaves a gap; an update that starts at this epoch would be accepted.
    #[error("the update does not follow on what is known of the table")]
    Gap(LastKnown),
}

impl PeerRouters {
    /// The peers, with no routes yet; [`Control::run`](super::Control::run) starts the exchange.
    pub(super) fn new(parts: PeersParts, identity: &Identity, clock: Clock) -> Self {
        let PeersParts { advertise, hold_down, peers } = parts;
        let us = identity.name.clone();
        let own = |prefix: RoutePrefix| {
            let auth = RouteAuth::of(&identity.secret, &prefix);
            OwnRoute { prefix, auth }
        };
        let own: Vec<OwnRoute> = advertise.into_iter().map(own).collect();
        let hold_down_ms = u64::try_from(hold_down.as_millis()).unwrap_or(u64::MAX);
        let table_id = RoutingTableId::new(rand::random());
        let mut log = RouteLog::new(table_id, us.clone(), hold_down_ms);
        log.advertise(&advertised(&us, &own, []));
        let mut of_peers = BTreeMap::new();
        let mut all = BTreeMap::new();
        for PeerParts { id, accept, routes_max, link, counts } in peers {
            let received = ReceivedRoutes::new(ImportPolicy { us: us.clone(), accept, routes_max });
            let subscription = Subscription::default();
            of_peers.insert(id.clone(), PeerState { received, subscription, has_dropped: false });
            all.insert(id.clone(), Arc::new(PeerRouter::new(id, link, counts)));
        }
        let state = Mutex::new(State { log, of_peers });
        Self { us, own, hold_down, clock, peers: all, state }
    }

    /// Runs the tasks of all peers until it is cancelled.
    ///
    /// # Panics
    ///
    /// One of its tasks did.
    pub(super) async fn run(self: Arc<Self>, cancelled: CancellationToken) {
        let mut tasks = JoinSet::new();
        for peer in self.peers.values() {
            tasks.spawn(request::request_routes(self.clone(), peer.clone()));
            tasks.spawn(send::send_routes(self.clone(), peer.clone()));
        }
        tokio::select! {
            () = cancelled.cancelled() => {}
            Some(ended) = tasks.join_next() => {
                // The tasks never return, and only this set can cancel them.
                let panic = ended.expect_err("tasks of peers have no end").into_panic();
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Handles a peer's subscription to our routes.
    pub(crate) fn control(
        &self,
        peer: &TargetId,
        control: RouteControl,
    ) -> Result<(), UnknownPeer> {
        let peer = self.peers.get(peer).ok_or(UnknownPeer)?;
        if let Some(of_peer) = self.state.lock().of_peer(peer) {
            of_peer.subscription.update(control);
        }
        let RouteControl { mode, last_known } = control;
        tracing::debug!(peer = %peer.id, ?mode, ?last_known, "a peer has sent a request for our routes");
        peer.subscribed.notify_one();
        if mode == SyncMode::Sync && last_known.table_id == RoutingTableId::NONE {
            peer.restarted.notify_one();
        }
        Ok(())
    }

    /// Applies a peer's route update.
    pub(super) fn update(
        &self,
        peer: &TargetId,
        update: RouteUpdate,
    ) -> Result<UpdateOutcome, UnknownPeer> {
        let now_ms = self.clock.now_ms();
        let peer = self.peers.get(peer).ok_or(UnknownPeer)?;
        let mut state = self.state.lock();
        let of_peer = state.of_peer(peer).ok_or(UnknownPeer)?;
        let has_expired = of_peer.expire(&peer.id, now_ms);
        let applied = of_peer.received.apply(update, now_ms);
        let is_change = has_expired || applied.is_ok_and(|applied| applied.is_change);
        if let Ok(applied) = applied {
            of_peer.log_dropped(&peer.id, applied.dropped);
            peer.counts.dropped(applied.dropped.count());
        }
        peer.counts.received(if applied.is_ok() { PeerOutcome::Taken } else { PeerOutcome::Gap });
        let routes = of_peer.received.routes(now_ms).0.count();
        peer.counts.has_routes(routes);
        // An update extends every route's expiry, even if nothing else changed.
        let is_visible = is_change || routes > 0;
        let has_unsent = is_change && self.advertise(&mut state, now_ms);
        drop(state);
        peer.received.notify_one();
        if has_unsent {
            self.propagate();
        }
        let accepted = applied.map(drop).map_err(UpdateRefused::Gap);
        Ok(UpdateOutcome { accepted, is_visible })
    }

    /// The live routes of all peers.
    pub(super) fn entries(&self, now_ms: UnixMs) -> Vec<RouteEntry> {
        let state = self.state.lock();
        let of_peers = state.of_peers.iter().flat_map(|(id, of_peer)| {
            let (routes, expires_at_ms) = of_peer.received.routes(now_ms);
            routes.map(move |(prefix, route)| RouteEntry {
                prefix: prefix.clone(),
                next_hop: id.clone(),
                origin: RouteOrigin::Dynamic,
                path: route.path.iter().map(ToString::to_string).collect(),
                expires_at_ms: Some(expires_at_ms),
                auth: Some(route.auth),
            })
        });
        of_peers.collect()
    }

    /// Removes the routes of peers whose hold-down has passed. Returns whether there were any.
    pub(super) fn sweep(&self, now_ms: UnixMs) -> bool {
        let mut state = self.state.lock();
        let mut is_change = false;
        for (id, of_peer) in &mut state.of_peers {
            let is_over = of_peer.expire(id, now_ms);
            let peer = invariant::present(self.peers.get(id), HAS_STATE);
            if let Some(peer) = peer.filter(|_| is_over) {
                peer.counts.has_routes(0);
            }
            is_change |= is_over;
        }
        let has_unsent = is_change && self.advertise(&mut state, now_ms);
        drop(state);
        if has_unsent {
            self.propagate();
        }
        is_change
    }

    /// Brings the log up to date with what is advertised now. Returns whether it changed.
    fn advertise(&self, state: &mut State, now_ms: UnixMs) -> bool {
        let State { log, of_peers } = state;
        let received = of_peers.iter().flat_map(|(id, of_peer)| {
            let (routes, _) = of_peer.received.routes(now_ms);
            routes.map(move |(prefix, route)| (id, prefix, route))
        });
        log.advertise(&advertised(&self.us, &self.own, received))
    }
}

// For the tasks of the peers.
impl PeerRouters {
    /// Wakes the senders of all peers.
    fn propagate(&self) {
        for peer in self.peers.values() {
            peer.has_unsent.notify_one();
        }
    }

    /// The longest pause between our updates: one message per hold-down may get lost.
    fn heartbeat(&self) -> Duration {
        self.hold_down * 2 / 3
    }

    /// The request for the updates of a peer that we lack.
    fn request(&self, peer: &PeerRouter) -> RouteControl {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        let of_peer = state.of_peer(peer);
        let last_known = of_peer.map_or(LastKnown::NOTHING, |it| it.received.last_known(now_ms));
        RouteControl { mode: SyncMode::Sync, last_known }
    }

    /// How long a peer may be silent before its routes expire.
    fn silence_max(&self, peer: &PeerRouter) -> Duration {
        let mut state = self.state.lock();
        let of_peer = state.of_peer(peer);
        of_peer.map_or(self.hold_down, |it| Duration::from_millis(it.received.hold_down_ms()))
    }

    /// The next update for a peer; `None` if it is not subscribed.
    fn pending_update(&self, peer: &PeerRouter) -> Option<PendingUpdate> {
        let mut state = self.state.lock();
        let State { log, of_peers } = &mut *state;
        let of_peer = invariant::present(of_peers.get(&peer.id), HAS_STATE)?;
        of_peer.subscription.pending_update(log, &peer.id)
    }

    /// Records what a peer knows after an update. Returns whether there is more to send.
    fn record_sent(&self, peer: &PeerRouter, sent: &PendingUpdate, known: LastKnown) -> bool {
        let mut state = self.state.lock();
        let State { log, of_peers } = &mut *state;
        let of_peer = invariant::present(of_peers.get_mut(&peer.id), HAS_STATE);
        of_peer.is_some_and(|it| it.subscription.record_sent(sent, known, log))
    }
}

impl State {
    fn of_peer(&mut self, peer: &PeerRouter) -> Option<&mut PeerState> {
        invariant::present(self.of_peers.get_mut(&peer.id), HAS_STATE)
    }
}

impl PeerRouter {
    fn new(id: TargetId, link: Arc<dyn PeerLink>, counts: PeerCounts) -> Self {
        let [received, restarted, subscribed, has_unsent] = std::array::from_fn(|_| Notify::new());
        Self { id, link, counts, received, restarted, subscribed, has_unsent }
    }

    async fn send_control(&self, control: &RouteControl) -> Result<(), PeerLinkError> {
        self.counted(self.link.control(control).await)
    }

    async fn send_update(&self, update: &RouteUpdate) -> Result<(), PeerLinkError> {
        self.counted(self.link.update(update).await)
    }

    fn counted(&self, answer: Result<(), PeerLinkError>) -> Result<(), PeerLinkError> {
        self.counts.sent(match &answer {
            Ok(()) => PeerOutcome::Taken,
            Err(PeerLinkError::Gap(_)) => PeerOutcome::Gap,
            Err(PeerLinkError::Failed(_)) => PeerOutcome::Failed,
        });
        answer
    }
}

impl PeerState {
    /// Removes expired routes. Returns whether there were any.
    fn expire(&mut self, id: &TargetId, now_ms: UnixMs) -> bool {
        let is_over = self.received.expire(now_ms);
        if is_over {
            self.has_dropped = false;
            tracing::warn!(peer = %id, "a peer has fallen silent: its routes are gone");
        }
        is_over
    }

    /// Logs dropped routes, once until the peer expires.
    fn log_dropped(&mut self, id: &TargetId, dropped: Dropped) {
        if dropped.count() == 0 || std::mem::replace(&mut self.has_dropped, true) {
            return;
        }
        let Dropped { not_accepted, loops, too_long, excess } = dropped;
        tracing::warn!(
            peer = %id, not_accepted, loops, too_long, excess,
            "some routes of a peer were dropped; this is logged once"
        );
    }
}
