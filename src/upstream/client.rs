//! The HTTP client beneath everything that asks a remote router.
//!
//! Invariants: every request ends within its timeout and follows a bounded number of redirects, never
//! one from https to http. Certificates are verified against the system's roots. A proxy named by
//! the environment is used, except towards this machine. What a router says in words is printable
//! and short.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use thiserror::Error;
use tokio::time;

use super::body::{AnswerFormat, AnswerLimits};
use super::error::UpstreamError;
use super::printable::printable;
use super::router_url::RouterUrl;

/// What is asked for where records are wanted: as a stream, if that is to be had.
pub(super) const ACCEPT_RECORDS: &str = "application/x-ndjson, application/json;q=0.9";

const USER_AGENT: &str = concat!("fingerpost/", env!("CARGO_PKG_VERSION"));

/// How much of an error's body is read for its first line: what our own errors may have.
pub(super) const ERROR_TEXT_BYTES_MAX: usize = 1024;

/// How long is waited for that line: it comes with the head of the answer or right after it, and an error
/// is final without it.
const ERROR_TEXT_WAIT: Duration = Duration::from_millis(250);

/// How long an HTTP/2 connection may be silent before it is pinged, and how long it has for the answer:
/// one that the network has swallowed must not take the requests of minutes with it.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The time to connect, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// The time for a whole request, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// How many redirects one request follows.
    pub redirects_max: usize,
    /// How much of an answer is read.
    pub limits: AnswerLimits,
}

/// Where redirects may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedirectScope {
    /// Anywhere: somebody asks who sees the answer.
    Anywhere,
    /// To the same host and port, or to the same host's https: a router must not make us ask what
    /// only this machine or network can reach.
    SameServer,
}

/// Why a redirect is not followed.
#[derive(Debug, Error, PartialEq, Eq)]
enum RedirectRefused {
    #[error("more than {0} redirects in a row")]
    TooMany(usize),
    #[error("it leads from https to http")]
    Downgrade,
    #[error("it leads to another server")]
    OtherServer,
    #[error("it asks for another method")]
    OtherMethod,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            redirects_max: 3,
            limits: AnswerLimits::default(),
        }
    }
}

/// A client for the router at `url`.
pub(super) fn build(
    url: &RouterUrl,
    options: &ClientOptions,
    scope: RedirectScope,
) -> Result<Client, UpstreamError> {
    // reqwest takes the process's provider; an error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .referer(false)
            .redirect(redirect_policy(options.redirects_max, scope))
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout);
        if url.is_loopback() { builder.no_proxy() } else { builder }
    };
    let built = builder().build().or_else(|error| {
        // A system without root certificates can still speak http: no certificate is trusted then.
        if url.is_https() { Err(error) } else { builder().tls_certs_only([]).build() }
    });
    built.map_err(UpstreamError::Setup)
}

/// The format of an answer with records.
pub(super) fn answer_format(
    response: &Response,
    router: &RouterUrl,
) -> Result<AnswerFormat, UpstreamError> {
    let content_type = content_type(response);
    content_type
        .and_then(AnswerFormat::of_content_type)
        .ok_or_else(|| odd_content_type(content_type, router))
}

/// The error of an answer of a type that it must not have.
pub(super) fn odd_content_type(content_type: Option<&str>, router: &RouterUrl) -> UpstreamError {
    let reason = match content_type {
        Some(other) => format!("its Content-Type is `{}`", printable(other)),
        None => "it has no Content-Type".to_owned(),
    };
    UpstreamError::NotRouting { url: router.to_string(), reason }
}

/// The error of an answer whose status says no, with its first line of text.
pub(super) async fn refusal(response: Response, router: &RouterUrl) -> UpstreamError {
    let status: StatusCode = response.status();
    let text = if is_web_page(&response) { String::new() } else { first_line(response).await };
    UpstreamError::Status { url: router.to_string(), status, text }
}

pub(super) fn content_type(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok()
}

/// Whether a `Content-Type` names `media_type`, parameters aside.
pub(super) fn is_media_type(content_type: &str, media_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}

/// Whether the body is a page for people, as something other than a router sends it.
pub(super) fn is_web_page(response: &Response) -> bool {
    content_type(response).is_some_and(|content_type| {
        let html = ["text/html", "application/xhtml+xml"];
        html.iter().any(|html| is_media_type(content_type, html))
    })
}

