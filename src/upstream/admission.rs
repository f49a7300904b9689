//! Whether an upstream is asked now: not resting, not broken, and not more than so many at once.
//!
//! A request that finds every place taken waits for [`TURN_WAIT`] at most: a burst gets its turns, and an
//! upstream that hangs costs a lookup no more. Whoever was let in leaves the gate by dropping the
//! [`Admission`], which gives the place back whatever happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::backoff::Rest;
use super::breaker::{Breaker, Change, Pass};
use crate::clock::{Clock, UnixMs};
use crate::metrics::{BreakerState, UpstreamCounts, UpstreamOutcome};
use crate::resolve::AskError;
use crate::types::AccountId;

/// How long a request waits for a place: what a lookup can spare and still be answered in time.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// The way to one upstream.
pub(super) struct AdmissionControl {
    account: AccountId,
    turns: Arc<Semaphore>,
    turns_max: usize,
    /// How many wait for a turn.
    waiting: AtomicUsize,
    state: Mutex<State>,
    clock: Clock,
    counts: UpstreamCounts,
}

#[derive(Default)]
struct State {
    breaker: Breaker,
    rest: Rest,
}

/// A place in the line of those who wait for a turn.
struct Waiting<'a>(&'a AtomicUsize);

/// Leave to ask once. Dropped before it was told how the upstream did, it counts as neither a success
/// nor a failure.
pub(super) struct Admission {
    gate: Arc<AdmissionControl>,
    pass: Option<Pass>,
    _turn: OwnedSemaphorePermit,
}

impl State {
    fn check(&self, now_ms: UnixMs) -> Result<(), AskError> {
        match self.rest.left(now_ms) {
            Some(retry_after) => Err(AskError::Resting { retry_after }),
            None if self.breaker.is_ready(now_ms) => Ok(()),
            None => Err(AskError::Broken),
        }
    }
}

impl AdmissionControl {
    pub(super) fn new(
        account: AccountId,
        requests_max: usize,
        clock: Clock,
        counts: UpstreamCounts,
    ) -> Self {
        counts.breaker(BreakerState::Closed);
        let turns_max = requests_max.min(Semaphore::MAX_PERMITS);
        let turns = Arc::new(Semaphore::new(turns_max));
        let (waiting, state) = (AtomicUsize::new(0), Mutex::default());
        Self { account, turns, turns_max, waiting, state, clock, counts }
    }

    /// Whether somebody would be let in, soon if not at once: those who wait are fewer than those who
    /// may ask at once.
    pub(super) fn is_ready(&self) -> Result<(), AskError> {
        self.state.lock().check(self.clock.now_ms())?;
        let is_line_short = self.waiting.load(Ordering::Relaxed) < self.turns_max;
        if is_line_short || self.turns.available_permits() > 0 {
            Ok(())
        } else {
            Err(AskError::Busy)
        }
    }

    /// Lets one request in; who is not let in is counted.
    pub(super) async fn enter(self: &Arc<Self>) -> Result<Admission, AskError> {
        let entered = self.try_enter().await;
        if let Err(error) = &entered {
            self.counts.not_asked(if *error == AskError::Busy {
                UpstreamOutcome::Busy
            } else if *error == AskError::Broken {
                UpstreamOutcome::Broken
            } else {
                UpstreamOutcome::Resting
            });
        }
        entered
    }

