//! Violations of invariants.
//!
//! A debug build panics. A release build counts the violation, logs it, and gives the caller `None`
//! or `false`, so that it refuses the operation. The count is per process: a violation may happen
//! on any thread and below any interface. The 1st, 2nd, 4th, 8th ... violations are logged, so that
//! a loop cannot fill the log.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

static VIOLATIONS: AtomicU64 = AtomicU64::new(0);

/// The violations since the process started.
pub(crate) fn violations() -> u64 {
    VIOLATIONS.load(Ordering::Relaxed)
}

/// Unwraps a value that an invariant guarantees. `None` is a violation.
#[track_caller]
pub(crate) fn present<T>(value: Option<T>, invariant: &'static str) -> Option<T> {
    holds(value.is_some(), invariant);
    value
}

/// Whether an invariant holds. `false` is a violation.
#[track_caller]
pub(crate) fn holds(condition: bool, invariant: &'static str) -> bool {
    debug_assert!(condition, "an invariant does not hold: {invariant}");
    if !condition {
        report(invariant, Location::caller());
    }
    condition
}

#[cold]
fn report(invariant: &'static str, at: &Location<'_>) {
    let count = VIOLATIONS.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_power_of_two() {
        tracing::error!(invariant, %at, count, "an invariant does not hold; this is a fault of the program");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_passes() {
        assert_eq!(present(Some(1), "one"), Some(1));
        assert!(holds(true, "true"));
    }

    #[test]
    #[should_panic(expected = "an invariant does not hold: there is one")]
    fn a_debug_build_panics_when_something_is_missing() {
        let _ = present(None::<u8>, "there is one");
    }

    #[test]
    fn a_violation_is_counted() {
        let before = violations();
        report("a test", Location::caller());
        assert!(violations() > before);
    }
}
