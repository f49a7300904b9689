//! Requests the routes of one peer, and again whenever it may have forgotten the request.
//!
//! A peer may have forgotten if it was silent for a whole hold-down, or if its own request shows
//! that it has just restarted. Unanswered requests are repeated with exponential backoff, forever.

use std::sync::Arc;

use super::backoff::Backoff;
use super::{PeerRouter, PeerRouters};
use crate::resolve::PeerLinkError;

/// The result of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestResult {
    Accepted,
    Failed,
}

pub(super) async fn request_routes(peers: Arc<PeerRouters>, peer: Arc<PeerRouter>) {
    // Only an update from the peer resets the backoff: two peers that accept each other's requests,
    // but not each other's updates, would otherwise send requests in a tight loop.
    let mut backoff = Backoff::default();
    let mut before = RequestResult::Accepted;
    loop {
        let answer = peer.send_control(&peers.request(&peer)).await;
        log_result(&peer, &answer, before);
        before = if answer.is_ok() { RequestResult::Accepted } else { RequestResult::Failed };
        until_due(&peers, &peer, &mut backoff, before).await;
    }
}

/// Waits until the peer may have lost the request.
async fn until_due(
    peers: &PeerRouters,
    peer: &PeerRouter,
    backoff: &mut Backoff,
    result: RequestResult,
) {
    let mut wait = match result {
        RequestResult::Accepted => peers.silence_max(peer),
        RequestResult::Failed => backoff.next(rand::random()),
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => return,
            () = peer.received.notified() => {
                backoff.reset();
                wait = peers.silence_max(peer);
            }
            () = peer.restarted.notified() => {
                // The peer missed requests while it was down, so it gets one soon, whatever the
                // backoff.
                let mut fresh = Backoff::default();
                let backoff = if result == RequestResult::Failed { &mut fresh } else { backoff };
                return tokio::time::sleep(backoff.next(rand::random())).await;
            }
        }
    }
}

/// Logs the first failure and the recovery.
fn log_result(peer: &PeerRouter, answer: &Result<(), PeerLinkError>, before: RequestResult) {
    let peer = &peer.id;
    match (answer, before) {
        (Ok(()), RequestResult::Accepted) => tracing::debug!(%peer, "asked a peer for its routes"),
        (Ok(()), RequestResult::Failed) => {
            tracing::info!(%peer, "a peer can be asked for its routes again")
        }
        (Err(error), RequestResult::Accepted) => {
            tracing::warn!(%peer, %error, "a peer cannot be asked for its routes; it is tried again");
        }
        (Err(error), RequestResult::Failed) => {
            tracing::debug!(%peer, %error, "a peer still cannot be asked for its routes");
        }
    }
}
