//! The targets that routes can point to, by account name.
//!
//! Targets are configured, except those of routing rules, which come and go at runtime. Each target
//! keeps its resolver for as long as it stands for the same thing, so that a new table does not
//! cancel lookups in flight.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pools::{Pools, RuleUpstream};
use crate::dispatch::pool::RuleId;
use crate::resolve::{Discard, NoAccount, Resolver, Upstream};
use crate::types::AccountId;

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
    pub(crate) asks: Vec<AccountId>,
    /// The upstreams among them.
    pub(crate) upstreams: Vec<Arc<dyn Upstream>>,
}

/// Builds the resolver of a routing rule from its pool.
pub(crate) type RuleResolver =
    Box<dyn Fn(&AccountId, Arc<dyn Upstream>) -> Arc<dyn Resolver> + Send + Sync>;

/// All targets.
pub(crate) struct Targets {
    configured: HashMap<AccountId, Target>,
    make_rule: RuleResolver,
    /// Resolvers of routing rules that lead to a pool.
    rules: Mutex<HashMap<AccountId, Arc<dyn Resolver>>>,
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
        targets: impl IntoIterator<Item = (AccountId, Target)>,
        make_rule: RuleResolver,
    ) -> Self {
        let discard = AccountId::parse(AccountId::DISCARD).expect("it is a legal name");
        let nobody = Target {
            kind: TargetKind::Discard,
            resolver: Arc::new(Discard),
            asks: Vec::new(),
            upstreams: Vec::new(),
        };
        let configured = targets.into_iter().chain([(discard, nobody)]).collect();
        Self { configured, make_rule, rules: Mutex::default() }
    }

    /// The configured target of an account, if there is one.
    pub(crate) fn get(&self, account: &AccountId) -> Option<&Target> {
        self.configured.get(account)
    }

    /// The resolver of an account. An unknown account gets one that fails every lookup.
    pub(super) fn resolver(&self, account: &AccountId, pools: &Pools) -> Arc<dyn Resolver> {
        if let Some(account) = self.configured.get(account) {
            return account.resolver.clone();
        }
        let mut rules = self.rules.lock();
        match account.rule().and_then(|rule| pools.rule_upstream(RuleId(rule))) {
            Some(RuleUpstream::Pool(upstream)) => {
                let make = || (self.make_rule)(account, upstream);
                rules.entry(account.clone()).or_insert_with(make).clone()
            }
            Some(RuleUpstream::Discard) => {
                rules.remove(account);
                Arc::new(Discard)
            }
            None => Arc::new(NoAccount(account.clone())),
        }
    }
}
