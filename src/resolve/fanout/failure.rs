//! What it means that upstreams failed.
//!
//! | upstreams | nothing found anywhere means |
//! |---|---|
//! | one answered that it knows nothing | nobody has it; whole, and kept, only if none failed |
//! | all have used up their budget | over budget, until the soonest refill |
//! | all ask to be left alone, but for those over budget | resting, until the soonest end of either |
//! | all timed out | timed out |
//! | all are asked as much as they may be at once | overloaded |
//! | all failed, in these or other ways | failed |
//!
//! An upstream that does not offer what is asked for does not count, nor one where the lookup has gone in
//! a circle: it knows nothing that has not been asked for. But how far a lookup gets depends on where it
//! began, so what is found with a circle is not whole, and nothing found is not kept. Where none counts, the local index
//! is all there is to ask, and it is a failure if there is none either. Where anything was found, it
//! is the answer.

use std::time::Duration;

use crate::resolve::cache::Extent;
use crate::resolve::{AskError, ResolveError, UpstreamReasons};
use crate::types::AccountId;

/// Why nothing is known. The clonable part of [`ResolveError`], for those who share an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupFailure {
    OverBudget { retry_after: Duration },
    Resting { retry_after: Duration },
    TimedOut(UpstreamReasons),
    Overloaded,
    Failed(UpstreamReasons),
}

/// How the upstreams of one lookup did.
#[derive(Clone, Debug, Default)]
pub(super) struct FailureSummary {
    answered: usize,
    circled: usize,
    failed: usize,
    timed_out: usize,
    busy: usize,
    over_budget: usize,
    resting: usize,
    retry_after: Option<Duration>,
    reasons: UpstreamReasons,
}

impl FailureSummary {
    /// Counts how one upstream ended.
    pub(super) fn count(&mut self, account: &AccountId, result: Result<(), AskError>) {
        if let Err(error) = &result {
            self.reasons.add(account, error);
        }
        match result {
            Ok(()) => self.answered += 1,
            Err(AskError::NotOffered) => {}
            Err(AskError::Circle) => self.circled += 1,
            Err(AskError::OverBudget { retry_after }) => {
                self.over_budget += 1;
                self.note_end(retry_after);
            }
            Err(AskError::Resting { retry_after }) => {
                self.resting += 1;
                self.note_end(retry_after);
            }
            Err(AskError::TimedOut) => self.timed_out += 1,
            Err(AskError::Busy) => self.busy += 1,
            Err(AskError::Broken | AskError::Failed(_)) => self.failed += 1,
        }
    }

    /// Whether any upstream offers what was asked for.
    pub(super) fn is_offered(&self) -> bool {
        self.answered + self.circled + self.failures() > 0
    }

    /// How much of what upstreams know was found.
    pub(super) fn extent(&self) -> Extent {
        match (self.failures(), self.circled) {
            (0, 0) => Extent::Whole,
            (0, _) => Extent::Circled,
            _ => Extent::Partial,
        }
    }

    /// Why nothing is known, if nothing was found; `None`: because nobody has it. `has_local`:
    /// whether the local index was asked, too.
    pub(super) fn failure(&self, has_local: bool) -> Option<LookupFailure> {
        let failures = self.failures();
        if self.answered > 0 || (failures == 0 && has_local) {
            return None;
        }
        let retry_after = self.retry_after.unwrap_or_default();
        let failure = match failures {
            0 => LookupFailure::Failed(self.reasons.clone()),
            all if all == self.over_budget => LookupFailure::OverBudget { retry_after },
            all if all == self.over_budget + self.resting => LookupFailure::Resting { retry_after },
            all if all == self.timed_out => LookupFailure::TimedOut(self.reasons.clone()),
            all if all == self.busy => LookupFailure::Overloaded,
            _ => LookupFailure::Failed(self.reasons.clone()),
        };
        Some(failure)
    }

    fn failures(&self) -> usize {
        self.failed + self.timed_out + self.busy + self.over_budget + self.resting
    }

    fn note_end(&mut self, retry_after: Duration) {
        self.retry_after = Some(self.retry_after.map_or(retry_after, |it| it.min(retry_after)));
    }
}

