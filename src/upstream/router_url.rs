//! The URL of a remote router, in any of the forms in which people write it.

use std::fmt;

use reqwest::Url;

use super::error::UpstreamError;
use super::printable::printable;

const API_PATH: &str = "/routing/v1";

/// Where a router's API lives: an http or https URL without query, whose path ends in
/// `/routing/v1`. Displayed without credentials and in the short form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterUrl {
    api: Url,
    display: String,
}

impl RouterUrl {
    /// Reads a URL with or without `/routing/v1` and with or without slashes at its end.
    pub fn parse(text: &str) -> Result<Self, UpstreamError> {
        let text = text.trim();
        let bad = |reason: String| UpstreamError::BadUrl { url: printable(text).into(), reason };
        if !text.contains("://") {
            let rest = printable(text.trim_start_matches('/'));
            return Err(bad(match &*rest {
                "" => "empty".to_owned(),
                rest => format!("it has no scheme, write `http://{rest}` or `https://{rest}`"),
            }));
        }
        let mut api = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        if !matches!(api.scheme(), "http" | "https") {
            return Err(bad(format!("its scheme is `{}`, not http or https", api.scheme())));
        }
        if api.query().is_some() || api.fragment().is_some() {
            return Err(bad("it has a query or a fragment".to_owned()));
        }
        let path = api.path().trim_end_matches('/');
        let prefix = path.strip_suffix(API_PATH).unwrap_or(path).trim_end_matches('/').to_owned();
        api.set_path(&prefix);
        let display = displayed(&api);
        api.set_path(&format!("{prefix}{API_PATH}"));
        Ok(Self { api, display })
    }

    /// The router as messages name it.
    pub fn as_str(&self) -> &str {
        &self.display
    }

    /// The URL of `path` under the API; each segment is percent-encoded where it must be.
    pub(super) fn endpoint(&self, path: &[&str]) -> Url {
        let mut url = self.api.clone();
        url.path_segments_mut().expect("http URLs have path segments").extend(path);
        url
    }

    /// The URL of `path` where the API's own path would begin: what else the server answers.
    pub(super) fn beside_api(&self, path: &[&str]) -> Url {
        let mut url = self.api.clone();
        let mut segments = url.path_segments_mut().expect("http URLs have path segments");
        segments.pop().pop().extend(path);
        drop(segments);
        url
    }

    /// Whether the URL says who asks.
    pub(super) fn has_credentials(&self) -> bool {
        !self.api.username().is_empty() || self.api.password().is_some()
    }

    pub(super) fn is_https(&self) -> bool {
        self.api.scheme() == "https"
    }

    /// Whether the router is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.api.host_str().unwrap_or_default();
        let addr = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || addr.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback())
    }
}

impl fmt::Display for RouterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
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
    fn every_form_of_a_base_url_leads_to_one_endpoint() {
        for text in [
            "http://127.0.0.1:8190",
            "http://127.0.0.1:8190/",
            "http://127.0.0.1:8190//",
            "http://127.0.0.1:8190/routing/v1",
            " http://127.0.0.1:8190/routing/v1/ ",
        ] {
            let url = RouterUrl::parse(text).unwrap();
            let endpoint = url.endpoint(&["providers", "Qm/+="]);
            assert_eq!(endpoint.as_str(), "http://127.0.0.1:8190/routing/v1/providers/Qm%2F+=");
            assert_eq!(url.as_str(), "http://127.0.0.1:8190");
        }
    }

    #[test]
    fn a_path_before_the_api_stays_and_credentials_are_not_shown() {
        let url = RouterUrl::parse("https://me:secret@example.org/ipfs/routing/v1").unwrap();
        assert_eq!(url.as_str(), "https://example.org/ipfs");
        let endpoint = url.endpoint(&["providers", "x"]);
        assert_eq!(endpoint.as_str(), "https://me:secret@example.org/ipfs/routing/v1/providers/x");
    }

    #[test]
    fn what_is_no_router_url_says_why() {
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
            let message = RouterUrl::parse(text).unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
        let hostile = RouterUrl::parse("\u{1b}[2Jhost").unwrap_err().to_string();
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
            assert_eq!(RouterUrl::parse(text).unwrap().is_loopback(), is_loopback, "{text}");
        }
    }
}
