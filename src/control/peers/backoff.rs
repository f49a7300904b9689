//! Exponential backoff with jitter for retries of a peer.

use std::time::Duration;

/// The longest first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits that double from one second to one minute, each shortened by a random part of up to a
/// half.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    waits: u32,
}

impl Backoff {
    /// The next wait; `chance`, from 0 to 1, is the jitter.
    pub(super) fn next(&mut self, chance: f64) -> Duration {
        let whole = FIRST.saturating_mul(1_u32.checked_shl(self.waits).unwrap_or(u32::MAX));
        self.waits = self.waits.saturating_add(1);
        whole.min(LONGEST).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Resets after a success. Returns whether there had been failures.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::take(&mut self.waits) > 0
    }

    /// Whether there was no failure yet.
    pub(super) fn is_fresh(self) -> bool {
        self.waits == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_fresh() && !backoff.reset());
        let seconds: Vec<u64> = (0..40).map(|_| backoff.next(0.0).as_secs()).collect();
        assert_eq!(seconds[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(seconds[8..].iter().all(|wait| *wait == 60));
        assert!(!backoff.is_fresh() && backoff.reset());
        assert_eq!(backoff.next(1.0), FIRST / 2);
        assert_eq!(backoff.next(0.5), FIRST * 2 * 3 / 4);
    }
}
