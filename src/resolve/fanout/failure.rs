//! Classifies the failures of a lookup's upstreams.
//!
//! | upstreams | nothing found anywhere means |
//! |---|---|
//! | one answered that it knows nothing | nobody has it; whole, and kept, only if none failed |
//! | all have used up their budget | over budget, until the soonest refill |
//! | all ask for backoff, but for those over budget | backoff, until the soonest end of either |
//! | all timed out | timed out |
//! | all are asked as much as they may be at once | overloaded |
//! | all failed, in these or other ways | failed |
//!
//! An upstream that does not offer what is asked for does not count, nor one at which the lookup loops:
//! everything behind it is being asked already. How far a lookup gets depends on where it began, so an answer
//! with a loop is not whole, and an empty one is not cached. If no upstream counts, only the local index was
//! asked, and it is a failure if there is none either. If anything was found, it is the answer.

use std::time::Duration;

use crate::resolve::cache::Completeness;
use crate::resolve::{AskError, ResolveError, UpstreamReasons};
use crate::types::TargetId;

/// Why nothing is known. The clonable part of [`ResolveError`], for the followers of one lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupFailure {
    OverBudget { retry_after: Duration },
    Backoff { retry_after: Duration },
    TimedOut(UpstreamReasons),
    Overloaded,
    Failed(UpstreamReasons),
}

/// Counts the upstreams of one lookup by how they ended.
#[derive(Clone, Debug, Default)]
pub(super) struct FailureSummary {
    answered: usize,
    looped: usize,
    failed: usize,
    timed_out: usize,
    busy: usize,
    over_budget: usize,
    backing_off: usize,
    retry_after: Option<Duration>,
    reasons: UpstreamReasons,
}

impl FailureSummary {
    /// Counts how one upstream ended.
    pub(super) fn count(&mut self, id: &TargetId, result: Result<(), AskError>) {
        if let Err(error) = &result {
            self.reasons.add(id, error);
        }
        match result {
            Ok(()) => self.answered += 1,
            Err(AskError::NotOffered) => {}
            Err(AskError::Loop) => self.looped += 1,
            Err(AskError::OverBudget { retry_after }) => {
                self.over_budget += 1;
                self.observe_end(retry_after);
            }
            Err(AskError::Backoff { retry_after }) => {
                self.backing_off += 1;
                self.observe_end(retry_after);
            }
            Err(AskError::TimedOut) => self.timed_out += 1,
            Err(AskError::Busy) => self.busy += 1,
            Err(AskError::Broken | AskError::Failed(_)) => self.failed += 1,
        }
    }

    /// Whether any upstream offers what was asked for.
    pub(super) fn is_offered(&self) -> bool {
        self.answered + self.looped + self.failures() > 0
    }

    /// How much of what upstreams know was found.
    pub(super) fn completeness(&self) -> Completeness {
        match (self.failures(), self.looped) {
            (0, 0) => Completeness::Whole,
            (0, _) => Completeness::Looped,
            _ => Completeness::Partial,
        }
    }

    /// Why nothing is known, if nothing was found and the local index was asked, too; `None`: because
    /// nobody has it.
    pub(super) fn failure_beside_local(&self) -> Option<LookupFailure> {
        if self.failures() == 0 { None } else { self.failure() }
    }

    /// Why nothing is known, if nothing was found and only upstreams were asked.
    pub(super) fn failure(&self) -> Option<LookupFailure> {
        let failures = self.failures();
        if self.answered > 0 {
            return None;
        }
        let retry_after = self.retry_after.unwrap_or_default();
        let failure = match failures {
            0 => LookupFailure::Failed(self.reasons.clone()),
            all if all == self.over_budget => LookupFailure::OverBudget { retry_after },
            all if all == self.over_budget + self.backing_off => {
                LookupFailure::Backoff { retry_after }
            }
            all if all == self.timed_out => LookupFailure::TimedOut(self.reasons.clone()),
            all if all == self.busy => LookupFailure::Overloaded,
            _ => LookupFailure::Failed(self.reasons.clone()),
        };
        Some(failure)
    }

    fn failures(&self) -> usize {
        self.failed + self.timed_out + self.busy + self.over_budget + self.backing_off
    }

    fn observe_end(&mut self, retry_after: Duration) {
        self.retry_after = Some(self.retry_after.map_or(retry_after, |it| it.min(retry_after)));
    }
}