impl From<LookupFailure> for ResolveError {
    fn from(failure: LookupFailure) -> Self {
        match failure {
            LookupFailure::OverBudget { retry_after } => Self::OverBudget { retry_after },
            LookupFailure::Resting { retry_after } => Self::Resting { retry_after },
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
    const RESTING: Result<(), AskError> = Err(AskError::Resting { retry_after: LATE });
    const SPENT: Result<(), AskError> = Err(AskError::OverBudget { retry_after: SOON });
    const LATE_ONE: Result<(), AskError> = Err(AskError::TimedOut);
    const BUSY: Result<(), AskError> = Err(AskError::Busy);
    const BROKEN: Result<(), AskError> = Err(AskError::Broken);
    const CIRCLE: Result<(), AskError> = Err(AskError::Circle);

    #[test]
    fn each_combination_of_failures_has_its_meaning() {
        let over_budget = |retry_after| Some(LookupFailure::OverBudget { retry_after });
        let resting = |retry_after| Some(LookupFailure::Resting { retry_after });
        let reasons = UpstreamReasons::default;
        let timed_out = || Some(LookupFailure::TimedOut(reasons()));
        let failed = || Some(LookupFailure::Failed(reasons()));
        // What upstreams say, what it means with a local index and without one, how much was found.
        for (results, with_local, without, extent) in [
            (vec![], None, failed(), Extent::Whole),
            (vec![OK], None, None, Extent::Whole),
            (vec![OK, OK], None, None, Extent::Whole),
            (vec![OK, BROKEN], None, None, Extent::Partial),
            (vec![OK, SPENT], None, None, Extent::Partial),
            (vec![OK, NOT_OFFERED], None, None, Extent::Whole),
            (vec![NOT_OFFERED], None, failed(), Extent::Whole),
            (vec![NOT_OFFERED, BROKEN], failed(), failed(), Extent::Partial),
            (vec![NOT_OFFERED, SPENT], over_budget(SOON), over_budget(SOON), Extent::Partial),
            (vec![SPENT], over_budget(SOON), over_budget(SOON), Extent::Partial),
            (vec![SPENT, SPENT], over_budget(SOON), over_budget(SOON), Extent::Partial),
            (vec![RESTING], resting(LATE), resting(LATE), Extent::Partial),
            (vec![RESTING, RESTING], resting(LATE), resting(LATE), Extent::Partial),
            (vec![RESTING, SPENT], resting(SOON), resting(SOON), Extent::Partial),
            (vec![SPENT, RESTING], resting(SOON), resting(SOON), Extent::Partial),
            (vec![RESTING, BROKEN], failed(), failed(), Extent::Partial),
            (vec![CIRCLE], None, failed(), Extent::Circled),
            (vec![CIRCLE, OK], None, None, Extent::Circled),
            (vec![CIRCLE, NOT_OFFERED], None, failed(), Extent::Circled),
            (vec![CIRCLE, BROKEN], failed(), failed(), Extent::Partial),
            (vec![CIRCLE, RESTING], resting(LATE), resting(LATE), Extent::Partial),
            (vec![SPENT, LATE_ONE], failed(), failed(), Extent::Partial),
            (vec![LATE_ONE], timed_out(), timed_out(), Extent::Partial),
            (vec![LATE_ONE, LATE_ONE], timed_out(), timed_out(), Extent::Partial),
            (vec![LATE_ONE, BROKEN], failed(), failed(), Extent::Partial),
            (
                vec![BUSY, BUSY],
                Some(LookupFailure::Overloaded),
                Some(LookupFailure::Overloaded),
                Extent::Partial,
            ),
            (vec![BUSY, BROKEN], failed(), failed(), Extent::Partial),
            (vec![BROKEN], failed(), failed(), Extent::Partial),
            (vec![Err(AskError::Failed("it".into()))], failed(), failed(), Extent::Partial),
        ] {
            let mut summary = FailureSummary::default();
            let account = AccountId::parse("far").unwrap();
            results.iter().for_each(|result| summary.count(&account, result.clone()));
            summary.reasons = UpstreamReasons::default();
            assert_eq!(summary.failure(true), with_local, "{results:?}");
            assert_eq!(summary.failure(false), without, "{results:?}");
            assert_eq!(summary.extent(), extent, "{results:?}");
        }
    }

    #[test]
    fn a_failure_names_the_upstreams_and_how_each_failed() {
        let mut summary = FailureSummary::default();
        for (name, result) in [("a", LATE_ONE), ("b", Err(AskError::Failed("it is red".into())))] {
            summary.count(&AccountId::parse(name).unwrap(), result);
        }
        let error = ResolveError::from(summary.failure(true).unwrap());
        let expected = "every upstream failed (a: it gave no whole answer in time; b: it is red)";
        assert_eq!(error.to_string(), expected);
    }
}
