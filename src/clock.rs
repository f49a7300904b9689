//! The only place that asks the system for the time.
//!
//! Everything else takes `now` as a parameter, so that tests decide what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) type UnixMs = u64;

/// A source of the current time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that stands still until it is set.
    Manual(ManualClock),
}

impl Clock {
    /// The time now, in milliseconds since the Unix epoch; 0 if the system's clock is before it.
    pub fn now_ms(&self) -> UnixMs {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            Self::Manual(manual) => manual.0.load(Ordering::Relaxed),
        }
    }
}

/// A clock for tests: all clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: UnixMs) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now_ms: UnixMs) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    /// Moves the time forwards by `ms` milliseconds.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// A duration in whole seconds, rounded up: what waits so long does not come too early.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Measures how long something takes, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_never_too_few() {
        for (ms, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
