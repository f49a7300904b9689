//! The HTTP client for any Routing V1 server.
//!
//! Invariants: every request ends within its timeout, follows a bounded number of redirects, never
//! one from https to http, and reads no more of an answer than its limits say. Certificates are
//! verified against the system's roots. A proxy named by the environment is used, except towards
//! this machine. An answer that was cut after its first record counts as an answer, with the
//! reason in [`ProvidersAnswer::cut`]; everything else that fails is an [`UpstreamError`].

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use thiserror::Error;

use super::answer::{AnswerFormat, AnswerLimits, AnswerReader, ProvidersAnswer};
use super::error::UpstreamError;
use super::printable::printable;
use super::router_url::RouterUrl;

const ACCEPT_PROVIDERS: &str = "application/x-ndjson, application/json;q=0.9";
const USER_AGENT: &str = concat!("fingerpost/", env!("CARGO_PKG_VERSION"));

/// How much of an error's body is read for its first line: what our own errors may have.
const ERROR_TEXT_BYTES_MAX: usize = 1024;

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

/// A question for providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProvidersQuery<'a> {
    /// The CID, in any form.
    pub cid_text: &'a str,
    /// `filter-addrs`, as the router is to get it.
    pub filter_addrs: Option<&'a str>,
    /// `filter-protocols`, as the router is to get it.
    pub filter_protocols: Option<&'a str>,
}

/// A client for one router.
#[derive(Clone, Debug)]
pub struct RoutingClient {
    http: Client,
    url: RouterUrl,
    options: ClientOptions,
}

/// Why a redirect is not followed.
#[derive(Debug, Error, PartialEq, Eq)]
enum RedirectRefused {
    #[error("more than {0} redirects in a row")]
    TooMany(usize),
    #[error("it leads from https to http")]
    Downgrade,
}

impl RoutingClient {
    /// A client for the router at `base_url`, in any form that [`RouterUrl`] reads.
    pub fn new(base_url: &str, options: ClientOptions) -> Result<Self, UpstreamError> {
        let url = RouterUrl::parse(base_url)?;
        let http = build_http(&url, &options)?;
        Ok(Self { http, url, options })
    }

    /// The router that is asked.
    pub fn url(&self) -> &RouterUrl {
        &self.url
    }

    /// Asks who has a CID. A 404 is an answer without records.
    pub async fn providers(
        &self,
        query: ProvidersQuery<'_>,
    ) -> Result<ProvidersAnswer, UpstreamError> {
        let url = providers_url(&self.url, query);
        let request = self.http.get(url).header(ACCEPT, ACCEPT_PROVIDERS);
        let response = request.send().await.map_err(|error| self.failed(error))?;
        match response.status() {
            StatusCode::OK => self.read_providers(response).await,
            StatusCode::NOT_FOUND => {
                let is_web_page = content_type(&response).is_some_and(is_html);
                Ok(ProvidersAnswer { is_web_page, ..ProvidersAnswer::default() })
            }
            _ => Err(self.refused(response).await),
        }
    }

    async fn read_providers(
        &self,
        mut response: Response,
    ) -> Result<ProvidersAnswer, UpstreamError> {
        let format = self.format(&response)?;
        let mut reader = AnswerReader::new(format, self.options.limits, self.url.as_str());
        let failure = loop {
            match response.chunk().await {
                Ok(Some(bytes)) if reader.push(&bytes).is_continue() => {}
                Ok(_) => break None,
                Err(error) => break Some(self.failed(error)),
            }
        };
        reader.finish(failure)
    }

    fn format(&self, response: &Response) -> Result<AnswerFormat, UpstreamError> {
        let content_type = content_type(response);
        content_type.and_then(AnswerFormat::of_content_type).ok_or_else(|| {
            let reason = match content_type {
                Some(other) => format!("its Content-Type is `{}`", printable(other)),
                None => "it has no Content-Type".to_owned(),
            };
            UpstreamError::NotRouting { url: self.url.to_string(), reason }
        })
    }

    async fn refused(&self, response: Response) -> UpstreamError {
        let status = response.status();
        let is_text = !content_type(&response).is_some_and(is_html);
        let text = if is_text { first_line(response).await } else { String::new() };
        UpstreamError::Status { url: self.url.to_string(), status, text }
    }

    fn failed(&self, error: reqwest::Error) -> UpstreamError {
        let ClientOptions { timeout, connect_timeout, .. } = self.options;
        UpstreamError::of_request(error, self.url.as_str(), timeout, connect_timeout)
    }
}

fn build_http(url: &RouterUrl, options: &ClientOptions) -> Result<Client, UpstreamError> {
    // reqwest takes the process's provider; an error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .referer(false)
            .redirect(redirect_policy(options.redirects_max))
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

fn redirect_policy(redirects_max: usize) -> Policy {
    Policy::custom(move |attempt| {
        match check_redirect(attempt.previous(), attempt.url(), redirects_max) {
            Ok(()) => attempt.follow(),
            Err(refused) => attempt.error(refused),
        }
    })
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

fn providers_url(router: &RouterUrl, query: ProvidersQuery<'_>) -> Url {
    let mut url = router.endpoint(&["providers", query.cid_text]);
    let filters =
        [("filter-addrs", query.filter_addrs), ("filter-protocols", query.filter_protocols)];
    for (name, value) in filters {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url
}

fn content_type(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok()
}

fn is_html(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|html| essence.eq_ignore_ascii_case(html))
}

/// The first line of an error's body, printable; empty where none can be read.
async fn first_line(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < ERROR_TEXT_BYTES_MAX && !body.contains(&b'\n') {
        match response.chunk().await {
            Ok(Some(bytes)) => body.extend(bytes.iter().take(ERROR_TEXT_BYTES_MAX)),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(ERROR_TEXT_BYTES_MAX);
    let text = String::from_utf8_lossy(&body);
    printable(text.lines().next().unwrap_or_default().trim()).into_owned()
}

#[cfg(test)]
mod tests;
