//! Singleflight: of equal lookups one is the leader, which asks the upstreams, and the others follow it.
//!
//! The leader adds upstreams' records to the shared lookup; any number of followers read it from its
//! beginning at their own pace. A slow follower delays nobody. Lookups that have come through
//! different numbers of routers are different ones, so that where routers point at each other a lookup
//! never waits for itself.
//!
//! A lookup ends when its last follower has gone, unless one has asked for it to be kept running; then
//! it ends with its leader. A leader that dies, however it does, wakes its followers, for which all
//! upstreams have failed.

use std::sync::{Arc, OnceLock};

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::failure::LookupFailure;
use crate::clock::UnixMs;
use crate::resolve::UpstreamReasons;
use crate::resolve::cache::{Completeness, RemoteAnswer};
use crate::resolve::merge::{KeyedRecords, MergedRecords};
use crate::types::{Hops, ReadyRecord, Subject};

/// Which lookups of one set of upstreams are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LookupKey {
    pub(super) subject: Subject,
    pub(super) hops: Hops,
}

/// The lookups under way.
#[derive(Default)]
pub(super) struct Singleflight(DashMap<LookupKey, Arc<SharedLookup>>);

/// A lookup under way.
struct SharedLookup {
    progress: Mutex<Progress>,
    /// Notified of all progress; closed when the leader is gone.
    changed: watch::Receiver<()>,
    leader: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct Progress {
    merged: MergedRecords,
    outcome: Option<Outcome>,
    followers: usize,
    is_kept: bool,
}

/// How a lookup ended.
#[derive(Clone)]
pub(super) struct Outcome {
    /// What was found.
    pub(super) answer: Arc<RemoteAnswer>,
    /// Why nothing was found, if it is a failure.
    pub(super) failure: Option<LookupFailure>,
}

/// The side of a lookup that asks.
pub(super) struct Leader {
    singleflight: Arc<Singleflight>,
    key: LookupKey,
    lookup: Arc<SharedLookup>,
    changed: watch::Sender<()>,
}

/// The side of a lookup that reads.
pub(super) struct Follower {
    singleflight: Arc<Singleflight>,
    key: LookupKey,
    lookup: Arc<SharedLookup>,
    changed: watch::Receiver<()>,
    /// Changes that were read.
    read: usize,
}

impl Singleflight {
    /// Follows the lookup that is under way, or begins one: `start` spawns its leader. Returns whether
    /// there was one.
    pub(super) fn follow(
        self: &Arc<Self>,
        key: LookupKey,
        start: impl FnOnce(Leader) -> AbortHandle,
    ) -> (Follower, bool) {
        let (lookup, leader) = self.join(&key, |progress| progress.followers += 1);
        let was_there = leader.is_none();
        let changed = lookup.changed.clone();
        let follower = Follower { singleflight: self.clone(), key, lookup, changed, read: 0 };
        start_leader(leader, start);
        (follower, was_there)
    }

    /// Begins a lookup without followers, unless it is under way. It is kept running.
    pub(super) fn begin(
        self: &Arc<Self>,
        key: &LookupKey,
        start: impl FnOnce(Leader) -> AbortHandle,
    ) {
        let (_, leader) = self.join(key, |progress| progress.is_kept = true);
        start_leader(leader, start);
    }

    /// The lookup of a key, and its leader if it is a new one.
    fn join(
        self: &Arc<Self>,
        key: &LookupKey,
        note: impl FnOnce(&mut Progress),
    ) -> (Arc<SharedLookup>, Option<Leader>) {
        // Joining and leaving both hold the table's lock, so no caller joins a lookup that is
        // ending.
        match self.0.entry(key.clone()) {
            Entry::Occupied(entry) => {
                note(&mut entry.get().progress.lock());
                (entry.get().clone(), None)
            }
            Entry::Vacant(entry) => {
                let (sender, changed) = watch::channel(());
                let progress = Mutex::default();
                let lookup = SharedLookup { progress, changed, leader: OnceLock::new() };
                let lookup = Arc::new(lookup);
                note(&mut lookup.progress.lock());
                entry.insert(lookup.clone());
                let (singleflight, key) = (self.clone(), key.clone());
                let leader = Leader { singleflight, key, lookup: lookup.clone(), changed: sender };
                (lookup, Some(leader))
            }
        }
    }

