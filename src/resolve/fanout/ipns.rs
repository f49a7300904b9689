//! IPNS names: the best valid record of the local store and all upstreams, and forwarding of records.
//!
//! The local store is read every time. Upstreams are asked at the same time as each other, unless they
//! were a short while ago, and each name once, however many ask for it; the record of the greatest
//! sequence, then of the latest end, wins. Once a record is known, a better one is awaited for the grace
//! timeout only; the upstreams go on for later callers. A better record of an upstream is
//! stored locally if there is a local store, and else cached for the target. A store that is full is no
//! error for the reader.
//!
//! A record that is put is stored locally first, and the local answer is the answer; upstreams then
//! get it if it was new here, or if a client puts it again, for one that was down when it was new. Records
//! that routers forward to each other stop where they are known. Without a local store, it is enough that one
//! upstream takes it.

mod ask;
mod put;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::Core;
use super::failure::LookupFailure;
use super::grace::GraceTimeout;
use crate::resolve::{ResolveError, StoredIpns, UpstreamReasons};
use crate::types::{Hops, IpnsName};
pub(super) use ask::IpnsLookups;
use ask::{IpnsKey, IpnsProgress};
pub(super) use put::put;

/// The best valid record of a name.
pub(super) async fn find(
    core: &Arc<Core>,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<StoredIpns>, ResolveError> {
    let (local, local_error) = match &core.local {
        None => (None, None),
        Some(local) => match local.name(name, hops).await {
            Ok(local) => (local, None),
            Err(error) => (None, Some(error)),
        },
    };
    let now_ms = core.clock.now_ms();
    let kept = core.cache.name(core.target, name);
    let known = better(local, kept.as_deref().and_then(|kept| kept.record(now_ms)));
    let fresh =
        kept.is_some_and(|kept| kept.is_fresh(known.as_ref(), core.cache.options(), now_ms));
    let (best, failure) = if fresh {
        core.counts.fresh.inc();
        (known, None)
    } else {
        let key = IpnsKey { name: name.clone(), hops };
        let mut is_asked = false;
        let (progress, was_there) = core.name_lookups.follow(key, |leader| {
            is_asked = core.is_asked();
            ask::spawn(core.clone(), leader);
        });
        if was_there {
            core.counts.coalesced.inc();
        } else if is_asked {
            core.counts.upstream.inc();
        } else {
            core.counts.none_ready.inc();
        }
        let (found, failure) = gather(core, progress, known.as_ref()).await;
        (better(known, found), failure)
    };
    match (best, local_error, failure) {
        (Some(best), ..) => Ok(Some(best)),
        (None, Some(error), _) => Err(error),
        (None, None, Some(failure)) => Err(failure.into()),
        (None, None, None) => Ok(None),
    }
}

/// Waits for upstreams, once a record is known no longer than the grace timeout.
async fn gather(
    core: &Core,
    mut progress: watch::Receiver<IpnsProgress>,
    known: Option<&StoredIpns>,
) -> (Option<StoredIpns>, Option<LookupFailure>) {
    let mut grace = GraceTimeout::new(core.options.gather_timeout);
    if known.is_some() {
        grace.begin();
    }
    loop {
        let IpnsProgress { best, ended, is_kept } = progress.borrow_and_update().clone();
        if let Some(ended) = ended {
            return (best, ended.failure);
        }
        if best.is_some() {
            grace.begin();
        }
        tokio::select! {
            biased;
            changed = progress.changed() => if changed.is_err() {
                return (best, Some(LookupFailure::Failed(UpstreamReasons::default())));
            },
            () = grace.is_over() => {
                // The lookup goes on while it has followers.
                if !is_kept.swap(true, Ordering::Relaxed) {
                    tokio::spawn(async move {
                        let _ = progress.wait_for(|progress| progress.ended.is_some()).await;
                    });
                }
                return (best, None);
            }
        }
    }
}

/// The record that takes precedence; of equal ones the first.
fn better(one: Option<StoredIpns>, other: Option<StoredIpns>) -> Option<StoredIpns> {
    match (one, other) {
        (Some(one), Some(other)) if one.record.cmp_precedence(&other.record).is_lt() => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests;
