//! NDJSON while it grows: what a client sees of a lookup that is not finished, and what is left of
//! it when the client goes.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fingerpost::resolve::{FoundStream, ResolveError, Resolver, UpstreamReasons};
use fingerpost::types::{AnswerSchema, ProviderRecord, ReadyRecord, Selection, UnparsableAddrs};
use fingerpost::types::{Found, Question};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use reqwest::{Method, Response};
use tokio::sync::mpsc;

use super::harness::{CID, TestServer, peer_record, records, server};

/// What a lookup gives, one after the other.
type Steps = mpsc::UnboundedReceiver<Result<Found, ResolveError>>;

/// Answers each lookup with steps that the test sends, and counts lookups that are not dropped.
#[derive(Clone, Default)]
struct Scripted {
    scripts: Arc<Mutex<VecDeque<Steps>>>,
    open: Arc<AtomicUsize>,
}

struct OpenLookup(Arc<AtomicUsize>);

impl Drop for OpenLookup {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    /// The next lookup gets what is sent here.
    fn script(&self) -> mpsc::UnboundedSender<Result<Found, ResolveError>> {
        let (sender, steps) = mpsc::unbounded_channel();
        self.scripts.lock().push_back(steps);
        sender
    }
}

impl Resolver for Scripted {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        let mut steps = self.stream(question.clone());
        async move {
            let mut found = Found::default();
            while let Some(step) = steps.next().await {
                found.append(step?);
            }
            Ok(found)
        }
        .boxed()
    }

    fn stream(&self, _: Question) -> FoundStream {
        let steps = self.scripts.lock().pop_front().expect("the test has a script for each lookup");
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = OpenLookup(self.open.clone());
        stream::unfold((steps, open), async |(mut steps, open)| {
            steps.recv().await.map(|step| (step, (steps, open)))
        })
        .boxed()
    }
}

fn found(number: u32) -> Found {
    let json = peer_record(number, &["/ip4/192.0.2.1/tcp/4001"]);
    let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
    let record = Arc::new(ReadyRecord::new(record, AnswerSchema::Announced));
    Found {
        records: vec![(record, Selection::Whole)].into(),
        modified_at_ms: Some(1),
        is_partial: false,
    }
}

async fn scripted(with: impl FnOnce(&mut fingerpost::config::Settings)) -> (TestServer, Scripted) {
    let resolver = Scripted::default();
    (server().with(with).resolver(resolver.clone()).start().await, resolver)
}

async fn lines(server: &TestServer) -> Response {
    let path = format!("/routing/v1/providers/{CID}");
    server.ask(Method::GET, &path, &[("accept", "application/x-ndjson")]).await
}

async fn next_line(response: &mut Response) -> Option<serde_json::Value> {
    let chunk = response.chunk().await.unwrap()?;
    let line = chunk.strip_suffix(b"\n").expect("a chunk ends with a line");
    Some(serde_json::from_slice(line).unwrap())
}

