//! The configured peer routers: how to connect to them, and the credentials that they use.

use std::sync::Arc;

use super::{Parts, ServerError};
use crate::admin::PeerCredentials;
use crate::config::Settings;
use crate::control::{Identity, PeerParts, PeersParts};
use crate::upstream::{HttpPeerLink, PeerLogin};

/// The configuration of the exchange of routes.
pub(super) fn configured(
    settings: &Settings,
    parts: &Parts,
    identity: &Identity,
) -> Result<PeersParts, ServerError> {
    let peers = settings.remotes.peers.iter().map(|peer| {
        let login = PeerLogin {
            user: peer.user.get().unwrap_or(&identity.name).to_string(),
            password: peer.password.reveal().unwrap_or_default().to_owned(),
        };
        let link = HttpPeerLink::new(peer.admin_url.reveal(), login)
            .map_err(|source| ServerError::Peer { name: peer.name.clone(), source })?;
        Ok(PeerParts {
            id: peer.name.clone(),
            accept: peer.accept.iter().cloned().collect(),
            routes_max: peer.routes_max,
            link: Arc::new(link),
            counts: parts.metrics.peer(peer.name.as_str()),
        })
    });
    Ok(PeersParts {
        advertise: settings.advertise.iter().cloned().collect(),
        hold_down: parts.hold_down,
        peers: peers.collect::<Result<_, ServerError>>()?,
    })
}

/// The credentials with which peers access the admin listener.
pub(super) fn credentials(settings: &Settings) -> Vec<PeerCredentials> {
    let peers = settings.remotes.peers.iter();
    peers
        .map(|peer| PeerCredentials { id: peer.name.clone(), password: peer.password.clone() })
        .collect()
}
