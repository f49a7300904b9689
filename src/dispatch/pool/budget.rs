//! The budget of an endpoint: a count per UTC day, and a token bucket that refills by the hour.
//!
//! All arithmetic is in integers, so that a budget is exact to the lookup, however it is spent. The
//! bucket holds an hour's lookups and gains a token every `3,600 / hourly_rate` seconds; it is
//! stored as what is missing from a full one, in parts of a token, so that a changed `hourly_rate`
//! applies to what was already spent. Nothing here fails: an exhausted budget says when a lookup is
//! available again.

use crate::clock::UnixMs;

/// A day, in milliseconds. UTC days have no leap seconds here, as Unix time has none.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Parts of a token: as many as an hour has milliseconds, so that a bucket gains `hourly_rate`
/// parts each millisecond.
const TOKEN_PARTS: u64 = 60 * 60 * 1_000;

/// The largest effective hourly rate, over a billion lookups a second: the parts of its bucket just
/// fit into 64 bits.
const HOURLY_RATE_MAX: u64 = u64::MAX / TOKEN_PARTS;

/// The limits of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Lookups in a UTC day.
    pub daily_volume: u64,
    /// Lookups in an hour: the capacity of the bucket, and its refill per hour.
    pub hourly_rate: u64,
}

/// The spent budget of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The day that `of_day` counts, in days since the Unix epoch.
    pub(crate) day: u64,
    /// Lookups of that day.
    pub(crate) of_day: u64,
    /// What was missing from a full bucket at `at_ms`, in parts of a token.
    pub(crate) missing_parts: u64,
    /// The time of `missing_parts`.
    pub(crate) at_ms: UnixMs,
}

impl BudgetLimits {
    /// The bucket's size in parts of a token.
    fn capacity_parts(self) -> u64 {
        self.parts_per_ms() * TOKEN_PARTS
    }

    fn parts_per_ms(self) -> u64 {
        self.hourly_rate.min(HOURLY_RATE_MAX)
    }
}

impl Spent {
    /// Debits one lookup, or returns the time from which one is available.
    pub(crate) fn debit(&mut self, limits: BudgetLimits, now_ms: UnixMs) -> Result<(), UnixMs> {
        let mut as_of_now = self.as_of(limits, now_ms);
        let ready_at_ms = as_of_now.ready_at_ms(limits, now_ms);
        if ready_at_ms > now_ms {
            return Err(ready_at_ms);
        }
        as_of_now.of_day += 1;
        as_of_now.missing_parts += TOKEN_PARTS;
        *self = as_of_now;
        Ok(())
    }

    /// The time from which a lookup is available: `now_ms` if one is available now.
    pub(crate) fn ready_at_ms(&self, limits: BudgetLimits, now_ms: UnixMs) -> UnixMs {
        let now = self.as_of(limits, now_ms);
        let of_day = if now.of_day < limits.daily_volume {
            now_ms
        } else if limits.daily_volume == 0 {
            UnixMs::MAX
        } else {
            (now.day + 1).saturating_mul(DAY_MS)
        };
        of_day.max(now.token_at_ms(limits, now_ms))
    }

    /// Lookups left of the day.
    pub(crate) fn left_of_day(&self, limits: BudgetLimits, now_ms: UnixMs) -> u64 {
        limits.daily_volume.saturating_sub(self.as_of(limits, now_ms).of_day)
    }

    /// Whole tokens in the bucket.
    pub(crate) fn left_of_hour(&self, limits: BudgetLimits, now_ms: UnixMs) -> u64 {
        let missing = self.as_of(limits, now_ms).missing_parts;
        (limits.capacity_parts() - missing) / TOKEN_PARTS
    }

    /// The state at another time, if nothing is spent in between.
    ///
    /// The count of a day survives a clock that is set back, so that the day is not counted twice.
    /// A count from later than tomorrow came from a clock that was wrong by days; it would block
    /// the endpoint until then, and is dropped. A bucket gains nothing while the clock is set back.
    fn as_of(&self, limits: BudgetLimits, now_ms: UnixMs) -> Self {
        let today = now_ms / DAY_MS;
        let is_counted = self.day == today || self.day == today + 1;
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(limits.parts_per_ms());
        Self {
            day: if is_counted { self.day } else { today },
            of_day: if is_counted { self.of_day } else { 0 },
            missing_parts: self.missing_parts.saturating_sub(gained).min(limits.capacity_parts()),
            at_ms: now_ms,
        }
    }

