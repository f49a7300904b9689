//! A secret setting: a text that is used and never printed.
//!
//! `Debug` hides it, and [`Secret`] has no `Display`, so that it cannot slip into a log or an error
//! message. The effective settings leave it out because its field sets `hide_env_values`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A secret; empty where none is set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// A secret with a line break or another control character: most likely a file's last line end.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("it holds a control character, such as a line break")]
pub struct SecretError;

impl Secret {
    /// The secret; `None` where none is set.
    pub(crate) fn reveal(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if text.contains(char::is_control) {
            return Err(SecretError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(not shown)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_revealed_only_when_asked() {
        let secret: Secret = "hunter2".parse().unwrap();
        assert_eq!(secret.reveal(), Some("hunter2"));
        assert_eq!(format!("{secret:?} {:?}", Secret::default()), "Secret(not shown) Secret(none)");
        assert_eq!("".parse::<Secret>().unwrap().reveal(), None);
        assert_eq!("a\n".parse::<Secret>(), Err(SecretError));
    }
}
