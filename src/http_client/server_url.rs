//! The URL of a server, perhaps with a path prefix.

use std::fmt;

use reqwest::Url;

use super::error::HttpClientError;
use crate::text::printable;

/// Where a server is: an http or https URL without query, fragment and slashes at its end. Displayed
/// without credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    base: Url,
    display: String,
}

impl ServerUrl {
    /// Reads a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, HttpClientError> {
        let text = text.trim();
        let bad = |reason: String| HttpClientError::BadUrl { url: printable(text).into(), reason };
        if !text.contains("://") {
            let rest = printable(text.trim_start_matches('/'));
            return Err(bad(match &*rest {
                "" => "empty".to_owned(),
                rest => format!("it has no scheme, write `http://{rest}` or `https://{rest}`"),
            }));
        }
        let base = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad(format!("its scheme is `{}`, not http or https", base.scheme())));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("it has a query or a fragment".to_owned()));
        }
        Ok(Self::new(base))
    }

    fn new(mut base: Url) -> Self {
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        let display = displayed(&base);
        Self { base, display }
    }

    /// The same server without `path` at the end of its URL, if it is there.
    pub(crate) fn without_path_end(self, path: &str) -> Self {
        match self.base.path().strip_suffix(path).map(str::to_owned) {
            Some(before) => {
                let mut base = self.base;
                base.set_path(&before);
                Self::new(base)
            }
            None => self,
        }
    }

    /// The server as messages name it.
    pub(crate) fn as_str(&self) -> &str {
        &self.display
    }

    /// The URL of a path under the server's; each segment is percent-encoded where it must be.
    pub(crate) fn join<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.base.clone();
        let mut path = url.path_segments_mut().expect("http URLs have path segments");
        path.pop_if_empty().extend(segments);
        drop(path);
        url
    }

    /// Whether the URL has credentials.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.base.username().is_empty() || self.base.password().is_some()
    }

    pub(super) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether the server is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        let addr = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || addr.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({})", self.display)
    }
}

fn displayed(url: &Url) -> String {
    let mut shown = url.clone();
    // Both calls fail only for URLs without a host, which http URLs always have.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_url_leads_to_one_path() {
        for text in ["http://127.0.0.1:8190", "http://127.0.0.1:8190/", " http://127.0.0.1:8190// "]
        {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.join(["a", "Qm/+="]).as_str(), "http://127.0.0.1:8190/a/Qm%2F+=");
            assert_eq!(url.as_str(), "http://127.0.0.1:8190");
        }
    }

    #[test]
    fn a_path_stays_and_credentials_are_not_shown() {
        let url = ServerUrl::parse("https://me:secret@example.org/ipfs/").unwrap();
        assert_eq!(url.as_str(), "https://example.org/ipfs");
        assert!(!format!("{url:?}").contains("secret"));
        assert_eq!(url.join(["x"]).as_str(), "https://me:secret@example.org/ipfs/x");
        assert_eq!(url.clone().without_path_end("/x"), url);
        assert_eq!(url.without_path_end("/ipfs").as_str(), "https://example.org");
    }

    #[test]
    fn what_is_no_url_of_a_server_says_why() {
        let cases = [
            ("", "empty"),
            ("localhost:8190", "`http://localhost:8190` or `https://localhost:8190`"),
            ("//example.org", "write `http://example.org` or `https://example.org`"),
            ("127.0.0.1", "no scheme"),
            ("ftp://example.org", "its scheme is `ftp`"),
            ("http://", "empty host"),
            ("http://example.org:99999", "invalid port"),
            ("http://example.org/?a=b", "query"),
            ("http://example.org/#top", "fragment"),
        ];
        for (text, reason) in cases {
            let message = ServerUrl::parse(text).unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
        let hostile = ServerUrl::parse("\u{1b}[2Jhost").unwrap_err().to_string();
        assert!(!hostile.contains('\u{1b}'), "{hostile}");
    }

    #[test]
    fn loopback_is_known_in_every_form() {
        for (text, is_loopback) in [
            ("http://localhost:1", true),
            ("http://127.3.2.1", true),
            ("http://[::1]:8190", true),
            ("http://192.0.2.1", false),
            ("https://localhost.example.org", false),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().is_loopback(), is_loopback, "{text}");
        }
    }
}
