//! An admin listener's state for unit tests: over memory, with nothing in it.

use std::sync::Arc;

use futures_util::FutureExt;

use super::{AdminParts, AdminPassword, AdminState, PeerCredentials, Readiness};
use crate::clock::Clock;
use crate::config::Settings;
use crate::control::{Control, ControlParts, Identity, PeersParts, Targets};
use crate::metrics::Metrics;
use crate::resolve::{Discard, Router};
use crate::state::MemoryControl;
use crate::store::{IpnsLimits, MemoryIpns, MemoryStore};
use crate::types::{AnswerSchema, TargetId};

/// A state with these users.
pub(super) fn state(password: &str, peers: Vec<PeerCredentials>) -> AdminState {
    let clock = Clock::default();
    let name = TargetId::parse("us").expect("a name");
    let control = Control::open(ControlParts {
        state: Arc::new(MemoryControl::new()),
        clock: clock.clone(),
        identity: Identity { name, secret: b"shh".to_vec() },
        targets: Targets::new([], Box::new(|_, _| Arc::new(Discard))),
        endpoints: Vec::new(),
        peers: PeersParts::default(),
        router: Arc::new(Router::new(Arc::new(Discard), clock.clone())),
    });
    let control = control.now_or_never().expect("memory answers at once");
    let parts = AdminParts {
        store: Arc::new(MemoryStore::new(AnswerSchema::Announced)),
        ipns: Arc::new(MemoryIpns::new(IpnsLimits::default())),
        control: control.expect("nothing is stored that could not be read"),
        metrics: Arc::new(Metrics::new()),
        clock,
        readiness: Arc::new(Readiness::new(Vec::new())),
        render_metrics: Box::new(|| std::future::ready(String::new()).boxed()),
        password: AdminPassword::new(password),
        peers,
    };
    AdminState::new(&Settings::default(), parts)
}
