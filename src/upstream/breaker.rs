//! A circuit breaker: an upstream that fails repeatedly is not asked until a probe succeeds.
//!
//! ```text
//! closed --5 failures in a row--> open --pause over--> half-open --success--> closed
//!                                  ^                      |
//!                                  +--failure, pause x 2--+
//! ```
//!
//! Pure: `now_ms` is a parameter. At most one probe is under way; after an abandoned one the next may try.
//! A request that began before the breaker opened and ends later changes nothing. A clock that was set back
//! to before a pause began ends it.

use crate::clock::UnixMs;

/// So many failures in a row are no accident of one question.
pub(super) const FAILURES_MAX: u32 = 5;

/// The first pause: what a restart or a failover takes, and hardly missed.
pub(super) const PAUSE_MS_FIRST: u64 = 1_000;

/// The longest pause: one that is down costs four requests a minute, and one that is back is noticed
/// soon, a peer whose routes have just returned above all.
pub(super) const PAUSE_MS_MAX: u64 = 15_000;

/// Whether an upstream may be asked.
#[derive(Debug)]
pub(super) struct Breaker(Circuit);

#[derive(Clone, Copy, Debug)]
enum Circuit {
    Closed { failures: u32 },
    Open { since_ms: UnixMs, pause_ms: u64 },
    HalfOpen { since_ms: UnixMs, pause_ms: u64 },
}

/// Permission for one request; its outcome is recorded exactly once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Usual,
    Probe,
}

