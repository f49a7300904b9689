//! The name that peers know this router by, and the secret that signs its routes: from the
//! settings, or generated at the first start and stored. If the disk is read-only, generated values
//! last until the next start.

use multibase::Base;

use super::ControlError;
use crate::clock::UnixMs;
use crate::state::{ControlChange, ControlStore, ControlTable};
use crate::types::TargetId;

/// Keys of the table of single documents.
const NAME: &str = "router_name";
const SECRET: &str = "routing_secret";

/// Random bytes of a generated name: two routers collide once in 2^48 pairs.
const NAME_BYTES: usize = 6;

/// Random bytes of a generated secret.
const SECRET_BYTES: usize = 32;

/// The name and the routing secret of a router.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The name in the paths of routes.
    pub(crate) name: TargetId,
    /// The key of the `auth` values of routes.
    pub(crate) secret: Vec<u8>,
}

impl Identity {
    /// The configured name and secret; those not configured are loaded, or generated at the first
    /// start.
    pub(crate) async fn load_or_make(
        state: &dyn ControlStore,
        name: Option<TargetId>,
        secret: Option<&str>,
        now_ms: UnixMs,
    ) -> Result<Self, ControlError> {
        let name = match name {
            Some(name) => name,
            None => {
                let make = || format!("fingerpost-{}", hex(&rand::random::<[u8; NAME_BYTES]>()));
                let text = kept(state, NAME, make, now_ms).await?;
                TargetId::parse(&text).map_err(|error| broken(NAME, error.to_string()))?
            }
        };
        let secret = match secret {
            Some(secret) => secret.as_bytes().to_vec(),
            None => {
                let make = || Base::Base64Pad.encode(rand::random::<[u8; SECRET_BYTES]>());
                let text = kept(state, SECRET, make, now_ms).await?;
                Base::Base64Pad.decode(&text).map_err(|error| broken(SECRET, error.to_string()))?
            }
        };
        Ok(Self { name, secret })
    }
}

async fn kept(
    state: &dyn ControlStore,
    key: &str,
    make: impl FnOnce() -> String,
    now_ms: UnixMs,
) -> Result<String, ControlError> {
    if let Some(text) = state.read(ControlTable::Single).await?.remove(key) {
        return Ok(text);
    }
    let text = make();
    let change = ControlChange {
        table: ControlTable::Single,
        key: key.to_owned(),
        text: Some(text.clone()),
    };
    if let Err(error) = state.write(vec![change], now_ms).await {
        tracing::warn!(%error, key, "what was made for this router cannot be kept, and will be another after a restart");
    }
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    Base::Base16Lower.encode(bytes)
}

fn broken(key: &str, reason: String) -> ControlError {
    ControlError::Document { what: "document", key: key.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::MemoryControl;

    #[tokio::test]
    async fn what_is_made_is_kept_and_what_is_given_wins() {
        let state = MemoryControl::new();
        let first = Identity::load_or_make(&state, None, None, 1).await.unwrap();
        let again = Identity::load_or_make(&state, None, None, 1).await.unwrap();
        assert_eq!((&first.name, &first.secret), (&again.name, &again.secret));
        assert!(first.name.as_str().starts_with("fingerpost-") && first.secret.len() == 32);
        let name = TargetId::parse("me").unwrap();
        let given =
            Identity::load_or_make(&state, Some(name.clone()), Some("shh"), 1).await.unwrap();
        assert_eq!((given.name, given.secret), (name, b"shh".to_vec()));
    }
}
