//! Asks any Routing V1 server for providers, for a caller that waits for the whole answer.
//!
//! An answer that was truncated after its first record counts as an answer, with the reason in
//! [`ProvidersAnswer::cut`]; everything else that fails is an [`HttpClientError`]. Addresses that
//! do not parse are kept: the caller shows what came.

use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode, Url};

use super::answer::{AnswerReader, ProvidersAnswer};
use super::body::AnswerLimits;
use super::reply::{self, ACCEPT_RECORDS};
use super::router_url::RouterUrl;
use crate::http_client::{ClientOptions, HttpAnswer, HttpClient, HttpClientError};

/// A question for providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProvidersQuery<'a> {
    /// The CID, in any form.
    pub(crate) cid_text: &'a str,
    /// `filter-addrs`, sent unchanged.
    pub(crate) filter_addrs: Option<&'a str>,
    /// `filter-protocols`, sent unchanged.
    pub(crate) filter_protocols: Option<&'a str>,
}

/// A client for one router.
#[derive(Clone, Debug)]
pub(crate) struct RoutingClient {
    http: HttpClient,
    url: RouterUrl,
    limits: AnswerLimits,
}

impl RoutingClient {
    /// A client for the router at `base_url`, in any form that [`RouterUrl`] reads.
    pub(crate) fn new(
        base_url: &str,
        options: ClientOptions,
        limits: AnswerLimits,
    ) -> Result<Self, HttpClientError> {
        let url = RouterUrl::parse(base_url)?;
        let http = HttpClient::new(url.server().clone(), options)?;
        Ok(Self { http, url, limits })
    }

    /// The router that is asked.
    pub(crate) fn url(&self) -> &RouterUrl {
        &self.url
    }

    /// Asks who has a CID. A 404 or 204 is an answer without records.
    pub(crate) async fn providers(
        &self,
        query: ProvidersQuery<'_>,
    ) -> Result<ProvidersAnswer, HttpClientError> {
        let url = providers_url(&self.url, query);
        let request = self.http.request(Method::GET, url).header(ACCEPT, ACCEPT_RECORDS);
        let answer = self.http.send(self.http.build(request)?).await?;
        match answer.status() {
            StatusCode::OK => self.read_providers(answer).await,
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => {
                let is_web_page = answer.is_web_page();
                Ok(ProvidersAnswer { is_web_page, ..ProvidersAnswer::default() })
            }
            _ => Err(self.http.refusal(answer).await),
        }
    }

    async fn read_providers(
        &self,
        mut answer: HttpAnswer,
    ) -> Result<ProvidersAnswer, HttpClientError> {
        let format = reply::answer_format(&self.http, &answer)?;
        let mut reader = AnswerReader::new(format, self.limits, &self.http);
        let failure = loop {
            match self.http.chunk(&mut answer).await {
                Ok(Some(bytes)) if reader.push(&bytes).is_continue() => {}
                Ok(_) => break None,
                Err(error) => break Some(error),
            }
        };
        reader.finish(failure)
    }
}

fn providers_url(router: &RouterUrl, query: ProvidersQuery<'_>) -> Url {
    let mut url = router.endpoint(["providers", query.cid_text]);
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
