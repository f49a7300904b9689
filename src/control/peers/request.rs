//! Asking one peer to tell us its routes, and again when it may have forgotten.
//!
//! It may have when it was silent for a whole hold-down, or when it shows that it knows nothing of us,
//! which is what a router does that has just restarted. Asking that brings nothing is repeated ever more
//! rarely; it never ends.

use std::sync::Arc;

use super::backoff::Backoff;
use super::{PeerRouter, PeerRouters};
use crate::resolve::PeerLinkError;

/// How a request went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Taken,
    Failed,
}

pub(super) async fn request_routes(peers: Arc<PeerRouters>, peer: Arc<PeerRouter>) {
    // Only a word of the peer ends it: two that take each other's requests, but not each other's
    // updates, would otherwise ask each other without a pause.
    let mut backoff = Backoff::default();
    let mut before = Asked::Taken;
    loop {
        let answer = peer.send_control(&peers.request(&peer)).await;
        say(&peer, &answer, before);
        before = if answer.is_ok() { Asked::Taken } else { Asked::Failed };
        until_due(&peers, &peer, &mut backoff, before).await;
    }
}

/// Until the peer may not know any more, or not know yet, that it was asked.
async fn until_due(peers: &PeerRouters, peer: &PeerRouter, backoff: &mut Backoff, asked: Asked) {
    let mut wait = match asked {
        Asked::Taken => peers.silence_max(peer),
        Asked::Failed => backoff.next(rand::random()),
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => return,
            () = peer.received.notified() => {
                backoff.reset();
                wait = peers.silence_max(peer);
            }
            () = peer.restarted.notified() => {
                // What it was not told when it was away, it is told soon, however long it was.
                let mut fresh = Backoff::default();
                let backoff = if asked == Asked::Failed { &mut fresh } else { backoff };
                return tokio::time::sleep(backoff.next(rand::random())).await;
            }
        }
    }
}

/// A line when it begins to fail, and one when that is over.
fn say(peer: &PeerRouter, answer: &Result<(), PeerLinkError>, before: Asked) {
    let peer = &peer.account;
    match (answer, before) {
        (Ok(()), Asked::Taken) => tracing::debug!(%peer, "asked a peer for its routes"),
        (Ok(()), Asked::Failed) => {
            tracing::info!(%peer, "a peer can be asked for its routes again")
        }
        (Err(error), Asked::Taken) => {
            tracing::warn!(%peer, %error, "a peer cannot be asked for its routes; it is tried again");
        }
        (Err(error), Asked::Failed) => {
            tracing::debug!(%peer, %error, "a peer still cannot be asked for its routes");
        }
    }
}
