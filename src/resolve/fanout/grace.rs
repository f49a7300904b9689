//! The grace timeout: how long an answer that has something waits for more.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Sleep;

/// A timeout that has no end until it is begun.
pub(super) struct GraceTimeout {
    timeout: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl GraceTimeout {
    /// A timeout of this length that has not begun.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, sleep: None }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.sleep.is_some()
    }

    /// Begins the timeout, unless it has begun.
    pub(super) fn begin(&mut self) {
        if self.sleep.is_none() {
            self.sleep = Some(Box::pin(tokio::time::sleep(self.timeout)));
        }
    }

    /// Waits for the end of the timeout.
    pub(super) async fn is_over(&mut self) {
        match &mut self.sleep {
            Some(sleep) => sleep.await,
            None => pending().await,
        }
    }
}
