//! The routing table's API over HTTP, as source 000 has it: whole answers of every call and error.

use std::sync::Arc;

use fingerpost::state::{
    ControlChange, ControlStore, ControlStoreError, ControlTable, Documents, MemoryControl,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use reqwest::header::{
    ACCEPT, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, LOCATION,
};
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;

use super::harness::{CID, CID_V0, NOW_MS, PEER, TestServer, peer_record, server, written};

/// What source 000 shows as the answer of `GET /routes`.
const SOURCE_EXAMPLE: &str = r#"
{
    "_embedded": {
        "routes": [
            {
                "routePrefix": "g",
                "nextHopAccountId": "123",
                "path": [],
                "expiresAt": null,
                "auth": "WhzFqWj0eyDDoq4ynPU3hi6jkon4rwqbpvbFsj+uerw="
            },
            {
                "routePrefix": "g.foo",
                "nextHopAccountId": "123",
                "path": [],
                "expiresAt": null,
                "auth": "YPdfhiJL3niltb1hChYzKwFPPimfPIb0gcNtvoKglsY="
            }
        ]
    },
    "page": {
        "size": "2",
        "totalElements": "2",
        "totalPages": "1",
        "number": "0"
    }
}"#;

/// A server whose routing secret is that of the source's example.
async fn start() -> TestServer {
    server().state(state().await).start().await
}

async fn state() -> Arc<MemoryControl> {
    let state = MemoryControl::new();
    let text = multibase::Base::Base64Pad.encode("shh");
    let secret = ControlChange {
        table: ControlTable::Single,
        key: "routing_secret".to_owned(),
        text: Some(text),
    };
    state.write(vec![secret], NOW_MS).await.unwrap();
    Arc::new(state)
}

fn body(prefix: &str, account: &str) -> String {
    serde_json::json!({ "routePrefix": prefix, "nextHopAccountId": account }).to_string()
}

fn put(server: &TestServer, prefix: &str, account: &str) -> RequestBuilder {
    let path = format!("/routes/static/{prefix}");
    let request = server.admin(Method::PUT, &path).body(body(prefix, account));
    request.header(CONTENT_TYPE, "application/json")
}

async fn set(server: &TestServer, prefix: &str, account: &str) {
    assert_eq!(put(server, prefix, account).send().await.unwrap().status(), 201, "{prefix}");
}

fn delete(server: &TestServer, prefix: &str) -> RequestBuilder {
    server.admin(Method::DELETE, &format!("/routes/static/{prefix}"))
}

async fn get(server: &TestServer, path: &str) -> Response {
    server.admin(Method::GET, path).send().await.unwrap()
}

async fn sent(request: RequestBuilder) -> String {
    written(request.send().await.unwrap()).await
}

/// Prefix and account of each route that an answer lists.
async fn listed(response: Response) -> Vec<(String, String)> {
    assert_eq!(response.status(), 200);
    let body: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let embedded = &body["_embedded"];
    let routes = embedded.get("routes").or(embedded.get("staticRoutes")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let routes = routes.as_array().unwrap().iter();
    routes.map(|it| (text(&it["routePrefix"]), text(&it["nextHopAccountId"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(prefix, account)| (prefix.to_string(), account.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_documents_own_example_holds_byte_for_byte() {
    let server = start().await;
    set(&server, "g", "123").await;
    set(&server, "g.foo", "123").await;
    let answer = get(&server, "/routes").await.text().await.unwrap();
    assert_eq!(answer, SOURCE_EXAMPLE.split_whitespace().collect::<String>());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_route_everything_goes_to_the_default() {
    let server = start().await;
    insta::assert_snapshot!("routes_default", written(get(&server, "/routes").await).await);
    let statics = written(get(&server, "/routes/static").await).await;
    insta::assert_snapshot!("routes_static_none", statics);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_route_is_created_listed_replaced_and_removed() {
    let server = start().await;
    insta::assert_snapshot!("routes_created", sent(put(&server, "g.foo", "Alice.Account")).await);
    server.clock.advance(1_234);
    insta::assert_snapshot!("routes_exists", sent(put(&server, "g.foo", "alice.account")).await);
    let replacing = put(&server, "g.foo", "bob").header(IF_MATCH, "*");
    insta::assert_snapshot!("routes_replaced", sent(replacing).await);
    let statics = written(get(&server, "/routes/static").await).await;
    insta::assert_snapshot!("routes_static", statics);
    insta::assert_snapshot!("routes_both", written(get(&server, "/routes").await).await);
    insta::assert_snapshot!("routes_removed", sent(delete(&server, "g.foo")).await);
    insta::assert_snapshot!("routes_missing", sent(delete(&server, "g.foo")).await);
    let left = listed(get(&server, "/routes").await).await;
    assert_eq!(left, pairs(&[("g", "default")]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_route_hides_the_default_and_its_removal_brings_it_back() {
    let server = start().await;
    set(&server, "g", "discard").await;
    assert_eq!(listed(get(&server, "/routes").await).await, pairs(&[("g", "discard")]));
    assert_eq!(sent(delete(&server, "g")).await.lines().next(), Some("204 No Content"));
    assert_eq!(listed(get(&server, "/routes").await).await, pairs(&[("g", "default")]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_replaces_only_what_is_there_and_only_with_if_match() {
    let server = start().await;
    let replacing = put(&server, "g.foo", "bob").header(IF_MATCH, "*");
    insta::assert_snapshot!("routes_nothing_to_replace", sent(replacing).await);
    set(&server, "g.foo", "alice").await;
    for if_match in ["\"abc\"", "", "*, \"abc\""] {
        let request = put(&server, "g.foo", "bob").header(IF_MATCH, if_match);
        assert_eq!(request.send().await.unwrap().status(), 412, "{if_match}");
    }
    let statics = listed(get(&server, "/routes/static").await).await;
    assert_eq!(statics, pairs(&[("g.foo", "alice")]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_removes_only_what_its_if_match_allows() {
    let server = start().await;
    set(&server, "g.foo", "alice").await;
    for if_match in ["\"abc\"", "", "*, \"abc\""] {
        let request = delete(&server, "g.foo").header(IF_MATCH, if_match);
        assert_eq!(request.send().await.unwrap().status(), 412, "{if_match}");
    }
    assert_eq!(listed(get(&server, "/routes/static").await).await.len(), 1);
    for status in [204, 404] {
        let request = delete(&server, "g.foo").header(IF_MATCH, "*");
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_created_route_is_said_to_be_it_can_be_read() {
    let server = start().await;
    let created = put(&server, "g.foo", "alice").send().await.unwrap();
    let location = created.headers()[LOCATION].to_str().unwrap().to_owned();
    let created = created.text().await.unwrap();
    let read = get(&server, &location).await;
    assert_eq!(
        (read.status().as_u16(), &read.headers()[CONTENT_TYPE]),
        (200, &"application/json".parse().unwrap())
    );
    assert_eq!(read.text().await.unwrap(), created);
    let head = server.admin(Method::HEAD, &location).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()[CONTENT_LENGTH], created.len().to_string());
    let replacing = put(&server, "g.foo", "bob").header(IF_MATCH, "*").send().await.unwrap();
    let replaced = replacing.text().await.unwrap();
    assert_eq!(get(&server, "/routes/static/%67.foo").await.text().await.unwrap(), replaced);
    let missing = sent(delete(&server, "g.bar")).await;
    assert_eq!(written(get(&server, "/routes/static/g.bar").await).await, missing);
    assert!(missing.starts_with("404 "), "{missing}");
    assert_eq!(get(&server, "/routes/static/g..foo").await.status(), 400);
    let html = server.admin(Method::GET, &location).header(ACCEPT, "text/html");
    assert_eq!(html.send().await.unwrap().status(), 406);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_create_one_route_at_once_one_does() {
    let server = start().await;
    let puts = (0..8).map(|number| put(&server, "g.foo", &format!("account-{number}")).send());
    let statuses = join_all(puts).await.into_iter().map(|it| it.unwrap().status().as_u16());
    let mut statuses: Vec<u16> = statuses.collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(listed(get(&server, "/routes/static").await).await.len(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_sorted_by_prefix() {
    let server = start().await;
    for prefix in ["g.b", "g.a-b", "g.a.b", "g.a"] {
        set(&server, prefix, "local").await;
    }
    let page = written(get(&server, "/routes?page=1&size=2").await).await;
    insta::assert_snapshot!("routes_page", page);
    let prefixes = async |path: &str| {
        let routes = listed(get(&server, path).await).await;
        routes.into_iter().map(|(prefix, _)| prefix).collect::<Vec<_>>()
    };
    assert_eq!(prefixes("/routes?size=9").await, ["g", "g.a", "g.a-b", "g.a.b", "g.b"]);
    assert_eq!(prefixes("/routes?page=2&size=2&sort=x").await, ["g.b"]);
    assert_eq!(prefixes("/routes?page=3&size=2").await, [""; 0]);
    assert_eq!(prefixes("/routes/static").await, ["g.a", "g.a-b", "g.a.b", "g.b"]);
    assert_eq!(prefixes("/routes/static?size=3&page=1").await, ["g.b"]);
    for query in ["size=0", "size=x", "page=-1", "page=1.5", "size="] {
        for path in ["/routes", "/routes/static"] {
            let path = format!("{path}?{query}");
            assert_eq!(get(&server, &path).await.status(), 400, "{path}");
        }
    }
    let refused = written(get(&server, "/routes?size=0").await).await;
    insta::assert_snapshot!("routes_page_size_zero", refused);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_that_could_carry_an_address_come_longest_first() {
    let server = start().await;
    for (prefix, account) in [
        ("g.providers", "providers"),
        ("g.providers.sha2-256.9", "sixteenth"),
        ("g.providers.sha2-256.9.d", "part"),
        ("g.providers.sha2-256.8", "another"),
        ("g.peers.identity", "peers"),
    ] {
        set(&server, prefix, account).await;
    }
    let asked = async |destination: &str| {
        let path = format!("/routes?destinationAddress={destination}");
        let routes = listed(get(&server, &path).await).await;
        routes.into_iter().map(|(_, account)| account).collect::<Vec<_>>()
    };
    let of_cid = ["part", "sixteenth", "providers", "default"];
    for same in [CID, CID_V0, &format!("/ipfs/{CID}"), &format!("ipfs:%2F%2F{CID}")] {
        assert_eq!(asked(same).await, of_cid, "{same}");
    }
    assert_eq!(asked("g.providers.sha2-256.9.d.0").await, of_cid);
    assert_eq!(asked("g.providers.sha2-256.99").await, ["providers", "default"]);
    assert_eq!(asked(PEER).await, ["peers", "default"]);
    assert_eq!(asked("g.ipns").await, ["default"]);
    assert_eq!(asked("private.x").await, [""; 0]);
    let path = format!("/routes?destinationAddress={CID}&size=1");
    insta::assert_snapshot!("routes_of_address", written(get(&server, &path).await).await);
    let refused = get(&server, "/routes?destinationAddress=nonsense").await;
    insta::assert_snapshot!("routes_of_no_address", written(refused).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_media_type_that_is_asked_for() {
    let server = start().await;
    for (accept, content_type) in [
        (None, "application/json"),
        (Some("application/json"), "application/json"),
        (Some("*/*"), "application/json"),
        (Some("application/hal+json"), "application/hal+json"),
        (Some("application/*"), "application/json"),
    ] {
        for path in ["/routes", "/routes/static", "/routes/explain?destinationAddress=g"] {
            let request = server.admin(Method::GET, path);
            let request = accept.into_iter().fold(request, |it, value| it.header(ACCEPT, value));
            let response = request.send().await.unwrap();
            assert_eq!(response.headers()[CONTENT_TYPE], content_type, "{path} {accept:?}");
        }
    }
    let created = put(&server, "g.foo", "local").header(ACCEPT, "application/hal+json");
    let created = created.send().await.unwrap();
    assert_eq!(created.headers()[CONTENT_TYPE], "application/hal+json");
    let refused = server.admin(Method::GET, "/routes").header(ACCEPT, "text/html");
    insta::assert_snapshot!("routes_not_acceptable", sent(refused).await);
    let others = [put(&server, "g.bar", "local"), delete(&server, "g.foo")];
    for request in others {
        assert_eq!(request.header(ACCEPT, "text/html").send().await.unwrap().status(), 406);
    }
    let statics = listed(get(&server, "/routes/static").await).await;
    assert_eq!(statics, pairs(&[("g.foo", "local")]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_says_what_get_would() {
    let server = start().await;
    for path in ["/routes", "/routes/static", "/routes/explain?destinationAddress=g"] {
        let got = get(&server, path).await;
        let head = server.admin(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), 200);
        for header in [CONTENT_TYPE, reqwest::header::CONTENT_LENGTH] {
            assert_eq!(head.headers()[&header], got.headers()[&header], "{path} {header}");
        }
        assert_eq!(head.text().await.unwrap(), "");
    }
    server.shutdown().await;
}

#[rstest]
#[case::no_field("no_field", r#"{"nextHopAccountId":"local"}"#)]
#[case::wrong_type("wrong_type", r#"{"routePrefix":"g.foo","nextHopAccountId":42}"#)]
#[case::field_twice(
    "field_twice",
    r#"{"routePrefix":"g.foo","nextHopAccountId":"local","routePrefix":"g.bar"}"#
)]
#[case::no_json("no_json", "routePrefix=g.foo")]
#[case::nothing("nothing", "")]
#[case::prefix("prefix", r#"{"routePrefix":"g.foo.","nextHopAccountId":"local"}"#)]
#[case::account("account", r#"{"routePrefix":"g.foo","nextHopAccountId":"no body"}"#)]
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_route_is_refused(#[case] name: &str, #[case] body: &str) {
    let server = start().await;
    let request = server.admin(Method::PUT, "/routes/static/g.foo").body(body.to_owned());
    insta::assert_snapshot!(format!("routes_body_{name}"), sent(request).await);
    assert!(listed(get(&server, "/routes/static").await).await.is_empty());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_say_more_and_need_not_say_that_it_is_json() {
    let server = start().await;
    let more = r#"{"routePrefix":"g.foo","nextHopAccountId":"local","createdAt":null,"x":[1]}"#;
    let request = server.admin(Method::PUT, "/routes/static/g.foo").body(more);
    assert_eq!(request.send().await.unwrap().status(), 201);
    let typed = |value: &str| {
        let request = server.admin(Method::PUT, "/routes/static/g.bar");
        request.header(CONTENT_TYPE, value).body(body("g.bar", "local"))
    };
    insta::assert_snapshot!("routes_media_type", sent(typed("text/plain")).await);
    let gzip = put(&server, "g.bar", "local").header(CONTENT_ENCODING, "gzip");
    insta::assert_snapshot!("routes_compressed", sent(gzip).await);
    let hal = typed("application/hal+json; charset=utf-8").send().await.unwrap();
    assert_eq!(hal.status(), 201);
    let long = serde_json::json!({
        "routePrefix": "g.long", "nextHopAccountId": "local", "x": "x".repeat(64 * 1024),
    });
    let request = server.admin(Method::PUT, "/routes/static/g.long").body(long.to_string());
    insta::assert_snapshot!("routes_too_large", sent(request).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_names_the_prefix_encoded_or_not() {
    let server = start().await;
    let request =
        server.admin(Method::PUT, "/routes/static/%67%2Efoo").body(body("g.foo", "local"));
    assert_eq!(request.send().await.unwrap().status(), 201);
    insta::assert_snapshot!("routes_no_prefix", sent(delete(&server, "g..foo")).await);
    for illegal in ["", "G", "g.", "g%20", "g/foo", "g%2Ffoo", "g.%FF", "foo"] {
        for request in [put(&server, illegal, "local"), delete(&server, illegal)] {
            assert_eq!(request.send().await.unwrap().status(), 400, "{illegal}");
        }
    }
    insta::assert_snapshot!("routes_broken_encoding", sent(delete(&server, "g.%zz")).await);
    for broken in ["g.%", "g.%2", "%g1", "g.%2E%"] {
        let refused = sent(put(&server, broken, "local")).await;
        assert!(refused.contains("percent-encoding is broken"), "{broken}: {refused}");
    }
    let percent = sent(delete(&server, "g.%2541")).await;
    assert!(percent.contains("'%' cannot stand in a prefix"), "{percent}");
    let other = server.admin(Method::PUT, "/routes/static/g.bar").body(body("g.foo", "local"));
    insta::assert_snapshot!("routes_mismatch", sent(other).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_reported_in_the_order_of_the_checks() {
    let server = start().await;
    set(&server, "g.foo", "local").await;
    let url = "/routes/static/g..foo";
    let wrong = |request: RequestBuilder| {
        let request = request.header(CONTENT_TYPE, "text/plain").header(ACCEPT, "text/html");
        request.header(IF_MATCH, "\"x\"").body("nonsense")
    };
    let stranger = wrong(server.admin_without_password(Method::PUT, url));
    assert_eq!(stranger.send().await.unwrap().status(), 401);
    assert_eq!(wrong(server.admin(Method::PUT, url)).send().await.unwrap().status(), 406);
    let request = server.admin(Method::PUT, url).header(CONTENT_TYPE, "text/plain").body("{");
    assert_eq!(request.send().await.unwrap().status(), 400);
    // A body about another prefix, where its own is there and replacing was asked for.
    let request = server.admin(Method::PUT, "/routes/static/g.bar").header(IF_MATCH, "\"x\"");
    assert_eq!(request.body(body("g.foo", "local")).send().await.unwrap().status(), 422);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_not_offered_say_which_are() {
    let server = start().await;
    for (method, path, allow) in [
        (Method::POST, "/routes", "GET, HEAD"),
        (Method::DELETE, "/routes/static", "GET, HEAD"),
        (Method::PUT, "/routes/explain", "GET, HEAD"),
        (Method::POST, "/routes/static/g", "GET, HEAD, PUT, DELETE"),
        (Method::PATCH, "/routes/static/g", "GET, HEAD, PUT, DELETE"),
    ] {
        let response = server.admin(method, path).send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(response.headers()[ALLOW], allow, "{path}");
    }
    let refused = sent(server.admin(Method::POST, "/routes/static/g")).await;
    insta::assert_snapshot!("routes_method", refused);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_without_credentials_or_the_right_are_refused() {
    let server = start().await;
    let stranger = server.admin_without_password(Method::GET, "/routes");
    insta::assert_snapshot!("routes_unauthorized", sent(stranger).await);
    let operator = server.admin(Method::POST, "/peer/route/control").body("{}");
    insta::assert_snapshot!("routes_forbidden", sent(operator).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_who_would_answer_and_why() {
    let server = start().await;
    for (prefix, account) in
        [("g.ipns", "discard"), ("g.peers", "no-one"), ("g.providers.sha2-256.9", "local")]
    {
        set(&server, prefix, account).await;
    }
    let explained = async |destination: &str| {
        let path = format!("/routes/explain?destinationAddress={destination}");
        written(get(&server, &path).await).await
    };
    insta::assert_snapshot!("routes_explain_static", explained(CID).await);
    insta::assert_snapshot!("routes_explain_default", explained("g.providers.sha1.0").await);
    insta::assert_snapshot!("routes_explain_discard", explained("g.ipns").await);
    insta::assert_snapshot!("routes_explain_no_account", explained(PEER).await);
    insta::assert_snapshot!("routes_explain_no_route", explained("private.x").await);
    insta::assert_snapshot!("routes_explain_bad", explained("example-of.com").await);
    let nothing = written(get(&server, "/routes/explain").await).await;
    insta::assert_snapshot!("routes_explain_nothing", nothing);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_answered_is_seen_by_the_next_lookup() {
    let server = start().await;
    server.announce(CID, &peer_record(1, &[])).await;
    assert_eq!(server.providers(CID).await.status(), 200);
    set(&server, "g.providers.sha2-256.9.d", "discard").await;
    assert_eq!(server.providers(CID).await.status(), 404);
    let moved = put(&server, "g.providers.sha2-256.9.d", "nobody").header(IF_MATCH, "*");
    assert_eq!(moved.send().await.unwrap().status(), 200);
    // An account that does not exist is taken, and fails its lookups: no shorter prefix answers.
    assert_eq!(server.providers(CID).await.status(), 502);
    delete(&server, "g.providers.sha2-256.9.d").send().await.unwrap();
    assert_eq!(server.providers(CID).await.status(), 200);
    server.shutdown().await;
}

/// A store that takes what the server makes for itself at its start, and no routes.
struct OddState {
    inner: Arc<MemoryControl>,
    refuse: fn() -> ControlStoreError,
}

impl ControlStore for OddState {
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>> {
        self.inner.read(table)
    }

    fn write(
        &self,
        changes: Vec<ControlChange>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>> {
        if changes.iter().all(|change| change.table == ControlTable::Single) {
            return self.inner.write(changes, now_ms);
        }
        std::future::ready(Err((self.refuse)())).boxed()
    }
}

#[rstest]
#[case::no_space("no_space", || ControlStoreError::NoSpace { source: std::io::Error::other("secret") })]
#[case::io("io", || ControlStoreError::Io { source: std::io::Error::other("secret") })]
#[case::overloaded("overloaded", || ControlStoreError::Overloaded)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_kept_is_refused_and_does_not_show(
    #[case] name: &str,
    #[case] refuse: fn() -> ControlStoreError,
) {
    let odd = OddState { inner: state().await, refuse };
    let server = server().state(Arc::new(odd)).start().await;
    let refused = sent(put(&server, "g.foo", "local")).await;
    insta::assert_snapshot!(format!("routes_refused_{name}"), refused);
    assert!(listed(get(&server, "/routes/static").await).await.is_empty());
    server.shutdown().await;
}
