//! Asking the admin API of a running server.
//!
//! The password comes from the settings, or from the data directory where that is the server's own.
//! Redirects are not followed, so that the password goes nowhere else. What a server answers is
//! untrusted: it is bounded, and made printable before it is shown. Connecting takes a bounded
//! time; an answer may take as long as the work does, while TCP keepalive finds the machine alive.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::admin::{ADMIN_USER, Problem, stored_password};
use crate::config::Settings;
use crate::http_client::{
    ClientOptions, HttpAnswer, HttpClient, HttpClientError, Redirects, ServerUrl,
};
use crate::text::printable;

/// The time to connect, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    http: HttpClient,
    /// The flag that gave the URL.
    flag: &'static str,
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
    /// A client for the server, whose URL the user gave with `flag`.
    pub(super) fn new(
        flag: &'static str,
        server: &ServerUrl,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let password = stored_password(settings)?.with_context(|| {
            let data_dir = settings.data_dir.display();
            format!("no password for the admin API: {GIVE_PASSWORD} ({data_dir} has none)")
        })?;
        let options = ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            timeout: None,
            redirects: Redirects::Never,
        };
        Ok(Self { http: HttpClient::new(server.clone(), options)?, flag, password })
    }

    /// The URL of a path under the server's.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        self.http.server().join(segments.iter().copied())
    }

    /// A request, with the password.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).basic_auth(ADMIN_USER, Some(&self.password))
    }

    /// Sends a request; an answer that is no success is a [`RefusedRequest`].
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<HttpAnswer> {
        let request = self.http.build(request)?;
        let answer = self.http.send(request).await.map_err(|error| self.no_answer(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refused(answer).await.into())
    }

    fn no_answer(&self, error: HttpClientError) -> anyhow::Error {
        let Self { flag, http, .. } = self;
        let mut cannot_ask = format!("cannot ask {} ({flag})", http.server());
        if matches!(error, HttpClientError::Connect { .. }) {
            cannot_ask.push_str(&format!(": is the server running? {}", self.wanted()));
        }
        anyhow::Error::new(error).context(cannot_ask)
    }

    fn wanted(&self) -> String {
        format!("{} wants the address of its admin listener (setting admin_listen)", self.flag)
    }

    async fn refused(&self, answer: HttpAnswer) -> RefusedRequest {
        let status = answer.status();
        // Of a body that breaks off, the status is enough.
        let body = self.http.read(answer, ANSWER_BYTES_MAX).await.unwrap_or_default();
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
        let answer = self.send(request).await?;
        let body = self.http.read(answer, bytes_max).await.context("the answer cannot be read")?;
        serde_json::from_slice(&body).context(NOT_AN_ADMIN_API)
    }

    /// The body of an answer, piece by piece as it comes.
    pub(super) fn pieces(
        &self,
        answer: HttpAnswer,
    ) -> BoxStream<'static, Result<Bytes, HttpClientError>> {
        let client = self.http.clone();
        let pieces = stream::try_unfold((client, answer), |(client, mut answer)| async {
            Ok(client.chunk(&mut answer).await?.map(|piece| (piece, (client, answer))))
        });
        pieces.boxed()
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

/// The parts of a message, joined with colons and semicolons.
fn parts(parts: &[&str]) -> String {
    let said = parts.iter().filter(|part| !part.is_empty());
    let marks = [": "].into_iter().chain(std::iter::repeat("; "));
    marks.zip(said).map(|(mark, part)| format!("{mark}{part}")).collect()
}
