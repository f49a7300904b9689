//! The battery that every [`Upstream`] passes. A promise of the trait's documentation is a test here; a new
//! implementation adds a line to [`UpstreamKind`] and to [`BuiltUpstream::of`].

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use super::{RouterUrl, RoutingV1Upstream, UpstreamOptions};
use crate::clock::Clock;
use crate::dispatch::pool::RuleId;
use crate::http_client::test_server::TestServer;
use crate::metrics::Metrics;
use crate::resolve::{AskError, Endpoints, NextEndpoint, PoolUpstream, Upstream};
use crate::types::{ContentKey, Hops, IpnsName, IpnsRecord, Subject, TargetId};

const CID: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const PEERS: [&str; 2] = [
    "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z",
    "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3",
];
const NAME: &str = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w";
const OTHER_NAME: &str = "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c";
const RECORD: &[u8] = include_bytes!(
    "../../tests/fixtures/ipns/k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w_v1-v2.ipns-record"
);
const RECORD_TYPE: &str = "application/vnd.ipfs.ipns-record";

/// The implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpstreamKind {
    /// A router over HTTP.
    RoutingV1,
    /// A pool with one endpoint, which is that.
    Pool,
}

const KINDS: [UpstreamKind; 2] = [UpstreamKind::RoutingV1, UpstreamKind::Pool];

/// An upstream, and the id that it should have.
struct BuiltUpstream {
    upstream: Arc<dyn Upstream>,
    id: TargetId,
}

/// A pool's only endpoint.
struct Only(Arc<dyn Upstream>);

impl Endpoints for Only {
    fn take<'a>(
        &'a self,
        _: RuleId,
        _: &'a [u8],
        tried: &'a [usize],
    ) -> BoxFuture<'a, Result<NextEndpoint, AskError>> {
        let next = NextEndpoint::Ask { place: 0, upstream: self.0.clone() };
        let next = if tried.is_empty() { Ok(next) } else { Err(AskError::Busy) };
        std::future::ready(next).boxed()
    }

    fn back_off(&self, _: usize, _: Duration) {}
}

impl BuiltUpstream {
    fn of(kind: UpstreamKind, router: &TestServer) -> Self {
        let id = TargetId::parse("far").unwrap();
        let url = RouterUrl::parse(&router.url()).unwrap();
        let options = UpstreamOptions::new(id.clone(), url);
        let http = RoutingV1Upstream::new(options, Clock::System, &Metrics::new()).unwrap();
        match kind {
            UpstreamKind::RoutingV1 => Self { upstream: Arc::new(http), id },
            UpstreamKind::Pool => {
                let pool = PoolUpstream::new(RuleId(42), Arc::new(Only(Arc::new(http))));
                Self { upstream: Arc::new(pool), id: TargetId::of_rule(42) }
            }
        }
    }

    /// The peers of all records, and the error at their end.
    async fn records(&self) -> (Vec<String>, Option<AskError>) {
        let (mut peers, mut error) = (Vec::new(), None);
        let mut batches = self.upstream.records(&subject(), Hops::default());
        while let Some(batch) = batches.next().await {
            assert_eq!(error, None, "an error is the end");
            match batch {
                Ok(records) => {
                    peers.extend(records.iter().map(|record| record.peer().unwrap().to_string()));
                }
                Err(failure) => error = Some(failure),
            }
        }
        (peers, error)
    }
}

fn subject() -> Subject {
    Subject::Content(ContentKey::from_cid_text(CID).unwrap())
}

fn name(text: &str) -> IpnsName {
    IpnsName::parse(text).unwrap()
}

fn ipns_record() -> IpnsRecord {
    IpnsRecord::verify(RECORD, &name(NAME)).unwrap()
}

