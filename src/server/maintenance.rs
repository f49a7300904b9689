//! Background work: named periodic tasks, and the exchange with peer routers.
//!
//! A task that fails is retried at its next interval; the first failure and the recovery are
//! logged. If a task dies, readiness names it: lookups go on, but memory is no longer reclaimed, or
//! routes of peers expire.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::api::ApiState;
use crate::clock::Clock;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::store::{IpnsStore, Store};
use crate::types::Limit;

/// Interval between sweeps, each of which frees a bounded amount of memory.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many sweeps follow each other while groups are evicted: a quarter of a second.
const EVICTING_SWEEPS_MAX: usize = 16;

/// How one turn of a task ends.
type TurnResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A piece of background work.
pub(super) struct Task {
    name: &'static str,
    work: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

impl Task {
    /// A task that runs once per interval.
    pub(super) fn every(
        interval: Duration,
        name: &'static str,
        turn: impl Fn() -> BoxFuture<'static, TurnResult> + Send + 'static,
    ) -> Self {
        let work = move |cancelled| repeat(name, interval, turn, cancelled).boxed();
        Self { name, work: Box::new(work) }
    }

    /// A task that runs until it is cancelled.
    pub(super) fn ongoing<F>(
        name: &'static str,
        work: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name, work: Box::new(move |cancelled| work(cancelled).boxed()) }
    }
}

/// The dependencies of the background work.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Store>,
    pub(super) ipns: Arc<dyn IpnsStore>,
    pub(super) state: Arc<ApiState>,
    pub(super) control: Arc<Control>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// The tasks of a server.
pub(super) fn tasks(upkeep: Upkeep) -> Vec<Task> {
    let Upkeep { store, ipns, state, control, metrics, clock } = upkeep;
    let store_clock = clock.clone();
    let is_evicting = Arc::new(AtomicBool::new(false));
    let sweep_store = move || {
        let (store, metrics, clock) = (store.clone(), metrics.clone(), store_clock.clone());
        let is_evicting = is_evicting.clone();
        async move {
            let mut evicted = 0;
            for _ in 0..EVICTING_SWEEPS_MAX {
                let swept = store.sweep(clock.now_ms()).await?;
                metrics.evicted(swept.evicted);
                metrics.refused(Limit::KeyNetwork.name(), swept.crowded);
                evicted += swept.evicted;
                if swept.evicted == 0 {
                    break;
                }
                tokio::task::yield_now().await;
            }
            // Once, however long it goes on.
            if !is_evicting.swap(evicted > 0, Ordering::Relaxed) && evicted > 0 {
                tracing::warn!(
                    groups = evicted,
                    "evicting what the heaviest networks announced: the index is full (index_memory_max)"
                );
            }
            Ok(())
        }
        .boxed()
    };
    let sweep_names = move || {
        let (ipns, now_ms) = (ipns.clone(), clock.now_ms());
        async move { ipns.sweep(now_ms).await.map(drop).map_err(Into::into) }.boxed()
    };
    let sweep_clients = move || {
        state.sweep();
        std::future::ready(Ok(())).boxed()
    };
    vec![
        Task::every(SWEEP_EVERY, "freeing what has gone from the index", sweep_store),
        Task::every(SWEEP_EVERY, "freeing IPNS records that have expired", sweep_names),
        Task::every(SWEEP_EVERY, "forgetting clients", sweep_clients),
        Task::ongoing("exchanging routes with peers", |cancelled| control.run(cancelled)),
    ]
}

/// The background work, running.
pub(super) struct Maintenance {
    cancelled: CancellationToken,
    watched: Vec<JoinHandle<()>>,
}

impl Maintenance {
    /// Starts all tasks.
    pub(super) fn start(tasks: Vec<Task>, readiness: &Arc<Readiness>) -> Self {
        let cancelled = CancellationToken::new();
        let watched = tasks.into_iter().map(|Task { name, work }| {
            let task = tokio::spawn(work(cancelled.clone()));
            tokio::spawn(watch(name, task, cancelled.clone(), readiness.clone()))
        });
        Self { watched: watched.collect(), cancelled }
    }

    /// Ends them.
    pub(super) async fn stop(self) {
        self.cancelled.cancel();
        for watched in self.watched {
            // The watcher only waits, and cannot fail.
            let _ = watched.await;
        }
    }
}

async fn watch(
    name: &'static str,
    task: JoinHandle<()>,
    cancelled: CancellationToken,
    readiness: Arc<Readiness>,
) {
    let ended = task.await;
    if cancelled.is_cancelled() {
        return;
    }
    let panic = ended.err().map(|panic| panic.to_string());
    tracing::error!(task = name, panic, "a background task has died");
    readiness.set_dead(name);
}

async fn repeat(
    name: &'static str,
    interval: Duration,
    turn: impl Fn() -> BoxFuture<'static, TurnResult> + Send,
    cancelled: CancellationToken,
) {
    let mut outage = Outage::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancelled.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let result = turn().await;
        match (outage.observe(&result), result) {
            (Some(Edge::Begins), Err(error)) => {
                tracing::warn!(task = name, %error, "a background task fails; it is tried again");
            }
            (Some(Edge::Ends), _) => tracing::info!(task = name, "a background task works again"),
            (Some(Edge::Begins), Ok(())) | (None, _) => {}
        }
    }
}

/// Whether the last attempt failed: a persistent failure is logged once.
#[derive(Default)]
struct Outage {
    is_on: bool,
}

/// A transition that is logged.
#[derive(Debug, PartialEq, Eq)]
enum Edge {
    Begins,
    Ends,
}

impl Outage {
    fn observe<T, E>(&mut self, result: &Result<T, E>) -> Option<Edge> {
        let was_on = std::mem::replace(&mut self.is_on, result.is_err());
        match (was_on, self.is_on) {
            (false, true) => Some(Edge::Begins),
            (true, false) => Some(Edge::Ends),
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
        let results = [Ok(()), Err(()), Err(()), Err(()), Ok(()), Ok(()), Err(())];
        let said: Vec<_> = results.iter().map(|result| outage.observe(result)).collect();
        let [begins, ends] = [Some(Edge::Begins), Some(Edge::Ends)];
        assert_eq!(said, [None, begins, None, None, ends, None, Some(Edge::Begins)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_dies_is_named_and_the_others_go_on() {
        let readiness = Arc::new(Readiness::new(Vec::new()));
        let (turns, mut turned) = tokio::sync::mpsc::unbounded_channel();
        let working = move || {
            turns.send(()).unwrap();
            std::future::ready(Err("it fails".into())).boxed()
        };
        let tasks = vec![
            Task::every(Duration::from_secs(1), "failing", working),
            Task::every(Duration::from_secs(1), "dying", || panic!("on purpose")),
            Task::ongoing("ending", |_| std::future::ready(())),
            Task::ongoing("waiting", |cancelled| cancelled.cancelled_owned()),
        ];
        let maintenance = Maintenance::start(tasks, &readiness);
        for _ in 0..3 {
            turned.recv().await.unwrap();
        }
        let dead = readiness.waiting_for().into_iter().filter(|it| it.contains("has died"));
        let named =
            ["dying", "ending"].map(|name| format!("the background task `{name}` has died"));
        assert_eq!(dead.collect::<Vec<_>>(), named);
        maintenance.stop().await;
        assert_eq!(readiness.waiting_for().len(), 4, "a task that is stopped has not died");
    }
}