    async fn try_enter(self: &Arc<Self>) -> Result<Admission, AskError> {
        // Nobody waits in line for what would not be asked.
        self.state.lock().check(self.clock.now_ms())?;
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let _waiting = Waiting::begin(&self.waiting);
                let turn = time::timeout(TURN_WAIT, self.turns.clone().acquire_owned()).await;
                turn.map_err(|_| AskError::Busy)?.expect("the semaphore is never closed")
            }
        };
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        state.check(now_ms)?;
        let pass = state.breaker.pass(now_ms).ok_or(AskError::Broken)?;
        if pass == Pass::Probe {
            self.counts.breaker(BreakerState::Probing);
        }
        Ok(Admission { gate: self.clone(), pass: Some(pass), _turn: turn })
    }

    fn note(&self, change: Change, why: &dyn std::fmt::Display) {
        let account = &self.account;
        match change {
            Change::None => {}
            Change::Opened { pause_ms } => {
                self.counts.breaker(BreakerState::Open);
                tracing::warn!(%account, %why, pause_ms, "an upstream failed too often to be asked");
            }
            Change::StayedOpen { pause_ms } => {
                self.counts.breaker(BreakerState::Open);
                tracing::debug!(%account, %why, pause_ms, "an upstream still fails");
            }
            Change::Closed => {
                self.counts.breaker(BreakerState::Closed);
                tracing::warn!(%account, "an upstream that had failed too often is asked again");
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
    /// The upstream answers. What is told after this makes no difference.
    pub(super) fn works(&mut self) {
        if let Some(pass) = self.pass.take() {
            let mut state = self.gate.state.lock();
            let change = state.breaker.succeeded(pass);
            self.gate.note(change, &"");
        }
    }

    /// The upstream failed.
    pub(super) fn failed(&mut self, why: &dyn std::fmt::Display) {
        if let Some(pass) = self.pass.take() {
            let now_ms = self.gate.clock.now_ms();
            let mut state = self.gate.state.lock();
            let change = state.breaker.failed(pass, now_ms);
            self.gate.note(change, why);
        }
    }

    /// The upstream wants to be left alone.
    pub(super) fn rest(&self, rest: Duration) {
        self.gate.state.lock().rest.begin(rest, self.gate.clock.now_ms());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            let mut state = self.gate.state.lock();
            if pass == Pass::Probe {
                self.gate.counts.breaker(BreakerState::Open);
            }
            state.breaker.abandoned(pass);
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

    fn gate(requests_max: usize) -> (Arc<AdmissionControl>, ManualClock) {
        let manual = ManualClock::new(1_000_000);
        let account = AccountId::parse("far").unwrap();
        let counts = Metrics::new().upstream("far");
        let clock = Clock::Manual(manual.clone());
        (Arc::new(AdmissionControl::new(account, requests_max, clock, counts)), manual)
    }

    async fn break_it(gate: &Arc<AdmissionControl>) {
        for _ in 0..FAILURES_MAX {
            gate.enter().await.unwrap().failed(&"down");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_waits_a_second_for_one() {
        let (gate, _) = gate(1);
        let first = gate.enter().await.unwrap();
        let (not_yet, soon) = (Duration::from_millis(999), Duration::from_millis(1_001));
        assert!(time::timeout(not_yet, gate.enter()).await.is_err());
        let refused = time::timeout(soon, gate.enter()).await.unwrap();
        assert_eq!(refused.err(), Some(AskError::Busy));
        let leave = async {
            time::sleep(not_yet).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(gate.enter(), leave);
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn it_is_busy_when_as_many_wait_as_may_ask_at_once() {
        let (gate, _) = gate(2);
        let both = [gate.enter().await.unwrap(), gate.enter().await.unwrap()];
        let mut waiting = [gate.enter().boxed(), gate.enter().boxed()];
        for enter in &mut waiting {
            assert_eq!(gate.is_ready(), Ok(()));
            assert!(enter.now_or_never().is_none());
        }
        assert_eq!(gate.is_ready(), Err(AskError::Busy));
        let [first, second] = waiting;
        drop(first);
        assert_eq!(gate.is_ready(), Ok(()), "one gave up");
        drop(both);
        assert!(second.await.is_ok());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_waits_while_it_breaks_is_not_let_in() {
        let (gate, _) = gate(1);
        let first = gate.enter().await.unwrap();
        let break_it = async {
            let mut state = gate.state.lock();
            for _ in 0..FAILURES_MAX {
                state.breaker.failed(Pass::Usual, 1_000_000);
            }
            drop(state);
            drop(first);
        };
        let (second, ()) = tokio::join!(gate.enter(), break_it);
        assert_eq!(second.err(), Some(AskError::Broken));
    }

    #[tokio::test]
    async fn a_rest_is_told_for_as_long_as_it_lasts() {
        let (gate, clock) = gate(4);
        gate.enter().await.unwrap().rest(Duration::from_secs(3));
        clock.advance(1_000);
        let resting = AskError::Resting { retry_after: Duration::from_secs(2) };
        assert_eq!(gate.is_ready(), Err(resting.clone()));
        assert_eq!(gate.enter().await.err(), Some(resting));
        clock.advance(2_000);
        assert_eq!(gate.is_ready(), Ok(()));
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn a_probe_that_is_dropped_frees_its_place() {
        let (gate, clock) = gate(4);
        break_it(&gate).await;
        assert_eq!(gate.enter().await.err(), Some(AskError::Broken));
        clock.advance(PAUSE_MS_FIRST);
        let probe = gate.enter().await.unwrap();
        assert_eq!(gate.is_ready(), Err(AskError::Broken));
        drop(probe);
        let mut probe = gate.enter().await.unwrap();
        probe.works();
        assert_eq!(gate.is_ready(), Ok(()));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_is_neither_a_success_nor_a_failure() {
        let (gate, _) = gate(4);
        for _ in 1..FAILURES_MAX {
            gate.enter().await.unwrap().failed(&"down");
            drop(gate.enter().await.unwrap());
        }
        assert_eq!(gate.is_ready(), Ok(()));
        gate.enter().await.unwrap().failed(&"down");
        assert_eq!(gate.is_ready(), Err(AskError::Broken));
    }
}
