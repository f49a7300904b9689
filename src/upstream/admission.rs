//! Admission control for one upstream: its backoff, its circuit breaker, and a bound on concurrent
//! requests.
//!
//! A request that finds no free slot waits for one for [`SLOT_WAIT`] at most, so that a burst is served and
//! an upstream that hangs costs a lookup no more. Dropping the [`Admission`] frees its slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::backoff::RequestedBackoff;
use super::breaker::{Breaker, Permit, Transition};
use crate::clock::{Clock, UnixMs};
use crate::metrics::{BreakerState, UpstreamCounts, UpstreamOutcome};
use crate::resolve::AskError;
use crate::types::TargetId;

/// How long a request waits for a slot: what a lookup can spare and still be answered in time.
const SLOT_WAIT: Duration = Duration::from_secs(1);

/// Decides whether one upstream is asked.
pub(super) struct AdmissionControl {
    id: TargetId,
    slots: Arc<Semaphore>,
    slots_max: usize,
    /// Requests that wait for a slot.
    waiting: AtomicUsize,
    state: Mutex<AdmissionState>,
    clock: Clock,
    counts: UpstreamCounts,
}

#[derive(Default)]
struct AdmissionState {
    breaker: Breaker,
    backoff: RequestedBackoff,
}

/// One request that waits for a slot.
struct Waiting<'a>(&'a AtomicUsize);

/// One admitted request. Dropped without a recorded outcome, it counts as neither a success nor a
/// failure.
pub(super) struct Admission {
    control: Arc<AdmissionControl>,
    permit: Option<Permit>,
    _slot: OwnedSemaphorePermit,
}

impl AdmissionState {
    fn check(&self, now_ms: UnixMs) -> Result<(), AskError> {
        match self.backoff.remaining(now_ms) {
            Some(retry_after) => Err(AskError::Backoff { retry_after }),
            None if self.breaker.is_ready(now_ms) => Ok(()),
            None => Err(AskError::Broken),
        }
    }
}

impl AdmissionControl {
    pub(super) fn new(
        id: TargetId,
        requests_max: usize,
        clock: Clock,
        counts: UpstreamCounts,
    ) -> Self {
        counts.breaker(BreakerState::Closed);
        let slots_max = requests_max.min(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(slots_max));
        let (waiting, state) = (AtomicUsize::new(0), Mutex::default());
        Self { id, slots, slots_max, waiting, state, clock, counts }
    }

    /// Whether a request would be admitted, soon if not at once: fewer wait than there are slots.
    pub(super) fn is_ready(&self) -> Result<(), AskError> {
        self.state.lock().check(self.clock.now_ms())?;
        let is_line_short = self.waiting.load(Ordering::Relaxed) < self.slots_max;
        if is_line_short || self.slots.available_permits() > 0 {
            Ok(())
        } else {
            Err(AskError::Busy)
        }
    }

    /// Admits one request; a refusal is counted.
    pub(super) async fn enter(self: &Arc<Self>) -> Result<Admission, AskError> {
        let entered = self.try_enter().await;
        if let Err(error) = &entered {
            self.counts.not_asked(if *error == AskError::Busy {
                UpstreamOutcome::Busy
            } else if *error == AskError::Broken {
                UpstreamOutcome::Broken
            } else {
                UpstreamOutcome::Backoff
            });
        }
        entered
    }

