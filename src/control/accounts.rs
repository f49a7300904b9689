//! Whom routes can point to, by account.
//!
//! Accounts are configured, but for routing rules, which are made and emptied while the server runs.
//! Each account has one resolver for as long as what it stands for is the same, so that a new table
//! does not cut what is in flight.

use std::collections::HashMap;
use std::sync::Arc;

use crate::resolve::{Discard, NoAccount, Resolver};
use crate::types::AccountId;

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// This server's own index.
    Local,
    /// Nobody: nothing is found.
    Discard,
    /// The index and all upstreams.
    Default,
    /// One upstream.
    Upstream,
    /// Several together.
    Fanout,
    /// A peer router.
    Peer,
    /// A routing rule, that is, a Route.
    Route,
}

/// A configured account.
#[derive(Clone)]
pub struct Account {
    /// What it is.
    pub kind: AccountKind,
    /// What answers for it.
    pub resolver: Arc<dyn Resolver>,
    /// The names of all that are asked, `local` among them.
    pub asks: Vec<AccountId>,
}

/// All accounts.
#[derive(Clone)]
pub struct Accounts {
    configured: Arc<HashMap<AccountId, Account>>,
}

impl AccountKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Discard => "discard",
            Self::Default => "default",
            Self::Upstream => "upstream",
            Self::Fanout => "fanout",
            Self::Peer => "peer",
            Self::Route => "route",
        }
    }
}

impl Accounts {
    /// These, and `discard`.
    pub fn new(accounts: impl IntoIterator<Item = (AccountId, Account)>) -> Self {
        let discard = AccountId::parse(AccountId::DISCARD).expect("it is a legal name");
        let nobody =
            Account { kind: AccountKind::Discard, resolver: Arc::new(Discard), asks: Vec::new() };
        let configured = accounts.into_iter().chain([(discard, nobody)]).collect();
        Self { configured: Arc::new(configured) }
    }

    /// A configured account; `None`: there is none of that name.
    pub fn get(&self, account: &AccountId) -> Option<&Account> {
        self.configured.get(account)
    }

    /// What answers for an account. One that does not exist fails every lookup.
    pub(super) fn resolver(&self, account: &AccountId) -> Arc<dyn Resolver> {
        match self.configured.get(account) {
            Some(account) => account.resolver.clone(),
            None => Arc::new(NoAccount(account.clone())),
        }
    }
}
