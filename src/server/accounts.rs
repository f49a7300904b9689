//! The accounts that the settings name, each with what answers for it.

use std::sync::Arc;

use super::Parts;
use crate::control::{Account, AccountKind, Accounts};
use crate::resolve::Resolver;
use crate::types::AccountId;

/// All accounts, and what answers for the default one.
pub(super) fn configured(parts: &Parts) -> (Accounts, Arc<dyn Resolver>) {
    let [local, default] = [AccountId::LOCAL, AccountId::DEFAULT]
        .map(|name| AccountId::parse(name).expect("it is a legal name"));
    let resolver = parts.local.clone();
    let account = |kind| Account { kind, resolver: resolver.clone(), asks: vec![local.clone()] };
    let accounts =
        [(local.clone(), account(AccountKind::Local)), (default, account(AccountKind::Default))];
    (Accounts::new(accounts), resolver)
}
