//! Talking to a peer router's admin listener: route control and route updates over HTTP.
//!
//! Invariants: a message goes to the configured URL and nowhere else, no redirect is followed, and
//! nothing that a peer answers is asked for; each ends within a bounded time; no more of an answer is
//! read than a problem document needs. The password goes with every message, and into no error.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use crate::dispatch::{LastKnown, LastKnownFields, RouteControl, RouteUpdate};
use crate::http_client::{ClientOptions, HttpClient, HttpClientError, Redirects, ServerUrl};
use crate::resolve::{PeerLink, PeerLinkError};
use crate::text::with_causes;

/// The time for a whole message, connecting included: several fit into the time for which a router is
/// believed to be there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How much of an answer is read: a problem document is a tenth of it.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// The way to a peer router over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct HttpPeerLink {
    http: HttpClient,
    credentials: PeerLogin,
}

/// What we are called at a peer router, and how we prove it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PeerLogin {
    /// The user.
    pub(crate) user: String,
    /// The password.
    pub(crate) password: String,
}

impl fmt::Debug for PeerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerLogin({}, password not shown)", self.user)
    }
}

impl HttpPeerLink {
    /// A way to the peer whose admin listener is at `admin_url`: an http or https URL without query,
    /// perhaps with a path that a proxy puts before.
    pub(crate) fn new(admin_url: &str, credentials: PeerLogin) -> Result<Self, HttpClientError> {
        Self::with_timeout(admin_url, credentials, TIMEOUT)
    }

    fn with_timeout(
        admin_url: &str,
        credentials: PeerLogin,
        timeout: Duration,
    ) -> Result<Self, HttpClientError> {
        let url = ServerUrl::parse(admin_url)?;
        if url.has_credentials() {
            let reason = "user and password have settings of their own".to_owned();
            return Err(HttpClientError::BadUrl { url: url.to_string(), reason });
        }
        let options = ClientOptions {
            connect_timeout: timeout,
            timeout: Some(timeout),
            redirects: Redirects::Never,
        };
        Ok(Self { http: HttpClient::new(url, options)?, credentials })
    }

    /// Sends a message. What comes back says from where on the peer has to be told, if there is a gap.
    async fn send(&self, path: &str, json: String) -> Result<Option<LastKnown>, HttpClientError> {
        let PeerLogin { user, password } = &self.credentials;
        let url = self.http.server().join(["peer", "route", path]);
        let request = self.http.request(Method::POST, url).basic_auth(user, Some(password));
        let request = request.header(CONTENT_TYPE, "application/json").body(json);
        let answer = self.http.send(self.http.build(request)?).await?;
        match answer.status() {
            StatusCode::OK => {
                // To its end, so that the connection can carry the next message.
                self.http.read(answer, ANSWER_BYTES_MAX).await?;
                Ok(None)
            }
            StatusCode::CONFLICT => {
                let body = self.http.read(answer, ANSWER_BYTES_MAX).await?;
                let fields: Option<LastKnownFields> = serde_json::from_slice(&body).ok();
                fields
                    .and_then(|fields| fields.read().ok())
                    .map(Some)
                    .ok_or_else(|| self.http.unusable("its 409 does not say what it knows"))
            }
            _ => Err(self.http.refusal(answer).await),
        }
    }
}

impl PeerLink for HttpPeerLink {
    fn control<'a>(
        &'a self,
        control: &'a RouteControl,
    ) -> BoxFuture<'a, Result<(), PeerLinkError>> {
        async move { taken(self.send("control", control.to_json()).await) }.boxed()
    }

    fn update<'a>(&'a self, update: &'a RouteUpdate) -> BoxFuture<'a, Result<(), PeerLinkError>> {
        async move { taken(self.send("update", update.to_json()).await) }.boxed()
    }
}

