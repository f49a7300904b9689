//! An advertiser, a listener, and an unreliable connection between them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{auth, id, path, prefix, target};
use crate::dispatch::advertise::{
    AdvertisedRoute, ImportPolicy, LastKnown, ReceivedRoute, ReceivedRoutes, RouteLog, RouteUpdate,
};
use crate::types::RoutePrefix;

type Table = BTreeMap<RoutePrefix, AdvertisedRoute>;

const HOLD_DOWN_MS: u64 = 10_000;

/// Anything that `alpha` may advertise; some of it leads to the listener `us`, or through it.
pub(super) fn table() -> impl Strategy<Value = Table> {
    let route = prop_oneof![
        4 => Just((vec!["alpha"], None)),
        2 => Just((vec!["alpha", "beta"], Some("beta"))),
        1 => Just((vec!["alpha", "us"], Some("us"))),
        1 => Just((vec!["alpha", "beta", "us"], Some("beta"))),
    ];
    let routes = prop::collection::btree_map(0_u8..120, route, 0..100);
    routes.prop_map(|routes| {
        let route = |(number, (names, next_hop)): (u8, (Vec<&str>, Option<&str>))| {
            let text = format!("g.{number}");
            let path = path(&names);
            let next_hop = next_hop.map(target);
            (prefix(&text), AdvertisedRoute { path, auth: auth(&text), next_hop })
        };
        routes.into_iter().map(route).collect()
    })
}

/// The routes of a table that `us` should keep.
pub(super) fn to_be_kept(table: &Table) -> BTreeMap<RoutePrefix, ReceivedRoute> {
    let kept = table.iter().filter(|(_, route)| !route.path.contains(&target("us")));
    kept.map(|(prefix, AdvertisedRoute { path, auth, .. })| {
        (prefix.clone(), ReceivedRoute { path: path.clone(), auth: *auth })
    })
    .collect()
}

/// The routes that `us` keeps.
pub(super) fn kept(received: &ReceivedRoutes, now_ms: u64) -> BTreeMap<RoutePrefix, ReceivedRoute> {
    received.routes(now_ms).0.map(|(prefix, route)| (prefix.clone(), route.clone())).collect()
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The advertiser's routes change.
    Advertise(Table),
    /// It restarts with empty state.
    AdvertiserRestarts,
    /// The listener restarts and subscribes again.
    ListenerRestarts,
    /// The advertiser sends its next update.
    Send,
    /// An update in flight, or an old one, arrives; its reply may get lost.
    Arrive { which: usize, is_answered: bool },
    /// Updates in flight get lost.
    Lose,
    /// Time passes.
    Wait(u64),
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => table().prop_map(Event::Advertise),
        1 => Just(Event::AdvertiserRestarts),
        1 => Just(Event::ListenerRestarts),
        6 => Just(Event::Send),
        8 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, is_answered)| Event::Arrive { which, is_answered }),
        1 => Just(Event::Lose),
        2 => (0..HOLD_DOWN_MS * 3 / 2).prop_map(Event::Wait),
    ]
}

pub(super) struct Model {
    now_ms: u64,
    processes: u8,
    table: Table,
    log: RouteLog,
    /// How far the advertiser believes that the listener knows its log.
    position: u64,
    on_the_way: Vec<RouteUpdate>,
    received: ReceivedRoutes,
    last_received_ms: u64,
}

fn new_log(process: u8) -> RouteLog {
    RouteLog::new(id(process), target("alpha"), HOLD_DOWN_MS)
}

fn new_listener() -> ReceivedRoutes {
    let accept = vec![RoutePrefix::everything()];
    ReceivedRoutes::new(ImportPolicy { us: target("us"), accept, routes_max: 1_000 })
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            now_ms: super::NOW_MS,
            processes: 1,
            table: Table::new(),
            log: new_log(1),
            position: 0,
            on_the_way: Vec::new(),
            received: new_listener(),
            last_received_ms: 0,
        }
    }

    pub(super) fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Advertise(table) => {
                self.log.advertise(&table);
                self.table = table;
            }
            Event::AdvertiserRestarts => {
                self.processes += 1;
                self.log = new_log(self.processes);
                self.log.advertise(&self.table);
                self.position = 0;
            }
            Event::ListenerRestarts => {
                self.received = new_listener();
                self.position = self.log.first_unknown_to(self.received.last_known(self.now_ms));
            }
            Event::Send => self.send(),
            Event::Arrive { which, is_answered } => {
                if let Some(which) = which.checked_rem(self.on_the_way.len()) {
                    let update = self.on_the_way[which].clone();
                    self.arrive(update, is_answered)?;
                }
            }
            Event::Lose => self.on_the_way.clear(),
            Event::Wait(ms) => self.now_ms += ms,
        }
        self.check()
    }

    fn send(&mut self) {
        self.on_the_way.push(self.log.update_from(self.position, &target("us")));
    }

    fn arrive(&mut self, update: RouteUpdate, is_answered: bool) -> Result<(), TestCaseError> {
        let to = LastKnown { table_id: update.table_id, epoch: update.to_epoch };
        let answer = self.received.apply(update, self.now_ms);
        self.last_received_ms = self.now_ms;
        if let Err(known) = &answer {
            // The sender can continue from there: the table is its own, and it has sent more of it.
            prop_assert_eq!(known.table_id, to.table_id);
            prop_assert!(known.epoch < to.epoch);
        }
        if is_answered {
            let known = answer.map_or_else(|known| known, |_| to);
            self.position = self.log.first_unknown_to(known);
        }
        Ok(())
    }

    /// Whatever happens, nothing leads through the listener, and nothing outlasts the hold-down.
    fn check(&self) -> Result<(), TestCaseError> {
        let kept = kept(&self.received, self.now_ms);
        prop_assert!(kept.values().all(|route| !route.path.contains(&target("us"))));
        let is_silent = self.now_ms >= self.last_received_ms + HOLD_DOWN_MS;
        prop_assert!(!is_silent || kept.is_empty());
        Ok(())
    }

    /// From here on nothing gets lost. Needs at most as many messages as there are changes.
    pub(super) fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..8 {
            self.on_the_way.clear();
            self.send();
            let update = self.on_the_way.remove(0);
            self.arrive(update, true)?;
        }
        self.check()?;
        prop_assert_eq!(kept(&self.received, self.now_ms), to_be_kept(&self.table));
        let known = LastKnown { table_id: self.log.table_id(), epoch: self.log.next_epoch() };
        prop_assert_eq!(self.received.last_known(self.now_ms), known);
        Ok(())
    }
}