/// Waits until something holds, for less than a second.
async fn soon(mut holds: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..90 {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_sent_when_it_is_known() {
    let (server, resolver) = scripted(|_| {}).await;
    let steps = resolver.script();
    steps.send(Ok(found(0))).unwrap();
    let mut response = lines(&server).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.headers()["vary"], "Accept");
    assert!(response.headers().get("etag").is_none());
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    for number in 0..3 {
        let line = next_line(&mut response).await.unwrap();
        assert_eq!(line["ID"], super::harness::peer_id(number));
        // Nothing else is known until this line has arrived.
        steps.send(Ok(found(number + 1))).unwrap();
    }
    drop(steps);
    assert!(next_line(&mut response).await.is_some());
    assert_eq!(next_line(&mut response).await, None);
    assert!(soon(async || server.metric("fingerpost_streams_open").await == 0.0).await);
    assert_eq!(server.metric(r#"fingerpost_streams_ended_total{end="whole"}"#).await, 1.0);
    assert_eq!(server.metric("fingerpost_records_served_total").await, 4.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running_when_clients_stop_after_the_first_record() {
    const CLIENTS: usize = 100;
    let (server, resolver) = scripted(|_| {}).await;
    let scripts: Vec<_> = (0..CLIENTS).map(|_| resolver.script()).collect();
    let mut open = Vec::new();
    for script in &scripts {
        script.send(Ok(found(0))).unwrap();
        let mut response = lines(&server).await;
        assert!(next_line(&mut response).await.is_some());
        open.push(response);
    }
    assert_eq!(resolver.open.load(Ordering::SeqCst), CLIENTS);
    assert_eq!(server.metric("fingerpost_streams_open").await, CLIENTS as f64);
    drop(open);
    assert!(soon(async || resolver.open.load(Ordering::SeqCst) == 0).await);
    assert_eq!(server.metric("fingerpost_streams_open").await, 0.0);
    let gone = server.metric(r#"fingerpost_streams_ended_total{end="client_gone"}"#).await;
    assert_eq!(gone, CLIENTS as f64);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_before_the_first_record_ends_the_work() {
    let (server, resolver) = scripted(|_| {}).await;
    for format in ["application/x-ndjson", "application/json"] {
        let _script = resolver.script();
        let connection = ask_raw(server.addr(), format);
        let open = resolver.open.clone();
        assert!(soon(async || open.load(Ordering::SeqCst) == 1).await);
        drop(connection);
        assert!(soon(async || open.load(Ordering::SeqCst) == 0).await, "{format}");
    }
    server.shutdown().await;
}

fn ask_raw(addr: SocketAddr, format: &str) -> TcpStream {
    let mut connection = TcpStream::connect(addr).unwrap();
    let request =
        format!("GET /routing/v1/providers/{CID} HTTP/1.1\r\nhost: a\r\naccept: {format}\r\n\r\n");
    std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_ends_within_its_time() {
    let limit = |settings: &mut fingerpost::config::Settings| {
        settings.lookup_timeout = Duration::from_millis(200);
    };
    let (server, resolver) = scripted(limit).await;
    let steps = resolver.script();
    steps.send(Ok(found(0))).unwrap();
    let mut response = lines(&server).await;
    assert!(next_line(&mut response).await.is_some());
    // Ended as a whole answer is, not torn.
    assert_eq!(next_line(&mut response).await, None);
    assert_eq!(server.metric(r#"fingerpost_streams_ended_total{end="deadline"}"#).await, 1.0);
    for format in ["application/x-ndjson", "application/json"] {
        let _steps = resolver.script();
        let path = format!("/routing/v1/providers/{CID}");
        let response = server.ask(Method::GET, &path, &[("accept", format)]).await;
        assert_eq!(response.status(), 504, "{format}");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    assert_eq!(resolver.open.load(Ordering::SeqCst), 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_first_record_leaves_what_was_found() {
    let (server, resolver) = scripted(|_| {}).await;
    let steps = resolver.script();
    steps.send(Ok(found(0))).unwrap();
    let mut response = lines(&server).await;
    assert!(next_line(&mut response).await.is_some());
    steps.send(Err(ResolveError::UpstreamsFailed(UpstreamReasons::default()))).unwrap();
    assert_eq!(next_line(&mut response).await, None);
    assert_eq!(server.metric(r#"fingerpost_streams_ended_total{end="failed"}"#).await, 1.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_found_in_the_end_is_a_404() {
    let (server, resolver) = scripted(|_| {}).await;
    let steps = resolver.script();
    let answer = lines(&server);
    let end = async move {
        tokio::task::yield_now().await;
        steps.send(Ok(Found::default())).unwrap();
    };
    let (response, ()) = tokio::join!(answer, end);
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.text().await.unwrap(), "");
    server.shutdown().await;
}

/// Many long records, so that an answer is far more than what a connection buffers.
async fn with_long_answer() -> (TestServer, usize) {
    const RECORDS: u32 = 120;
    let server = server().start().await;
    for number in 0..RECORDS {
        let addrs: Vec<_> =
            (0..900).map(|port| format!("/ip4/192.0.2.1/tcp/{}", 4000 + port)).collect();
        let addrs: Vec<_> = addrs.iter().map(String::as_str).collect();
        server.announce(CID, &peer_record(number, &addrs)).await;
    }
    (server, RECORDS as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_whole_and_hold_nothing_while_they_are_read_slowly() {
    let (server, count) = with_long_answer().await;
    let _slow = ask_raw(server.addr(), "application/x-ndjson");
    let _slow_too = ask_raw(server.addr(), "application/json");
    // The key's groups can change and be asked for meanwhile.
    server.announce(CID, &peer_record(9_999, &[])).await;
    let all = lines(&server).await;
    assert!(all.headers().get("etag").is_some());
    let all = all.text().await.unwrap();
    assert_eq!(all.lines().count(), count + 1);
    assert!(all.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert_eq!(records(server.providers(CID).await).await.len(), 100);
    server.shutdown().await;
}
