//! Singleflight for names: one task asks all upstreams for a name, and every caller follows its progress.
//!
//! The task ends when its last follower has gone, or when all upstreams have answered. If it dies, its
//! followers observe that the channel is closed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dashmap::{DashMap, Entry};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use super::better;
use crate::resolve::cache::{CachedIpns, Completeness, is_valid};
use crate::resolve::fanout::failure::{FailureSummary, LookupFailure};
use crate::resolve::fanout::{Core, PANICKED};
use crate::resolve::{AskError, StoredIpns, Upstream};
use crate::types::{Hops, IpnsName, IpnsRecord, Origin};

/// Which lookups of names are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct IpnsKey {
    pub(super) name: IpnsName,
    pub(super) hops: Hops,
}

/// The lookups of names under way.
#[derive(Default)]
pub(in crate::resolve::fanout) struct IpnsLookups(DashMap<IpnsKey, watch::Sender<IpnsProgress>>);

/// How far asking for a name has come.
#[derive(Clone, Default)]
pub(super) struct IpnsProgress {
    /// The best record so far.
    pub(super) best: Option<StoredIpns>,
    pub(super) ended: Option<Ended>,
    /// Whether a task follows it to its end: one is enough, however many callers do not wait for it.
    pub(super) is_kept: Arc<AtomicBool>,
}

/// How asking for a name ended.
#[derive(Clone)]
pub(super) struct Ended {
    /// Why there is no record, where that is not because there is none.
    pub(super) failure: Option<LookupFailure>,
}

/// The side of a lookup that asks.
pub(super) struct IpnsLeader {
    lookups: Arc<IpnsLookups>,
    key: IpnsKey,
    progress: watch::Sender<IpnsProgress>,
}

impl IpnsLookups {
    /// Follows the lookup that is under way, or begins one: `start` spawns its task. Says whether there
    /// was one.
    pub(super) fn follow(
        self: &Arc<Self>,
        key: IpnsKey,
        start: impl FnOnce(IpnsLeader),
    ) -> (watch::Receiver<IpnsProgress>, bool) {
        // Following and ending both hold the table's lock, so no caller follows a lookup that is
        // ending.
        let (leader, progress) = match self.0.entry(key.clone()) {
            Entry::Occupied(entry) => return (entry.get().subscribe(), true),
            Entry::Vacant(entry) => {
                let (sender, progress) = watch::channel(IpnsProgress::default());
                entry.insert(sender.clone());
                (IpnsLeader { lookups: self.clone(), key, progress: sender }, progress)
            }
        };
        // Not under the lock, which dropping takes, too.
        start(leader);
        (progress, false)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl IpnsLeader {
    /// Waits until there are no followers.
    async fn is_abandoned(&self) {
        loop {
            self.progress.closed().await;
            let abandoned = self.lookups.0.remove_if(&self.key, |_, it| {
                it.same_channel(&self.progress) && it.receiver_count() == 0
            });
            if abandoned.is_some() {
                return;
            }
        }
    }

    fn found(&self, best: &StoredIpns) {
        self.progress.send_modify(|progress| progress.best = Some(best.clone()));
    }

    fn end(self, failure: Option<LookupFailure>) {
        self.progress.send_modify(|progress| progress.ended = Some(Ended { failure }));
    }
}

impl Drop for IpnsLeader {
    fn drop(&mut self) {
        self.lookups.0.remove_if(&self.key, |_, it| it.same_channel(&self.progress));
    }
}

/// Spawns the task that asks the upstreams.
pub(super) fn spawn(core: Arc<Core>, leader: IpnsLeader) {
    let runtime = core.runtime.clone();
    runtime.spawn(async move {
        let Some(found) = drive(&core, leader).await else { return };
        // Whoever asked has not published it: all that upstreams have counts as one network.
        if core.local.is_some()
            && let Err(error) = core.ipns.put(found, Origin::UNKNOWN, core.clock.now_ms()).await
        {
            tracing::debug!(%error, "an IPNS record that an upstream had was not stored");
        }
    });
}

/// Asks until all have answered or the last follower has gone. Returns the record if it is new.
async fn drive(core: &Core, leader: IpnsLeader) -> Option<IpnsRecord> {
    let IpnsKey { name, hops, .. } = leader.key.clone();
    let known = core.cache.name(core.target, &name);
    let known = known.and_then(|kept| kept.record(core.clock.now_ms()));
    let mut best = known.clone();
    let mut summary = FailureSummary::default();
    let ask = async |upstream: &Arc<dyn Upstream>| {
        (upstream.id().clone(), ask(&**upstream, &name, hops).await)
    };
    let all = core.upstreams.iter().map(ask);
    let mut all: FuturesUnordered<_> = all.collect();
    loop {
        let answer = tokio::select! {
            biased;
            answer = all.next() => answer,
            () = leader.is_abandoned() => return None,
        };
        let Some((upstream_id, answer)) = answer else { break };
        if let Ok(Some(record)) = &answer {
            let stored_at_ms = core.clock.now_ms();
            let found = StoredIpns { record: record.clone(), stored_at_ms };
            let found = Some(found).filter(|it| is_valid(it, stored_at_ms));
            best = better(best, found);
            best.iter().for_each(|best| leader.found(best));
        }
        summary.count(&upstream_id, answer.map(drop));
    }
    let failure = if best.is_none() { core.failure(&summary) } else { None };
    let kept = CachedIpns {
        record: best.clone(),
        asked_at_ms: core.clock.now_ms(),
        is_whole: summary.completeness() == Completeness::Whole && failure.is_none(),
    };
    core.cache.keep_name(core.target, &name, kept);
    leader.end(failure);
    best.filter(|best| known.as_ref() != Some(best)).map(|best| best.record)
}

/// Asks one upstream. One that panics has failed.
async fn ask(
    upstream: &dyn Upstream,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<IpnsRecord>, AskError> {
    let asked = AssertUnwindSafe(async { upstream.name(name, hops).await }).catch_unwind().await;
    asked.unwrap_or_else(|_| Err(AskError::Failed(PANICKED.into())))
}
