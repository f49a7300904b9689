//! A remote router as an upstream: any Routing V1 server over HTTP.
//!
//! Invariants: answers are parsed record by record, bounded in bytes, records and time, and
//! sanitized; IPNS records are verified. It is never asked during its backoff, while its breaker is
//! open, or for more at once than `requests_max`. Redirects never leave its host and port (but for
//! port 443 from port 80), so that a lying router cannot make this one ask what only this machine
//! or network can reach. Every request says how many routers the lookup has passed.
//!
//! A read whose connection fails before the answer has begun is sent once more; nothing else is.
//! Failures are counted, and logged where they change whether the upstream is asked.

mod answer;
mod body;
mod client;
mod exchange;
mod failure;
mod ipns;
mod json_values;
mod records;
mod reply;
mod router_url;
mod sanitize;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Method, RequestBuilder, Url};

use super::admission::AdmissionControl;
use crate::clock::Clock;
use crate::http_client::{ClientOptions, HttpClient, HttpClientError, Redirects};
use crate::metrics::{Metrics, UpstreamCounts, UpstreamOutcome};
use crate::resolve::{AskError, AskedRecords, Upstream};
use crate::types::{AnswerSchema, IpnsName, IpnsRecord, TargetId, UnparsableAddrs};
use crate::types::{HOPS_HEADER, Hops, Subject};
pub(crate) use answer::{ProvidersAnswer, ReceivedRecord};
pub use body::AnswerLimits;
pub(crate) use client::{ProvidersQuery, RoutingClient};
use exchange::Exchange;
pub use records::received;
pub(crate) use router_url::RouterUrl;
use sanitize::SanitizeOptions;

/// What an upstream is, and how it is asked.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamOptions {
    /// The name under which it is known.
    pub(crate) id: TargetId,
    /// Where it is. A user name and a password in it are sent as Basic authentication.
    pub(crate) url: RouterUrl,
    /// Times and redirects.
    pub(crate) client: ClientOptions,
    /// How much of an answer is read.
    pub(crate) limits: AnswerLimits,
    /// Requests under way at once.
    pub(crate) requests_max: usize,
    /// The schema of the records handed on.
    pub(crate) schema: AnswerSchema,
    /// What to do with addresses that do not parse.
    pub(crate) unparsable_addrs: UnparsableAddrs,
    /// Whether addresses that the public cannot reach are kept.
    pub(crate) allow_private_addrs: bool,
    /// What it is asked for.
    pub(crate) offers: UpstreamOffers,
    /// Whether its requests are metered: then a question is one request, which is never retried and
    /// follows no redirect.
    pub(crate) is_metered: bool,
}

/// What an upstream is asked for; it offers nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamOffers {
    /// Who provides content.
    pub(crate) providers: bool,
    /// Where peers are.
    pub(crate) peers: bool,
    /// IPNS records, to find and to store.
    pub(crate) ipns: bool,
}

/// A Routing V1 server that is asked over HTTP. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RoutingV1Upstream(Arc<Shared>);

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
enum Resource {
    Providers,
    Peers,
    Ipns,
}

struct Shared {
    id: TargetId,
    url: RouterUrl,
    http: HttpClient,
    limits: AnswerLimits,
    sanitize: SanitizeOptions,
    offers: UpstreamOffers,
    is_metered: bool,
    admission: Arc<AdmissionControl>,
    clock: Clock,
    counts: UpstreamCounts,
}

impl Default for UpstreamOffers {
    fn default() -> Self {
        Self { providers: true, peers: true, ipns: true }
    }
}

impl UpstreamOptions {
    /// Concurrent requests: a burst of lookups that a small router can serve.
    pub(crate) const REQUESTS_MAX: usize = 128;

    /// The time to connect: three tries to send the first packet.
    pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

    /// The time for a whole request, well below what clients wait for an answer of ours.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

    /// How much of an answer is read: what is served of one at most, of records of 4 KiB on average,
    /// and no record longer than one that takes in other records' addresses.
    pub(crate) const LIMITS: AnswerLimits =
        AnswerLimits { body_bytes_max: 4 << 20, record_bytes_max: 128 << 10, records_max: 1_000 };

    /// The default options of an upstream.
    pub(crate) fn new(id: TargetId, url: RouterUrl) -> Self {
        let client = ClientOptions {
            connect_timeout: Self::CONNECT_TIMEOUT,
            timeout: Some(Self::TIMEOUT),
            ..ClientOptions::default()
        };
        Self {
            id,
            url,
            client,
            limits: Self::LIMITS,
            requests_max: Self::REQUESTS_MAX,
            schema: AnswerSchema::default(),
            unparsable_addrs: UnparsableAddrs::default(),
            allow_private_addrs: false,
            offers: UpstreamOffers::default(),
            is_metered: false,
        }
    }
}

impl RoutingV1Upstream {
    /// Creates an upstream; sends nothing.
    pub(crate) fn new(
        mut options: UpstreamOptions,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Self, HttpClientError> {
        if options.is_metered {
            options.client.redirects = Redirects::Never;
        }
        let http = HttpClient::new(options.url.server().clone(), options.client)?;
        let counts = metrics.upstream(options.id.as_str());
        let (id, requests_max) = (options.id.clone(), options.requests_max);
        let admission = AdmissionControl::new(id, requests_max, clock.clone(), counts.clone());
        let sanitize = SanitizeOptions {
            schema: options.schema,
            unparsable: options.unparsable_addrs,
            allow_private_addrs: options.allow_private_addrs,
        };
        let UpstreamOptions { id, url, limits, offers, is_metered, .. } = options;
        Ok(Self(Arc::new(Shared {
            id,
            url,
            http,
            limits,
            sanitize,
            offers,
            is_metered,
            admission: Arc::new(admission),
            clock,
            counts,
        })))
    }
}

impl Upstream for RoutingV1Upstream {
    fn id(&self) -> &TargetId {
        &self.0.id
    }

    fn is_ready(&self) -> Result<(), AskError> {
        self.0.admission.is_ready()
    }

    fn records(&self, subject: &Subject, hops: Hops) -> AskedRecords {
        records::ask(self.0.clone(), subject.clone(), hops)
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        ipns::get(&self.0, name, hops).boxed()
    }

    fn put_name<'a>(
        &'a self,
        record: &'a IpnsRecord,
        hops: Hops,
    ) -> BoxFuture<'a, Result<(), AskError>> {
        ipns::put(&self.0, record, hops).boxed()
    }
}

impl Shared {
    /// Begins a request for a resource, if the upstream offers it.
    async fn begin(&self, resource: Resource) -> Result<Exchange, AskError> {
        let UpstreamOffers { providers, peers, ipns } = self.offers;
        let is_offered = match resource {
            Resource::Providers => providers,
            Resource::Peers => peers,
            Resource::Ipns => ipns,
        };
        if !is_offered {
            self.counts.not_asked(UpstreamOutcome::NotOffered);
            return Err(AskError::NotOffered);
        }
        let admission = self.admission.enter().await?;
        Ok(Exchange::start(self.id.clone(), admission, self.counts.clone()))
    }

    /// A request that says how many routers the lookup will have passed.
    fn request(&self, method: Method, url: Url, hops: Hops) -> RequestBuilder {
        self.http.request(method, url).header(HOPS_HEADER, u64::from(hops.next().get()))
    }
}

#[cfg(test)]
mod tests;