/// A router that has records of these peers.
fn knowing(peers: &[&str]) -> TestServer {
    let record =
        |peer| format!(r#"{{"Schema":"peer","ID":"{peer}","Addrs":["/ip4/192.0.2.1/tcp/4001"]}}"#);
    let records: Vec<_> = peers.iter().map(record).collect();
    let body = format!(r#"{{"Providers":[{}]}}"#, records.join(","));
    TestServer::answering("200 OK", "application/json", body)
}

fn broken() -> TestServer {
    TestServer::answering("500 Internal Server Error", "text/plain", "no")
}

#[tokio::test]
async fn all_records_come_and_then_the_end() {
    for kind in KINDS {
        for known in [0, 1, 2] {
            let peers = PEERS.split_at(known).0;
            let router = knowing(peers);
            let built = BuiltUpstream::of(kind, &router);
            assert_eq!(*built.upstream.id(), built.id, "{kind:?}");
            assert_eq!(built.upstream.is_ready(), Ok(()), "{kind:?}");
            let (found, error) = built.records().await;
            let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
            assert_eq!((found, error), (peers.iter().copied().collect(), None), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_failure_is_an_error_and_no_empty_answer() {
    for kind in KINDS {
        let router = broken();
        let built = BuiltUpstream::of(kind, &router);
        let (found, error) = built.records().await;
        assert_eq!((found, error.is_some()), (Vec::new(), true), "{kind:?}");
        assert!(built.upstream.name(&name(NAME), Hops::default()).await.is_err(), "{kind:?}");
        assert!(
            built.upstream.put_name(&ipns_record(), Hops::default()).await.is_err(),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_name_is_found_or_is_none() {
    for kind in KINDS {
        let router = TestServer::answering("200 OK", RECORD_TYPE, RECORD);
        let found =
            BuiltUpstream::of(kind, &router).upstream.name(&name(NAME), Hops::default()).await;
        assert_eq!(found, Ok(Some(ipns_record())), "{kind:?}");
        let router = TestServer::answering("404 Not Found", "text/plain", "");
        let found =
            BuiltUpstream::of(kind, &router).upstream.name(&name(NAME), Hops::default()).await;
        assert_eq!(found, Ok(None), "{kind:?}");
    }
}

#[tokio::test]
async fn an_ipns_record_that_does_not_verify_is_not_given() {
    for kind in KINDS {
        let router = TestServer::answering("200 OK", RECORD_TYPE, RECORD);
        let found = BuiltUpstream::of(kind, &router)
            .upstream
            .name(&name(OTHER_NAME), Hops::default())
            .await;
        assert!(found.is_err(), "{kind:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_put_arrives() {
    for kind in KINDS {
        let router = TestServer::answering("200 OK", "text/plain", "");
        let built = BuiltUpstream::of(kind, &router);
        assert_eq!(
            built.upstream.put_name(&ipns_record(), Hops::default()).await,
            Ok(()),
            "{kind:?}"
        );
        assert_eq!(router.bodies(), [RECORD], "{kind:?}");
    }
}

#[tokio::test]
async fn who_knows_no_network_offers_no_closest_peers() {
    for kind in KINDS {
        let router = TestServer::answering("501 Not Implemented", "text/plain", "");
        let built = BuiltUpstream::of(kind, &router);
        let asked = built.upstream.closest(&subject(), Hops::default()).await;
        assert_eq!(asked.unwrap_err(), AskError::NotOffered, "{kind:?}");
    }
}

#[tokio::test]
async fn dropping_the_records_ends_the_request() {
    for kind in KINDS {
        let (begun, is_begun) = oneshot::channel();
        let (ended, is_ended) = oneshot::channel();
        let mut signals = Some((begun, ended));
        // It never answers, and sees when nobody waits any more.
        let router = TestServer::start(move |stream| {
            let Some((begun, ended)) = signals.take() else { return Ok(()) };
            begun.send(()).unwrap();
            let read = stream.read(&mut [0; 1]);
            ended.send(read.is_ok_and(|bytes| bytes > 0)).unwrap();
            Ok(())
        });
        let built = BuiltUpstream::of(kind, &router);
        let mut records = built.upstream.records(&subject(), Hops::default());
        tokio::select! {
            biased;
            _ = records.next() => panic!("it never answers"),
            begun = is_begun => begun.unwrap(),
        }
        drop(records);
        assert!(!is_ended.await.unwrap(), "{kind:?}: the connection is closed");
    }
}