fn taken(answer: Result<Option<LastKnown>, HttpClientError>) -> Result<(), PeerLinkError> {
    match answer {
        Ok(None) => Ok(()),
        Ok(Some(known)) => Err(PeerLinkError::Gap(known)),
        Err(error) => Err(PeerLinkError::Failed(with_causes(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{RoutingTableId, SyncMode};
    use crate::http_client::test_server::{TestServer, wait_for_close};
    use crate::types::TargetId;

    const KNOWN: LastKnown = LastKnown { table_id: RoutingTableId::NONE, epoch: 7 };

    fn link(url: &str, timeout: Duration) -> HttpPeerLink {
        let credentials = PeerLogin { user: "me".to_owned(), password: "se:cret".to_owned() };
        HttpPeerLink::with_timeout(url, credentials, timeout).unwrap()
    }

    fn heartbeat() -> RouteUpdate {
        RouteUpdate {
            table_id: RoutingTableId::new([1; 16]),
            current_epoch: 0,
            from_epoch: 0,
            to_epoch: 0,
            hold_down_ms: 45_000,
            speaker: TargetId::parse("me").unwrap(),
            new_routes: Vec::new(),
            withdrawn_routes: Vec::new(),
        }
    }

    async fn update(router: &TestServer, timeout: Duration) -> Result<(), PeerLinkError> {
        link(&router.url(), timeout).update(&heartbeat()).await
    }

    #[tokio::test]
    async fn messages_go_to_the_peers_paths_with_our_name_and_password() {
        let router = TestServer::answering("200 OK", "application/json", "{}");
        let link = link(&format!("{}/behind/", router.url()), TIMEOUT);
        let control = RouteControl { mode: SyncMode::Sync, last_known: KNOWN };
        link.control(&control).await.unwrap();
        link.update(&heartbeat()).await.unwrap();
        let heads = router.heads();
        assert!(heads[0].starts_with("post /behind/peer/route/control http/1.1\r\n"), "{heads:?}");
        assert!(heads[1].starts_with("post /behind/peer/route/update http/1.1\r\n"), "{heads:?}");
        for head in heads {
            // base64 of me:se:cret, in lower case as heads are kept.
            assert!(head.contains("\nauthorization: basic bwu6c2u6y3jlda==\r\n"), "{head}");
            assert!(head.contains("\ncontent-type: application/json\r\n"), "{head}");
        }
        let bodies = router.bodies();
        assert_eq!(RouteControl::from_json(&bodies[0]).unwrap(), control);
        assert_eq!(RouteUpdate::from_json(&bodies[1]).unwrap(), heartbeat());
    }

    #[tokio::test]
    async fn a_gap_comes_back_with_what_the_peer_knows() {
        let fields = serde_json::to_string(&LastKnownFields::from(KNOWN)).unwrap();
        let body = fields.replacen('{', r#"{"title":"Conflict","status":409,"#, 1);
        let router = TestServer::answering("409 Conflict", "application/problem+json", body);
        assert_eq!(update(&router, TIMEOUT).await, Err(PeerLinkError::Gap(KNOWN)));
    }

    #[tokio::test]
    async fn whatever_else_is_answered_is_a_failure_that_says_what_and_not_the_password() {
        let json = "application/json";
        let endless = vec![b' '; ANSWER_BYTES_MAX + 1];
        let nonsense = r#"{"lastKnownRoutingTableId":"x","lastKnownEpoch":1}"#;
        for (router, expected) in [
            (TestServer::answering("401 Unauthorized", json, "{}"), "401 Unauthorized"),
            (TestServer::answering("400 Bad Request", json, "why\nnot"), "400 Bad Request: why"),
            (TestServer::answering("409 Conflict", json, "{}"), "409 does not say"),
            (TestServer::answering("409 Conflict", json, nonsense), "409 does not say"),
            (TestServer::answering("200 OK", json, endless), "more than 16384 bytes"),
            (TestServer::answering("500 Oops", "text/plain", "\u{1b}[2J"), "\u{fffd}[2J"),
        ] {
            let Err(PeerLinkError::Failed(text)) = update(&router, TIMEOUT).await else {
                panic!("{expected} is a failure")
            };
            assert!(text.contains(expected) && !text.contains("cret"), "{text}");
        }
    }

    #[tokio::test]
    async fn no_redirect_is_followed() {
        let other = TestServer::answering("200 OK", "application/json", "{}");
        for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
        {
            let location = format!("Location: {}/peer/route/update\r\n", other.url());
            let router = TestServer::with_headers(status, &location, "");
            let answer = update(&router, TIMEOUT).await;
            assert!(matches!(answer, Err(PeerLinkError::Failed(_))), "{status}: {answer:?}");
        }
        assert_eq!(other.heads(), [""; 0]);
    }

    #[tokio::test]
    async fn a_peer_that_never_answers_or_is_not_there_is_a_failure_in_time() {
        let router = TestServer::start(wait_for_close);
        let answer = update(&router, Duration::from_millis(150)).await;
        assert!(matches!(&answer, Err(PeerLinkError::Failed(text)) if text.contains("150ms")));
        let url = router.url();
        drop(router);
        let answer = link(&url, TIMEOUT).update(&heartbeat()).await;
        assert!(matches!(&answer, Err(PeerLinkError::Failed(text)) if text.contains("connect")));
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused() {
        let login = PeerLogin { user: "me".to_owned(), password: "secret".to_owned() };
        for url in ["peer:8191", "ftp://peer", "http://peer/?a", "http://me:hush@peer:8191"] {
            let error = HttpPeerLink::new(url, login.clone()).unwrap_err();
            assert!(matches!(&error, HttpClientError::BadUrl { .. }), "{url}: {error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        assert!(!format!("{login:?}").contains("secret"));
    }
}