    /// Counts a follower less, and ends the lookup if it was the last.
    fn leave(&self, key: &LookupKey, lookup: &Arc<SharedLookup>) {
        let ended = self.0.remove_if(key, |_, it| {
            let mut progress = lookup.progress.lock();
            progress.followers -= 1;
            let is_unwanted = progress.followers == 0 && !progress.is_kept;
            Arc::ptr_eq(it, lookup) && is_unwanted && progress.outcome.is_none()
        });
        if ended.is_some()
            && let Some(leader) = lookup.leader.get()
        {
            leader.abort();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Not under the table's lock, which a leader takes when it is dropped, perhaps at once.
fn start_leader(leader: Option<Leader>, start: impl FnOnce(Leader) -> AbortHandle) {
    if let Some(leader) = leader {
        let lookup = leader.lookup.clone();
        let _ = lookup.leader.set(start(leader));
    }
}

impl Leader {
    /// What is looked up.
    pub(super) fn subject(&self) -> &Subject {
        &self.key.subject
    }

    /// How many routers the lookup has come through.
    pub(super) fn hops(&self) -> Hops {
        self.key.hops
    }

    /// Adds what was found.
    pub(super) fn add(&self, records: Vec<Arc<ReadyRecord>>, records_max: usize) {
        let mut progress = self.lookup.progress.lock();
        let merged = &mut progress.merged;
        let changes = merged.changes();
        for record in records {
            merged.add(record.merge_key(), record, records_max);
        }
        let has_changed = merged.changes() > changes;
        drop(progress);
        if has_changed {
            self.changed.send_replace(());
        }
    }

    /// All that was found.
    pub(super) fn all(&self) -> KeyedRecords {
        self.lookup.progress.lock().merged.all()
    }

    /// Ends the lookup.
    pub(super) fn complete(self, outcome: Outcome) {
        self.lookup.progress.lock().outcome = Some(outcome);
        // Dropping what this holds notifies the followers.
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.singleflight.0.remove_if(&self.key, |_, it| Arc::ptr_eq(it, &self.lookup));
    }
}

impl Follower {
    /// Waits until there is more to read, or the lookup has ended.
    pub(super) async fn changed(&mut self) {
        // An error says that the leader is gone, which is a change too.
        let _ = self.changed.changed().await;
    }

    /// The records that are new or changed since the last call, as they are now. One that changed several
    /// times comes several times.
    pub(super) fn read(&mut self) -> KeyedRecords {
        let mut progress = self.lookup.progress.lock();
        let changed = progress.merged.changed_since(self.read);
        self.read = progress.merged.changes();
        changed
    }

    /// How the lookup ended, if it has; one whose leader died has failed.
    pub(super) fn outcome(&self, now_ms: UnixMs) -> Option<Outcome> {
        let is_over = self.changed.has_changed().is_err();
        if let Some(outcome) = &self.lookup.progress.lock().outcome {
            return Some(outcome.clone());
        }
        is_over.then(|| {
            let answer = self.so_far(now_ms);
            let failure =
                answer.is_empty().then_some(LookupFailure::Failed(UpstreamReasons::default()));
            Outcome { answer, failure }
        })
    }

    /// What was found so far.
    pub(super) fn so_far(&self, now_ms: UnixMs) -> Arc<RemoteAnswer> {
        let records = self.lookup.progress.lock().merged.all();
        let answer = RemoteAnswer::new(&self.key.subject, records, now_ms, Completeness::Partial);
        Arc::new(answer.beginning_anywhere())
    }

    /// Keeps the lookup running when this follower is gone.
    pub(super) fn keep_running(&self) {
        self.lookup.progress.lock().is_kept = true;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.singleflight.leave(&self.key, &self.lookup);
    }
}
