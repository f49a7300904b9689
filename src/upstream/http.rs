//! Asking any Routing V1 server who provides something, for somebody who waits for the answer.
//!
//! An answer that was cut after its first record counts as an answer, with the reason in
//! [`ProvidersAnswer::cut`]; everything else that fails is an [`UpstreamError`]. Addresses that do not
//! parse are kept, and redirects lead anywhere: whoever asks sees what came and from where.

use reqwest::header::ACCEPT;
use reqwest::{Client, Response, StatusCode, Url};

use super::answer::{AnswerReader, ProvidersAnswer};
use super::client::{self, ACCEPT_RECORDS, ClientOptions, RedirectScope};
use super::error::UpstreamError;
use super::router_url::RouterUrl;

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

impl RoutingClient {
    /// A client for the router at `base_url`, in any form that [`RouterUrl`] reads.
    pub fn new(base_url: &str, options: ClientOptions) -> Result<Self, UpstreamError> {
        let url = RouterUrl::parse(base_url)?;
        let http = client::build(&url, &options, RedirectScope::Anywhere)?;
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
        let request = self.http.get(url).header(ACCEPT, ACCEPT_RECORDS);
        let response = request.send().await.map_err(|error| self.failed(error))?;
        match response.status() {
            StatusCode::OK => self.read_providers(response).await,
            StatusCode::NOT_FOUND => {
                let is_web_page = client::is_web_page(&response);
                Ok(ProvidersAnswer { is_web_page, ..ProvidersAnswer::default() })
            }
            _ => Err(client::refusal(response, &self.url).await),
        }
    }

    async fn read_providers(
        &self,
        mut response: Response,
    ) -> Result<ProvidersAnswer, UpstreamError> {
        let format = client::answer_format(&response, &self.url)?;
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

    fn failed(&self, error: reqwest::Error) -> UpstreamError {
        let ClientOptions { timeout, connect_timeout, .. } = self.options;
        UpstreamError::of_request(error, self.url.as_str(), timeout, connect_timeout)
    }
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

#[cfg(test)]
mod tests;
