//! The client for one server: its options, sending requests, and the meaning of their failures.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, RequestBuilder, Url};

use super::answer::{HttpAnswer, ReadError};
use super::error::HttpClientError;
use super::redirects::Redirects;
use super::server_url::ServerUrl;
use crate::body::{self, CollectError};

const USER_AGENT: &str = concat!("fingerpost/", env!("CARGO_PKG_VERSION"));

/// The interval and timeout of HTTP/2 pings: a dead connection must not fail the requests of
/// minutes.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientOptions {
    /// The time to connect, name resolution and TLS included.
    pub(crate) connect_timeout: Duration,
    /// The time for a whole request, from connecting to the last byte of the answer. `None`: as long as
    /// the server's machine is there.
    pub(crate) timeout: Option<Duration>,
    /// Which redirects are followed.
    pub(crate) redirects: Redirects,
}

/// A client for one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    http: Client,
    server: ServerUrl,
    options: ClientOptions,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Some(Duration::from_secs(10)),
            redirects: Redirects::SameServer { max: 3 },
        }
    }
}

impl HttpClient {
    /// Creates a client; sends nothing.
    pub(crate) fn new(server: ServerUrl, options: ClientOptions) -> Result<Self, HttpClientError> {
        // reqwest takes the process's provider; an error means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let builder = Client::builder()
                .user_agent(USER_AGENT)
                .referer(false)
                .default_headers(accepting_gzip())
                .redirect(options.redirects.policy())
                .http2_keep_alive_interval(PING_INTERVAL)
                .http2_keep_alive_timeout(PING_TIMEOUT)
                .connect_timeout(options.connect_timeout);
            let builder = match options.timeout {
                Some(timeout) => builder.timeout(timeout),
                None => builder,
            };
            if server.is_loopback() { builder.no_proxy() } else { builder }
        };
        let built = builder().build().or_else(|error| {
            // A system without root certificates can still speak http: no certificate is trusted then.
            if server.is_https() { Err(error) } else { builder().tls_certs_only([]).build() }
        });
        let http = built.map_err(HttpClientError::Setup)?;
        Ok(Self { http, server, options })
    }

    /// The server that is asked.
    pub(crate) fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// The timeout of a whole request, if there is one.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.options.timeout
    }

    /// Begins a request.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Finishes a request.
    pub(crate) fn build(&self, request: RequestBuilder) -> Result<Request, HttpClientError> {
        request.build().map_err(|error| self.failed(error))
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(&self, request: Request) -> Result<HttpAnswer, HttpClientError> {
        let answer = self.http.execute(request).await;
        answer.map(HttpAnswer::new).map_err(|error| self.failed(error))
    }

    /// The next piece of an answer's body; `None` at its end.
    pub(crate) async fn chunk(
        &self,
        answer: &mut HttpAnswer,
    ) -> Result<Option<Bytes>, HttpClientError> {
        answer.chunk().await.map_err(|error| match error {
            ReadError::Http(error) => self.failed(error),
            ReadError::Unpack(source) => {
                HttpClientError::Packed { url: self.server.to_string(), source }
            }
        })
    }

    /// The whole body of an answer, if it has at most `bytes_max`.
    pub(crate) async fn read(
        &self,
        answer: HttpAnswer,
        bytes_max: usize,
    ) -> Result<Bytes, HttpClientError> {
        let chunks = stream::try_unfold(answer, |mut answer| async {
            Ok(self.chunk(&mut answer).await?.map(|chunk| (chunk, answer)))
        });
        let chunks = std::pin::pin!(chunks);
        body::collect(chunks, bytes_max as u64).await.map_err(|error| match error {
            CollectError::TooLarge => self.too_large("bytes", bytes_max),
            CollectError::Source(error) => error,
        })
    }

    /// The error of an answer with an error status, with its first line of text.
    pub(crate) async fn refusal(&self, answer: HttpAnswer) -> HttpClientError {
        let (url, status) = (self.server.to_string(), answer.status());
        let text = if answer.is_web_page() { String::new() } else { answer.first_line().await };
        HttpClientError::Status { url, status, text }
    }

    /// The error of an answer that cannot be used.
    pub(crate) fn unusable(&self, reason: impl Into<String>) -> HttpClientError {
        HttpClientError::Unusable { url: self.server.to_string(), reason: reason.into() }
    }

    /// The error of an answer that exceeds a limit.
    pub(crate) fn too_large(&self, what: &'static str, limit: usize) -> HttpClientError {
        HttpClientError::TooLarge { url: self.server.to_string(), what, limit }
    }

    /// The error of a request, or of reading its answer.
    fn failed(&self, source: reqwest::Error) -> HttpClientError {
        // The caller knows the full URL.
        let source = source.without_url();
        let ClientOptions { timeout, connect_timeout, .. } = self.options;
        let url = self.server.to_string();
        let limit = if source.is_connect() {
            Some(timeout.map_or(connect_timeout, |timeout| timeout.min(connect_timeout)))
        } else {
            timeout
        };
        match limit {
            Some(timeout) if source.is_timeout() => HttpClientError::TimedOut { url, timeout },
            _ if source.is_redirect() => HttpClientError::Redirect { url, source },
            _ if source.is_connect() => HttpClientError::Connect { url, source },
            _ => HttpClientError::BrokeOff { url, source },
        }
    }
}

fn accepting_gzip() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))])
}
