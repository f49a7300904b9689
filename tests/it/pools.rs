//! Pools over HTTP, as source 001 shows them: whole answers, byte for byte, and every error status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fingerpost::control::EndpointParts;
use fingerpost::resolve::{AskError, AskedRecords, Upstream};
use fingerpost::state::{
    ControlChange, ControlStore, ControlStoreError, ControlTable, Documents, MemoryControl,
};
use fingerpost::types::{Hops, Subject};
use fingerpost::types::{IpnsName, IpnsRecord, TargetId};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use rstest::rstest;

use super::harness::{Builder, TestServer, server, written};

const ROUTES: &str = "/ga/api/v3/eng/routes";

/// An upstream that nobody asks here.
struct Silent(TargetId);

impl Upstream for Silent {
    fn id(&self) -> &TargetId {
        &self.0
    }

    fn records(&self, _: &Subject, _: Hops) -> AskedRecords {
        futures_util::stream::empty().boxed()
    }

    fn name<'a>(
        &'a self,
        _: &'a IpnsName,
        _: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn put_name<'a>(&'a self, _: &'a IpnsRecord, _: Hops) -> BoxFuture<'a, Result<(), AskError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// State that fails when it is told to.
#[derive(Default)]
struct FailingState {
    memory: MemoryControl,
    is_full: AtomicBool,
    is_away: AtomicBool,
}

impl ControlStore for FailingState {
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>> {
        self.memory.read(table)
    }

    fn write(
        &self,
        changes: Vec<ControlChange>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>> {
        if self.is_full.load(Ordering::SeqCst) {
            let source = std::io::Error::other("no space left");
            return std::future::ready(Err(ControlStoreError::NoSpace { source })).boxed();
        }
        if self.is_away.load(Ordering::SeqCst) {
            let reason = "its writer has stopped".to_owned();
            return std::future::ready(Err(ControlStoreError::Unavailable { reason })).boxed();
        }
        self.memory.write(changes, now_ms)
    }
}

/// An endpoint of 25,000 lookups a day and 10,000 an hour.
fn endpoint(name: &str, pool: Option<&str>) -> EndpointParts {
    EndpointParts {
        name: name.to_owned(),
        daily_volume: 25_000,
        hourly_rate: 10_000,
        pool: pool.map(str::to_owned),
        upstream: Arc::new(Silent(TargetId::parse(name).expect("a name"))),
    }
}

/// The inventory with which the source's examples come out.
fn of_source() -> Builder {
    server().endpoints(vec![endpoint("one", Some("my-route")), endpoint("two", Some("new-route"))])
}

async fn send(server: &TestServer, method: Method, path: &str, body: &str) -> reqwest::Response {
    let request = server.admin(method, &format!("{ROUTES}{path}"));
    let request = if body.is_empty() { request } else { request.body(body.to_owned()) };
    request.send().await.expect("the server answers")
}

async fn get(server: &TestServer, path: &str) -> reqwest::Response {
    send(server, Method::GET, path, "").await
}

async fn post(server: &TestServer, body: &str) -> reqwest::Response {
    send(server, Method::POST, "", body).await
}

async fn create(server: &TestServer, name: &str) {
    let body = format!(r#"{{"route":{{"name":"{name}","requested_target_daily_volume":50000}}}}"#);
    assert_eq!(post(server, &body).await.status(), 200);
}

/// What the source writes down over many lines, as one that answers compactly says it.
fn compact(text: &str) -> String {
    text.lines().map(|line| line.trim().replacen("\": ", "\":", 1)).collect()
}

const MY_ROUTE: &str = r#"{
"id": 1,
"name": "my-route",
"requested_target_daily_volume": 50000,
"recommended_max_daily_volume": 25000,
"recommended_max_delivery_rate_per_hour": 10000,
"overflow_route": null,
"routing_rule": {
"id": 42,
"name": "my-route R1"
}
}"#;

const NEW_ROUTE: &str = r#"{
"route": {
"id": 2,
"name": "new-route",
"requested_target_daily_volume": 50000,
"recommended_max_daily_volume": 25000,
"recommended_max_delivery_rate_per_hour": 10000,
"overflow_route": null,
"routing_rule": {
"id": 43,
"name": "new-route R2"
}
}
}"#;

const RENAMED_ROUTE: &str = r#"{
"route": {
"id": 1,
"name": "renamed-route",
"requested_target_daily_volume": 75000,
"recommended_max_daily_volume": 25000,
"recommended_max_delivery_rate_per_hour": 10000,
"overflow_route": null,
"routing_rule": {
"id": 42,
"name": "renamed-route R1"
}
}
}"#;

