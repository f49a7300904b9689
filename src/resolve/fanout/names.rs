//! IPNS names: the best valid record of all that anybody has, and records handed on.
//!
//! The local store is read every time. Upstreams are asked at the same time as each other, unless they
//! were a short while ago, and each name once, however many ask for it; the record of the greatest
//! sequence, then of the latest end, wins. Whoever has a record waits no longer than a moment for a
//! better one; the upstreams go on for those who come later. A record that was found outside and
//! counts more is stored where there is a local store; where there is none, it is remembered for the
//! account. A store that takes no more is no error for the reader.
//!
//! A record that is put is stored locally first, and the local answer is the answer; upstreams then
//! get what was new here, and what a client puts again, for one that was down when it was new. What
//! routers hand to each other stops where it is known. Without a local store, it is enough that one upstream takes it.

mod ask;
mod put;

use std::sync::Arc;

use tokio::sync::watch;

use super::Core;
use super::failure::LookupFailure;
use super::grace::GraceTimeout;
use crate::resolve::{ResolveError, StoredName, UpstreamReasons};
use crate::types::{Hops, IpnsName};
pub(super) use ask::NameLookups;
use ask::{NameKey, NameProgress};
pub(super) use put::put;

/// The best valid record of a name.
pub(super) async fn find(
    core: &Arc<Core>,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<StoredName>, ResolveError> {
    let (local, local_error) = match &core.local {
        None => (None, None),
        Some(local) => match local.name(name, hops).await {
            Ok(local) => (local, None),
            Err(error) => (None, Some(error)),
        },
    };
    let now_ms = core.clock.now_ms();
    let kept = core.cache.name(core.account, name);
    let known = better(local, kept.as_deref().and_then(|kept| kept.record(now_ms)));
    let fresh =
        kept.is_some_and(|kept| kept.is_fresh(known.as_ref(), core.cache.options(), now_ms));
    let (best, failure) = if fresh {
        core.counts.fresh.inc();
        (known, None)
    } else {
        let key = NameKey { name: name.clone(), hops };
        let mut is_asked = false;
        let (progress, was_there) = core.name_lookups.follow(key, |asking| {
            is_asked = core.is_asked();
            ask::spawn(core.clone(), asking);
        });
        if was_there {
            core.counts.coalesced.inc();
        } else if is_asked {
            core.counts.upstream.inc();
        }
        let (found, failure) = gather(core, progress, known.is_some()).await;
        (better(known, found), failure)
    };
    match (best, local_error, failure) {
        (Some(best), ..) => Ok(Some(best)),
        (None, Some(error), _) => Err(error),
        (None, None, Some(failure)) => Err(failure.into()),
        (None, None, None) => Ok(None),
    }
}

/// What upstreams have, as far as it is worth waiting for.
async fn gather(
    core: &Core,
    mut progress: watch::Receiver<NameProgress>,
    has_known: bool,
) -> (Option<StoredName>, Option<LookupFailure>) {
    let mut grace = GraceTimeout::new(core.options.gather_timeout);
    grace.begin_if(has_known);
    loop {
        let NameProgress { best, ended } = progress.borrow_and_update().clone();
        if let Some(ended) = ended {
            return (best, ended.failure);
        }
        grace.begin_if(best.is_some());
        tokio::select! {
            biased;
            changed = progress.changed() => if changed.is_err() {
                return (best, Some(LookupFailure::Failed(UpstreamReasons::default())));
            },
            () = grace.is_over() => {
                // As long as somebody follows it, asking goes on.
                tokio::spawn(async move {
                    let _ = progress.wait_for(|progress| progress.ended.is_some()).await;
                });
                return (best, None);
            }
        }
    }
}

/// The one that counts more; of equal ones the first.
fn better(one: Option<StoredName>, other: Option<StoredName>) -> Option<StoredName> {
    match (one, other) {
        (Some(one), Some(other)) if one.record.cmp_precedence(&other.record).is_lt() => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests;
