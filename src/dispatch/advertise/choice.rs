//! What we advertise: for each prefix the best of our own routes and those received.
//!
//! The preference is that of the routing table: the shorter path, then the lower target. Our own
//! prefixes have the shortest possible path. A route is propagated with us prepended to its path,
//! and with the SHA-256 of the `auth` that we received.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::dispatch::RouteAuth;
use crate::types::{RoutePrefix, TargetId};

use super::{PATH_ROUTERS_MAX, ReceivedRoute};

/// A prefix that this router is authoritative for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnRoute {
    /// The prefix.
    pub(crate) prefix: RoutePrefix,
    /// Our `auth` value for it.
    pub(crate) auth: RouteAuth,
}

/// A route as it is sent to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdvertisedRoute {
    /// The routers on the path, us first.
    pub(crate) path: Vec<TargetId>,
    /// The `auth` value sent along.
    pub(crate) auth: RouteAuth,
    /// The peer that it leads to, which is not sent it; `None` if it ends here.
    pub(crate) next_hop: Option<TargetId>,
}

/// All routes that we, under the name `us`, advertise. Each received route comes with the peer that
/// sent it.
pub(crate) fn advertised<'a>(
    us: &TargetId,
    own: &[OwnRoute],
    received: impl IntoIterator<Item = (&'a TargetId, &'a RoutePrefix, &'a ReceivedRoute)>,
) -> BTreeMap<RoutePrefix, AdvertisedRoute> {
    let mut best: BTreeMap<&RoutePrefix, (&TargetId, &ReceivedRoute)> = BTreeMap::new();
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
    // With us prepended, a path of the maximum length would be refused by every peer.
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
