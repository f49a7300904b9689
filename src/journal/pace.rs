//! A rate limit for background work, and its stop flag.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::Stopwatch;

/// Shorter waits are accumulated: a sleep costs about as much.
const WAIT_MIN: Duration = Duration::from_millis(10);

/// A flag that is raised once and wakes its waiters.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    pub(super) fn raise(&self) {
        let (flag, raised) = &*self.0;
        *flag.lock() = true;
        raised.notify_all();
    }

    /// Waits until the flag is raised, with a timeout. Returns whether it is.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let (flag, raised) = &*self.0;
        let mut flag = flag.lock();
        if !*flag {
            raised.wait_for(&mut flag, at_most);
        }
        *flag
    }
}

/// A limit in bytes a second, and the flag that stops the work.
pub(super) struct Pace<'a> {
    limit: Option<(&'a Stop, u64)>,
    since: Stopwatch,
    bytes: u64,
}

impl<'a> Pace<'a> {
    /// No limit, and no stop flag.
    pub(super) fn unlimited() -> Self {
        Self { limit: None, since: Stopwatch::start(), bytes: 0 }
    }

    /// A limit in bytes a second, until the flag is raised.
    pub(super) fn limited(stop: &'a Stop, bytes_per_second: u64) -> Self {
        Self { limit: Some((stop, bytes_per_second)), ..Self::unlimited() }
    }

    /// Counts bytes that were read or written, and waits if they exceed the rate.
    pub(super) fn spend(&mut self, bytes: u64) -> ControlFlow<()> {
        let Some((stop, bytes_per_second)) = self.limit else { return ControlFlow::Continue(()) };
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / bytes_per_second as f64);
        let early = due.saturating_sub(self.since.elapsed());
        if early >= WAIT_MIN && stop.wait(early) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_keeps_to_its_limit_and_can_be_stopped() {
        let stop = Stop::default();
        let watch = Stopwatch::start();
        let mut pace = Pace::limited(&stop, 1_000_000);
        for _ in 0..10 {
            assert!(pace.spend(5_000).is_continue());
        }
        assert!(watch.elapsed() >= Duration::from_millis(40), "{:?}", watch.elapsed());
        stop.raise();
        let mut pace = Pace::limited(&stop, 1);
        assert!(pace.spend(1 << 40).is_break());
        assert!(Pace::unlimited().spend(u64::MAX).is_continue());
    }
}
