//! Tests of pools: storing them, restarts, budgets, and querying endpoints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::dispatch::pool::{Field, PoolReference};
use crate::resolve::AskError;
use crate::resolve::testing::{FakeUpstream, Step, record};
use crate::state::{ControlChange, ControlTable, Documents, MemoryControl};
use crate::types::ContentKey;
use crate::types::{Hops, Subject};

const HOUR_MS: u64 = 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIDNIGHT: u64 = 20_000 * DAY_MS;
const NOON: u64 = MIDNIGHT - DAY_MS / 2;

/// An in-memory state store that records writes and fails on demand.
#[derive(Default)]
struct WatchedState {
    memory: MemoryControl,
    is_failing: AtomicBool,
    /// Whether writes are made and fail all the same.
    is_uncertain: AtomicBool,
    is_unreadable: AtomicBool,
    lists: Mutex<Vec<Vec<ControlChange>>>,
}

impl ControlStore for WatchedState {
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>> {
        if self.is_unreadable.load(Ordering::SeqCst) {
            let reason = "told so".to_owned();
            return std::future::ready(Err(ControlStoreError::Unavailable { reason })).boxed();
        }
        self.memory.read(table)
    }

    fn write(
        &self,
        changes: Vec<ControlChange>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>> {
        if self.is_failing.load(Ordering::SeqCst) {
            return std::future::ready(Err(ControlStoreError::Overloaded)).boxed();
        }
        let mut lists = self.lists.lock();
        lists.push(changes.clone());
        let written = self.memory.write(changes, now_ms);
        drop(lists);
        async move {
            // As with a disk, other tasks run in the meantime.
            tokio::task::yield_now().await;
            written.await?;
            if self.is_uncertain.load(Ordering::SeqCst) {
                return Err(ControlStoreError::Unavailable { reason: "told so".to_owned() });
            }
            Ok(())
        }
        .boxed()
    }
}

/// Pools over fake upstreams with the names of their endpoints.
struct World {
    state: Arc<WatchedState>,
    clock: ManualClock,
    fakes: Vec<Arc<FakeUpstream>>,
    limits: Vec<(u64, u64)>,
}

impl World {
    /// Endpoints `e0`, `e1` ... with a daily volume and an hourly rate each, at noon.
    fn new(limits: &[(u64, u64)]) -> Self {
        let fakes = (0..limits.len()).map(|at| FakeUpstream::named(&format!("e{at}"))).collect();
        Self {
            state: Arc::default(),
            clock: ManualClock::new(NOON),
            fakes,
            limits: limits.to_vec(),
        }
    }

    fn open(&self) -> Pools {
        let endpoints = self.fakes.iter().zip(&self.limits).enumerate();
        let inventory = endpoints.map(|(at, (fake, (daily_volume, hourly_rate)))| EndpointParts {
            name: format!("e{at}"),
            daily_volume: *daily_volume,
            hourly_rate: *hourly_rate,
            pool: Some(format!("r{at}")),
            upstream: fake.clone(),
        });
        self.open_with(inventory.collect()).unwrap()
    }

    fn open_with(&self, inventory: Vec<EndpointParts>) -> Result<Pools, ControlError> {
        let clock = Clock::Manual(self.clock.clone());
        let opened = Pools::open(self.state.clone(), clock, inventory);
        opened.now_or_never().expect("memory answers at once")
    }

