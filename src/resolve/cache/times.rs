//! Freshness: how long answers are cached, and how they may be used at an age.
//!
//! An answer that has records is fresh for a while, then it is served while it is asked for anew in
//! the background, and after that only if asking fails. One that is not whole is fresh for as long as
//! an empty one, and not served while it is asked for anew: the upstream that failed may know more. It
//! never replaces a whole one that is good for anything: it is merged with that, whose records
//! go when its own time is over, however often the new part is renewed. An empty one is only ever
//! served fresh, because what nobody had may be somewhere by now, and because a failure must not look
//! like "nobody has it".
//!
//! A clock that is set back makes answers younger, never invalid.

use std::sync::Arc;
use std::time::Duration;

use super::answer::RemoteAnswer;
use crate::clock::UnixMs;

/// The shortest time for which a whole answer counts as good.
const MOMENT: Duration = Duration::from_secs(1);

/// Limits and times of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheOptions {
    /// The most memory that answers about content and peers take, in bytes; 0: none are kept.
    pub(crate) bytes_max: u64,
    /// The most memory that IPNS records of upstreams take, in bytes; 0: none are kept.
    pub(crate) names_bytes_max: u64,
    /// How long an answer with records is served without asking.
    pub(crate) found_fresh: Duration,
    /// How long an empty answer, or one to which not all could contribute, is served without asking;
    /// also how long what failed is not asked again where something is there to be served instead.
    pub(crate) empty_fresh: Duration,
    /// For how long after that an answer is served while it is asked for anew.
    pub(crate) stale_while_revalidate: Duration,
    /// For how long after it was fresh an answer is served if asking anew fails.
    pub(crate) stale_if_error: Duration,
}

/// What a kept answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// To be served.
    Fresh,
    /// To be served, while it is asked for anew.
    Stale,
    /// To be served without asking anew, which has just failed.
    StaleAfterFailure,
    /// To be served if asking anew fails.
    Reserve,
    /// Nothing.
    Gone,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            names_bytes_max: 16 << 20,
            found_fresh: Duration::from_mins(5),
            empty_fresh: Duration::from_secs(15),
            stale_while_revalidate: Duration::from_mins(10),
            stale_if_error: Duration::from_hours(48),
        }
    }
}

impl CacheOptions {
    pub(super) fn freshness(&self, answer: &RemoteAnswer, now_ms: UnixMs) -> Freshness {
        let age = since(answer.made_at_ms(), now_ms);
        let is_whole_find = answer.is_whole() && !answer.is_empty();
        let fresh = if is_whole_find { self.found_fresh } else { self.empty_fresh };
        if age < fresh {
            return Freshness::Fresh;
        }
        if answer.is_empty() || age >= fresh.saturating_add(self.stale_if_error) {
            return Freshness::Gone;
        }
        let failed_at_ms = answer.failed_at_ms();
        if failed_at_ms > 0 && since(failed_at_ms, now_ms) < self.empty_fresh {
            return Freshness::StaleAfterFailure;
        }
        if is_whole_find && age < fresh.saturating_add(self.stale_while_revalidate) {
            Freshness::Stale
        } else {
            Freshness::Reserve
        }
    }
}

impl CacheOptions {
    /// Whether an answer is to be asked for again soon: it is not whole, or older than one is served
    /// while it is asked for anew. A whole one that is younger counts as good even if asking anew has
    /// just failed.
    pub(in crate::resolve) fn is_partial(&self, answer: &RemoteAnswer, now_ms: UnixMs) -> bool {
        let good = self.found_fresh.saturating_add(self.stale_while_revalidate);
        // Even where nothing is to be kept an answer is good for a moment.
        let good = good.max(self.empty_fresh).max(MOMENT);
        !answer.is_whole() || since(answer.made_at_ms(), now_ms) >= good
    }

    /// The answer without those of its records whose time is over.
    pub(super) fn current(&self, answer: Arc<RemoteAnswer>, now_ms: UnixMs) -> Arc<RemoteAnswer> {
        match answer.parts() {
            Some((new, old)) if self.freshness(old, now_ms) == Freshness::Gone => new.clone(),
            _ => answer,
        }
    }

    /// The answer that a partial answer after `before` is merged with: a whole one as long as there is one
    /// that is good for anything, or else the newest.
    pub(super) fn base(
        &self,
        before: &Arc<RemoteAnswer>,
        now_ms: UnixMs,
    ) -> Option<Arc<RemoteAnswer>> {
        let is_good = |it: &&Arc<RemoteAnswer>| {
            !it.is_empty() && self.freshness(it, now_ms) != Freshness::Gone
        };
        let (new, old) = before.parts().map_or((before, None), |(new, old)| (new, Some(old)));
        let whole = old.filter(|old| old.is_whole()).filter(is_good);
        whole.or_else(|| Some(new).filter(is_good)).cloned()
    }
}

fn since(then_ms: UnixMs, now_ms: UnixMs) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(then_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::cache::Completeness;
    use crate::resolve::testing::{peer, record};
    use crate::types::Subject;

    const SECOND: u64 = 1_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;

    fn answer(records: usize, is_whole: bool) -> RemoteAnswer {
        let records = (0..records as u32).map(|number| record(number, &[1]));
        let records = records.map(|record| (record.merge_key(), record)).collect();
        let completeness = if is_whole { Completeness::Whole } else { Completeness::Partial };
        RemoteAnswer::new(&Subject::Peer(peer(0)), records, HOUR, completeness)
    }

    #[test]
    fn what_an_answer_is_good_for_depends_on_its_age() {
        use Freshness::{Fresh, Gone, Reserve, Stale};
        for (records, is_whole, age_ms, expected) in [
            (1, true, 0, Fresh),
            (1, true, 5 * MINUTE - 1, Fresh),
            (1, true, 5 * MINUTE, Stale),
            (1, true, 15 * MINUTE - 1, Stale),
            (1, true, 15 * MINUTE, Reserve),
            (1, true, 48 * HOUR + 5 * MINUTE - 1, Reserve),
            (1, true, 48 * HOUR + 5 * MINUTE, Gone),
            (1, false, 15 * SECOND - 1, Fresh),
            (1, false, 15 * SECOND, Reserve),
            (1, false, 48 * HOUR + 15 * SECOND, Gone),
            (0, true, 15 * SECOND - 1, Fresh),
            (0, true, 15 * SECOND, Gone),
        ] {
            let answer = answer(records, is_whole);
            let freshness = CacheOptions::default().freshness(&answer, HOUR + age_ms);
            assert_eq!(freshness, expected, "{records} {is_whole} {age_ms}");
        }
    }

    #[test]
    fn after_a_failure_a_stale_answer_is_served_for_a_while_without_asking() {
        let answer = answer(1, true);
        for at_ms in [HOUR + 6 * MINUTE, 20 * HOUR] {
            answer.record_failure(at_ms);
            let freshness = |after_ms| CacheOptions::default().freshness(&answer, at_ms + after_ms);
            assert_eq!(freshness(15 * SECOND - 1), Freshness::StaleAfterFailure);
            assert_ne!(freshness(15 * SECOND), Freshness::StaleAfterFailure);
        }
        let freshness = CacheOptions::default().freshness(&answer, HOUR - 1);
        assert_eq!(freshness, Freshness::Fresh, "a clock that was set back");
    }
}