const PAGINATION: &str = r#"{
"page": 0,
"per_page": 100,
"num_pages": 1,
"num_records": 1,
"next_page_token": null
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_source_comes_out_byte_for_byte() {
    let server = of_source().start().await;
    create(&server, "my-route").await;
    let list = format!(r#"{{"routes":[{}],"pagination":{}}}"#, MY_ROUTE, PAGINATION);
    assert_eq!(get(&server, "").await.text().await.unwrap(), compact(&list));
    let one = format!(r#"{{"route":{MY_ROUTE}}}"#);
    assert_eq!(get(&server, "/1").await.text().await.unwrap(), compact(&one));
    let body = r#"{ "route": { "name": "new-route", "requested_target_daily_volume": 50000 } }"#;
    let created = post(&server, body).await;
    assert_eq!(created.status(), 200);
    assert_eq!(created.text().await.unwrap(), compact(NEW_ROUTE));
    let body = r#"{"route": {"name": "renamed-route", "requested_target_daily_volume": 75000}}"#;
    let changed = send(&server, Method::PUT, "/1", body).await;
    assert_eq!(changed.text().await.unwrap(), compact(RENAMED_ROUTE));
    let removed = send(&server, Method::DELETE, "/1", "").await;
    assert_eq!(removed.status(), 200);
    assert_eq!(removed.text().await.unwrap(), r#"{"success":true}"#);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_are_as_written_down() {
    let server = of_source().start().await;
    let body = r#"{"route":{"name":"my-route","requested_target_daily_volume":50000}}"#;
    insta::assert_snapshot!("pools_created", written(post(&server, body).await).await);
    let body = r#"{"route":{"name":"new-route","requested_target_daily_volume":1,
        "overflow_route":{"name":"MY-route"}}}"#;
    insta::assert_snapshot!("pools_created_overflow", written(post(&server, body).await).await);
    insta::assert_snapshot!("pools_list", written(get(&server, "").await).await);
    insta::assert_snapshot!("pools_list_filtered", written(get(&server, "?name=NEW").await).await);
    insta::assert_snapshot!("pools_list_beyond", written(get(&server, "?page=7").await).await);
    insta::assert_snapshot!("pools_one", written(get(&server, "/2").await).await);
    let in_use = send(&server, Method::DELETE, "/1", "").await;
    insta::assert_snapshot!("pools_remove_overflow_of", written(in_use).await);
    let body = r#"{"route":{"overflow_route":null,"id":9,"routing_rule":{"id":9},"else":[]}}"#;
    let changed = send(&server, Method::PUT, "/2", body).await;
    insta::assert_snapshot!("pools_changed", written(changed).await);
    let removed = send(&server, Method::DELETE, "/1", "").await;
    insta::assert_snapshot!("pools_removed", written(removed).await);
    insta::assert_snapshot!("pools_gone", written(get(&server, "/1").await).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_a_route_are_reported_at_once() {
    let server = of_source().start().await;
    create(&server, "my-route").await;
    let body = r#"{"route":{"name":"a/b","requested_target_daily_volume":0,
        "overflow_route":{"id":9}}}"#;
    insta::assert_snapshot!("pools_invalid", written(post(&server, body).await).await);
    let body = r#"{"route":{"name":7,"requested_target_daily_volume":"50000",
        "overflow_route":1}}"#;
    insta::assert_snapshot!("pools_wrong_types", written(post(&server, body).await).await);
    let missing = post(&server, r#"{"route":{}}"#).await;
    insta::assert_snapshot!("pools_missing", written(missing).await);
    let body = r#"{"route":{"name":"MY-ROUTE","overflow_route":{"name":"nobody"}}}"#;
    insta::assert_snapshot!("pools_taken", written(post(&server, body).await).await);
    let body = r#"{"route":{"name":"third","requested_target_daily_volume":1}}"#;
    insta::assert_snapshot!("pools_no_endpoints", written(post(&server, body).await).await);
    create(&server, "new-route").await;
    let into = |id| format!(r#"{{"route":{{"overflow_route":{{"id":{id}}}}}}}"#);
    assert_eq!(send(&server, Method::PUT, "/1", &into(2)).await.status(), 200);
    let cycle = send(&server, Method::PUT, "/2", &into(1)).await;
    insta::assert_snapshot!("pools_cycle", written(cycle).await);
    let itself = send(&server, Method::PUT, "/2", &into(2)).await;
    insta::assert_snapshot!("pools_itself", written(itself).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_says_of_routes_what_get_would() {
    let server = of_source().start().await;
    create(&server, "my-route").await;
    for (path, status) in [("", 200), ("?page=0", 200), ("/1", 200), ("/9", 404), ("/one", 400)] {
        let got = get(&server, path).await;
        let head = send(&server, Method::HEAD, path, "").await;
        assert_eq!((got.status().as_u16(), head.status().as_u16()), (status, status), "{path}");
        for header in [CONTENT_TYPE, CONTENT_LENGTH] {
            assert_eq!(head.headers()[&header], got.headers()[&header], "{path} {header}");
        }
        assert_eq!(head.text().await.unwrap(), "");
    }
    server.shutdown().await;
}

#[rstest]
#[case::not_json(Method::POST, "", "{", 400)]
#[case::nothing(Method::POST, "", "", 400)]
#[case::a_control_character(Method::POST, "", "[\u{0}]", 400)]
#[case::no_route(Method::POST, "", r#"{"name":"a"}"#, 400)]
#[case::route_is_no_object(Method::POST, "", r#"{"route":[]}"#, 400)]
#[case::a_list(Method::POST, "", r#"[{"route":{}}]"#, 400)]
#[case::change_not_json(Method::PUT, "/1", "x", 400)]
#[case::id_is_a_word(Method::GET, "/one", "", 400)]
#[case::id_has_a_point(Method::GET, "/1.0", "", 400)]
#[case::id_to_change_is_a_word(Method::PUT, "/one", r#"{"route":{}}"#, 400)]
#[case::id_to_delete_is_a_word(Method::DELETE, "/one", "", 400)]
#[case::page_below_zero(Method::GET, "?page=-1", "", 400)]
#[case::page_is_a_word(Method::GET, "?page=one", "", 400)]
#[case::page_and_token(Method::GET, "?page=0&page_token=AQ", "", 400)]
#[case::bad_token(Method::GET, "?page_token=x", "", 400)]
#[case::empty_token(Method::GET, "?page_token=", "", 400)]
#[case::nobodys_id(Method::GET, "/9", "", 404)]
#[case::id_zero(Method::GET, "/0", "", 404)]
#[case::id_below_zero(Method::GET, "/-1", "", 404)]
#[case::id_beyond_numbers(Method::GET, "/99999999999999999999", "", 404)]
#[case::change_of_nobody(Method::PUT, "/9", r#"{"route":{}}"#, 404)]
#[case::deletion_of_nobody(Method::DELETE, "/9", "", 404)]
#[case::null_name(Method::PUT, "/1", r#"{"route":{"name":null}}"#, 422)]
#[case::integer_name(Method::PUT, "/1", r#"{"route":{"name":"42"}}"#, 422)]
#[case::half(Method::PUT, "/1", r#"{"route":{"requested_target_daily_volume":0.5}}"#, 422)]
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_refused_in_the_envelope_of_the_source(
    #[case] method: Method,
    #[case] path: &str,
    #[case] body: &str,
    #[case] status: u16,
) {
    let server = of_source().start().await;
    create(&server, "my-route").await;
    let refused = send(&server, method, path, body).await;
    assert_eq!(refused.status(), status);
    assert_eq!(refused.headers()[CONTENT_TYPE], "application/json");
    let text = refused.text().await.unwrap();
    let codes = [(400, "invalid_request"), (404, "not_found"), (422, "validation_failed")];
    let code = codes.iter().find(|it| it.0 == status).unwrap().1;
    let begin =
        format!(r#"{{"success":false,"data":null,"error_code":"{code}","error_messages":["#);
    assert!(text.starts_with(&begin), "{text}");
    let refusal: fingerpost::admin::PoolRefusal = serde_json::from_str(&text).unwrap();
    assert!(!refusal.error_messages.is_empty(), "{text}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_is_not_offered_says_what_is() {
    let server = of_source().start().await;
    for (method, path, name) in
        [(Method::PUT, "", "pools_method_of_all"), (Method::POST, "/1", "pools_method_of_one")]
    {
        let refused = send(&server, method, path, "").await;
        insta::assert_snapshot!(name, written(refused).await);
    }
    let body = format!(r#"{{"route":{{"name":"{}"}}}}"#, "a".repeat(70_000));
    insta::assert_snapshot!("pools_body_too_large", written(post(&server, &body).await).await);
    for (method, path) in [(Method::POST, ""), (Method::PUT, "/1")] {
        let request = server.admin(method, &format!("{ROUTES}{path}"));
        let refused = request.header(CONTENT_ENCODING, "gzip").body("x").send().await.unwrap();
        insta::assert_snapshot!("pools_compressed", written(refused).await);
    }
    insta::assert_snapshot!("pools_bad_query", {
        written(get(&server, "?page=-1&page_token=x").await).await
    });
    let nobody = server.admin_without_password(Method::GET, ROUTES).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_with_their_tokens() {
    let inventory = (0..205).map(|at| endpoint(&format!("endpoint-{at}"), None)).collect();
    let server = server().endpoints(inventory).start().await;
    for at in 1..=205 {
        let body = format!(r#"{{"route":{{"name":"r-{at}","requested_target_daily_volume":1}}}}"#);
        assert_eq!(post(&server, &body).await.status(), 200);
    }
    let mut query = "?name=R-".to_owned();
    let mut ids = Vec::new();
    for page in 0..3_u64 {
        let list: fingerpost::admin::PoolList = get(&server, &query).await.json().await.unwrap();
        assert_eq!((list.pagination.page, list.pagination.num_pages), (page, 3));
        ids.extend(list.routes.iter().map(|route| route.id));
        if let Some(token) = &list.pagination.next_page_token {
            let other = get(&server, &format!("?page_token={token}")).await;
            assert_eq!(other.status(), 400, "a token for another filter");
            query = format!("?name=r-&page_token={token}");
        }
        // What is gone before its page comes is not in it, and nothing else is left out.
        let gone = format!("/{}", 150 + page);
        assert_eq!(send(&server, Method::DELETE, &gone, "").await.status(), 200);
    }
    let expected = (1..=205).filter(|id| *id != 150).collect::<Vec<_>>();
    assert_eq!(ids, expected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_stored_is_not_made() {
    let state = Arc::new(FailingState::default());
    let server = of_source().state(state.clone()).start().await;
    create(&server, "my-route").await;
    state.is_full.store(true, Ordering::SeqCst);
    let body = r#"{"route":{"name":"new-route","requested_target_daily_volume":50000}}"#;
    insta::assert_snapshot!("pools_no_space", written(post(&server, body).await).await);
    state.is_full.store(false, Ordering::SeqCst);
    state.is_away.store(true, Ordering::SeqCst);
    let renamed = send(&server, Method::PUT, "/1", r#"{"route":{"name":"other"}}"#).await;
    insta::assert_snapshot!("pools_unavailable", written(renamed).await);
    let removed = send(&server, Method::DELETE, "/1", "").await;
    assert_eq!(
        (removed.status().as_u16(), &removed.headers()[RETRY_AFTER]),
        (503, &"5".parse().unwrap())
    );
    let one = format!(r#"{{"route":{MY_ROUTE}}}"#);
    assert_eq!(get(&server, "/1").await.text().await.unwrap(), compact(&one));
    server.shutdown().await;
}