    fn asked(&self) -> Vec<usize> {
        self.fakes.iter().map(|fake| fake.asked()).collect()
    }
}

fn draft(name: &str, overflow: Option<&str>) -> PoolDraft {
    let overflow = overflow.map(|name| PoolReference::Name(name.to_owned()));
    PoolDraft {
        name: Field::Given(name.to_owned()),
        requested_daily_volume: Field::Given(1_000),
        overflow: Field::Given(overflow),
    }
}

fn upstream(pools: &Pools, rule: u64) -> Arc<dyn Upstream> {
    match pools.rule_upstream(RuleId(rule)) {
        Some(RuleUpstream::Pool(upstream)) => upstream,
        _ => panic!("rule {rule} leads to a pool"),
    }
}

fn key(number: u64) -> ContentKey {
    let digest = [&number.to_be_bytes()[..], &[7; 24]].concat();
    ContentKey::from_multihash(&[&[0x12, 0x20][..], &digest].concat()).unwrap()
}

/// Looks up a key; returns the error, if any.
async fn look_up(upstream: &dyn Upstream, number: u64) -> Option<AskError> {
    let mut records = upstream.records(&Subject::Content(key(number)), Hops::default());
    records.next().await.and_then(Result::err)
}

#[tokio::test]
async fn routes_rules_and_ids_outlive_a_restart() {
    let world = World::new(&[(9, 9), (9, 9), (9, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    let second = pools.create(draft("r1", Some("r0"))).await.unwrap();
    assert_eq!(second.overflow, Some((PoolId(1), "r0".to_owned())));
    assert_eq!(second.rule, (RuleId(43), "r1 R2".to_owned()));
    pools.create(draft("r2", None)).await.unwrap();
    pools.remove(PoolId(3)).await.unwrap();
    let again = world.open();
    assert_eq!(again.pool(PoolId(2)), Some(second));
    assert_eq!(again.book().rules(), pools.book().rules());
    assert!(matches!(again.rule_upstream(RuleId(44)), Some(RuleUpstream::Discard)));
    assert!(matches!(again.rule_upstream(RuleId(42)), Some(RuleUpstream::Pool(_))));
    assert!(again.rule_upstream(RuleId(45)).is_none());
    let third = again.create(draft("r2", None)).await.unwrap();
    assert_eq!((third.id, third.rule.0), (PoolId(4), RuleId(45)), "ids are not used again");
}

#[tokio::test]
async fn a_change_is_one_list_and_what_cannot_be_written_is_not_made() {
    let world = World::new(&[(9, 9), (9, 9)]);
    let pools = world.open();
    world.state.is_failing.store(true, Ordering::SeqCst);
    let refused = pools.create(draft("r0", None)).await;
    assert!(matches!(refused, Err(PoolsError::State(ControlStoreError::Overloaded))));
    assert_eq!(pools.book().pools().len(), 0);

    world.state.is_failing.store(false, Ordering::SeqCst);
    pools.create(draft("r0", None)).await.unwrap();
    pools.change(PoolId(1), draft("renamed", None)).await.unwrap();
    pools.change(PoolId(1), draft("renamed", None)).await.unwrap();
    let lists: Vec<Vec<String>> = world
        .state
        .lists
        .lock()
        .iter()
        .map(|list| list.iter().map(|it| format!("{:?} {}", it.table, it.key)).collect())
        .collect();
    let created = vec!["Pools 1", "Rules 42", "Single route_ids"];
    assert_eq!(lists, [created, vec!["Pools 1", "Rules 42"]], "nothing is written for nothing");
}

#[tokio::test]
async fn what_is_stored_and_makes_no_sense_stops_the_start() {
    let of = |table, key: &str, text: &str| {
        let world = World::new(&[(9, 9)]);
        let text = Some(text.to_owned());
        let change = ControlChange { table, key: key.to_owned(), text };
        world.state.memory.write(vec![change], NOON).now_or_never().unwrap().unwrap();
        world.open_with(Vec::new()).err().map(|error| error.to_string()).unwrap()
    };
    assert!(of(ControlTable::Budgets, "e0", "{}").starts_with("the stored budget `e0` cannot"));
    assert!(of(ControlTable::Pools, "one", "{}").contains("pool `one`"));
    assert!(of(ControlTable::Rules, "x", r#"{"name":"a","route":null}"#).contains("rule `x`"));
    assert!(of(ControlTable::Rules, "42", r#"{"name":"a","route":1}"#).contains("contradict"));
    assert!(of(ControlTable::Single, "route_ids", "7").contains("document `route_ids`"));
    let twice = || EndpointParts {
        name: "e0".to_owned(),
        daily_volume: 1,
        hourly_rate: 1,
        pool: None,
        upstream: FakeUpstream::named("e0"),
    };
    let same = World::new(&[]).open_with(vec![twice(), twice()]);
    assert!(matches!(same, Err(ControlError::Endpoint(name)) if name == "e0"));
}

#[tokio::test]
async fn a_lookup_is_written_down_before_the_endpoint_is_asked() {
    let world = World::new(&[(9, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    let upstream = upstream(&pools, 42);
    world.state.is_failing.store(true, Ordering::SeqCst);
    let refused = look_up(&*upstream, 1).await;
    assert_eq!(refused, Some(AskError::Failed("its budget cannot be written".into())));
    assert_eq!(world.asked(), [0]);
    world.state.is_failing.store(false, Ordering::SeqCst);
    assert_eq!(look_up(&*upstream, 1).await, None);
    let budgets = world.state.read(ControlTable::Budgets).await.unwrap();
    let expected =
        format!(r#"{{"day":19999,"spent":2,"bucket":{{"missingParts":7200000,"atMs":{NOON}}}}}"#);
    assert_eq!(budgets["e0"], expected, "the one that was not written is spent all the same");
}

#[tokio::test]
async fn a_restart_changes_nothing_of_what_is_left() {
    let world = World::new(&[(5, 3)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    for number in 0..2 {
        assert_eq!(look_up(&*upstream(&pools, 42), number).await, None);
    }
    let again = world.open();
    let upstream = upstream(&again, 42);
    assert_eq!(look_up(&*upstream, 3).await, None);
    let retry_after = Duration::from_mins(20);
    assert_eq!(look_up(&*upstream, 4).await, Some(AskError::OverBudget { retry_after }));
    world.clock.advance(20 * 60 * 1_000);
    assert_eq!(look_up(&*upstream, 4).await, None);
    world.clock.advance(HOUR_MS);
    assert_eq!(look_up(&*upstream, 5).await, None);
    let retry_after = Duration::from_millis(MIDNIGHT - NOON - HOUR_MS - HOUR_MS / 3);
    assert_eq!(look_up(&*upstream, 6).await, Some(AskError::OverBudget { retry_after }));
}

#[tokio::test]
async fn an_endpoint_that_wants_to_be_left_alone_is_until_then() {
    let world = World::new(&[(9, 9), (9, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    pools.create(draft("r1", Some("r0"))).await.unwrap();
    let upstream = upstream(&pools, 43);
    let retry_after = Duration::from_secs(30);
    let too_many = [Step::Fail(AskError::Backoff { retry_after })];
    world.fakes[1].now_do(too_many.clone());
    assert_eq!(look_up(&*upstream, 1).await, None);
    assert_eq!(look_up(&*upstream, 1).await, None);
    assert_eq!(world.asked(), [2, 1], "asked once, then left alone");
    world.fakes[0].now_do(too_many);
    world.clock.advance(10_000);
    let until = AskError::OverBudget { retry_after: Duration::from_secs(20) };
    assert_eq!(look_up(&*upstream, 1).await, Some(until), "the soonest of both");
    world.fakes[1].now_do([]);
    world.clock.advance(20_000);
    assert_eq!(look_up(&*upstream, 1).await, None);
    assert_eq!(world.asked(), [3, 2]);
}

#[tokio::test]
async fn a_change_that_is_kept_though_it_failed_shows() {
    let world = World::new(&[(9, 9)]);
    let pools = world.open();
    world.state.is_uncertain.store(true, Ordering::SeqCst);
    assert!(matches!(pools.create(draft("r0", None)).await, Err(PoolsError::State(_))));
    assert_eq!(pools.book().pools().len(), 1);
    assert!(pools.remove(PoolId(1)).await.is_err());
    assert_eq!(pools.book().pools().len(), 0);
    world.state.is_uncertain.store(false, Ordering::SeqCst);
    let created = pools.create(draft("r0", None)).await.unwrap();
    assert_eq!((created.id, created.rule.0), (PoolId(2), RuleId(43)), "no id is given again");
}

#[tokio::test]
async fn no_change_is_made_of_what_may_be_another_than_what_is_stored() {
    let world = World::new(&[(9, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    world.state.is_uncertain.store(true, Ordering::SeqCst);
    world.state.is_unreadable.store(true, Ordering::SeqCst);
    assert!(pools.remove(PoolId(1)).await.is_err());
    world.state.is_uncertain.store(false, Ordering::SeqCst);
    // The pool is gone from the store, and still here.
    assert_eq!(pools.book().pools().len(), 1);
    assert!(matches!(pools.change(PoolId(1), draft("r1", None)).await, Err(PoolsError::State(_))));
    world.state.is_unreadable.store(false, Ordering::SeqCst);
    let changed = pools.change(PoolId(1), draft("r1", None)).await;
    assert!(matches!(changed, Err(PoolsError::NotFound(_))));
    assert_eq!(pools.book().pools().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_is_not_ready_costs_nothing() {
    let world = World::new(&[(9, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    let upstream = upstream(&pools, 42);
    for said in [AskError::Broken, AskError::Busy] {
        *world.fakes[0].readiness.lock() = Err(said.clone());
        assert_eq!(look_up(&*upstream, 1).await, Some(said));
    }
    let retry_after = Duration::from_secs(3);
    *world.fakes[0].readiness.lock() = Err(AskError::Backoff { retry_after });
    assert_eq!(look_up(&*upstream, 1).await, Some(AskError::OverBudget { retry_after }));
    assert_eq!(world.asked(), [0]);
    assert_eq!(world.state.read(ControlTable::Budgets).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_route_without_endpoints_overflows_or_fails() {
    let world = World::new(&[(9, 9), (9, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    pools.create(draft("r1", Some("r0"))).await.unwrap();
    let only_first = |world: &World| {
        let upstream: Arc<dyn Upstream> = world.fakes[0].clone();
        let (name, pool) = ("e0".to_owned(), None);
        vec![EndpointParts { name, daily_volume: 9, hourly_rate: 9, pool, upstream }]
    };
    let less = world.open_with(only_first(&world)).unwrap();
    assert_eq!(look_up(&*upstream(&less, 43), 1).await, None);
    assert_eq!(world.asked(), [1, 0]);
    let none = world.open_with(Vec::new()).unwrap();
    assert!(matches!(look_up(&*upstream(&none, 43), 1).await, Some(AskError::Failed(_))));
    let all = world.open();
    assert_eq!(look_up(&*upstream(&all, 43), 1).await, None);
    assert_eq!(world.asked(), [1, 1], "it came back with the configuration");
}

#[tokio::test]
async fn an_old_snapshot_finds_nothing_behind_a_deleted_route() {
    let world = World::new(&[(9, 9)]);
    world.fakes[0].now_do([Step::Give(vec![record(1, &[1])])]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    let old = upstream(&pools, 42);
    pools.remove(PoolId(1)).await.unwrap();
    assert!(old.records(&Subject::Content(key(1)), Hops::default()).next().await.is_none());
    assert_eq!(world.asked(), [0]);
}

#[tokio::test]
async fn explaining_tells_what_would_happen_and_spends_nothing() {
    let world = World::new(&[(5, 9), (2, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    pools.create(draft("r1", Some("r0"))).await.unwrap();
    let explain = || pools.explain(RuleId(43), key(1).as_bytes()).unwrap();
    let fresh = explain();
    assert_eq!(fresh, explain());
    assert_eq!(fresh.rule_name, "r1 R2");
    let ask =
        |pool, endpoint: &str| PoolOutcome::Ask { pool: PoolId(pool), endpoint: endpoint.into() };
    assert_eq!(fresh.outcome, ask(2, "e1"));
    let upstream = upstream(&pools, 43);
    for number in 0..2 {
        look_up(&*upstream, number).await;
    }
    let spent = explain();
    assert_eq!(spent.outcome, ask(1, "e0"));
    let first = &spent.chain[0].endpoints[0];
    assert_eq!((first.daily_left, first.hourly_left), (0, 7));
    let until_midnight = Duration::from_millis(MIDNIGHT - NOON);
    let over = AskError::OverBudget { retry_after: until_midnight };
    assert_eq!(first.held_back, Some(over.clone()));
    *world.fakes[0].readiness.lock() = Err(AskError::Broken);
    assert_eq!(explain().outcome, PoolOutcome::Refused(AskError::Broken));
    assert_eq!(explain().chain[1].endpoints[0].held_back, Some(AskError::Broken));
    pools.change(PoolId(2), draft("r1", None)).await.unwrap();
    assert_eq!(explain().outcome, PoolOutcome::Refused(over));
    pools.remove(PoolId(1)).await.unwrap();
    let gone = pools.explain(RuleId(42), b"key").unwrap();
    assert_eq!((gone.outcome, gone.chain.len()), (PoolOutcome::Discard, 0));
    assert_eq!(pools.explain(RuleId(99), b"key"), None);
}

#[tokio::test]
async fn explaining_names_what_holds_back_soonest() {
    let world = World::new(&[(1, 9), (1, 9)]);
    let pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    pools.create(draft("r1", Some("r0"))).await.unwrap();
    let upstream = upstream(&pools, 43);
    let retry_after = Duration::from_millis(30_500);
    let too_many = [Step::Fail(AskError::Backoff { retry_after })];
    let outcome = || pools.explain(RuleId(43), key(1).as_bytes()).unwrap().outcome;
    // Both days are spent: what one says besides makes no difference until midnight.
    world.fakes[1].now_do(too_many);
    assert_eq!(look_up(&*upstream, 1).await, None);
    let until_midnight = Duration::from_millis(MIDNIGHT - NOON);
    let over = AskError::OverBudget { retry_after: until_midnight };
    assert_eq!(outcome(), PoolOutcome::Refused(over.clone()));
    assert_eq!(look_up(&*upstream, 1).await, Some(over));
    // Midnight gives the days back, and only what the endpoints themselves ask for is left.
    world.clock.set(MIDNIGHT);
    for (fake, seconds) in world.fakes.iter().zip([9, 4]) {
        *fake.readiness.lock() =
            Err(AskError::Backoff { retry_after: Duration::from_secs(seconds) });
    }
    let retry_after = Duration::from_secs(4);
    assert_eq!(outcome(), PoolOutcome::Refused(AskError::Backoff { retry_after }));
    let told = look_up(&*upstream, 1).await;
    assert_eq!(told, Some(AskError::OverBudget { retry_after }), "clients are told 429");
}

/// The spent counts written for an endpoint, in order.
fn written_spent(world: &World, endpoint: &str) -> Vec<u64> {
    let lists = world.state.lists.lock();
    let changes = lists.iter().flatten();
    let of_endpoint = changes.filter(|it| it.table == ControlTable::Budgets && it.key == endpoint);
    let spent = of_endpoint.map(|it| {
        let document: serde_json::Value = serde_json::from_str(it.text.as_ref().unwrap()).unwrap();
        document["spent"].as_u64().unwrap()
    });
    spent.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_clients_spend_ten_thousand_to_the_lookup_over_a_restart_then_the_overflow() {
    const LOOKUPS_EACH: u64 = 800;
    let world = World::new(&[(400, 1_000_000), (10_000, 1_000_000)]);
    let mut pools = world.open();
    pools.create(draft("r0", None)).await.unwrap();
    pools.create(draft("r1", Some("r0"))).await.unwrap();
    let mut refused = 0;
    for part in 0..2_u64 {
        let upstream = upstream(&pools, 43);
        let clients = (0..8_u64).map(|client| {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let mut refused = 0_u64;
                for at in 0..LOOKUPS_EACH {
                    let number = ((part * 8) + client) * LOOKUPS_EACH + at;
                    match look_up(&*upstream, number).await {
                        None => {}
                        Some(AskError::OverBudget { retry_after }) => {
                            let until_midnight = Duration::from_millis(MIDNIGHT - NOON);
                            assert_eq!(retry_after, until_midnight);
                            refused += 1;
                        }
                        Some(other) => panic!("{other}"),
                    }
                }
                refused
            })
        });
        for client in clients.collect::<Vec<_>>() {
            refused += client.await.unwrap();
        }
        // As after a crash: only what was written is left.
        pools = world.open();
    }
    assert_eq!(world.asked(), [400, 10_000]);
    assert_eq!(refused, 2 * 8 * LOOKUPS_EACH - 10_400);
    for (endpoint, volume) in [("e0", 400), ("e1", 10_000)] {
        let written = written_spent(&world, endpoint);
        assert_eq!(written, (1..=volume).collect::<Vec<_>>(), "written as it was spent");
    }
    world.clock.set(MIDNIGHT);
    assert_eq!(look_up(&*upstream(&pools, 43), 1).await, None);
    assert_eq!(world.asked(), [400, 10_001]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Lookups of many tasks at random times, over restarts: no day has more than its volume, and no
    /// stretch of time more than the bucket gives.
    #[test]
    fn an_endpoint_is_never_asked_beyond_its_budget(
        limits in proptest::collection::vec((1_u64..30, 1_u64..12), 1..4),
        rounds in proptest::collection::vec((0..DAY_MS / 3, 1_u64..24, proptest::bool::ANY), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build();
        runtime.unwrap().block_on(async {
            let world = World::new(&limits);
            let mut pools = world.open();
            for at in 0..limits.len() {
                let before = at.checked_sub(1).map(|at| format!("r{at}"));
                pools.create(draft(&format!("r{at}"), before.as_deref())).await.unwrap();
            }
            let rule = 41 + limits.len() as u64;
            // The lookups of each endpoint, by time.
            let mut asked: Vec<Vec<(u64, u64)>> = vec![Vec::new(); limits.len()];
            let mut now_ms = NOON;
            for (gap, lookups, is_restart) in rounds {
                now_ms += gap;
                world.clock.set(now_ms);
                if is_restart {
                    pools = world.open();
                }
                let before = world.asked();
                let upstream = upstream(&pools, rule);
                let tasks = (0..lookups).map(|number| {
                    let upstream = upstream.clone();
                    tokio::spawn(async move { look_up(&*upstream, number).await })
                });
                for task in tasks.collect::<Vec<_>>() {
                    task.await.unwrap();
                }
                for (at, (before, after)) in before.iter().zip(world.asked()).enumerate() {
                    asked[at].push((now_ms, (after - before) as u64));
                }
            }
            for (asked, (daily_volume, hourly_rate)) in asked.iter().zip(&limits) {
                for (at, (from_ms, _)) in asked.iter().enumerate() {
                    let mut of_day = 0;
                    let mut sum = 0;
                    for (to_ms, count) in &asked[at..] {
                        of_day += if to_ms / DAY_MS == from_ms / DAY_MS { *count } else { 0 };
                        sum += count;
                        let bucket = hourly_rate * HOUR_MS + (to_ms - from_ms) * hourly_rate;
                        assert!(sum * HOUR_MS <= bucket);
                    }
                    assert!(of_day <= *daily_volume);
                }
            }
        });
    }
}
