//! The resolver that answers from the local store, and asks nobody else.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Found, Lookup, ResolveError, Resolver};
use crate::store::Store;

/// The resolver that asks a [`Store`].
pub struct LocalResolver {
    store: Arc<dyn Store>,
}

impl LocalResolver {
    /// A resolver over `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

impl Resolver for LocalResolver {
    fn providers<'a>(&'a self, lookup: Lookup<'a>) -> BoxFuture<'a, Result<Found, ResolveError>> {
        self.store.find(lookup).map(|found| found.map_err(ResolveError::from)).boxed()
    }
}
