//! The resolver that dispatches each lookup by the routing table.
//!
//! Invariants: a lookup reads one immutable snapshot and takes no lock of the control plane. Where no
//! route but the default one is, there is no snapshot, and a lookup costs one pointer load more than
//! without a table. A target that does not exist fails its lookups: a shorter prefix never
//! answers instead.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::{FoundStream, IpnsPut, ResolveError, Resolver, StoredIpns};
use crate::clock::Clock;
use crate::dispatch::{LookupAddress, RoutingTable};
use crate::types::{Found, Hops, IpnsName, IpnsRecord, Origin, Question, Subject, TargetId};

/// Which resolver answers which part of the key space.
pub(crate) type RouteTable = RoutingTable<Arc<dyn Resolver>>;

/// Hands each lookup to the resolver that the routing table names.
pub(crate) struct Router {
    default: Arc<dyn Resolver>,
    /// `None`: there is nothing but the default route.
    table: ArcSwapOption<RouteTable>,
    clock: Clock,
}

/// The target of a route that does not exist.
pub(crate) struct UnknownTarget(pub TargetId);

/// The target that answers "none found" without asking.
pub(crate) struct Discard;

impl Router {
    /// A router of which every lookup goes to `default`.
    pub(crate) fn new(default: Arc<dyn Resolver>, clock: Clock) -> Self {
        Self { default, table: ArcSwapOption::empty(), clock }
    }

    /// Publishes a table; `None`: all lookups go to the default.
    pub(crate) fn set_table(&self, table: Option<Arc<RouteTable>>) {
        self.table.store(table);
    }

    fn of_subject(&self, subject: &Subject) -> Option<Arc<dyn Resolver>> {
        let table = self.table.load();
        let table = table.as_deref()?;
        match subject {
            Subject::Content(key) => self.at(table, &LookupAddress::of_content(key)),
            Subject::Peer(peer) => {
                self.at(table, &LookupAddress::of_peer_multihash(&peer.multihash()))
            }
        }
    }

    fn of_name(&self, name: &IpnsName) -> Option<Arc<dyn Resolver>> {
        let table = self.table.load();
        self.at(table.as_deref()?, &LookupAddress::of_name(name))
    }

    /// The resolver of an address; `None`: the default.
    fn at(&self, table: &RouteTable, address: &LookupAddress<'_>) -> Option<Arc<dyn Resolver>> {
        let (_, resolver) = table.find(address.segments(), self.clock.now_ms())?;
        Some(resolver.clone())
    }
}

impl Resolver for Router {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        match self.of_subject(&question.subject) {
            None => self.default.find(question),
            Some(resolver) => async move { resolver.find(question).await }.boxed(),
        }
    }

    fn stream(&self, question: Question) -> FoundStream {
        match self.of_subject(&question.subject) {
            None => self.default.stream(question),
            Some(resolver) => resolver.stream(question),
        }
    }

    fn closest<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        match self.of_subject(&question.subject) {
            None => self.default.closest(question),
            Some(resolver) => async move { resolver.closest(question).await }.boxed(),
        }
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        match self.of_name(name) {
            None => self.default.name(name, hops),
            Some(resolver) => async move { resolver.name(name, hops).await }.boxed(),
        }
    }

    fn put_name(
        &self,
        record: IpnsRecord,
        origin: Origin,
        hops: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        match self.of_name(record.name()) {
            None => self.default.put_name(record, origin, hops),
            Some(resolver) => async move { resolver.put_name(record, origin, hops).await }.boxed(),
        }
    }
}

impl Resolver for UnknownTarget {
    fn find<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        std::future::ready(Err(ResolveError::UnknownTarget(self.0.clone()))).boxed()
    }

    fn stream(&self, _: Question) -> FoundStream {
        stream::iter([Err(ResolveError::UnknownTarget(self.0.clone()))]).boxed()
    }

    fn closest<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        std::future::ready(Err(ResolveError::UnknownTarget(self.0.clone()))).boxed()
    }

    fn name<'a>(
        &'a self,
        _: &'a IpnsName,
        _: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        std::future::ready(Err(ResolveError::UnknownTarget(self.0.clone()))).boxed()
    }

    fn put_name(
        &self,
        _: IpnsRecord,
        _: Origin,
        _: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        std::future::ready(Err(ResolveError::UnknownTarget(self.0.clone()))).boxed()
    }
}

impl Resolver for Discard {
    fn find<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        std::future::ready(Ok(Found::default())).boxed()
    }

    fn stream(&self, _: Question) -> FoundStream {
        stream::empty().boxed()
    }

    fn closest<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        std::future::ready(Ok(Found::default())).boxed()
    }

    /// Nothing is kept: it would never be found.
    fn put_name(
        &self,
        _: IpnsRecord,
        _: Origin,
        _: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        std::future::ready(Err(ResolveError::Discarded)).boxed()
    }
}
