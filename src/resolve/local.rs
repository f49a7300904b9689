//! The resolver that answers from the local store, and asks nobody else.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::{Found, FoundStream, Question, ResolveError, Resolver, Subject};
use crate::store::{Lookup, PeerLookup, Store};

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
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        find(&*self.store, question).boxed()
    }

    /// All at once: the store has all that it knows at hand.
    fn stream(&self, question: Question) -> FoundStream {
        let store = self.store.clone();
        stream::once(async move { find(&*store, &question).await }).boxed()
    }
}

async fn find(store: &dyn Store, question: &Question) -> Result<Found, ResolveError> {
    let Question { subject, filter, records_max } = question;
    let found = match subject {
        Subject::Content(key) => {
            store.find(Lookup { key, filter, records_max: *records_max }).await
        }
        // One record at most.
        Subject::Peer(peer) => store.peer(PeerLookup { peer, filter }).await,
    };
    Ok(found?)
}
