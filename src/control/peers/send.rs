//! Sends our routes to one peer: changes at once, and a heartbeat now and then.
//!
//! The peer chooses whether it subscribes and from which epoch; replies to updates sent before its
//! latest request are ignored. Failures are retried with exponential backoff until the peer sends a
//! new request.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::{PeerRouter, PeerRouters};
use crate::dispatch::{LastKnown, RouteControl, RouteLog, RouteUpdate, SyncMode};
use crate::resolve::PeerLinkError;
use crate::types::TargetId;

/// How long a change waits to be sent together with others.
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// A peer's subscription to our routes.
pub(super) struct Subscription {
    mode: SyncMode,
    known: LastKnown,
    /// The number of its requests.
    requests: u64,
}

/// An update to send, and the request that it belongs to.
pub(super) struct PendingUpdate {
    update: RouteUpdate,
    request: u64,
}

impl Default for Subscription {
    fn default() -> Self {
        Self { mode: SyncMode::Idle, known: LastKnown::NOTHING, requests: 0 }
    }
}

impl Subscription {
    /// Replaces the subscription by a new request.
    pub(super) fn update(&mut self, control: RouteControl) {
        self.mode = control.mode;
        self.known = control.last_known;
        self.requests += 1;
    }

    /// The next update; `None` if the peer is not subscribed.
    pub(super) fn pending_update(&self, log: &RouteLog, peer: &TargetId) -> Option<PendingUpdate> {
        let update = || log.update_from(log.first_unknown_to(self.known), peer);
        match self.mode {
            SyncMode::Idle => None,
            SyncMode::Sync => Some(PendingUpdate { update: update(), request: self.requests }),
        }
    }

    /// Records what the peer knows after an update. Returns whether there is more to send.
    pub(super) fn record_sent(
        &mut self,
        sent: &PendingUpdate,
        known: LastKnown,
        log: &RouteLog,
    ) -> bool {
        if sent.request == self.requests {
            self.known = known;
        }
        self.known != LastKnown { table_id: log.table_id(), epoch: log.next_epoch() }
    }
}

impl PendingUpdate {
    /// What the peer knows once it has applied the update.
    fn end(&self) -> LastKnown {
        LastKnown { table_id: self.update.table_id, epoch: self.update.to_epoch }
    }
}

pub(super) async fn send_routes(peers: Arc<PeerRouters>, peer: Arc<PeerRouter>) {
    let mut backoff = Backoff::default();
    let mut has_gap = false;
    loop {
        let Some(pending) = peers.pending_update(&peer) else {
            peer.subscribed.notified().await;
            continue;
        };
        let answer = peer.send_update(&pending.update).await;
        let known = match &answer {
            Ok(()) => Some(pending.end()),
            Err(PeerLinkError::Gap(known)) => Some(*known),
            Err(PeerLinkError::Failed(_)) => None,
        };
        let has_more = known.is_some_and(|known| peers.record_sent(&peer, &pending, known));
        let is_first_gap = !std::mem::replace(&mut has_gap, answer.is_err() && known.is_some());
        match answer {
            Ok(()) => {
                if backoff.reset() {
                    tracing::info!(peer = %peer.id, "a peer takes our routes again");
                }
                if !has_more {
                    until_due(&peers, &peer).await;
                }
            }
            // The next update starts at that epoch. A second gap in a row counts as a failure.
            Err(PeerLinkError::Gap(_)) if is_first_gap => {}
            Err(error) => after_failure(&peer, &error, &mut backoff).await,
        }
    }
}

/// Waits for unsent changes, or for the next heartbeat.
async fn until_due(peers: &PeerRouters, peer: &PeerRouter) {
    tokio::select! {
        () = tokio::time::sleep(peers.heartbeat()) => {}
        () = peer.subscribed.notified() => {}
        () = peer.has_unsent.notified() => tokio::time::sleep(BATCH_DELAY).await,
    }
}

async fn after_failure(peer: &PeerRouter, error: &PeerLinkError, backoff: &mut Backoff) {
    let peer_name = &peer.id;
    if backoff.is_fresh() {
        tracing::warn!(peer = %peer_name, %error, "a peer does not take our routes; it is tried again");
    } else {
        tracing::debug!(peer = %peer_name, %error, "a peer still does not take our routes");
    }
    tokio::select! {
        () = tokio::time::sleep(backoff.next(rand::random())) => {}
        () = peer.subscribed.notified() => {}
    }
}