    /// When the bucket holds a whole token; `self` is as of now.
    fn token_at_ms(&self, limits: BudgetLimits, now_ms: UnixMs) -> UnixMs {
        let Some(missing_at_most) = limits.capacity_parts().checked_sub(TOKEN_PARTS) else {
            return UnixMs::MAX;
        };
        let lacking = self.missing_parts.saturating_sub(missing_at_most);
        now_ms.saturating_add(lacking.div_ceil(limits.parts_per_ms()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: UnixMs = 20_000 * DAY_MS + DAY_MS / 2;
    const HOUR_MS: u64 = TOKEN_PARTS;

    fn limits(daily_volume: u64, hourly_rate: u64) -> BudgetLimits {
        BudgetLimits { daily_volume, hourly_rate }
    }

    /// Spends all that is available; returns how much that was.
    fn drain(spent: &mut Spent, limits: BudgetLimits, now_ms: UnixMs) -> u64 {
        let mut count = 0;
        while spent.debit(limits, now_ms).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn a_day_ends_at_midnight_utc_and_the_next_has_all_again() {
        let limits = limits(3, 1_000);
        let mut spent = Spent::default();
        assert_eq!(drain(&mut spent, limits, NOON), 3);
        let midnight = 20_001 * DAY_MS;
        assert_eq!(spent.debit(limits, midnight - 1), Err(midnight));
        assert_eq!(spent.left_of_day(limits, midnight - 1), 0);
        assert_eq!(spent.left_of_day(limits, midnight), 3);
        assert_eq!(drain(&mut spent, limits, midnight), 3);
    }

    #[test]
    fn a_bucket_gives_an_hour_at_once_and_then_a_token_at_a_time() {
        let limits = limits(u64::MAX, 7_200);
        let mut spent = Spent::default();
        assert_eq!(drain(&mut spent, limits, NOON), 7_200);
        // 7,200 an hour are one each half second.
        assert_eq!(spent.debit(limits, NOON), Err(NOON + 500));
        assert_eq!(spent.debit(limits, NOON + 499), Err(NOON + 500));
        assert_eq!(drain(&mut spent, limits, NOON + 500), 1);
        assert_eq!(drain(&mut spent, limits, NOON + 1_750), 2);
        assert_eq!(spent.debit(limits, NOON + 1_750), Err(NOON + 2_000));
        assert_eq!(drain(&mut spent, limits, NOON + 50 * HOUR_MS), 7_200);
    }

    #[test]
    fn a_rate_that_divides_no_hour_is_met_to_the_lookup() {
        let limits = limits(u64::MAX, 7);
        let mut spent = Spent::default();
        assert_eq!(drain(&mut spent, limits, NOON), 7);
        let mut gained = 0;
        for ms in (0..=HOUR_MS).step_by(977).chain([HOUR_MS]) {
            gained += drain(&mut spent, limits, NOON + ms);
        }
        assert_eq!(gained, 7, "an hour in 3,685 pieces gains what an hour gains");
        assert_eq!(spent.debit(limits, NOON + HOUR_MS), Err(NOON + HOUR_MS + 514_286));
    }

    #[test]
    fn other_limits_count_from_what_was_spent() {
        let mut spent = Spent::default();
        assert_eq!(drain(&mut spent, limits(10, 10), NOON), 10);
        assert_eq!(drain(&mut spent, limits(15, 12), NOON), 2, "the hour has two more");
        assert_eq!(drain(&mut spent, limits(15, 100), NOON), 3, "the day has three more");
        let ready_at = spent.ready_at_ms(limits(100, 1), NOON);
        assert_eq!(ready_at, NOON + HOUR_MS, "a smaller bucket is empty, not in debt");
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_back() {
        let limits = limits(5, 5);
        let mut spent = Spent::default();
        let after_midnight = 20_001 * DAY_MS + 10;
        assert_eq!(drain(&mut spent, limits, after_midnight), 5);
        let before = after_midnight - 20;
        assert_eq!(spent.debit(limits, before), Err(20_002 * DAY_MS), "the new day stays counted");
        assert_eq!(spent.left_of_hour(limits, before), 0);
    }

    #[test]
    fn a_count_from_days_ahead_is_that_of_a_wrong_clock() {
        let limits = limits(5, 5);
        let mut spent = Spent::default();
        drain(&mut spent, limits, NOON + 1_000 * DAY_MS);
        assert_eq!(spent.left_of_day(limits, NOON), 5);
        assert_eq!(spent.ready_at_ms(limits, NOON), NOON + HOUR_MS / 5);
    }

    #[test]
    fn limits_of_zero_and_without_end_do_not_overflow() {
        let mut spent = Spent::default();
        assert_eq!(spent.debit(limits(0, 5), NOON), Err(UnixMs::MAX));
        assert_eq!(spent.debit(limits(5, 0), NOON), Err(UnixMs::MAX));
        let endless = limits(u64::MAX, u64::MAX);
        for now_ms in [0, NOON, u64::MAX - 1, u64::MAX] {
            assert_eq!(spent.debit(endless, now_ms), Ok(()));
        }
    }

    proptest! {
        /// Whenever lookups come, no UTC day has more than its volume, and no interval more than a
        /// full bucket plus its refill.
        #[test]
        fn no_limit_is_ever_exceeded(
            daily_volume in 1_u64..60,
            hourly_rate in 1_u64..40,
            gaps in proptest::collection::vec(
                prop_oneof![Just(0), 0..2_000_u64, 0..HOUR_MS, 0..DAY_MS], 1..400,
            ),
        ) {
            let limits = limits(daily_volume, hourly_rate);
            let mut spent = Spent::default();
            let mut now_ms = NOON;
            let mut debited: Vec<UnixMs> = Vec::new();
            for gap in gaps {
                now_ms += gap;
                let ready_at_ms = spent.ready_at_ms(limits, now_ms);
                match spent.debit(limits, now_ms) {
                    Ok(()) => {
                        prop_assert_eq!(ready_at_ms, now_ms);
                        debited.push(now_ms);
                    }
                    Err(at_ms) => {
                        prop_assert_eq!(ready_at_ms, at_ms);
                        let mut then = spent;
                        prop_assert!(then.debit(limits, at_ms).is_ok(), "the time told is true");
                        let mut sooner = spent;
                        prop_assert!(sooner.debit(limits, at_ms - 1).is_err(), "and the soonest");
                    }
                }
            }
            for (index, from) in debited.iter().enumerate() {
                let same_day = debited[index..].iter().filter(|at| *at / DAY_MS == from / DAY_MS);
                prop_assert!(same_day.count() as u64 <= daily_volume);
                for (count, to) in debited[index..].iter().enumerate() {
                    let parts = (to - from) * hourly_rate + hourly_rate * TOKEN_PARTS;
                    prop_assert!((count as u64 + 1) * TOKEN_PARTS <= parts);
                }
            }
        }
    }
}
