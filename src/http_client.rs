//! A bounded HTTP client for one server.
//!
//! Invariants: every request has a timeout, unless the caller asks for none, and follows a bounded
//! number of redirects, never one from https to http. Certificates are verified against the
//! system's roots. A proxy named by the environment is used, except towards this machine. Bodies
//! are read up to the caller's limit. A server's text in errors is printable and short, and no
//! error shows a password.

mod answer;
mod client;
mod error;
mod redirects;
mod server_url;
#[cfg(test)]
pub(crate) mod test_server;

#[cfg(test)]
pub(crate) use answer::ERROR_TEXT_BYTES_MAX;
pub(crate) use answer::HttpAnswer;
pub(crate) use client::ClientOptions;
pub(crate) use client::HttpClient;
pub(crate) use error::HttpClientError;
pub(crate) use redirects::Redirects;
pub(crate) use server_url::ServerUrl;
