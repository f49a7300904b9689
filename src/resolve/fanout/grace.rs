//! How long whoever has something waits for more.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Sleep;

/// A while that begins when there is something, and until then has no end.
pub(super) struct GraceTimeout {
    timeout: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl GraceTimeout {
    /// A while of this length that has not begun.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, sleep: None }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.sleep.is_some()
    }

    /// Begins, unless it has, and if there is something.
    pub(super) fn begin_if(&mut self, has_some: bool) {
        if has_some && self.sleep.is_none() {
            self.sleep = Some(Box::pin(tokio::time::sleep(self.timeout)));
        }
    }

    /// Waits until the while is over.
    pub(super) async fn is_over(&mut self) {
        match &mut self.sleep {
            Some(sleep) => sleep.await,
            None => pending().await,
        }
    }
}
