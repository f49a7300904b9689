//! One step of compaction, and the thread that takes them.
//!
//! If a step fails, the thread waits a while and tries again; that compaction fails shows in the log when
//! it begins and when it ends, and in the figures of the journal. Nothing that counts is lost by it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::compaction::{CompactionChoice, IsHeld, IsNeeded, Uses, choose, rewrite};
use super::estimate::{estimate_superseded, is_due};
use super::pace::{Pace, Stop};
use super::queue::Roller;
use super::{COMPACTION_THREAD, JournalError, JournalShared};

/// The pause when there is nothing to do: checking the figures costs microseconds.
const IDLE: Duration = Duration::from_secs(1);
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What compaction needs of a journal.
#[derive(Clone)]
pub(super) struct Compactor {
    pub(super) shared: Arc<JournalShared>,
    pub(super) roller: Roller,
    pub(super) garbage_bytes_min: u64,
}

impl Compactor {
    /// Rewrites some segments if they have enough garbage. Returns whether it did.
    pub(super) fn step(&self, uses: Uses<'_>, pace: &mut Pace<'_>) -> Result<bool, JournalError> {
        let _one_at_a_time = self.shared.compaction.lock();
        let stepped = self.step_alone(uses, pace);
        match &stepped {
            Ok(true) => self.shared.record_compaction(None),
            // Nothing to do says nothing of whether it would work.
            Ok(false) => {}
            Err(error) => self.shared.record_compaction(Some(error.clone())),
        }
        stepped
    }

    fn step_alone(&self, uses: Uses<'_>, pace: &mut Pace<'_>) -> Result<bool, JournalError> {
        let shared = &self.shared;
        self.estimate(uses);
        let mut choice = self.choose();
        if choice == CompactionChoice::Roll {
            self.roller.roll()?;
            choice = self.choose();
        }
        let CompactionChoice::Rewrite(ids) = choice else { return Ok(false) };
        match rewrite(shared, &ids, uses, pace)? {
            ControlFlow::Continue(()) => {
                shared.counters.compactions.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            ControlFlow::Break(()) => Ok(false),
        }
    }

    fn choose(&self) -> CompactionChoice {
        let mut ledger = self.shared.ledger.lock();
        ledger.expire(self.shared.clock.now_ms());
        choose(&ledger, self.shared.segment_bytes, self.garbage_bytes_min)
    }

    fn estimate(&self, uses: Uses<'_>) {
        let appended = self.shared.counters.bytes_appended.load(Ordering::Relaxed);
        let estimated_at = &self.shared.counters.estimated_at_bytes;
        let bytes = self.shared.ledger.lock().totals().bytes;
        let last = estimated_at.load(Ordering::Relaxed);
        // The first time, the garbage of earlier processes is unknown.
        if last == u64::MAX || is_due(bytes, appended - last) {
            estimate_superseded(&self.shared, uses);
            estimated_at.store(appended, Ordering::Relaxed);
        }
    }

    /// Starts the thread.
    pub(super) fn spawn(
        self,
        (is_held, is_needed): (Box<IsHeld>, Box<IsNeeded>),
        stop: Stop,
        bytes_per_second: u64,
    ) -> Result<JoinHandle<()>, JournalError> {
        let directory = self.shared.directory.clone();
        let work = move || {
            let mut idle = IDLE;
            while !stop.wait(idle) {
                let mut pace = Pace::limited(&stop, bytes_per_second);
                let uses = Uses { is_held: &*is_held, is_needed: &*is_needed };
                idle = match self.step(uses, &mut pace) {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => IDLE,
                    Err(_) => AFTER_FAILURE,
                };
            }
        };
        let thread = std::thread::Builder::new().name(COMPACTION_THREAD.to_owned()).spawn(work);
        thread.map_err(|error| JournalError::io("start the compaction of", &directory, error))
    }
}
