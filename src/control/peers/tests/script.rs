//! The router `alpha` and two scripted peers, `beta` and `gamma`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{HOLD_DOWN, prefix, target};
use crate::clock::{Clock, ManualClock};
use crate::control::{Control, PeerParts, PeersParts, tests};
use crate::dispatch::{RouteControl, RouteOrigin, RouteUpdate};
use crate::metrics::Metrics;
use crate::resolve::{PeerLink, PeerLinkError};

/// The step of the simulated time.
const STEP: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(super) enum Message {
    Control(RouteControl),
    Update(RouteUpdate),
}

/// A message to a peer, and when it was sent.
struct SentMessage {
    to: &'static str,
    at_ms: u64,
    message: Message,
}

/// Replies to updates: the next one, and all later ones.
#[derive(Default)]
struct Answers {
    next: Option<PeerLinkError>,
    always: Option<PeerLinkError>,
}

struct ScriptedLink {
    to: &'static str,
    clock: ManualClock,
    sent: Arc<Mutex<Vec<SentMessage>>>,
    answers: Arc<Mutex<Answers>>,
}

impl ScriptedLink {
    fn record(&self, message: Message) {
        let at_ms = Clock::Manual(self.clock.clone()).now_ms();
        self.sent.lock().push(SentMessage { to: self.to, at_ms, message });
    }
}

impl PeerLink for ScriptedLink {
    fn control<'a>(
        &'a self,
        control: &'a RouteControl,
    ) -> BoxFuture<'a, Result<(), PeerLinkError>> {
        self.record(Message::Control(*control));
        std::future::ready(Ok(())).boxed()
    }

    fn update<'a>(&'a self, update: &'a RouteUpdate) -> BoxFuture<'a, Result<(), PeerLinkError>> {
        self.record(Message::Update(update.clone()));
        let mut answers = self.answers.lock();
        let answer = answers.next.take().or_else(|| answers.always.clone());
        std::future::ready(answer.map_or(Ok(()), Err)).boxed()
    }
}

pub(super) struct Script {
    pub(super) control: Arc<Control>,
    clock: ManualClock,
    sent: Arc<Mutex<Vec<SentMessage>>>,
    answers: Arc<Mutex<Answers>>,
    _running: DropGuard,
}

impl Script {
    /// Starts at time 0 of the clock.
    pub(super) async fn start(own: &[&str]) -> Self {
        let clock = ManualClock::new(0);
        let sent: Arc<Mutex<Vec<SentMessage>>> = Arc::default();
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let peer = |name| PeerParts {
            id: target(name),
            accept: vec![prefix("g")],
            routes_max: 100,
            link: Arc::new(ScriptedLink {
                to: name,
                clock: clock.clone(),
                sent: sent.clone(),
                answers: answers.clone(),
            }),
            counts: Metrics::new().peer(name),
        };
        let parts = PeersParts {
            advertise: own.iter().map(|text| prefix(text)).collect(),
            hold_down: HOLD_DOWN,
            peers: vec![peer("beta"), peer("gamma")],
        };
        let control = tests::open("alpha", &clock, parts);
        let running = CancellationToken::new();
        tokio::spawn(control.clone().run(running.clone()));
        let _running = running.drop_guard();
        let script = Self { control, clock, sent, answers, _running };
        script.pass(STEP).await;
        script
    }

    /// Advances both clocks.
    pub(super) async fn pass(&self, duration: Duration) {
        pass(&self.clock, duration).await;
    }

    pub(super) fn now_ms(&self) -> u64 {
        Clock::Manual(self.clock.clone()).now_ms()
    }

    /// The messages that `beta` received, with times in milliseconds.
    pub(super) fn sent(&self) -> Vec<(u64, Message)> {
        self.sent_to("beta")
    }

    pub(super) fn sent_to(&self, peer: &str) -> Vec<(u64, Message)> {
        let sent = self.sent.lock();
        let sent = sent.iter().filter(|sent| sent.to == peer);
        sent.map(|sent| (sent.at_ms, sent.message.clone())).collect()
    }

    /// The updates that `beta` was sent.
    pub(super) fn updates(&self) -> Vec<(u64, RouteUpdate)> {
        let messages = self.sent().into_iter();
        messages
            .filter_map(|(at_ms, message)| match message {
                Message::Update(update) => Some((at_ms, update)),
                Message::Control(_) => None,
            })
            .collect()
    }

    /// `beta` subscribes to our routes, or unsubscribes.
    pub(super) fn beta_asks(&self, control: RouteControl) {
        self.control.peers().control(&target("beta"), control).unwrap();
    }

    /// `beta` sends its routes.
    pub(super) fn beta_sends(&self, update: RouteUpdate) {
        self.control.update_from_peer(&target("beta"), update).unwrap();
    }

    /// The routes of peers in the published table.
    pub(super) fn routes(&self) -> Vec<String> {
        let table = self.control.table();
        // Of a time before any could have expired: what is published is meant.
        let winners = table.winners(0).into_iter().filter(|it| it.origin == RouteOrigin::Dynamic);
        winners.map(|entry| format!("{} -> {}", entry.prefix, entry.next_hop)).collect()
    }

    pub(super) fn answer_next(&self, error: PeerLinkError) {
        self.answers.lock().next = Some(error);
    }

    pub(super) fn answer_always(&self, error: PeerLinkError) {
        self.answers.lock().always = Some(error);
    }

    pub(super) fn answer_well(&self) {
        *self.answers.lock() = Answers::default();
    }
}

/// Advances the clock and the timers.
pub(super) async fn pass(clock: &ManualClock, duration: Duration) {
    let mut left = duration;
    while !left.is_zero() {
        let step = left.min(STEP);
        clock.advance(u64::try_from(step.as_millis()).unwrap());
        tokio::time::sleep(step).await;
        left -= step;
    }
}
