//! The targets that routes can point to, by id.
//!
//! Targets are configured, except those of routing rules, which come and go at runtime. Each target
//! keeps its resolver for as long as it stands for the same thing, so that a new table does not
//! cancel lookups in flight.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pools::{Pools, RuleUpstream};
use crate::dispatch::pool::RuleId;
use crate::resolve::{Discard, Resolver, UnknownTarget, Upstream};
use crate::types::TargetId;

/// The kind of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// This server's own index.
    Local,
    /// Answers "none found".
    Discard,
    /// The index and all upstreams.
    Default,
    /// The Amino DHT.
    #[expect(dead_code, reason = "no configuration can name it yet")]
    Dht,
    /// One upstream.
    Upstream,
    /// Several upstreams together.
    Fanout,
    /// A peer router.
    Peer,
    /// A routing rule, which leads to a pool.
    Pool,
}

/// A configured target.
#[derive(Clone)]
pub(crate) struct Target {
    /// Its kind.
    pub(crate) kind: TargetKind,
    /// Its resolver.
    pub(crate) resolver: Arc<dyn Resolver>,
    /// The names of the sources it queries, including `local`.
    pub(crate) asks: Vec<TargetId>,
    /// The upstreams among them.
    pub(crate) upstreams: Vec<Arc<dyn Upstream>>,
}

/// Builds the resolver of a routing rule from its pool.
pub(crate) type RuleResolver =
    Box<dyn Fn(&TargetId, Arc<dyn Upstream>) -> Arc<dyn Resolver> + Send + Sync>;

/// All targets.
pub(crate) struct Targets {
    configured: HashMap<TargetId, Target>,
    make_rule: RuleResolver,
    /// Resolvers of routing rules that lead to a pool.
    rules: Mutex<HashMap<TargetId, Arc<dyn Resolver>>>,
}

impl TargetKind {
    /// Its name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Discard => "discard",
            Self::Default => "default",
            Self::Dht => "dht",
            Self::Upstream => "upstream",
            Self::Fanout => "fanout",
            Self::Peer => "peer",
            Self::Pool => "pool",
        }
    }
}

impl Targets {
    /// The given targets, `discard`, and the routing rules.
    pub(crate) fn new(
        targets: impl IntoIterator<Item = (TargetId, Target)>,
        make_rule: RuleResolver,
    ) -> Self {
        let discard = TargetId::parse(TargetId::DISCARD).expect("it is a legal name");
        let nobody = Target {
            kind: TargetKind::Discard,
            resolver: Arc::new(Discard),
            asks: Vec::new(),
            upstreams: Vec::new(),
        };
        let configured = targets.into_iter().chain([(discard, nobody)]).collect();
        Self { configured, make_rule, rules: Mutex::default() }
    }

    /// The configured target with this id, if there is one.
    pub(crate) fn get(&self, id: &TargetId) -> Option<&Target> {
        self.configured.get(id)
    }

    /// The resolver of a target. An unknown id gets one that fails every lookup.
    pub(super) fn resolver(&self, id: &TargetId, pools: &Pools) -> Arc<dyn Resolver> {
        if let Some(target) = self.configured.get(id) {
            return target.resolver.clone();
        }
        let mut rules = self.rules.lock();
        match id.rule().and_then(|rule| pools.rule_upstream(RuleId(rule))) {
            Some(RuleUpstream::Pool(upstream)) => {
                let make = || (self.make_rule)(id, upstream);
                rules.entry(id.clone()).or_insert_with(make).clone()
            }
            Some(RuleUpstream::Discard) => {
                rules.remove(id);
                Arc::new(Discard)
            }
            None => Arc::new(UnknownTarget(id.clone())),
        }
    }
}
