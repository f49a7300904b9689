//! Sends our routes to one peer: changes at once, and a heartbeat now and then.
//!
//! The peer decides whether it wants to be told and where we begin; an answer that belongs to what was
//! asked before does not count. Failures are repeated ever more rarely, until the peer asks again.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::{PeerRouter, PeerRouters};
use crate::dispatch::{LastKnown, RouteControl, RouteLog, RouteUpdate, SyncMode};
use crate::resolve::PeerLinkError;
use crate::types::AccountId;

/// How long a change waits for others that come with it.
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// What is known of a peer's wish to be told.
pub(super) struct Subscription {
    mode: SyncMode,
    known: LastKnown,
    /// How often it has asked.
    requests: u64,
}

/// One update, and what it answers to.
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
    /// The peer says what it wants.
    pub(super) fn update(&mut self, control: RouteControl) {
        self.mode = control.mode;
        self.known = control.last_known;
        self.requests += 1;
    }

    /// What to tell it next; `None`: nothing, it does not want to know.
    pub(super) fn pending_update(&self, log: &RouteLog, peer: &AccountId) -> Option<PendingUpdate> {
        let update = || log.update_from(log.first_unknown_to(self.known), peer);
        match self.mode {
            SyncMode::Idle => None,
            SyncMode::Sync => Some(PendingUpdate { update: update(), request: self.requests }),
        }
    }

    /// A turn has brought it to know this much. Whether there is more to tell.
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
    /// What the peer knows once it has taken it.
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
                    tracing::info!(peer = %peer.account, "a peer takes our routes again");
                }
                if !has_more {
                    until_due(&peers, &peer).await;
                }
            }
            // It is told from there on. A peer that is never content has to wait.
            Err(PeerLinkError::Gap(_)) if is_first_gap => {}
            Err(error) => after_failure(&peer, &error, &mut backoff).await,
        }
    }
}

/// Until there is something to tell, or we were silent for long enough.
async fn until_due(peers: &PeerRouters, peer: &PeerRouter) {
    tokio::select! {
        () = tokio::time::sleep(peers.heartbeat()) => {}
        () = peer.subscribed.notified() => {}
        () = peer.has_unsent.notified() => tokio::time::sleep(BATCH_DELAY).await,
    }
}

async fn after_failure(peer: &PeerRouter, error: &PeerLinkError, backoff: &mut Backoff) {
    let peer_name = &peer.account;
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
