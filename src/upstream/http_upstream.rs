//! A remote router as an upstream: any Routing V1 server over HTTP.
//!
//! Invariants: what it gives is parsed record by record, bounded in bytes, records and time, and fit to
//! be served; IPNS records are verified. It is never asked while it wants to be left alone, while it
//! failed too often, or for more at once than it may be. Redirects never leave its host and port (but
//! for port 443 from port 80), so that a lying router cannot make this one ask what only this machine
//! or network can reach. Every request says how many routers the lookup has passed.
//!
//! A read whose connection fails before the answer has begun is sent once more; nothing else is.
//! Failures are told to the metrics, and to the log where they change whether the upstream is asked.

mod breaker;
mod failure;
mod flight;
mod gate;
mod names;
mod records;
mod reply;
mod rest;
mod screen;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Client;

use super::body::AnswerLimits;
use super::client::{self, ClientOptions, RedirectScope};
use super::error::UpstreamError;
use super::router_url::RouterUrl;
use crate::clock::Clock;
use crate::metrics::{Metrics, UpstreamCounts, UpstreamOutcome};
use crate::resolve::{AskError, AskedRecords, Hops, Subject, Upstream};
use crate::types::{AccountId, AnswerSchema, IpnsName, IpnsRecord, UnparsableAddrs};
use flight::{Flight, Line};
use gate::Gate;
pub use records::received;
use screen::ScreenOptions;

/// What an upstream is, and how it is asked.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// The name under which it is known.
    pub account: AccountId,
    /// Where it is. A user name and a password in it are sent as Basic authentication.
    pub url: RouterUrl,
    /// Times, redirects and the size of answers.
    pub client: ClientOptions,
    /// Requests under way at once.
    pub requests_max: usize,
    /// The schema in which records are served.
    pub schema: AnswerSchema,
    /// What becomes of addresses that do not parse.
    pub unparsable_addrs: UnparsableAddrs,
    /// Whether addresses stay that the public cannot reach.
    pub allow_private_addrs: bool,
    /// What it is asked for.
    pub offers: UpstreamOffers,
    /// Whether its requests are counted: then a question is one request, which is not sent again when a
    /// connection fails and follows no redirect.
    pub is_metered: bool,
}

/// What an upstream is asked for; of anything else it is taken to offer nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamOffers {
    /// Who provides content.
    pub providers: bool,
    /// Where peers are.
    pub peers: bool,
    /// IPNS records, to find and to store.
    pub ipns: bool,
}

/// A Routing V1 server that is asked over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct HttpUpstream(Arc<Shared>);

struct Shared {
    account: AccountId,
    url: RouterUrl,
    http: Client,
    client: ClientOptions,
    screen: ScreenOptions,
    offers: UpstreamOffers,
    is_metered: bool,
    gate: Arc<Gate>,
    clock: Clock,
    counts: UpstreamCounts,
}

impl Default for UpstreamOffers {
    fn default() -> Self {
        Self { providers: true, peers: true, ipns: true }
    }
}

impl UpstreamOptions {
    /// Requests under way at once: a burst of lookups, which a small router bears.
    pub const REQUESTS_MAX: usize = 128;

    /// The time to connect: three tries to send the first packet.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

    /// The time for a whole request, well below what clients wait for an answer of ours.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// How much of an answer is read: what is served of one at most, of records of 4 KiB on average,
    /// and no record longer than one that takes in other records' addresses.
    pub const LIMITS: AnswerLimits =
        AnswerLimits { body_bytes_max: 4 << 20, line_bytes_max: 128 << 10, records_max: 1_000 };

    /// An upstream of which nothing else is known.
    pub fn new(account: AccountId, url: RouterUrl) -> Self {
        let client = ClientOptions {
            connect_timeout: Self::CONNECT_TIMEOUT,
            timeout: Self::TIMEOUT,
            limits: Self::LIMITS,
            ..ClientOptions::default()
        };
        Self {
            account,
            url,
            client,
            requests_max: Self::REQUESTS_MAX,
            schema: AnswerSchema::default(),
            unparsable_addrs: UnparsableAddrs::default(),
            allow_private_addrs: false,
            offers: UpstreamOffers::default(),
            is_metered: false,
        }
    }
}

impl HttpUpstream {
    /// An upstream; nobody is asked yet.
    pub fn new(
        mut options: UpstreamOptions,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Self, UpstreamError> {
        if options.is_metered {
            options.client.redirects_max = 0;
        }
        let http = client::build(&options.url, &options.client, RedirectScope::SameServer)?;
        let counts = metrics.upstream(options.account.as_str());
        let (account, requests_max) = (options.account.clone(), options.requests_max);
        let gate = Arc::new(Gate::new(account, requests_max, clock.clone(), counts.clone()));
        let screen = ScreenOptions {
            schema: options.schema,
            unparsable: options.unparsable_addrs,
            allow_private_addrs: options.allow_private_addrs,
        };
        let UpstreamOptions { account, url, client, offers, is_metered, .. } = options;
        Ok(Self(Arc::new(Shared {
            account,
            url,
            http,
            client,
            screen,
            offers,
            is_metered,
            gate,
            clock,
            counts,
        })))
    }
}

impl Upstream for HttpUpstream {
    fn account(&self) -> &AccountId {
        &self.0.account
    }

    fn is_ready(&self) -> Result<(), AskError> {
        self.0.gate.is_ready()
    }

    fn records(&self, subject: &Subject, hops: Hops) -> AskedRecords {
        records::ask(self.0.clone(), subject.clone(), hops)
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        names::get(&self.0, name, hops).boxed()
    }

    fn put_name<'a>(
        &'a self,
        record: &'a IpnsRecord,
        hops: Hops,
    ) -> BoxFuture<'a, Result<(), AskError>> {
        names::put(&self.0, record, hops).boxed()
    }
}

impl Shared {
    /// Begins a request for something that it is asked for, or not.
    async fn start(&self, is_offered: bool) -> Result<Flight, AskError> {
        if !is_offered {
            self.counts.not_asked(UpstreamOutcome::NotOffered);
            return Err(AskError::NotOffered);
        }
        let admission = self.gate.enter().await?;
        Ok(Flight::start(self.account.clone(), admission, self.counts.clone()))
    }

    fn offers(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Content(_) => self.offers.providers,
            Subject::Peer(_) => self.offers.peers,
        }
    }

    fn line(&self) -> Line<'_> {
        let (http, options, url) = (&self.http, &self.client, self.url.as_str());
        Line { http, options, url, is_metered: self.is_metered }
    }
}

#[cfg(test)]
mod tests;
