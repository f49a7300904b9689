//! The `auth` value of a route: HMAC-SHA256 of its prefix under the routing secret.
//!
//! It is sent as base64 (standard alphabet, padded). Each router propagates the SHA-256 of the
//! value it received, so whoever shows a value proves to be nearer to the origin than whoever holds
//! its hash. Source: CCP, as in source 000.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use multibase::Base;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::types::RoutePrefix;

/// Bytes of a value.
const BYTES: usize = 32;

/// The `auth` of a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteAuth([u8; BYTES]);

/// A text that is no `auth`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not the base64 of {BYTES} bytes, with its padding")]
pub struct RouteAuthError;

impl RouteAuth {
    /// The value of a route of our own.
    pub fn of(secret: &[u8], prefix: &RoutePrefix) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        Self(mac.chain_update(prefix.as_str()).finalize().into_bytes().into())
    }

    /// Reads base64.
    pub fn from_base64(text: &str) -> Result<Self, RouteAuthError> {
        let bytes = Base::Base64Pad.decode(text).map_err(|_| RouteAuthError)?;
        bytes.try_into().map(Self).map_err(|_| RouteAuthError)
    }

    /// The value as base64.
    pub(crate) fn to_base64(self) -> String {
        Base::Base64Pad.encode(self.0)
    }

    /// The value sent to the next router.
    pub(crate) fn hashed(&self) -> Self {
        Self(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for RouteAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteAuth({})", self.to_base64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_values_of_the_source_document_hold() {
        for (prefix, base64) in [
            ("g", "WhzFqWj0eyDDoq4ynPU3hi6jkon4rwqbpvbFsj+uerw="),
            ("g.foo", "YPdfhiJL3niltb1hChYzKwFPPimfPIb0gcNtvoKglsY="),
        ] {
            let auth = RouteAuth::of(b"shh", &RoutePrefix::parse(prefix).unwrap());
            assert_eq!(auth.to_base64(), base64);
            assert_eq!(RouteAuth::from_base64(base64), Ok(auth));
        }
    }

    #[test]
    fn the_next_router_is_sent_the_sha_256() {
        let zeros = RouteAuth([0; BYTES]);
        assert_eq!(zeros.hashed().to_base64(), "Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU=");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let short = Base::Base64Pad.encode([0; BYTES - 1]);
        let long = Base::Base64Pad.encode([0; BYTES + 1]);
        let unpadded = Base::Base64.encode([0; BYTES]);
        let of_urls = Base::Base64UrlPad.encode([0xff; BYTES]);
        for text in ["", "*", &short, &long, &unpadded, &of_urls] {
            assert_eq!(RouteAuth::from_base64(text), Err(RouteAuthError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_value_reads_back(bytes: [u8; BYTES]) {
            let auth = RouteAuth(bytes);
            prop_assert_eq!(RouteAuth::from_base64(&auth.to_base64()), Ok(auth));
        }
    }
}
