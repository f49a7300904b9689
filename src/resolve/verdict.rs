//! What it means that upstreams failed.
//!
//! | upstreams | nothing found anywhere means |
//! |---|---|
//! | one answered that it knows nothing | nobody has it; whole, and kept, only if none failed |
//! | one says that the lookup has gone too far | it may be going in a circle |
//! | all have used up their budget, or ask to be left alone | over budget, until the soonest refill |
//! | all timed out | timed out |
//! | all are asked as much as they may be at once | overloaded |
//! | all failed, in these or other ways | failed |
//!
//! An upstream that does not offer what is asked for does not count; where none does, the local index
//! is all there is to ask, and it is a failure if there is none either. Where anything was found, it
//! is the answer.

use std::time::Duration;

use super::ResolveError;
use super::upstream::AskError;

/// Why nothing is known. The clonable part of [`ResolveError`], for those who share an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Looped,
    OverBudget { retry_after: Duration },
    TimedOut,
    Overloaded,
    Failed,
}

/// How the upstreams of one lookup did.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    answered: usize,
    not_offered: usize,
    looped: usize,
    failed: usize,
    timed_out: usize,
    busy: usize,
    over_budget: usize,
    retry_after: Option<Duration>,
}

impl Tally {
    /// Counts how one upstream ended.
    pub(super) fn count(&mut self, result: Result<(), AskError>) {
        match result {
            Ok(()) => self.answered += 1,
            Err(AskError::NotOffered) => self.not_offered += 1,
            Err(AskError::Looped) => self.looped += 1,
            Err(AskError::Resting { retry_after } | AskError::OverBudget { retry_after }) => {
                self.over_budget += 1;
                let soonest = self.retry_after.map_or(retry_after, |it| it.min(retry_after));
                self.retry_after = Some(soonest);
            }
            Err(AskError::TimedOut) => self.timed_out += 1,
            Err(AskError::Busy) => self.busy += 1,
            Err(AskError::Broken | AskError::Failed(_)) => self.failed += 1,
        }
    }

    /// Whether no upstream failed.
    pub(super) fn is_whole(&self) -> bool {
        self.failures() == 0
    }

    /// Why nothing is known, if nothing was found; `None`: because nobody has it. `has_local`:
    /// whether the local index was asked, too.
    pub(super) fn failure(&self, has_local: bool) -> Option<Failure> {
        let failures = self.failures();
        if self.answered > 0 || (failures == 0 && has_local) {
            return None;
        }
        let failure = match failures {
            0 => Failure::Failed,
            // Whatever the others say: routers of a circle must not take each other for broken.
            _ if self.looped > 0 => Failure::Looped,
            all if all == self.over_budget => {
                Failure::OverBudget { retry_after: self.retry_after.unwrap_or_default() }
            }
            all if all == self.timed_out => Failure::TimedOut,
            all if all == self.busy => Failure::Overloaded,
            _ => Failure::Failed,
        };
        Some(failure)
    }

    fn failures(&self) -> usize {
        self.looped + self.failed + self.timed_out + self.busy + self.over_budget
    }
}

impl From<Failure> for ResolveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Looped => Self::Looped,
            Failure::OverBudget { retry_after } => Self::OverBudget { retry_after },
            Failure::TimedOut => Self::TimedOut,
            Failure::Overloaded => Self::Overloaded,
            Failure::Failed => Self::UpstreamsFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(3);
    const LATE: Duration = Duration::from_secs(90);

    const OK: Result<(), AskError> = Ok(());
    const NOT_OFFERED: Result<(), AskError> = Err(AskError::NotOffered);
    const RESTING: Result<(), AskError> = Err(AskError::Resting { retry_after: LATE });
    const SPENT: Result<(), AskError> = Err(AskError::OverBudget { retry_after: SOON });
    const LATE_ONE: Result<(), AskError> = Err(AskError::TimedOut);
    const BUSY: Result<(), AskError> = Err(AskError::Busy);
    const LOOPED: Result<(), AskError> = Err(AskError::Looped);
    const BROKEN: Result<(), AskError> = Err(AskError::Broken);

    #[test]
    fn each_combination_of_failures_has_its_meaning() {
        let over_budget = |retry_after| Some(Failure::OverBudget { retry_after });
        let timed_out = Some(Failure::TimedOut);
        let (failed, looped) = (Some(Failure::Failed), Some(Failure::Looped));
        // What upstreams say, what it means with a local index and without one, whether it is whole.
        for (results, with_local, without, is_whole) in [
            (vec![], None, failed, true),
            (vec![OK], None, None, true),
            (vec![OK, OK], None, None, true),
            (vec![OK, BROKEN], None, None, false),
            (vec![OK, SPENT], None, None, false),
            (vec![OK, NOT_OFFERED], None, None, true),
            (vec![NOT_OFFERED], None, failed, true),
            (vec![LOOPED], looped, looped, false),
            (vec![LOOPED, OK], None, None, false),
            (vec![BROKEN, LOOPED, SPENT], looped, looped, false),
            (vec![NOT_OFFERED, BROKEN], failed, failed, false),
            (vec![NOT_OFFERED, SPENT], over_budget(SOON), over_budget(SOON), false),
            (vec![SPENT], over_budget(SOON), over_budget(SOON), false),
            (vec![RESTING], over_budget(LATE), over_budget(LATE), false),
            (vec![RESTING, SPENT], over_budget(SOON), over_budget(SOON), false),
            (vec![SPENT, RESTING], over_budget(SOON), over_budget(SOON), false),
            (vec![SPENT, LATE_ONE], failed, failed, false),
            (vec![LATE_ONE], timed_out, timed_out, false),
            (vec![LATE_ONE, LATE_ONE], timed_out, timed_out, false),
            (vec![LATE_ONE, BROKEN], failed, failed, false),
            (vec![BUSY, BUSY], Some(Failure::Overloaded), Some(Failure::Overloaded), false),
            (vec![BUSY, BROKEN], failed, failed, false),
            (vec![BROKEN], failed, failed, false),
            (vec![Err(AskError::Failed("it".into()))], failed, failed, false),
        ] {
            let mut tally = Tally::default();
            results.iter().for_each(|result| tally.count(result.clone()));
            assert_eq!(tally.failure(true), with_local, "{results:?}");
            assert_eq!(tally.failure(false), without, "{results:?}");
            assert_eq!(tally.is_whole(), is_whole, "{results:?}");
        }
    }
}