fn redirect_policy(redirects_max: usize, scope: RedirectScope) -> Policy {
    Policy::custom(move |attempt| match check_attempt(&attempt, redirects_max, scope) {
        Ok(()) => attempt.follow(),
        Err(refused) => attempt.error(refused),
    })
}

fn check_attempt(
    attempt: &Attempt<'_>,
    redirects_max: usize,
    scope: RedirectScope,
) -> Result<(), RedirectRefused> {
    check_redirect(attempt.previous(), attempt.url(), redirects_max)?;
    if scope == RedirectScope::Anywhere {
        return Ok(());
    }
    if attempt.status() == StatusCode::SEE_OTHER {
        // What was to be stored would be read instead.
        return Err(RedirectRefused::OtherMethod);
    }
    let is_same = attempt.previous().last().is_some_and(|from| is_same_server(from, attempt.url()));
    if is_same { Ok(()) } else { Err(RedirectRefused::OtherServer) }
}

/// `previous` begins with the URL that was asked for first.
fn check_redirect(
    previous: &[Url],
    next: &Url,
    redirects_max: usize,
) -> Result<(), RedirectRefused> {
    if previous.len() > redirects_max {
        return Err(RedirectRefused::TooMany(redirects_max));
    }
    let is_from_https = previous.last().is_some_and(|url| url.scheme() == "https");
    if is_from_https && next.scheme() != "https" {
        return Err(RedirectRefused::Downgrade);
    }
    Ok(())
}

/// Whether a redirect stays on its server: same host and port, or from port 80 to port 443.
fn is_same_server(from: &Url, to: &Url) -> bool {
    let ports = (from.port_or_known_default(), to.port_or_known_default());
    let is_upgrade = ports == (Some(80), Some(443));
    from.host() == to.host() && (ports.0 == ports.1 || is_upgrade)
}

/// The first line of an error's body, or what came of it in time; printable, and empty where none can be
/// read.
async fn first_line(mut response: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        while body.len() < ERROR_TEXT_BYTES_MAX && !body.contains(&b'\n') {
            match response.chunk().await {
                Ok(Some(bytes)) => body.extend(bytes.iter().take(ERROR_TEXT_BYTES_MAX)),
                Ok(None) | Err(_) => break,
            }
        }
    };
    // What was read until then is told either way.
    let _ = time::timeout(ERROR_TEXT_WAIT, read).await;
    body.truncate(ERROR_TEXT_BYTES_MAX);
    let text = String::from_utf8_lossy(&body);
    printable(text.lines().next().unwrap_or_default().trim()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_redirect_never_leads_from_https_to_http() {
        let secure = [url("https://a.example/")];
        let plain = [url("http://a.example/"), url("https://b.example/")];
        assert_eq!(
            check_redirect(&secure, &url("http://a.example/x"), 3),
            Err(RedirectRefused::Downgrade)
        );
        assert_eq!(
            check_redirect(&plain, &url("http://c.example/"), 3),
            Err(RedirectRefused::Downgrade)
        );
        assert_eq!(check_redirect(&plain, &url("https://c.example/"), 3), Ok(()));
        assert_eq!(check_redirect(&plain[..1], &url("http://c.example/"), 3), Ok(()));
        assert_eq!(
            check_redirect(&plain, &url("https://c.example/"), 1),
            Err(RedirectRefused::TooMany(1))
        );
    }

    #[test]
    fn the_same_server_is_one_host_and_port_or_its_https() {
        for (from, to, is_same) in [
            ("http://a.example/x", "http://a.example/y", true),
            ("http://a.example:8080/x", "http://a.example:8080/y", true),
            ("http://a.example/x", "https://a.example/x", true),
            ("https://a.example/x", "https://a.example:443/y", true),
            ("http://a.example:8080/x", "http://a.example:8081/x", false),
            ("http://a.example:8080/x", "https://a.example/x", false),
            ("http://a.example/x", "https://a.example:8443/x", false),
            ("http://a.example/x", "http://b.example/x", false),
            ("http://a.example/x", "http://127.0.0.1/x", false),
            ("http://127.0.0.1/x", "http://localhost/x", false),
            ("http://[::1]:1/x", "http://[::1]:1/y", true),
        ] {
            assert_eq!(is_same_server(&url(from), &url(to)), is_same, "{from} {to}");
        }
    }
}
