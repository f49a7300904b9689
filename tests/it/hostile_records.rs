//! Records that mean one thing to us and another to some client, given by an upstream and by an import:
//! what is served means the same to all.

use reqwest::Method;

use super::fake_router::{FakeRouter, Reply};
use super::harness::{CID, PEER, TestServer, peer_id, server, upstream, written};

/// Records that crash a client, name another provider, or hide addresses from the rules for them.
fn hostile() -> Vec<String> {
    let peer = |number: u32, fields: &str| {
        format!(r#"{{"Schema":"peer","ID":"{}",{fields}}}"#, peer_id(number))
    };
    let other = peer_id(9);
    vec![
        r#"{"Schema":"zzz","schema":"peer"}"#.to_owned(),
        r#"{"\u017fchema":"peer","Schema":"zzz","n":2}"#.to_owned(),
        r#"{"Schema":"peer","Schema":"zzz","n":3}"#.to_owned(),
        peer(1, r#""Addrs":[],"id":null"#),
        peer(2, &format!(r#""Addrs":["/ip4/192.0.2.1/tcp/1"],"Id":"{other}""#)),
        peer(3, r#""Addrs":["/ip4/192.0.2.1/tcp/1"],"addrs":["/ip4/127.0.0.1/tcp/5001"]"#),
        peer(4, r#""Addr\u017f":"none","Addrs":["/ip4/192.0.2.1/tcp/1"]"#),
        peer(5, &format!(r#""ID":"{PEER}","Addrs":[null,"/ip4/192.0.2.1/tcp/1"]"#)),
        peer(6, r#""PROTOCOLS":[7],"Protocol":7"#),
        peer(7, &format!(r#""x":{}{}"#, "[".repeat(20_000), "]".repeat(20_000))),
    ]
}

/// What is served of them.
fn harmless() -> String {
    let peer = |id: &str, fields: &str| format!(r#"{{"Schema":"peer","ID":"{id}"{fields}}}"#);
    let public = r#","Addrs":["/ip4/192.0.2.1/tcp/1"]"#;
    let records = [
        r#"{"Schema":"zzz"}"#.to_owned(),
        r#"{"Schema":"zzz","n":2}"#.to_owned(),
        r#"{"Schema":"zzz","n":3}"#.to_owned(),
        peer(&peer_id(1), r#","Addrs":[]"#),
        peer(&peer_id(2), public),
        peer(&peer_id(3), public),
        peer(&peer_id(4), public),
        peer(PEER, public),
        peer(&peer_id(6), ""),
    ];
    let mut records = records.to_vec();
    records.sort();
    records.join("\n")
}

/// The records of an answer, sorted.
async fn served(server: &TestServer) -> String {
    let path = format!("/routing/v1/providers/{CID}");
    let ndjson = [("accept", "application/x-ndjson")];
    let response = server.ask(Method::GET, &path, &ndjson).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

async fn import(server: &TestServer, body: String) -> String {
    written(server.admin(Method::POST, "/admin/import").body(body).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_records_of_an_upstream_come_out_harmless() {
    let far = FakeRouter::start(Reply::providers(&hostile())).await;
    let upstreams = vec![upstream("far", &far.url())];
    let server = server().with(|settings| settings.remotes.upstreams = upstreams).start().await;
    assert_eq!(served(&server).await, harmless());
    let dropped = r#"fingerpost_upstream_fields_dropped_total{upstream="far"}"#;
    assert_eq!(server.metric(dropped).await, 10.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_records_of_an_import_come_out_harmless_and_stay_so_when_they_are_exported() {
    let first = server().start().await;
    let line = format!(r#"{{"CID":"{CID}","Providers":[{}]}}"#, hostile().join(","));
    import(&first, line).await;
    assert_eq!(served(&first).await, harmless());
    assert_eq!(first.metric("fingerpost_import_fields_dropped_total").await, 10.0);
    let export = first.admin(Method::GET, "/admin/export").send().await.unwrap();
    let export = export.text().await.unwrap();
    first.shutdown().await;
    let second = server().start().await;
    import(&second, export).await;
    assert_eq!(served(&second).await, harmless());
    assert_eq!(second.metric("fingerpost_import_fields_dropped_total").await, 0.0);
    second.shutdown().await;
}