/// What an outcome did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    None,
    /// The upstream is not asked any more, for so long.
    Opened {
        pause_ms: u64,
    },
    /// The probe failed as well, and the pause begins again.
    StayedOpen {
        pause_ms: u64,
    },
    /// The upstream is asked again.
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Circuit::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Whether a request would be permitted.
    pub(super) fn is_ready(&self, now_ms: UnixMs) -> bool {
        match self.0 {
            Circuit::Closed { .. } => true,
            Circuit::Open { since_ms, pause_ms } => {
                !(since_ms..since_ms.saturating_add(pause_ms)).contains(&now_ms)
            }
            Circuit::HalfOpen { .. } => false,
        }
    }

    /// Permits one request, if the state allows it.
    pub(super) fn permit(&mut self, now_ms: UnixMs) -> Option<Permit> {
        if !self.is_ready(now_ms) {
            return None;
        }
        match self.0 {
            Circuit::Open { since_ms, pause_ms } => {
                self.0 = Circuit::HalfOpen { since_ms, pause_ms };
                Some(Permit::Probe)
            }
            Circuit::Closed { .. } | Circuit::HalfOpen { .. } => Some(Permit::Usual),
        }
    }

    /// Records a success.
    pub(super) fn succeeded(&mut self, permit: Permit) -> Transition {
        match (permit, self.0) {
            (Permit::Probe, _) => {
                self.0 = Circuit::Closed { failures: 0 };
                Transition::Closed
            }
            (Permit::Usual, Circuit::Closed { .. }) => {
                self.0 = Circuit::Closed { failures: 0 };
                Transition::None
            }
            (Permit::Usual, Circuit::Open { .. } | Circuit::HalfOpen { .. }) => Transition::None,
        }
    }

    /// Records a failure.
    pub(super) fn failed(&mut self, permit: Permit, now_ms: UnixMs) -> Transition {
        match (permit, self.0) {
            (Permit::Probe, Circuit::HalfOpen { pause_ms, .. }) => {
                let pause_ms = pause_ms.saturating_mul(2).min(PAUSE_MS_MAX);
                self.0 = Circuit::Open { since_ms: now_ms, pause_ms };
                Transition::StayedOpen { pause_ms }
            }
            (Permit::Usual, Circuit::Closed { failures }) if failures + 1 < FAILURES_MAX => {
                self.0 = Circuit::Closed { failures: failures + 1 };
                Transition::None
            }
            (Permit::Usual, Circuit::Closed { .. }) => {
                let pause_ms = PAUSE_MS_FIRST;
                self.0 = Circuit::Open { since_ms: now_ms, pause_ms };
                Transition::Opened { pause_ms }
            }
            (Permit::Usual, Circuit::Open { .. } | Circuit::HalfOpen { .. })
            | (Permit::Probe, Circuit::Closed { .. } | Circuit::Open { .. }) => Transition::None,
        }
    }

    /// Records that the caller was cancelled.
    pub(super) fn abandoned(&mut self, permit: Permit) {
        if let (Permit::Probe, Circuit::HalfOpen { since_ms, pause_ms }) = (permit, self.0) {
            // Its pause is over: the next one may try.
            self.0 = Circuit::Open { since_ms, pause_ms };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened_at(now_ms: UnixMs) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            let permit = breaker.permit(now_ms).unwrap();
            breaker.failed(permit, now_ms);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.failed(Permit::Usual, 0), Transition::None);
        }
        assert_eq!(breaker.succeeded(Permit::Usual), Transition::None);
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.failed(Permit::Usual, 0), Transition::None);
        }
        assert_eq!(
            breaker.failed(Permit::Usual, 0),
            Transition::Opened { pause_ms: PAUSE_MS_FIRST }
        );
        assert_eq!(breaker.permit(0), None);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_longest_and_a_good_one_closes() {
        let mut breaker = opened_at(0);
        let mut now_ms = 0;
        for pause_ms in [1, 2, 4, 8, 15, 15].map(|seconds| seconds * 1_000) {
            assert_eq!(breaker.permit(now_ms + pause_ms - 1), None);
            now_ms += pause_ms;
            assert_eq!(breaker.permit(now_ms), Some(Permit::Probe));
            assert_eq!(breaker.permit(now_ms), None, "one probe at a time");
            let next_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
            assert_eq!(
                breaker.failed(Permit::Probe, now_ms),
                Transition::StayedOpen { pause_ms: next_ms }
            );
        }
        now_ms += PAUSE_MS_MAX;
        let probe = breaker.permit(now_ms).unwrap();
        assert_eq!(breaker.succeeded(probe), Transition::Closed);
        assert_eq!(breaker.permit(now_ms), Some(Permit::Usual));
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_its_place_to_the_next() {
        let mut breaker = opened_at(0);
        let probe = breaker.permit(PAUSE_MS_FIRST).unwrap();
        breaker.abandoned(probe);
        assert_eq!(breaker.permit(PAUSE_MS_FIRST), Some(Permit::Probe));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_prolong_the_pause() {
        let mut breaker = opened_at(1_000_000);
        assert_eq!(breaker.permit(1_000_000), None);
        assert_eq!(breaker.permit(10), Some(Permit::Probe));
    }

    #[derive(Clone, Copy, Debug)]
    enum BreakerEvent {
        Ask,
        Succeed(usize),
        Fail(usize),
        Abandon(usize),
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = BreakerEvent> {
        prop_oneof![
            4 => Just(BreakerEvent::Ask),
            1 => any::<usize>().prop_map(BreakerEvent::Succeed),
            4 => any::<usize>().prop_map(BreakerEvent::Fail),
            1 => any::<usize>().prop_map(BreakerEvent::Abandon),
            2 => (0u64..70_000).prop_map(BreakerEvent::Wait),
        ]
    }

    /// What an observer who sees only calls and answers knows for certain.
    #[derive(Default)]
    struct Observer {
        now_ms: UnixMs,
        permits: Vec<Permit>,
        failures_in_a_row: u32,
        /// When the last pause began and how long it is, while it is open.
        pause: Option<(UnixMs, u64)>,
    }

    impl Observer {
        fn take(&mut self, choice: usize) -> Option<Permit> {
            let index = choice.checked_rem(self.permits.len())?;
            Some(self.permits.swap_remove(index))
        }

        fn probes(&self) -> usize {
            self.permits.iter().filter(|permit| **permit == Permit::Probe).count()
        }

        fn ask(&mut self, breaker: &mut Breaker) {
            let is_ready = breaker.is_ready(self.now_ms);
            let permit = breaker.permit(self.now_ms);
            assert_eq!(permit.is_some(), is_ready);
            let expected = match self.pause {
                None => Some(Permit::Usual),
                Some((since_ms, pause_ms)) => {
                    let is_over = self.now_ms >= since_ms + pause_ms;
                    (is_over && self.probes() == 0).then_some(Permit::Probe)
                }
            };
            assert_eq!(permit, expected);
            self.permits.extend(permit);
        }

        fn changed(&mut self, transition: Transition, was_probe: bool) {
            match transition {
                Transition::None => {}
                Transition::Opened { pause_ms } => {
                    assert!(self.pause.is_none() && self.failures_in_a_row >= FAILURES_MAX);
                    assert_eq!(pause_ms, PAUSE_MS_FIRST);
                    self.pause = Some((self.now_ms, pause_ms));
                }
                Transition::StayedOpen { pause_ms } => {
                    let (_, before_ms) = self.pause.unwrap();
                    assert!(was_probe);
                    assert_eq!(pause_ms, (2 * before_ms).min(PAUSE_MS_MAX));
                    self.pause = Some((self.now_ms, pause_ms));
                }
                Transition::Closed => {
                    assert!(was_probe && self.pause.is_some());
                    self.pause = None;
                    self.failures_in_a_row = 0;
                }
            }
        }

        fn step(&mut self, breaker: &mut Breaker, event: BreakerEvent) {
            match event {
                BreakerEvent::Ask => self.ask(breaker),
                BreakerEvent::Wait(ms) => self.now_ms += ms,
                BreakerEvent::Succeed(choice) => {
                    let Some(permit) = self.take(choice) else { return };
                    let is_probe = permit == Permit::Probe;
                    self.failures_in_a_row = 0;
                    let transition = breaker.succeeded(permit);
                    assert_eq!(transition == Transition::Closed, is_probe);
                    self.changed(transition, is_probe);
                }
                BreakerEvent::Fail(choice) => {
                    let Some(permit) = self.take(choice) else { return };
                    let is_probe = permit == Permit::Probe;
                    self.failures_in_a_row += 1;
                    let transition = breaker.failed(permit, self.now_ms);
                    self.changed(transition, is_probe);
                }
                BreakerEvent::Abandon(choice) => {
                    if let Some(permit) = self.take(choice) {
                        breaker.abandoned(permit);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_it_lets_pass_whom_it_should(
            events in proptest::collection::vec(event(), 0..400),
        ) {
            let mut breaker = Breaker::default();
            let mut observer = Observer::default();
            for event in events {
                observer.step(&mut breaker, event);
                prop_assert!(observer.probes() <= 1);
            }
        }
    }
}
