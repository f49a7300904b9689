//! Several routers whose messages arrive at once or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{HOLD_DOWN, prefix, script, target};
use crate::clock::{Clock, ManualClock};
use crate::control::{Control, PeerParts, PeersParts, UpdateRefused, tests};
use crate::dispatch::{RouteControl, RouteUpdate};
use crate::metrics::Metrics;
use crate::resolve::{PeerLink, PeerLinkError};

pub(super) struct Network {
    pairs: BTreeSet<(&'static str, &'static str)>,
    clock: ManualClock,
    wires: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<&'static str, Node>,
    is_cut: bool,
    messages: usize,
}

struct Node {
    control: Arc<Control>,
    _running: DropGuard,
}

struct Wire {
    from: &'static str,
    to: &'static str,
    wires: Arc<Mutex<Wires>>,
}

impl Wire {
    fn reach(&self) -> Result<Arc<Control>, PeerLinkError> {
        let mut wires = self.wires.lock();
        wires.messages += 1;
        let node = wires.nodes.get(self.to).filter(|_| !wires.is_cut);
        node.map(|node| node.control.clone()).ok_or(PeerLinkError::Failed("unreachable".to_owned()))
    }
}

impl PeerLink for Wire {
    fn control<'a>(
        &'a self,
        control: &'a RouteControl,
    ) -> BoxFuture<'a, Result<(), PeerLinkError>> {
        let answer = self.reach().map(|reached| {
            reached.peers().control(&target(self.from), *control).expect("they are configured");
        });
        std::future::ready(answer).boxed()
    }

    fn update<'a>(&'a self, update: &'a RouteUpdate) -> BoxFuture<'a, Result<(), PeerLinkError>> {
        let read = RouteUpdate::from_json(update.to_json().as_bytes()).expect("it is legal");
        let answer = self.reach().and_then(|control| {
            control.update_from_peer(&target(self.from), read).map_err(|refused| match refused {
                UpdateRefused::Gap(known) => PeerLinkError::Gap(known),
                UpdateRefused::Unknown(_) => panic!("they are configured"),
            })
        });
        std::future::ready(answer).boxed()
    }
}

impl Network {
    /// Routers connected in these pairs, not yet started.
    pub(super) fn new(pairs: &[(&'static str, &'static str)]) -> Self {
        let both = pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
        Self { pairs: both.collect(), clock: ManualClock::new(1), wires: Arc::default() }
    }

    /// Starts a router with empty state.
    pub(super) fn start(&self, name: &'static str, own: &[&str]) {
        let neighbours = self.pairs.iter().filter(|(from, _)| *from == name);
        let peers = neighbours.map(|(_, to)| PeerParts {
            id: target(to),
            accept: vec![prefix("g")],
            routes_max: 100,
            link: Arc::new(Wire { from: name, to, wires: self.wires.clone() }),
            counts: Metrics::new().peer(to),
        });
        let parts = PeersParts {
            advertise: own.iter().map(|text| prefix(text)).collect(),
            hold_down: HOLD_DOWN,
            peers: peers.collect(),
        };
        let control = tests::open(name, &self.clock, parts);
        let running = CancellationToken::new();
        tokio::spawn(control.clone().run(running.clone()));
        let node = Node { control, _running: running.drop_guard() };
        self.wires.lock().nodes.insert(name, node);
    }

    pub(super) fn stop(&self, name: &str) {
        self.wires.lock().nodes.remove(name);
    }

    pub(super) fn cut(&self) {
        self.wires.lock().is_cut = true;
    }

    pub(super) fn mend(&self) {
        self.wires.lock().is_cut = false;
    }

    pub(super) async fn pass(&self, duration: Duration) {
        script::pass(&self.clock, duration).await;
    }

    /// The number of messages so far.
    pub(super) fn messages(&self) -> usize {
        self.wires.lock().messages
    }

    /// The routes a router has learned: prefixes with their paths.
    pub(super) fn routes(&self, name: &str) -> Vec<String> {
        let now_ms = Clock::Manual(self.clock.clone()).now_ms();
        let entries = self.wires.lock().nodes[name].control.peers().entries(now_ms);
        let routes = entries.iter().map(|it| format!("{}: {}", it.prefix, it.path.join(" ")));
        let sorted: BTreeSet<String> = routes.collect();
        sorted.into_iter().collect()
    }
}