impl From<LookupFailure> for ResolveError {
    fn from(failure: LookupFailure) -> Self {
        match failure {
            LookupFailure::OverBudget { retry_after } => Self::OverBudget { retry_after },
            LookupFailure::Backoff { retry_after } => Self::Backoff { retry_after },
            LookupFailure::TimedOut(reasons) => Self::TimedOut(reasons),
            LookupFailure::Overloaded => Self::Overloaded,
            LookupFailure::Failed(reasons) => Self::UpstreamsFailed(reasons),
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
    const BACKING_OFF: Result<(), AskError> = Err(AskError::Backoff { retry_after: LATE });
    const SPENT: Result<(), AskError> = Err(AskError::OverBudget { retry_after: SOON });
    const LATE_ONE: Result<(), AskError> = Err(AskError::TimedOut);
    const BUSY: Result<(), AskError> = Err(AskError::Busy);
    const BROKEN: Result<(), AskError> = Err(AskError::Broken);
    const LOOP: Result<(), AskError> = Err(AskError::Loop);

    #[test]
    fn each_combination_of_failures_has_its_meaning() {
        let over_budget = |retry_after| Some(LookupFailure::OverBudget { retry_after });
        let backing_off = |retry_after| Some(LookupFailure::Backoff { retry_after });
        let reasons = UpstreamReasons::default;
        let timed_out = || Some(LookupFailure::TimedOut(reasons()));
        let failed = || Some(LookupFailure::Failed(reasons()));
        // What upstreams say, what it means with a local index and without one, how much was found.
        for (results, with_local, without, completeness) in [
            (vec![], None, failed(), Completeness::Whole),
            (vec![OK], None, None, Completeness::Whole),
            (vec![OK, OK], None, None, Completeness::Whole),
            (vec![OK, BROKEN], None, None, Completeness::Partial),
            (vec![OK, SPENT], None, None, Completeness::Partial),
            (vec![OK, NOT_OFFERED], None, None, Completeness::Whole),
            (vec![NOT_OFFERED], None, failed(), Completeness::Whole),
            (vec![NOT_OFFERED, BROKEN], failed(), failed(), Completeness::Partial),
            (vec![NOT_OFFERED, SPENT], over_budget(SOON), over_budget(SOON), Completeness::Partial),
            (vec![SPENT], over_budget(SOON), over_budget(SOON), Completeness::Partial),
            (vec![SPENT, SPENT], over_budget(SOON), over_budget(SOON), Completeness::Partial),
            (vec![BACKING_OFF], backing_off(LATE), backing_off(LATE), Completeness::Partial),
            (
                vec![BACKING_OFF, BACKING_OFF],
                backing_off(LATE),
                backing_off(LATE),
                Completeness::Partial,
            ),
            (vec![BACKING_OFF, SPENT], backing_off(SOON), backing_off(SOON), Completeness::Partial),
            (vec![SPENT, BACKING_OFF], backing_off(SOON), backing_off(SOON), Completeness::Partial),
            (vec![BACKING_OFF, BROKEN], failed(), failed(), Completeness::Partial),
            (vec![LOOP], None, failed(), Completeness::Looped),
            (vec![LOOP, OK], None, None, Completeness::Looped),
            (vec![LOOP, NOT_OFFERED], None, failed(), Completeness::Looped),
            (vec![LOOP, BROKEN], failed(), failed(), Completeness::Partial),
            (vec![LOOP, BACKING_OFF], backing_off(LATE), backing_off(LATE), Completeness::Partial),
            (vec![SPENT, LATE_ONE], failed(), failed(), Completeness::Partial),
            (vec![LATE_ONE], timed_out(), timed_out(), Completeness::Partial),
            (vec![LATE_ONE, LATE_ONE], timed_out(), timed_out(), Completeness::Partial),
            (vec![LATE_ONE, BROKEN], failed(), failed(), Completeness::Partial),
            (
                vec![BUSY, BUSY],
                Some(LookupFailure::Overloaded),
                Some(LookupFailure::Overloaded),
                Completeness::Partial,
            ),
            (vec![BUSY, BROKEN], failed(), failed(), Completeness::Partial),
            (vec![BROKEN], failed(), failed(), Completeness::Partial),
            (vec![Err(AskError::Failed("it".into()))], failed(), failed(), Completeness::Partial),
        ] {
            let mut summary = FailureSummary::default();
            let id = TargetId::parse("far").unwrap();
            results.iter().for_each(|result| summary.count(&id, result.clone()));
            summary.reasons = UpstreamReasons::default();
            assert_eq!(summary.failure_beside_local(), with_local, "{results:?}");
            assert_eq!(summary.failure(), without, "{results:?}");
            assert_eq!(summary.completeness(), completeness, "{results:?}");
        }
    }

    #[test]
    fn a_failure_names_the_upstreams_and_how_each_failed() {
        let mut summary = FailureSummary::default();
        for (name, result) in [("a", LATE_ONE), ("b", Err(AskError::Failed("it is red".into())))] {
            summary.count(&TargetId::parse(name).unwrap(), result);
        }
        let error = ResolveError::from(summary.failure_beside_local().unwrap());
        let expected = "every upstream failed (a: it gave no whole answer in time; b: it is red)";
        assert_eq!(error.to_string(), expected);
    }
}