    async fn try_enter(self: &Arc<Self>) -> Result<Admission, AskError> {
        // No request waits for an upstream that would not be asked.
        self.state.lock().check(self.clock.now_ms())?;
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let _waiting = Waiting::begin(&self.waiting);
                let slot = time::timeout(SLOT_WAIT, self.slots.clone().acquire_owned()).await;
                slot.map_err(|_| AskError::Busy)?.expect("the semaphore is never closed")
            }
        };
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        state.check(now_ms)?;
        let permit = state.breaker.permit(now_ms).ok_or(AskError::Broken)?;
        if permit == Permit::Probe {
            self.counts.breaker(BreakerState::HalfOpen);
        }
        Ok(Admission { control: self.clone(), permit: Some(permit), _slot: slot })
    }

    fn record(&self, transition: Transition, why: &dyn std::fmt::Display) {
        let id = &self.id;
        match transition {
            Transition::None => {}
            Transition::Opened { pause_ms } => {
                self.counts.breaker(BreakerState::Open);
                tracing::warn!(upstream = %id, %why, pause_ms, "an upstream failed too often to be asked");
            }
            Transition::StayedOpen { pause_ms } => {
                self.counts.breaker(BreakerState::Open);
                tracing::debug!(upstream = %id, %why, pause_ms, "an upstream still fails");
            }
            Transition::Closed => {
                self.counts.breaker(BreakerState::Closed);
                tracing::warn!(upstream = %id, "an upstream that had failed too often is asked again");
            }
        }
    }
}

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// Records a success. Only the first recorded outcome counts.
    pub(super) fn works(&mut self) {
        if let Some(permit) = self.permit.take() {
            let mut state = self.control.state.lock();
            let transition = state.breaker.succeeded(permit);
            self.control.record(transition, &"");
        }
    }

    /// Records a failure.
    pub(super) fn failed(&mut self, why: &dyn std::fmt::Display) {
        if let Some(permit) = self.permit.take() {
            let now_ms = self.control.clock.now_ms();
            let mut state = self.control.state.lock();
            let transition = state.breaker.failed(permit, now_ms);
            self.control.record(transition, why);
        }
    }

    /// Records that the upstream asked for a pause.
    pub(super) fn back_off(&self, time: Duration) {
        self.control.state.lock().backoff.extend(time, self.control.clock.now_ms());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let mut state = self.control.state.lock();
            if permit == Permit::Probe {
                self.control.counts.breaker(BreakerState::Open);
            }
            state.breaker.abandoned(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::breaker::{FAILURES_MAX, PAUSE_MS_FIRST};
    use super::*;
    use crate::clock::ManualClock;
    use crate::metrics::Metrics;

    fn control(requests_max: usize) -> (Arc<AdmissionControl>, ManualClock) {
        let manual = ManualClock::new(1_000_000);
        let id = TargetId::parse("far").unwrap();
        let counts = Metrics::new().upstream("far");
        let clock = Clock::Manual(manual.clone());
        (Arc::new(AdmissionControl::new(id, requests_max, clock, counts)), manual)
    }

    async fn break_it(control: &Arc<AdmissionControl>) {
        for _ in 0..FAILURES_MAX {
            control.enter().await.unwrap().failed(&"down");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_slot_waits_a_second_for_one() {
        let (control, _) = control(1);
        let first = control.enter().await.unwrap();
        let (not_yet, soon) = (Duration::from_millis(999), Duration::from_millis(1_001));
        assert!(time::timeout(not_yet, control.enter()).await.is_err());
        let refused = time::timeout(soon, control.enter()).await.unwrap();
        assert_eq!(refused.err(), Some(AskError::Busy));
        let leave = async {
            time::sleep(not_yet).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(control.enter(), leave);
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn it_is_busy_when_as_many_wait_as_may_ask_at_once() {
        let (control, _) = control(2);
        let both = [control.enter().await.unwrap(), control.enter().await.unwrap()];
        let mut waiting = [control.enter().boxed(), control.enter().boxed()];
        for enter in &mut waiting {
            assert_eq!(control.is_ready(), Ok(()));
            assert!(enter.now_or_never().is_none());
        }
        assert_eq!(control.is_ready(), Err(AskError::Busy));
        let [first, second] = waiting;
        drop(first);
        assert_eq!(control.is_ready(), Ok(()), "one gave up");
        drop(both);
        assert!(second.await.is_ok());
        assert_eq!(control.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_request_that_waits_while_the_breaker_opens_is_refused() {
        let (control, _) = control(1);
        let first = control.enter().await.unwrap();
        let break_it = async {
            let mut state = control.state.lock();
            for _ in 0..FAILURES_MAX {
                state.breaker.failed(Permit::Usual, 1_000_000);
            }
            drop(state);
            drop(first);
        };
        let (second, ()) = tokio::join!(control.enter(), break_it);
        assert_eq!(second.err(), Some(AskError::Broken));
    }

    #[tokio::test]
    async fn a_backoff_is_reported_for_as_long_as_it_lasts() {
        let (control, clock) = control(4);
        control.enter().await.unwrap().back_off(Duration::from_secs(3));
        clock.advance(1_000);
        let backing_off = AskError::Backoff { retry_after: Duration::from_secs(2) };
        assert_eq!(control.is_ready(), Err(backing_off.clone()));
        assert_eq!(control.enter().await.err(), Some(backing_off));
        clock.advance(2_000);
        assert_eq!(control.is_ready(), Ok(()));
        assert!(control.enter().await.is_ok());
    }

    #[tokio::test]
    async fn a_dropped_probe_lets_the_next_one_try() {
        let (control, clock) = control(4);
        break_it(&control).await;
        assert_eq!(control.enter().await.err(), Some(AskError::Broken));
        clock.advance(PAUSE_MS_FIRST);
        let probe = control.enter().await.unwrap();
        assert_eq!(control.is_ready(), Err(AskError::Broken));
        drop(probe);
        let mut probe = control.enter().await.unwrap();
        probe.works();
        assert_eq!(control.is_ready(), Ok(()));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_is_neither_a_success_nor_a_failure() {
        let (control, _) = control(4);
        for _ in 1..FAILURES_MAX {
            control.enter().await.unwrap().failed(&"down");
            drop(control.enter().await.unwrap());
        }
        assert_eq!(control.is_ready(), Ok(()));
        control.enter().await.unwrap().failed(&"down");
        assert_eq!(control.is_ready(), Err(AskError::Broken));
    }
}
