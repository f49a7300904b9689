//! Lookups under way, each once: whoever asks the same follows the one that is there.
//!
//! One driver asks the upstreams and puts what they say into the flight; any number of followers read
//! it from its beginning at their own pace. A slow follower holds up nobody. Lookups that have come
//! through different numbers of routers are different ones, so that where routers point at each other
//! a lookup never waits for itself.
//!
//! A flight ends when its last follower has gone, unless one has asked for it to be kept running; then
//! it ends with its driver. A driver that dies, however it does, wakes its followers, who take it for a
//! failure of all upstreams.

use std::sync::{Arc, OnceLock};

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::cache::{Extent, RemoteAnswer};
use super::join::{Joined, KinRecords};
use super::verdict::Failure;
use super::{Hops, Subject};
use crate::clock::UnixMs;

/// Which lookups are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    /// Which upstreams are asked.
    pub(super) fanout: u64,
    pub(super) subject: Subject,
    pub(super) hops: Hops,
}

/// The lookups under way.
#[derive(Default)]
pub(super) struct InFlight(DashMap<FlightKey, Arc<Flight>>);

/// A lookup under way.
struct Flight {
    progress: Mutex<Progress>,
    /// Told of all progress; closed when the driver is gone.
    news: watch::Receiver<()>,
    driver: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct Progress {
    joined: Joined,
    landed: Option<Landed>,
    followers: usize,
    is_kept: bool,
}

/// How a lookup ended.
#[derive(Clone)]
pub(super) struct Landed {
    /// What was found.
    pub(super) answer: Arc<RemoteAnswer>,
    /// Why nothing was found, where that is not because nobody has it.
    pub(super) failure: Option<Failure>,
}

/// The side of a flight that finds.
pub(super) struct Driver {
    in_flight: Arc<InFlight>,
    key: FlightKey,
    flight: Arc<Flight>,
    news: watch::Sender<()>,
}

/// The side of a flight that reads.
pub(super) struct Follower {
    in_flight: Arc<InFlight>,
    key: FlightKey,
    flight: Arc<Flight>,
    news: watch::Receiver<()>,
    /// Changes that were read.
    read: usize,
}

impl InFlight {
    /// Follows the lookup that is under way, or begins one: `start` spawns its driver. Says whether
    /// there was one.
    pub(super) fn follow(
        self: &Arc<Self>,
        key: FlightKey,
        start: impl FnOnce(Driver) -> AbortHandle,
    ) -> (Follower, bool) {
        let (flight, driver) = self.board(&key, |progress| progress.followers += 1);
        let was_there = driver.is_none();
        let news = flight.news.clone();
        let follower = Follower { in_flight: self.clone(), key, flight, news, read: 0 };
        self.start(driver, start);
        (follower, was_there)
    }

    /// Begins a lookup that nobody follows, unless it is under way. It is kept running.
    pub(super) fn begin(
        self: &Arc<Self>,
        key: &FlightKey,
        start: impl FnOnce(Driver) -> AbortHandle,
    ) {
        let (_, driver) = self.board(key, |progress| progress.is_kept = true);
        self.start(driver, start);
    }

    /// The flight of a key, and its driver if it is a new one.
    fn board(
        self: &Arc<Self>,
        key: &FlightKey,
        note: impl FnOnce(&mut Progress),
    ) -> (Arc<Flight>, Option<Driver>) {
        // Boarding and leaving both hold the table's lock, so nobody boards what is being ended.
        match self.0.entry(key.clone()) {
            Entry::Occupied(entry) => {
                note(&mut entry.get().progress.lock());
                (entry.get().clone(), None)
            }
            Entry::Vacant(entry) => {
                let (sender, news) = watch::channel(());
                let flight = Flight { progress: Mutex::default(), news, driver: OnceLock::new() };
                let flight = Arc::new(flight);
                note(&mut flight.progress.lock());
                entry.insert(flight.clone());
                let (in_flight, key) = (self.clone(), key.clone());
                let driver = Driver { in_flight, key, flight: flight.clone(), news: sender };
                (flight, Some(driver))
            }
        }
    }

    /// Not under the table's lock, which a driver takes when it is dropped, perhaps at once.
    fn start(&self, driver: Option<Driver>, start: impl FnOnce(Driver) -> AbortHandle) {
        if let Some(driver) = driver {
            let flight = driver.flight.clone();
            let _ = flight.driver.set(start(driver));
        }
    }

    /// Counts a follower less, and ends the flight if it was the last.
    fn leave(&self, key: &FlightKey, flight: &Arc<Flight>) {
        let ended = self.0.remove_if(key, |_, it| {
            let mut progress = flight.progress.lock();
            progress.followers -= 1;
            let is_unwanted = progress.followers == 0 && !progress.is_kept;
            Arc::ptr_eq(it, flight) && is_unwanted && progress.landed.is_none()
        });
        if ended.is_some()
            && let Some(driver) = flight.driver.get()
        {
            driver.abort();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Driver {
    /// What is looked up.
    pub(super) fn subject(&self) -> &Subject {
        &self.key.subject
    }

    /// How many routers the lookup has come through.
    pub(super) fn hops(&self) -> Hops {
        self.key.hops
    }

    /// Adds what was found.
    pub(super) fn add(&self, records: KinRecords, records_max: usize) {
        let mut progress = self.flight.progress.lock();
        let joined = &mut progress.joined;
        let changes = joined.changes();
        for (kin, record) in records {
            joined.add(kin, record, records_max);
        }
        let has_changed = joined.changes() > changes;
        drop(progress);
        if has_changed {
            self.news.send_replace(());
        }
    }

    /// All that was found.
    pub(super) fn all(&self) -> KinRecords {
        self.flight.progress.lock().joined.all()
    }

    /// Ends the lookup.
    pub(super) fn land(self, landed: Landed) {
        self.flight.progress.lock().landed = Some(landed);
        // Dropping what this holds tells the followers.
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.in_flight.0.remove_if(&self.key, |_, it| Arc::ptr_eq(it, &self.flight));
    }
}

impl Follower {
    /// Waits until there is more to read, or the lookup has ended.
    pub(super) async fn news(&mut self) {
        // An error says that the driver is gone, which is news too.
        let _ = self.news.changed().await;
    }

    /// What was found or changed since this was asked last, as it is now. What changed several times
    /// comes several times.
    pub(super) fn read(&mut self) -> KinRecords {
        let mut progress = self.flight.progress.lock();
        let changed = progress.joined.changed_since(self.read);
        self.read = progress.joined.changes();
        changed
    }

    /// How the lookup ended, if it has; one whose driver died has failed.
    pub(super) fn landed(&self, now_ms: UnixMs) -> Option<Landed> {
        let is_over = self.news.has_changed().is_err();
        if let Some(landed) = &self.flight.progress.lock().landed {
            return Some(landed.clone());
        }
        is_over.then(|| {
            let answer = self.so_far(now_ms);
            let failure = answer.is_empty().then_some(Failure::Failed);
            Landed { answer, failure }
        })
    }

    /// What was found so far.
    pub(super) fn so_far(&self, now_ms: UnixMs) -> Arc<RemoteAnswer> {
        let records = self.flight.progress.lock().joined.all();
        let answer = RemoteAnswer::new(&self.key.subject, records, now_ms, Extent::Partial);
        Arc::new(answer.beginning_anywhere())
    }

    /// Has the lookup go on when this follower is gone.
    pub(super) fn keep_running(&self) {
        self.flight.progress.lock().is_kept = true;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.in_flight.leave(&self.key, &self.flight);
    }
}
