//! Asking the admin API of a running server.
//!
//! The password comes from the settings, or from the data directory where that is the server's own.
//! Redirects are not followed, so that the password goes nowhere else. What a server answers is
//! untrusted: it is bounded, and made printable before it is shown. Connecting takes a bounded
//! time; an answer may take as long as the work does, while TCP keepalive finds the machine alive.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::admin::{ADMIN_USER, Problem, stored_password};
use crate::config::Settings;
use crate::text::printable;

/// The time to connect, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of TCP keepalive probes.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// The longest answer that is read as one piece of JSON.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The message for an answer that is not an admin API's.
const NOT_AN_ADMIN_API: &str = "the answer is not that of an admin API";

/// The most of an unknown answer that is shown.
const DETAIL_CHARS_MAX: usize = 240;

/// Where the password comes from.
const GIVE_PASSWORD: &str =
    "give it in FINGERPOST_ADMIN_PASSWORD, or name the server's data directory with --data-dir";

/// A client for one server.
pub(super) struct AdminClient {
    http: Client,
    /// The flag that gave the URL.
    flag: &'static str,
    url: Url,
    password: String,
}

/// An answer with an error status.
#[derive(Debug, Error)]
#[error("the server answered {status}{}", parts(&[.detail, .hint]))]
pub(super) struct RefusedRequest {
    /// The status, with its name.
    pub(super) status: StatusCode,
    /// The server's reason, printable.
    pub(super) detail: String,
    /// The whole problem, if it is an error of the admin API.
    pub(super) problem: Option<Box<Problem>>,
    /// A hint for the user; may be empty.
    hint: String,
}

impl AdminClient {
    /// A client for the server at `url`, which the user gave with `flag`.
    pub(super) fn new(flag: &'static str, url: &Url, settings: &Settings) -> anyhow::Result<Self> {
        let password = stored_password(settings)?.with_context(|| {
            let data_dir = settings.data_dir.display();
            format!("no password for the admin API: {GIVE_PASSWORD} ({data_dir} has none)")
        })?;
        let http = build_http(url).context("cannot set up the HTTP client")?;
        Ok(Self { http, flag, url: url.clone(), password })
    }

    /// The URL of a path under the server's.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        // `parse_url` takes only URLs that have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A request, with the password.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).basic_auth(ADMIN_USER, Some(&self.password))
    }

    /// Sends a request; an answer that is no success is a [`RefusedRequest`].
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| self.no_answer(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await.into())
    }

    fn no_answer(&self, error: reqwest::Error) -> anyhow::Error {
        let Self { flag, url, .. } = self;
        let cannot_ask = if error.is_connect() {
            let wanted = self.wanted();
            format!("cannot ask {url} ({flag}): is the server running? {wanted}")
        } else {
            format!("cannot ask {url} ({flag})")
        };
        anyhow::Error::new(error).context(cannot_ask)
    }

    fn wanted(&self) -> String {
        format!("{} wants the address of its admin listener (setting admin_listen)", self.flag)
    }

    async fn refused(&self, mut response: Response) -> RefusedRequest {
        let status = response.status();
        // Of a body that breaks off, the status is enough.
        let body = read(&mut response, ANSWER_BYTES_MAX).await.unwrap_or_default();
        if let Ok(Messages { error_messages }) = serde_json::from_slice(&body) {
            let detail = printable(&error_messages.join("; ")).into_owned();
            return RefusedRequest { status, detail, problem: None, hint: String::new() };
        }
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            let text = String::from_utf8_lossy(&body);
            let first_line = text.lines().next().unwrap_or_default();
            let detail = printable(first_line).chars().take(DETAIL_CHARS_MAX).collect();
            // The admin API tells its errors as problems: something else listens there.
            return RefusedRequest { status, detail, problem: None, hint: self.wanted() };
        };
        // Problems that source 000 names have their whole message in the title.
        let said = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
        let detail = printable(said).into_owned();
        let hint = if status == StatusCode::UNAUTHORIZED {
            format!("the password is not this server's: {GIVE_PASSWORD}")
        } else {
            String::new()
        };
        RefusedRequest { status, detail, problem: Some(Box::new(problem)), hint }
    }

    /// Sends a request and reads its answer's JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> anyhow::Result<T> {
        parsed(&self.text(request, ANSWER_BYTES_MAX).await?)
    }

    /// Sends a request and reads its answer, which is JSON of at most so many bytes, as it came.
    pub(super) async fn text(
        &self,
        request: RequestBuilder,
        bytes_max: usize,
    ) -> anyhow::Result<Box<RawValue>> {
        let mut response = self.send(request).await?;
        let body = read(&mut response, bytes_max).await.context("the answer cannot be read")?;
        anyhow::ensure!(body.len() <= bytes_max, "the answer has more than {bytes_max} bytes");
        serde_json::from_slice(&body).context(NOT_AN_ADMIN_API)
    }
}

/// Parses a piece of JSON.
pub(super) fn parsed<T: DeserializeOwned>(json: &RawValue) -> anyhow::Result<T> {
    serde_json::from_str(json.get()).context(NOT_AN_ADMIN_API)
}

/// An error of the API of pools (source 001).
#[derive(Deserialize)]
struct Messages {
    error_messages: Vec<String>,
}

/// Reads the URL of an admin listener.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; write `http://127.0.0.1:8191`"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("not an http or https URL; write `http://127.0.0.1:8191`".to_owned());
    }
    Ok(url)
}

fn build_http(url: &Url) -> reqwest::Result<Client> {
    // reqwest takes the process's provider; an error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("fingerpost/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(TCP_KEEPALIVE);
        if is_loopback(url) { builder.no_proxy() } else { builder }
    };
    builder().build().or_else(|error| {
        // Without root certificates of the system, http still works, and no certificate is trusted.
        if url.scheme() == "https" { Err(error) } else { builder().tls_certs_only([]).build() }
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The parts of a message, joined with colons and semicolons.
fn parts(parts: &[&str]) -> String {
    let said = parts.iter().filter(|part| !part.is_empty());
    let marks = [": "].into_iter().chain(std::iter::repeat("; "));
    marks.zip(said).map(|(mark, part)| format!("{mark}{part}")).collect()
}

/// The body, up to the limit and one chunk more.
async fn read(response: &mut Response, bytes_max: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > bytes_max {
            break;
        }
    }
    Ok(body)
}
