//! The resolver over the local store, which asks no upstream and is the sole resolver without any.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::{FoundStream, IpnsPut, ResolveError, Resolver, StoredIpns};
use crate::clock::Clock;
use crate::store::{IpnsStore, Store};
use crate::types::{Found, Hops, IpnsName, IpnsRecord, Origin, Question};

/// The resolver that asks a [`Store`] and a [`IpnsStore`].
pub struct LocalResolver {
    store: Arc<dyn Store>,
    ipns: Arc<dyn IpnsStore>,
    clock: Clock,
}

impl LocalResolver {
    /// A resolver over `store` and `names`.
    pub fn new(store: Arc<dyn Store>, ipns: Arc<dyn IpnsStore>, clock: Clock) -> Self {
        Self { store, ipns, clock }
    }
}

impl Resolver for LocalResolver {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async move { Ok(self.store.find(question, self.clock.now_ms()).await?) }.boxed()
    }

    /// All at once: the store has all that it knows at hand.
    fn stream(&self, question: Question) -> FoundStream {
        let (store, now_ms) = (self.store.clone(), self.clock.now_ms());
        stream::once(async move { Ok(store.find(&question, now_ms).await?) }).boxed()
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        async move { Ok(self.ipns.get(name, self.clock.now_ms()).await?) }.boxed()
    }

    fn put_name(
        &self,
        record: IpnsRecord,
        origin: Origin,
        _hops: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        async move { Ok(self.ipns.put(record, origin, self.clock.now_ms()).await?) }.boxed()
    }
}
