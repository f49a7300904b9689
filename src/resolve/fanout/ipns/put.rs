//! Stores a record locally and forwards it to upstreams, which is completed though the client goes away.
//! An upstream that refuses it only shows in its log and metrics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use super::better;
use crate::resolve::cache::CachedIpns;
use crate::resolve::fanout::Core;
use crate::resolve::fanout::failure::{FailureSummary, LookupFailure};
use crate::resolve::{AskError, IpnsPut, ResolveError, StoredIpns, Upstream, UpstreamReasons};
use crate::types::{Hops, IpnsRecord, Origin};

/// Stores a record locally, or has upstreams store it where there is no local store.
pub(in crate::resolve::fanout) async fn put(
    core: Arc<Core>,
    record: IpnsRecord,
    origin: Origin,
    hops: Hops,
) -> Result<IpnsPut, ResolveError> {
    let (sender, receiver) = oneshot::channel();
    if let Some(local) = &core.local {
        let done = local.put_name(record.clone(), origin, hops).await?;
        // A record from another router was forwarded when it first came; a client may put it again
        // because not every upstream has it.
        let is_again = done == IpnsPut::Unchanged && hops == Hops::default();
        if done == IpnsPut::Stored || is_again {
            core.runtime.spawn(forward(core.clone(), record, hops, sender));
        }
        return Ok(done);
    }
    // A task, so that those that are slow get it too when the first has taken it.
    core.runtime.spawn(forward(core.clone(), record, hops, sender));
    match receiver.await {
        Ok(Ok(())) => Ok(IpnsPut::Stored),
        Ok(Err(failure)) => Err(failure.into()),
        Err(_) => Err(ResolveError::UpstreamsFailed(UpstreamReasons::default())),
    }
}

/// Forwards a record to all upstreams, and reports the first success, or that there was none.
async fn forward(
    core: Arc<Core>,
    record: IpnsRecord,
    hops: Hops,
    taken: oneshot::Sender<Result<(), LookupFailure>>,
) {
    let mut taken = Some(taken);
    let mut summary = FailureSummary::default();
    let forward_to = async |upstream: &Arc<dyn Upstream>| {
        (upstream.id().clone(), forward_to(&**upstream, &record, hops).await)
    };
    let all = core.upstreams.iter().map(forward_to);
    let mut all: FuturesUnordered<_> = all.collect();
    while let Some((upstream_id, result)) = all.next().await {
        if result.is_ok()
            && let Some(taken) = taken.take()
        {
            if core.local.is_none() {
                remember(&core, &record);
            }
            // The client may have gone.
            let _ = taken.send(Ok(()));
        }
        summary.count(&upstream_id, result);
    }
    if let Some(taken) = taken {
        let failed = || LookupFailure::Failed(UpstreamReasons::default());
        let _ = taken.send(Err(summary.failure().unwrap_or_else(failed)));
    }
}

/// Caches the record, so that a client finds what it has put though upstreams were asked shortly before.
fn remember(core: &Core, record: &IpnsRecord) {
    let (name, now_ms) = (record.name(), core.clock.now_ms());
    let known = core.cache.name(core.target, name).and_then(|kept| kept.record(now_ms));
    let put = StoredIpns { record: record.clone(), stored_at_ms: now_ms };
    let kept = CachedIpns { record: better(known, Some(put)), asked_at_ms: now_ms, is_whole: true };
    core.cache.keep_name(core.target, name, kept);
}

/// Forwards a record to one upstream. One that panics has failed.
async fn forward_to(
    upstream: &dyn Upstream,
    record: &IpnsRecord,
    hops: Hops,
) -> Result<(), AskError> {
    let forwarded =
        AssertUnwindSafe(async { upstream.put_name(record, hops).await }).catch_unwind().await;
    forwarded.unwrap_or_else(|_| Err(AskError::Failed("handing it a record panicked".into())))
}
