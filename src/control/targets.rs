//! Whom routes can point to, by account.
//!
//! Targets are configured, but for routing rules, which are made and emptied while the server runs.
//! Each account has one resolver for as long as what it stands for is the same, so that a new table
//! does not cut what is in flight.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pools::{Pools, RuleUpstream};
use crate::dispatch::pool::RuleId;
use crate::resolve::{Discard, NoAccount, Resolver, Upstream};
use crate::types::AccountId;

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// This server's own index.
    Local,
    /// Nobody: nothing is found.
    Discard,
    /// The index and all upstreams.
    Default,
    /// The Amino DHT.
    Dht,
    /// One upstream.
    Upstream,
    /// Several together.
    Fanout,
    /// A peer router.
    Peer,
    /// A routing rule, that is, a pool.
    Pool,
}

/// A configured account.
#[derive(Clone)]
pub struct Target {
    /// What it is.
    pub kind: TargetKind,
    /// What answers for it.
    pub resolver: Arc<dyn Resolver>,
    /// The names of all that are asked, `local` among them.
    pub asks: Vec<AccountId>,
    /// Those of them that are upstreams.
    pub upstreams: Vec<Arc<dyn Upstream>>,
}

/// Makes the resolver of a routing rule's account out of the pool behind it.
pub type RuleResolver =
    Box<dyn Fn(&AccountId, Arc<dyn Upstream>) -> Arc<dyn Resolver> + Send + Sync>;

/// All targets.
pub struct Targets {
    configured: HashMap<AccountId, Target>,
    make_rule: RuleResolver,
    /// Those of routing rules that lead to a pool.
    rules: Mutex<HashMap<AccountId, Arc<dyn Resolver>>>,
}

impl TargetKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
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
    /// These, `discard`, and the routing rules.
    pub fn new(
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

    /// A configured account; `None`: there is none of that name.
    pub fn get(&self, account: &AccountId) -> Option<&Target> {
        self.configured.get(account)
    }

    /// What answers for an account. One that does not exist fails every lookup.
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
