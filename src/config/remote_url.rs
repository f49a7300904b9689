//! URLs of other servers in settings: http or https, without query or fragment.
//!
//! A user name and a password in a URL are sent as Basic authentication. They are secrets: only
//! [`RemoteUrl::reveal`] shows them, and [`without_credentials`] removes them from what was
//! written, valid or not, before a message quotes it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

/// The URL of a server.
#[derive(Clone, Eq, PartialEq)]
pub struct RemoteUrl(Url);

/// Why a text is not the URL of a server.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RemoteUrlError {
    /// The scheme is missing.
    #[error("it has no scheme, write http:// or https:// before it")]
    NoScheme,
    /// Another scheme.
    #[error("its scheme is `{0}`, not http or https")]
    Scheme(String),
    /// Not a URL.
    #[error(transparent)]
    Malformed(#[from] url::ParseError),
    /// It has a query or a fragment.
    #[error("it has a query or a fragment")]
    Query,
}

impl RemoteUrl {
    /// The URL with its credentials, for connecting.
    pub(crate) fn reveal(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Whether there is a user name or a password in it.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// The host and, where it is written, the port.
    pub(super) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl FromStr for RemoteUrl {
    type Err = RemoteUrlError;

    fn from_str(text: &str) -> Result<Self, RemoteUrlError> {
        let text = text.trim();
        let Some((scheme, _)) = text.split_once("://") else {
            return Err(RemoteUrlError::NoScheme);
        };
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(RemoteUrlError::Scheme(scheme.to_owned()));
        }
        let url = Url::parse(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RemoteUrlError::Query);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for RemoteUrl {
    /// Without credentials.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Both fail only for URLs without a host, which http URLs always have.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        formatter.write_str(shown.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.has_credentials() { " with credentials" } else { "" };
        write!(formatter, "RemoteUrl({self}{credentials})")
    }
}

/// `text` without possible credentials of a URL: removes from `://` to the last `@`. May remove too
/// much, never too little, also of an invalid URL.
pub(super) fn without_credentials(text: &str) -> String {
    let cut =
        text.split_once("://").and_then(|(before, rest)| Some((before, rest.rsplit_once('@')?)));
    match cut {
        Some((before, (_, after))) => format!("{before}://<not shown>@{after}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RemoteUrl {
        text.parse().unwrap()
    }

    #[test]
    fn slashes_at_the_end_and_capitals_do_not_count() {
        for text in ["https://example.org", " HTTPS://Example.org/ ", "https://example.org:443//"] {
            assert_eq!(url(text).reveal(), "https://example.org", "{text}");
        }
        assert_eq!(url("http://h/a/routing/v1/").to_string(), "http://h/a/routing/v1");
        assert_eq!(url("http://[::1]:80/").authority(), "[::1]");
        assert_eq!(url("http://h:81/x").authority(), "h:81");
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["http://127.0.0.1:8190", "https://a:b@example.org/x%2Fy", "http://[::1]:1"] {
            assert_eq!(url(url(text).reveal()), url(text));
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_says_why() {
        for (text, reason) in [
            ("", "no scheme"),
            ("example.org", "no scheme"),
            ("ftp://example.org", "`ftp`"),
            ("http://", "empty host"),
            ("http://example.org:99999", "invalid port"),
            ("http://example.org/?a=b", "query"),
            ("http://example.org/#top", "fragment"),
        ] {
            let message = text.parse::<RemoteUrl>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }

    #[test]
    fn credentials_show_only_when_they_are_asked_for() {
        let secret = url("https://me:hunter2@example.org/api");
        assert!(secret.has_credentials() && !url("https://example.org").has_credentials());
        assert_eq!(secret.to_string(), "https://example.org/api");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(secret.reveal().contains("me:hunter2@"));
    }

    #[test]
    fn credentials_are_cut_out_of_whatever_was_written() {
        for text in [
            "https://me:hunter2@example.org",
            "'a=https://me:hunter2@h', 'b=https://you:hunter2@i'",
            "https://me:hun/hunter2@example.org",
            "https://me:hun,hunter2@example.org",
        ] {
            let cut = without_credentials(text);
            assert!(!cut.contains("hunter2") && cut.contains("://<not shown>@"), "{cut}");
        }
        for text in ["https://example.org/@", "me@example.org", "https://example.org"] {
            assert!(without_credentials(text).contains("example.org") || text.contains("/@"));
        }
    }
}
