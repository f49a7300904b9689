//! Authorisation of the admin API: the operator, and each peer router by its own name.
//!
//! A peer router may only exchange routes; the operator may do everything else, but not that, since
//! the sender of an update identifies the peer. Credentials are compared as hashes and with all
//! users, so that timing reveals neither a password nor which users exist.

use super::password::AdminPassword;
use crate::config::Secret;
use crate::types::TargetId;

/// The paths of peer routers are under this one.
const PEER_PATH: &str = "/peer";

/// The credentials of a peer router.
pub(crate) struct PeerCredentials {
    /// Its id, which is its user name.
    pub(crate) id: TargetId,
    /// Its password; without one it has no access.
    pub(crate) password: Secret,
}

/// The user of a request. Handlers find it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdminUser {
    /// The operator.
    Admin,
    /// A peer router.
    Peer(TargetId),
}

/// All users.
pub(super) struct Users {
    admin: AdminPassword,
    peers: Vec<PeerUser>,
}

struct PeerUser {
    id: TargetId,
    credentials_hash: blake3::Hash,
}

impl Users {
    pub(super) fn new(admin: AdminPassword, peers: Vec<PeerCredentials>) -> Self {
        let peers = peers.into_iter().filter_map(|PeerCredentials { id, password }| {
            let credentials_hash = hash(id.as_str(), password.reveal()?);
            Some(PeerUser { id, credentials_hash })
        });
        Self { admin, peers: peers.collect() }
    }

    /// The user with these credentials, `user:password`. A peer's name is normalised like the
    /// id of a target.
    pub(super) fn identify(&self, credentials: &[u8]) -> Option<AdminUser> {
        let mut user = self.admin.accepts(credentials).then_some(AdminUser::Admin);
        let hash = peer_hash(credentials);
        for peer in &self.peers {
            // blake3 compares its hashes in constant time.
            if hash == Some(peer.credentials_hash) && user.is_none() {
                user = Some(AdminUser::Peer(peer.id.clone()));
            }
        }
        user
    }
}

impl AdminUser {
    /// Why this user may not access a path; `None` if it may.
    pub(super) fn barred(&self, path: &str) -> Option<&'static str> {
        let rest = path.strip_prefix(PEER_PATH);
        let is_for_peers = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match (self, is_for_peers) {
            (Self::Admin, false) | (Self::Peer(_), true) => None,
            (Self::Admin, true) => {
                Some("what is under /peer is for peer routers, each by its name")
            }
            (Self::Peer(_), false) => Some("a peer router may ask for what is under /peer only"),
        }
    }
}

/// What a peer's credentials hash to, its name normalised as ids are.
fn peer_hash(credentials: &[u8]) -> Option<blake3::Hash> {
    let (name, password) = std::str::from_utf8(credentials).ok()?.split_once(':')?;
    Some(hash(TargetId::parse(name).ok()?.as_str(), password))
}

fn hash(name: &str, password: &str) -> blake3::Hash {
    blake3::hash(format!("{name}:{password}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let peers = [("east-1", "of:east"), ("west", "of west"), ("open", "")];
        let peers = peers.map(|(name, password)| PeerCredentials {
            id: TargetId::parse(name).unwrap(),
            password: password.parse().unwrap(),
        });
        Users::new(AdminPassword::new("of admin"), peers.into())
    }

    fn peer(name: &str) -> Option<AdminUser> {
        Some(AdminUser::Peer(TargetId::parse(name).unwrap()))
    }

    #[test]
    fn each_user_has_a_password_of_its_own() {
        let users = users();
        assert_eq!(users.identify(b"admin:of admin"), Some(AdminUser::Admin));
        assert_eq!(users.identify(b"east-1:of:east"), peer("east-1"));
        assert_eq!(users.identify(b"East-1.:of:east"), peer("east-1"));
        assert_eq!(users.identify(b"west:of west"), peer("west"));
        for wrong in [
            "admin:of west",
            "west:of admin",
            "west:of:east",
            "east-1:of west",
            "west:Of west",
            "Admin:of admin",
            "north:of west",
            "west",
            "west:",
            ":of west",
            "",
        ] {
            assert_eq!(users.identify(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(users.identify(b"west:\xff"), None);
    }

    #[test]
    fn a_peer_without_a_password_is_not_let_in() {
        assert_eq!(users().identify(b"open:"), None);
    }

    #[test]
    fn peers_exchange_routes_and_the_operator_does_the_rest() {
        let peer = peer("west").unwrap();
        for (path, is_for_peers) in [
            ("/peer", true),
            ("/peer/route/update", true),
            ("/peers", false),
            ("/routes", false),
            ("/", false),
            ("/admin/peer/x", false),
        ] {
            assert_eq!(peer.barred(path).is_none(), is_for_peers, "{path}");
            assert_eq!(AdminUser::Admin.barred(path).is_none(), !is_for_peers, "{path}");
        }
    }
}
