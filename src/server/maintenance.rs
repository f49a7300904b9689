//! The background work: freeing what is removed, expired or forgotten, and talking to peer routers.
//!
//! If either dies, readiness says so; lookups go on, but memory is no longer given back, or peers are
//! no longer heard and their routes go.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::admin::{Component, Readiness};
use crate::api::ApiState;
use crate::clock::Clock;
use crate::control::Control;
use crate::store::{NameStore, Store};

/// How often the store frees a bounded amount of what is gone.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What the background work is about.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Store>,
    pub(super) names: Arc<dyn NameStore>,
    pub(super) state: Arc<ApiState>,
    pub(super) clock: Clock,
}

/// The background work of a server.
pub(super) struct Maintenance {
    cancelled: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Maintenance {
    /// Starts it, and declares it ready.
    pub(super) fn start(upkeep: Upkeep, control: Arc<Control>, readiness: Arc<Readiness>) -> Self {
        let cancelled = CancellationToken::new();
        let work = tokio::spawn(run(upkeep, cancelled.clone()));
        let talk = tokio::spawn(control.run(cancelled.clone()));
        readiness.set_ready(Component::Maintenance);
        let tasks = [work, talk].map(|task| tokio::spawn(watch(task, readiness.clone())));
        Self { cancelled, tasks }
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.cancelled.cancel();
        for task in self.tasks {
            // The task only waits; it has nothing to fail with.
            let _ = task.await;
        }
    }
}

async fn watch(task: JoinHandle<()>, readiness: Arc<Readiness>) {
    if let Err(panic) = task.await {
        tracing::error!(%panic, "the background work has stopped");
    }
    readiness.set_not_ready(Component::Maintenance);
}

async fn run(upkeep: Upkeep, cancelled: CancellationToken) {
    let Upkeep { store, names, state, clock } = upkeep;
    let mut outage = Outage::default();
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancelled.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let swept = store.sweep(clock.now_ms()).await;
        match (outage.note(swept.is_err()), swept) {
            (Some(Turn::Begins), Err(error)) => {
                tracing::warn!(%error, "the store could not free what is gone; it goes on trying");
            }
            (Some(Turn::Ends), _) => tracing::info!("the store frees what is gone again"),
            (Some(Turn::Begins), Ok(_)) | (None, _) => {}
        }
        if let Err(error) = names.sweep(clock.now_ms()).await {
            tracing::warn!(%error, "the IPNS records that have expired could not be freed");
        }
        state.sweep();
    }
}

/// Whether the last attempt failed: a failure that lasts for hours is said once.
#[derive(Default)]
struct Outage {
    is_on: bool,
}

/// What is worth a line of the log.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Begins,
    Ends,
}

impl Outage {
    fn note(&mut self, has_failed: bool) -> Option<Turn> {
        let was_on = std::mem::replace(&mut self.is_on, has_failed);
        match (was_on, has_failed) {
            (false, true) => Some(Turn::Begins),
            (true, false) => Some(Turn::Ends),
            (false, false) | (true, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_when_it_begins_and_when_it_ends() {
        let mut outage = Outage::default();
        let failed = [false, true, true, true, false, false, true];
        let said: Vec<_> = failed.into_iter().map(|failed| outage.note(failed)).collect();
        let [begins, ends] = [Some(Turn::Begins), Some(Turn::Ends)];
        assert_eq!(said, [None, begins, None, None, ends, None, Some(Turn::Begins)]);
    }
}
