//! A provider's name for a set of keys, and its text in files and URLs.
//!
//! The text is multibase: base64url (`u...`) is written, any base is read.

use multibase::Base;
use thiserror::Error;

/// A provider's name for a set of keys that it can remove or change as one, at most
/// [`ContextId::BYTES_MAX`] bytes. Announcements without one share the empty context.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId(Box<[u8]>);

/// Why something is no context ID.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ContextIdError {
    /// Longer than [`ContextId::BYTES_MAX`].
    #[error("a context ID of {0} bytes, at most {max} are accepted", max = ContextId::BYTES_MAX)]
    TooLong(usize),
    /// A text that is not multibase.
    #[error("not multibase, such as `u` and base64url")]
    Multibase(#[from] multibase::Error),
}

impl ContextId {
    /// IPNI's bound on a context ID, in bytes.
    pub(crate) const BYTES_MAX: usize = 64;

    /// The longest text that can stand for a context ID: base 2, the widest, and its prefix.
    const TEXT_BYTES_MAX: usize = 8 * Self::BYTES_MAX + 1;

    /// Takes a context ID.
    pub fn new(bytes: &[u8]) -> Result<Self, ContextIdError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(ContextIdError::TooLong(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// Reads the multibase text of a context ID.
    pub(crate) fn from_text(text: &str) -> Result<Self, ContextIdError> {
        // Base 58 takes time in the square of the length.
        if text.len() > Self::TEXT_BYTES_MAX {
            return Err(ContextIdError::TooLong(text.len() / 8));
        }
        let (_, bytes) = multibase::decode(text)?;
        Self::new(&bytes)
    }

    /// The multibase text, in base64url.
    pub(crate) fn to_text(&self) -> String {
        multibase::encode(Base::Base64Url, &self.0)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_context_reads_back_from_its_text_in_any_base(
            bytes in proptest::collection::vec(any::<u8>(), 0..=64),
        ) {
            let context = ContextId::new(&bytes).unwrap();
            prop_assert_eq!(&ContextId::from_text(&context.to_text()).unwrap(), &context);
            for base in [Base::Base2, Base::Base16Lower, Base::Base32Lower, Base::Base58Btc] {
                let text = multibase::encode(base, &bytes);
                prop_assert_eq!(&ContextId::from_text(&text).unwrap(), &context);
            }
        }
    }

    #[test]
    fn what_is_no_context_is_refused() {
        assert_eq!(ContextId::new(&[0; 65]), Err(ContextIdError::TooLong(65)));
        let long = multibase::encode(Base::Base64Url, [0; 65]);
        assert_eq!(ContextId::from_text(&long), Err(ContextIdError::TooLong(65)));
        let endless = format!("z{}", "2".repeat(100_000));
        assert!(matches!(ContextId::from_text(&endless), Err(ContextIdError::TooLong(_))));
        for text in ["", "?", "u*", "uA"] {
            let found = ContextId::from_text(text);
            assert!(matches!(found, Err(ContextIdError::Multibase(_))), "{text}: {found:?}");
        }
    }
}
