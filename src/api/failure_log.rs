//! The log lines of requests that failed: each has the id that the answer names and the whole chain of
//! causes. A failure that lasts would fill the disk, so lines are rate-limited, and the next one says
//! how many were left out.

use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;

use super::error::{ApiError, Fault};
use super::rate_limit::{Quota, unix_ns};
use super::request_id::RequestId;
use crate::clock::Clock;
use crate::text::with_causes;

/// Lines in the long run: 864,000 a day, some 200 MB.
const LINES_PER_S: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Lines at once: a burst of failures is told in full.
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Where failures are logged; one for the whole process.
pub(super) struct FailureLog {
    quota: Quota,
    clock: Clock,
    written: Mutex<LogQuotaState>,
}

#[derive(Default)]
struct LogQuotaState {
    full_at: u64,
    left_out: u64,
}

impl FailureLog {
    pub(super) fn new(clock: Clock) -> Self {
        let quota = Quota::new(LINES_PER_S, Duration::from_secs(1), LINES_AT_ONCE);
        Self { quota, clock, written: Mutex::default() }
    }

    /// Logs why a request failed, if its client is not told.
    pub(super) fn log(&self, error: &ApiError, request_id: &RequestId) {
        let Some(fault) = error.fault() else { return };
        let Some(left_out) = self.take_line() else { return };
        let (request_id, error) = (request_id.as_str(), with_causes(error));
        let left_out = (left_out > 0).then_some(left_out);
        match fault {
            Fault::Ours => tracing::error!(request_id, error, left_out, "request failed"),
            Fault::Upstreams => tracing::warn!(request_id, error, left_out, "request failed"),
        }
    }

    /// How many lines were left out since the last one; `None`: this one is, too.
    fn take_line(&self) -> Option<u64> {
        let now = unix_ns(self.clock.now_ms());
        let mut written = self.written.lock();
        match self.quota.take(written.full_at, now) {
            Ok(full_at) => {
                written.full_at = full_at;
                Some(std::mem::take(&mut written.left_out))
            }
            Err(_) => {
                written.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_failure_that_lasts_is_logged_at_a_bounded_rate_and_says_what_it_left_out() {
        let clock = ManualClock::new(1_000_000);
        let log = FailureLog::new(Clock::Manual(clock.clone()));
        let taken: Vec<_> = (0..150).map(|_| log.take_line()).collect();
        assert_eq!(taken, [[Some(0); 100].as_slice(), &[None; 50]].concat());
        clock.advance(200);
        let taken: Vec<_> = (0..3).map(|_| log.take_line()).collect();
        assert_eq!(taken, [Some(50), Some(0), None]);
    }
}
