//! What we advertise: for each prefix the best of what is our own and what was received.
//!
//! The preference is the routing table's: the shorter path, then the lower account. Our own prefixes
//! have the shortest path that there is. Each route is passed on with us at the head of its path, and
//! with the SHA-256 of the proof that we hold.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::dispatch::RouteAuth;
use crate::types::{AccountId, RoutePrefix};

use super::{PATH_ROUTERS_MAX, ReceivedRoute};

/// A prefix that lookups are answered for here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRoute {
    /// The part of the key space.
    pub prefix: RoutePrefix,
    /// The proof that we hold.
    pub auth: RouteAuth,
}

/// A route as it is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedRoute {
    /// The routers on the way, us first.
    pub path: Vec<AccountId>,
    /// What proves it to whoever is told.
    pub auth: RouteAuth,
    /// The peer that it leads to, which is not told it; `None`: it ends here.
    pub next_hop: Option<AccountId>,
}

/// All that we, under the name `us`, advertise. What was heard comes with the peer that told it.
pub fn advertised<'a>(
    us: &AccountId,
    own: &[OwnRoute],
    received: impl IntoIterator<Item = (&'a AccountId, &'a RoutePrefix, &'a ReceivedRoute)>,
) -> BTreeMap<RoutePrefix, AdvertisedRoute> {
    let mut best: BTreeMap<&RoutePrefix, (&AccountId, &ReceivedRoute)> = BTreeMap::new();
    for (peer, prefix, route) in received {
        let rank = |peer, route: &ReceivedRoute| (route.path.len(), peer);
        match best.entry(prefix) {
            Entry::Vacant(entry) => drop(entry.insert((peer, route))),
            Entry::Occupied(mut entry) => {
                let (of, known) = *entry.get();
                if rank(peer, route) < rank(of, known) {
                    entry.insert((peer, route));
                }
            }
        }
    }
    // A path that is as long as may be would be too long with us: nobody would take it.
    best.retain(|_, (_, route)| route.path.len() < PATH_ROUTERS_MAX);
    let passed_on = best.into_iter().map(|(prefix, (peer, route))| {
        let path = [us].into_iter().chain(&route.path).cloned().collect();
        let auth = route.auth.hashed();
        (prefix.clone(), AdvertisedRoute { path, auth, next_hop: Some(peer.clone()) })
    });
    let own = own.iter().map(|OwnRoute { prefix, auth }| {
        let path = vec![us.clone()];
        (prefix.clone(), AdvertisedRoute { path, auth: auth.hashed(), next_hop: None })
    });
    passed_on.chain(own).collect()
}
