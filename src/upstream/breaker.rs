//! Leaving an upstream alone that fails again and again: a circuit breaker.
//!
//! ```text
//! closed --5 failures in a row--> open --pause over--> probing --success--> closed
//!                                  ^                      |
//!                                  +--failure, pause x 2--+
//! ```
//!
//! Pure: `now_ms` is a parameter. At most one probe is under way; one that is given up frees its
//! place. What ends late, begun before the breaker opened, moves nothing. A clock that was set back
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
pub(super) struct Breaker(State);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { since_ms: UnixMs, pause_ms: u64 },
    Probing { since_ms: UnixMs, pause_ms: u64 },
}

/// Leave to ask once; its end is told to the breaker exactly once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Usual,
    Probe,
}

/// What an end changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
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
        Self(State::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Whether it would let somebody pass.
    pub(super) fn is_ready(&self, now_ms: UnixMs) -> bool {
        match self.0 {
            State::Closed { .. } => true,
            State::Open { since_ms, pause_ms } => {
                !(since_ms..since_ms.saturating_add(pause_ms)).contains(&now_ms)
            }
            State::Probing { .. } => false,
        }
    }

    /// Lets one pass, if it may.
    pub(super) fn pass(&mut self, now_ms: UnixMs) -> Option<Pass> {
        if !self.is_ready(now_ms) {
            return None;
        }
        match self.0 {
            State::Open { since_ms, pause_ms } => {
                self.0 = State::Probing { since_ms, pause_ms };
                Some(Pass::Probe)
            }
            State::Closed { .. } | State::Probing { .. } => Some(Pass::Usual),
        }
    }

    /// The upstream answered.
    pub(super) fn succeeded(&mut self, pass: Pass) -> Change {
        match (pass, self.0) {
            (Pass::Probe, _) => {
                self.0 = State::Closed { failures: 0 };
                Change::Closed
            }
            (Pass::Usual, State::Closed { .. }) => {
                self.0 = State::Closed { failures: 0 };
                Change::None
            }
            (Pass::Usual, State::Open { .. } | State::Probing { .. }) => Change::None,
        }
    }

    /// The upstream failed.
    pub(super) fn failed(&mut self, pass: Pass, now_ms: UnixMs) -> Change {
        match (pass, self.0) {
            (Pass::Probe, State::Probing { pause_ms, .. }) => {
                let pause_ms = pause_ms.saturating_mul(2).min(PAUSE_MS_MAX);
                self.0 = State::Open { since_ms: now_ms, pause_ms };
                Change::StayedOpen { pause_ms }
            }
            (Pass::Usual, State::Closed { failures }) if failures + 1 < FAILURES_MAX => {
                self.0 = State::Closed { failures: failures + 1 };
                Change::None
            }
            (Pass::Usual, State::Closed { .. }) => {
                let pause_ms = PAUSE_MS_FIRST;
                self.0 = State::Open { since_ms: now_ms, pause_ms };
                Change::Opened { pause_ms }
            }
            (Pass::Usual, State::Open { .. } | State::Probing { .. })
            | (Pass::Probe, State::Closed { .. } | State::Open { .. }) => Change::None,
        }
    }

    /// Nobody waited for the answer.
    pub(super) fn abandoned(&mut self, pass: Pass) {
        if let (Pass::Probe, State::Probing { since_ms, pause_ms }) = (pass, self.0) {
            // Its pause is over: the next one may try.
            self.0 = State::Open { since_ms, pause_ms };
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
            let pass = breaker.pass(now_ms).unwrap();
            breaker.failed(pass, now_ms);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.failed(Pass::Usual, 0), Change::None);
        }
        assert_eq!(breaker.succeeded(Pass::Usual), Change::None);
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.failed(Pass::Usual, 0), Change::None);
        }
        assert_eq!(breaker.failed(Pass::Usual, 0), Change::Opened { pause_ms: PAUSE_MS_FIRST });
        assert_eq!(breaker.pass(0), None);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_longest_and_a_good_one_closes() {
        let mut breaker = opened_at(0);
        let mut now_ms = 0;
        for pause_ms in [1, 2, 4, 8, 15, 15].map(|seconds| seconds * 1_000) {
            assert_eq!(breaker.pass(now_ms + pause_ms - 1), None);
            now_ms += pause_ms;
            assert_eq!(breaker.pass(now_ms), Some(Pass::Probe));
            assert_eq!(breaker.pass(now_ms), None, "one probe at a time");
            let next_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
            assert_eq!(
                breaker.failed(Pass::Probe, now_ms),
                Change::StayedOpen { pause_ms: next_ms }
            );
        }
        now_ms += PAUSE_MS_MAX;
        let probe = breaker.pass(now_ms).unwrap();
        assert_eq!(breaker.succeeded(probe), Change::Closed);
        assert_eq!(breaker.pass(now_ms), Some(Pass::Usual));
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_its_place_to_the_next() {
        let mut breaker = opened_at(0);
        let probe = breaker.pass(PAUSE_MS_FIRST).unwrap();
        breaker.abandoned(probe);
        assert_eq!(breaker.pass(PAUSE_MS_FIRST), Some(Pass::Probe));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_prolong_the_pause() {
        let mut breaker = opened_at(1_000_000);
        assert_eq!(breaker.pass(1_000_000), None);
        assert_eq!(breaker.pass(10), Some(Pass::Probe));
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Ask,
        Succeed(usize),
        Fail(usize),
        Abandon(usize),
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Ask),
            1 => any::<usize>().prop_map(Event::Succeed),
            4 => any::<usize>().prop_map(Event::Fail),
            1 => any::<usize>().prop_map(Event::Abandon),
            2 => (0u64..70_000).prop_map(Event::Wait),
        ]
    }

    /// What an observer who sees only calls and answers knows for certain.
    #[derive(Default)]
    struct Observer {
        now_ms: UnixMs,
        passes: Vec<Pass>,
        failures_in_a_row: u32,
        /// When the last pause began and how long it is, while it is open.
        pause: Option<(UnixMs, u64)>,
    }

    impl Observer {
        fn take(&mut self, choice: usize) -> Option<Pass> {
            let index = choice.checked_rem(self.passes.len())?;
            Some(self.passes.swap_remove(index))
        }

        fn probes(&self) -> usize {
            self.passes.iter().filter(|pass| **pass == Pass::Probe).count()
        }

        fn ask(&mut self, breaker: &mut Breaker) {
            let is_ready = breaker.is_ready(self.now_ms);
            let pass = breaker.pass(self.now_ms);
            assert_eq!(pass.is_some(), is_ready);
            let expected = match self.pause {
                None => Some(Pass::Usual),
                Some((since_ms, pause_ms)) => {
                    let is_over = self.now_ms >= since_ms + pause_ms;
                    (is_over && self.probes() == 0).then_some(Pass::Probe)
                }
            };
            assert_eq!(pass, expected);
            self.passes.extend(pass);
        }

        fn changed(&mut self, change: Change, was_probe: bool) {
            match change {
                Change::None => {}
                Change::Opened { pause_ms } => {
                    assert!(self.pause.is_none() && self.failures_in_a_row >= FAILURES_MAX);
                    assert_eq!(pause_ms, PAUSE_MS_FIRST);
                    self.pause = Some((self.now_ms, pause_ms));
                }
                Change::StayedOpen { pause_ms } => {
                    let (_, before_ms) = self.pause.unwrap();
                    assert!(was_probe);
                    assert_eq!(pause_ms, (2 * before_ms).min(PAUSE_MS_MAX));
                    self.pause = Some((self.now_ms, pause_ms));
                }
                Change::Closed => {
                    assert!(was_probe && self.pause.is_some());
                    self.pause = None;
                    self.failures_in_a_row = 0;
                }
            }
        }

        fn step(&mut self, breaker: &mut Breaker, event: Event) {
            match event {
                Event::Ask => self.ask(breaker),
                Event::Wait(ms) => self.now_ms += ms,
                Event::Succeed(choice) => {
                    let Some(pass) = self.take(choice) else { return };
                    let is_probe = pass == Pass::Probe;
                    self.failures_in_a_row = 0;
                    let change = breaker.succeeded(pass);
                    assert_eq!(change == Change::Closed, is_probe);
                    self.changed(change, is_probe);
                }
                Event::Fail(choice) => {
                    let Some(pass) = self.take(choice) else { return };
                    let is_probe = pass == Pass::Probe;
                    self.failures_in_a_row += 1;
                    let change = breaker.failed(pass, self.now_ms);
                    self.changed(change, is_probe);
                }
                Event::Abandon(choice) => {
                    if let Some(pass) = self.take(choice) {
                        breaker.abandoned(pass);
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
