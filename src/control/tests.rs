//! Changes through the public methods, and the table published after each.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::clock::ManualClock;
use crate::dispatch::pool::Field;
use crate::resolve::Discard;
use crate::resolve::testing::FakeUpstream;
use crate::state::{ControlChange, ControlTable, Documents, MemoryControl};

/// A store that makes every change and says that it failed.
#[derive(Default)]
pub(super) struct UncertainState {
    memory: MemoryControl,
    is_unreadable: AtomicBool,
}

impl ControlStore for UncertainState {
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>> {
        if self.is_unreadable.load(Ordering::SeqCst) {
            let source = std::io::Error::other("told so");
            return std::future::ready(Err(ControlStoreError::Io { source })).boxed();
        }
        self.memory.read(table)
    }

    fn write(
        &self,
        changes: Vec<ControlChange>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>> {
        let written = self.memory.write(changes, now_ms);
        let failed = |_| Err(ControlStoreError::Io { source: std::io::Error::other("told so") });
        written.map(failed).boxed()
    }
}

/// A control plane over an in-memory store, with two endpoints.
pub(super) fn open(name: &str, clock: &ManualClock, peers: PeersParts) -> Arc<Control> {
    open_on(Arc::new(MemoryControl::new()), name, clock, peers)
}

fn open_on(
    state: Arc<dyn ControlStore>,
    name: &str,
    clock: &ManualClock,
    peers: PeersParts,
) -> Arc<Control> {
    let clock = Clock::Manual(clock.clone());
    let endpoint = |name: &str| EndpointParts {
        name: name.to_owned(),
        daily_volume: 9,
        hourly_rate: 9,
        pool: None,
        upstream: FakeUpstream::named(name),
    };
    let parts = ControlParts {
        state,
        clock: clock.clone(),
        identity: Identity { name: target(name), secret: name.as_bytes().to_vec() },
        targets: Targets::new([], Box::new(|_, _| Arc::new(Discard))),
        endpoints: vec![endpoint("e0"), endpoint("e1")],
        peers,
        router: Arc::new(Router::new(Arc::new(Discard), clock)),
    };
    Control::open(parts).now_or_never().expect("memory answers at once").unwrap()
}

fn target(text: &str) -> TargetId {
    TargetId::parse(text).unwrap()
}

fn prefix(text: &str) -> RoutePrefix {
    RoutePrefix::parse(text).unwrap()
}

/// The target that answers lookups of a peer, by the published table.
fn next_hop(control: &Control) -> String {
    let table = control.table();
    let (entry, _) = table.find(["g", "peers", "identity"].into_iter(), 1).unwrap();
    entry.next_hop.to_string()
}

fn control() -> Arc<Control> {
    open("us", &ManualClock::new(1), PeersParts::default())
}

fn draft(name: &str) -> PoolDraft {
    let requested_daily_volume = Field::Given(1);
    PoolDraft {
        name: Field::Given(name.to_owned()),
        requested_daily_volume,
        overflow: Field::Absent,
    }
}

#[tokio::test]
async fn a_change_shows_when_it_is_answered() {
    let control = control();
    assert_eq!(next_hop(&control), "default");
    control.create_static(prefix("g.peers"), target("discard")).await.unwrap();
    assert_eq!(next_hop(&control), "discard");
    control.replace_static(prefix("g.peers"), target("local")).await.unwrap();
    assert_eq!(next_hop(&control), "local");
    control.remove_static(prefix("g.peers")).await.unwrap();
    assert_eq!(next_hop(&control), "default");
}

#[tokio::test]
async fn a_change_that_failed_and_is_kept_is_published() {
    let clock = ManualClock::new(1);
    let state = Arc::new(UncertainState::default());
    let control = open_on(state, "us", &clock, PeersParts::default());
    assert!(control.create_static(prefix("g.peers"), target("discard")).await.is_err());
    assert_eq!(next_hop(&control), "discard");
}

#[tokio::test]
async fn what_is_kept_and_could_not_be_read_is_published_by_the_next_change_even_a_refused_one() {
    let clock = ManualClock::new(1);
    let state = Arc::new(UncertainState::default());
    let control = open_on(state.clone(), "us", &clock, PeersParts::default());
    state.is_unreadable.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let failed = control.create_static(prefix("g.peers"), target("discard")).await;
        assert!(matches!(failed, Err(StaticsError::State(_))));
        assert_eq!(next_hop(&control), "default");
    }
    state.is_unreadable.store(false, Ordering::SeqCst);
    let again = control.create_static(prefix("g.peers"), target("local")).await;
    assert!(matches!(again, Err(StaticsError::Exists(_))));
    assert_eq!(next_hop(&control), "discard");
}

#[tokio::test]
async fn a_change_that_is_refused_changes_no_route() {
    let control = control();
    control.create_static(prefix("g.peers"), target("discard")).await.unwrap();
    assert!(control.create_static(prefix("g.peers"), target("local")).await.is_err());
    assert!(control.remove_static(prefix("g.providers")).await.is_err());
    assert!(control.remove_pool(PoolId(1)).await.is_err());
    assert_eq!(next_hop(&control), "discard");
    assert_eq!(control.table().winners(1).len(), 2);
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_is_completed_and_shows() {
    let control = control();
    // Polled once, so that it has begun, and dropped.
    let prefix = prefix("g.peers");
    assert!(control.create_static(prefix, target("discard")).now_or_never().is_none());
    assert!(control.create_pool(draft("first")).now_or_never().is_none());
    let second = control.create_pool(draft("second")).await.unwrap();
    assert_eq!(second.id, PoolId(2));
    assert_eq!(control.pools().book().pools().len(), 2);
    assert_eq!(next_hop(&control), "discard");
}

#[tokio::test]
async fn a_rule_answers_from_the_moment_its_pool_is_there() {
    let control = control();
    control.create_static(prefix("g.peers"), target("42")).await.unwrap();
    let fails = |control: &Control| {
        let (target, table) = (target("42"), control.table());
        let (_, resolver) = table.find(["g", "peers"].into_iter(), 1).unwrap();
        let kept = control.targets.resolver(&target, &control.pools);
        !Arc::ptr_eq(resolver, &kept)
    };
    // A resolver of an unknown target is created for each lookup.
    assert!(fails(&control));
    control.create_pool(draft("first")).await.unwrap();
    assert!(!fails(&control));
}
