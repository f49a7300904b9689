//! Telling one peer our routes: at once what has changed, and now and then that we are there.
//!
//! The peer decides whether it wants to be told and where we begin; an answer that belongs to what was
//! asked before does not count. Failures are repeated ever more rarely, until the peer asks again.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::{Peer, Peers};
use crate::dispatch::{LastKnown, RouteControl, RouteLog, RouteUpdate, SyncMode};
use crate::resolve::PeerLinkError;
use crate::types::AccountId;

/// How long a change waits for others that come with it.
const SETTLE: Duration = Duration::from_millis(20);

/// What is known of a peer's wish to be told.
pub(super) struct Telling {
    mode: SyncMode,
    known: LastKnown,
    /// How often it has asked.
    requests: u64,
}

/// One update, and what it answers to.
pub(super) struct Turn {
    update: RouteUpdate,
    request: u64,
}

impl Default for Telling {
    fn default() -> Self {
        Self { mode: SyncMode::Idle, known: LastKnown::NOTHING, requests: 0 }
    }
}

impl Telling {
    /// The peer says what it wants.
    pub(super) fn asked(&mut self, control: RouteControl) {
        self.mode = control.mode;
        self.known = control.last_known;
        self.requests += 1;
    }

    /// What to tell it next; `None`: nothing, it does not want to know.
    pub(super) fn turn(&self, log: &RouteLog, peer: &AccountId) -> Option<Turn> {
        let update = || log.update_from(log.position_of(self.known), peer);
        match self.mode {
            SyncMode::Idle => None,
            SyncMode::Sync => Some(Turn { update: update(), request: self.requests }),
        }
    }

    /// A turn has brought it to know this much. Whether there is more to tell.
    pub(super) fn told(&mut self, turn: &Turn, known: LastKnown, log: &RouteLog) -> bool {
        if turn.request == self.requests {
            self.known = known;
        }
        self.known != LastKnown { table_id: log.table_id(), epoch: log.next_epoch() }
    }
}

impl Turn {
    /// What the peer knows once it has taken it.
    fn end(&self) -> LastKnown {
        LastKnown { table_id: self.update.table_id, epoch: self.update.to_epoch }
    }
}

pub(super) async fn tell(peers: Arc<Peers>, peer: Arc<Peer>) {
    let mut backoff = Backoff::default();
    let mut has_gap = false;
    loop {
        let Some(turn) = peers.turn(&peer) else {
            peer.asked.notified().await;
            continue;
        };
        let answer = peer.send_update(&turn.update).await;
        let known = match &answer {
            Ok(()) => Some(turn.end()),
            Err(PeerLinkError::Gap(known)) => Some(*known),
            Err(PeerLinkError::Failed(_)) => None,
        };
        let has_more = known.is_some_and(|known| peers.told(&peer, &turn, known));
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
async fn until_due(peers: &Peers, peer: &Peer) {
    tokio::select! {
        () = tokio::time::sleep(peers.heartbeat()) => {}
        () = peer.asked.notified() => {}
        () = peer.changed.notified() => tokio::time::sleep(SETTLE).await,
    }
}

async fn after_failure(peer: &Peer, error: &PeerLinkError, backoff: &mut Backoff) {
    let peer_name = &peer.account;
    if backoff.is_fresh() {
        tracing::warn!(peer = %peer_name, %error, "a peer does not take our routes; it is tried again");
    } else {
        tracing::debug!(peer = %peer_name, %error, "a peer still does not take our routes");
    }
    tokio::select! {
        () = tokio::time::sleep(backoff.next(rand::random())) => {}
        () = peer.asked.notified() => {}
    }
}
