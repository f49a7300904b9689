//! The URL of a Routing V1 server, in any of the forms in which people write it.

use std::fmt;

use reqwest::Url;

use crate::http_client::{HttpClientError, ServerUrl};

/// Where a router is: the URL of its server, without `/routing/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouterUrl(ServerUrl);

impl RouterUrl {
    /// Reads a URL with or without `/routing/v1` and with or without slashes at its end.
    pub(crate) fn parse(text: &str) -> Result<Self, HttpClientError> {
        Ok(Self(ServerUrl::parse(text)?.without_path_end("/routing/v1")))
    }

    /// Its server.
    pub(super) fn server(&self) -> &ServerUrl {
        &self.0
    }

    /// The router as messages name it.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL of a resource of the API.
    pub(super) fn endpoint(&self, path: [&str; 2]) -> Url {
        self.0.join(["routing", "v1"].into_iter().chain(path))
    }
}

impl fmt::Display for RouterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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
            " http://127.0.0.1:8190//routing/v1/ ",
        ] {
            let url = RouterUrl::parse(text).unwrap();
            let endpoint = url.endpoint(["providers", "Qm/+="]);
            assert_eq!(endpoint.as_str(), "http://127.0.0.1:8190/routing/v1/providers/Qm%2F+=");
            assert_eq!(url.as_str(), "http://127.0.0.1:8190");
        }
    }

    #[test]
    fn a_path_before_the_api_stays_and_credentials_are_not_shown() {
        let url = RouterUrl::parse("https://me:secret@example.org/ipfs/routing/v1").unwrap();
        assert_eq!(url.as_str(), "https://example.org/ipfs");
        let endpoint = url.endpoint(["providers", "x"]);
        assert_eq!(endpoint.as_str(), "https://me:secret@example.org/ipfs/routing/v1/providers/x");
    }
}
