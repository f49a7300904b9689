//! Work that continues after its caller is cancelled: a change that was half done when a client
//! disconnected must still be completed.
//!
//! A panic of the work is logged by the process's panic hook; the caller gets [`Unfinished`].

use std::future::Future;

use thiserror::Error;

/// Detached work ended without a result: it panicked, or the process is stopping.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it was not completed")]
pub struct Unfinished;

/// Runs `work` to its end in a task of its own, even if the returned future is dropped after it was
/// first polled.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Unfinished> {
    tokio::spawn(work).await.map_err(|_| Unfinished)
}

/// Runs blocking `work` to its end on a thread for such work, even if the returned future is dropped.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Unfinished)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_is_completed_though_nobody_waits_for_it() {
        let (release, released) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let work = detached(async move {
            released.await.unwrap();
            done.send(()).unwrap();
        });
        // Begun, and dropped where it waits.
        assert!(work.now_or_never().is_none());
        release.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_is_unfinished() {
        assert_eq!(detached(async { panic!("on purpose") }).await, Err::<(), _>(Unfinished));
        assert_eq!(run_blocking(|| panic!("on purpose")).await, Err::<(), _>(Unfinished));
        assert_eq!(run_blocking(|| 7).await, Ok(7));
    }
}
