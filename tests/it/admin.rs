//! The admin API over HTTP: who is let in, removal, figures, exports. Imports are in
//! `admin_import.rs`.

use fingerpost::store::{Announcement, ContextId, Exported, StoreError};
use fingerpost::types::{ContentKey, Origin, ProviderRecord, UnparsableAddrs};
use reqwest::Method;
use reqwest::header::ORIGIN;
use rstest::rstest;

use super::harness::{
    ADMIN_PASSWORD, CID, NOW_MS, PEER, TestServer, peer_id, peer_record, server, written,
};
use super::odd_store::OddStore;

/// Every path of the admin listener with its method, and whether anyone may ask.
const PATHS: [(&str, &str, bool); 16] = [
    ("GET", "/healthz", true),
    ("GET", "/readyz", true),
    ("GET", "/metrics", true),
    ("GET", "/admin/stats", false),
    ("GET", "/admin/export", false),
    ("POST", "/admin/import", false),
    ("DELETE", "/admin/providers/x", false),
    ("DELETE", "/admin/providers/x/contexts/y", false),
    ("GET", "/routes", false),
    ("GET", "/routes/explain", false),
    ("GET", "/routes/static", false),
    ("PUT", "/routes/static/g", false),
    ("DELETE", "/routes/static/g", false),
    ("POST", "/peer/route/update", false),
    ("GET", "/", false),
    ("GET", "/nowhere", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_health_and_metrics_asks_for_the_password() {
    let server = server().start().await;
    for (method, path, is_open) in PATHS {
        let method: Method = method.parse().unwrap();
        let nobody = server.admin_without_password(method.clone(), path).send().await.unwrap();
        assert_eq!(nobody.status() == 200, is_open, "{path}");
        assert_eq!(nobody.status() == 401, !is_open, "{path}");
        let known = server.admin(method, path).send().await.unwrap();
        assert_ne!(known.status(), 401, "{path}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_answer_says_how_to_come_back() {
    let server = server().start().await;
    let request = server.admin_without_password(Method::GET, "/admin/stats");
    insta::assert_snapshot!("admin_unauthorized", written(request.send().await.unwrap()).await);
    server.shutdown().await;
}

#[rstest]
#[case::wrong_password(Some("Basic YWRtaW46d3Jvbmc="))]
#[case::password_alone(Some("Basic cGFzcyB3b3Jk"))]
#[case::another_user(Some("Basic cm9vdDpwYXNzIHdvcmQ="))]
#[case::not_base64(Some("Basic ?"))]
#[case::another_scheme(Some("Bearer YWRtaW46cGFzcyB3b3Jk"))]
#[case::nothing_after_the_scheme(Some("Basic"))]
#[case::empty(Some(""))]
#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused(#[case] authorization: Option<&str>) {
    let server = server().start().await;
    let request = server.admin_without_password(Method::GET, "/admin/stats");
    let request =
        authorization.into_iter().fold(request, |r, value| r.header("authorization", value));
    assert_eq!(request.send().await.unwrap().status(), 401);
    // The scheme's case does not matter, the password's does.
    let credentials = multibase::Base::Base64Pad.encode(format!("admin:{ADMIN_PASSWORD}"));
    let request = server.admin_without_password(Method::GET, "/admin/stats");
    let request = request.header("authorization", format!("bAsIc {credentials}"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_ask_for_the_password_where_the_setting_says_so() {
    let server = server().with(|settings| settings.metrics_auth = true).start().await;
    let nobody = server.get_admin("/metrics").await;
    assert_eq!(nobody.status(), 401);
    assert_eq!(server.admin(Method::GET, "/metrics").send().await.unwrap().status(), 200);
    assert_eq!(server.get_admin("/healthz").await.status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_is_refused_though_its_browser_knows_the_password() {
    let server = server().start().await;
    let own = format!("http://{}", server.admin_addr());
    for (origin, status) in [("http://example.com", 403), ("null", 403), (own.as_str(), 200)] {
        let request = server.admin(Method::POST, "/admin/import").header(ORIGIN, origin);
        assert_eq!(request.send().await.unwrap().status(), status, "{origin}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_and_methods_are_answered_as_problems() {
    let server = server().start().await;
    let unknown = server.admin(Method::GET, "/nowhere").send().await.unwrap();
    insta::assert_snapshot!("admin_unknown_path", written(unknown).await);
    let method = server.admin(Method::PUT, "/admin/import").send().await.unwrap();
    insta::assert_snapshot!("admin_method", written(method).await);
    server.shutdown().await;
}

async fn announce(server: &TestServer, peer: u32, context: &[u8]) {
    let record = peer_record(peer, &[]);
    let announcement = Announcement {
        keys: vec![ContentKey::from_cid_text(CID).unwrap()],
        record: ProviderRecord::parse(&record, UnparsableAddrs::Drop).unwrap().record,
        context: ContextId::new(context).unwrap(),
        expires_at_ms: None,
    };
    server.server().store().apply(vec![announcement], NOW_MS).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_or_one_of_its_contexts_is_removed() {
    let server = server().start().await;
    announce(&server, 1, b"").await;
    announce(&server, 1, b"ctx").await;
    announce(&server, 2, b"ctx").await;
    let delete = async |path: String| {
        written(server.admin(Method::DELETE, &path).send().await.unwrap()).await
    };
    let context = format!("/admin/providers/{}/contexts/uY3R4", peer_id(1));
    insta::assert_snapshot!("admin_removed_context", delete(context.clone()).await);
    insta::assert_snapshot!("admin_removed_nothing", delete(context).await);
    let provider = format!("/admin/providers/{}", peer_id(1));
    insta::assert_snapshot!("admin_removed_provider", delete(provider.clone()).await);
    assert!(delete(provider).await.starts_with("404 "));
    let left = super::harness::records(server.providers(CID).await).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["ID"], peer_id(2));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_hidden_and_shown_again() {
    let server = server().start().await;
    announce(&server, 1, b"").await;
    announce(&server, 2, b"").await;
    let call = async |method: Method, peer: &str| {
        let path = format!("/admin/providers/{peer}/hidden");
        server.admin(method, &path).send().await.unwrap().status()
    };
    let found = async || super::harness::records(server.providers(CID).await).await.len();
    for _ in 0..2 {
        assert_eq!(call(Method::PUT, &peer_id(1)).await, 204);
        assert_eq!(found().await, 1);
    }
    for _ in 0..2 {
        assert_eq!(call(Method::DELETE, &peer_id(1)).await, 204);
        assert_eq!(found().await, 2);
    }
    assert_eq!(call(Method::DELETE, &peer_id(9)).await, 204);
    assert_eq!(call(Method::PUT, "x").await, 400);
    assert_eq!(call(Method::POST, &peer_id(1)).await, 405);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_the_disk_refuses_says_that_it_holds() {
    let full = || StoreError::NoSpace { source: std::io::Error::other("secret path") };
    let server = server().store(OddStore::failing(1, full).shared()).start().await;
    announce(&server, 1, b"ctx").await;
    let path = format!("/admin/providers/{}/contexts/uY3R4", peer_id(1));
    let answer = server.admin(Method::DELETE, &path).send().await.unwrap();
    insta::assert_snapshot!("admin_removed_unwritten", written(answer).await);
    assert_eq!(server.providers(CID).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_peer_id_or_context_is_not_looked_for() {
    let server = server().start().await;
    for (path, detail) in [
        ("/admin/providers/x".to_owned(), "\"x\" is not a peer ID: "),
        (
            format!("/admin/providers/{PEER}/contexts/%3F"),
            "\"?\" is not a context ID: not multibase",
        ),
    ] {
        let response = server.admin(Method::DELETE, &path).send().await.unwrap();
        assert_eq!(response.status(), 400);
        let problem: serde_json::Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_those_of_the_store() {
    let server = server().start().await;
    server.announce(CID, &peer_record(1, &[])).await;
    let response = server.admin(Method::GET, "/admin/stats").send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut stats: serde_json::Value = response.json().await.unwrap();
    let index_bytes = stats["index_bytes"].take().as_u64().unwrap();
    let bytes_per_entry = stats["bytes_per_entry"].take().as_f64().unwrap();
    assert!((bytes_per_entry - index_bytes as f64).abs() < 0.1, "there is one entry");
    assert!(stats["uptime_s"].take().as_u64().unwrap() < 60);
    assert_eq!((stats["entries"].as_u64(), stats["keys"].as_u64()), (Some(1), Some(1)));
    assert_eq!((stats["groups"].as_u64(), stats["providers"].as_u64()), (Some(1), Some(1)));
    let journal = &stats["journal"];
    assert!(journal["bytes"].as_u64().unwrap() > 0, "{journal}");
    assert_eq!(
        (journal["garbage_bytes"].as_u64(), journal["segments"].as_u64()),
        (Some(0), Some(1))
    );
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    server.shutdown().await;
}

pub(crate) fn exported(number: u64, context: &[u8], expires_at_ms: Option<u64>) -> Exported {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend_from_slice(&[7; 24]);
    multihash.extend_from_slice(&number.to_be_bytes());
    Exported {
        key: ContentKey::from_multihash(&multihash).unwrap(),
        record_json: peer_record(u32::try_from(number).unwrap() % 3, &[]).into(),
        context: ContextId::new(context).unwrap(),
        expires_at_ms,
        origin: Origin::OPERATOR,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_one_line_an_entry_and_imports_again() {
    let entries = vec![
        exported(1, b"", None),
        exported(2, b"", Some(NOW_MS + 1_000)),
        exported(3, b"ctx", None),
        Exported { origin: Origin::of_client([192, 0, 2, 7].into()), ..exported(4, b"", None) },
    ];
    let source = server().store(OddStore::exporting(vec![entries], false).shared()).start().await;
    let export = source.admin(Method::GET, "/admin/export").send().await.unwrap();
    let text = written(export).await;
    insta::assert_snapshot!("admin_export", text);
    let (_, lines) = text.split_once("\n\n").unwrap();

    let copy = server().start().await;
    let import = copy.admin(Method::POST, "/admin/import").body(lines.to_owned());
    let answer = import.send().await.unwrap().text().await.unwrap();
    assert!(answer.contains(r#"{"done":{"lines":4,"blocks":0,"keys":4,"records":4,"#), "{answer}");
    let context = format!("/admin/providers/{}/contexts/uY3R4", peer_id(0));
    let removed = copy.admin(Method::DELETE, &context).send().await.unwrap();
    assert_eq!(removed.status(), 200, "the context came along");
    source.shutdown().await;
    copy.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_many_entries_is_whole() {
    let batches: Vec<Vec<Exported>> = (0..5)
        .map(|batch| (0..4_000).map(|n| exported(batch * 4_000 + n, b"", None)).collect())
        .collect();
    let server = server().store(OddStore::exporting(batches, false).shared()).start().await;
    let export = server.admin(Method::GET, "/admin/export").send().await.unwrap();
    let text = export.text().await.unwrap();
    assert_eq!(text.lines().count(), 20_000);
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    let distinct: std::collections::HashSet<&str> = text.lines().collect();
    assert_eq!(distinct.len(), 20_000);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_is_never_taken_for_whole() {
    // More than one piece: the first ones are on their way when the store fails.
    let entries = (0..20_000).map(|number| exported(number, b"", None)).collect();
    let cut = server().store(OddStore::exporting(vec![entries], true).shared()).start().await;
    let export = cut.admin(Method::GET, "/admin/export").send().await.unwrap();
    assert_eq!(export.status(), 200);
    assert!(export.bytes().await.is_err(), "the body has no end");
    cut.shutdown().await;

    let none = server().store(OddStore::exporting(Vec::new(), true).shared()).start().await;
    let export = none.admin(Method::GET, "/admin/export").send().await.unwrap();
    insta::assert_snapshot!("admin_export_failed", written(export).await);
    none.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_at_once_are_bounded() {
    let entries: Vec<Exported> = (0..100_000).map(|n| exported(n, b"", None)).collect();
    let server = server().store(OddStore::exporting(vec![entries], false).shared()).start().await;
    let export = || server.admin(Method::GET, "/admin/export").send();
    // Nobody reads the first two: 20 MB do not fit between the two ends of a connection.
    let (first, second) = (export().await.unwrap(), export().await.unwrap());
    let third = export().await.unwrap();
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(third.status(), 503);
    assert_eq!(third.headers()["retry-after"], "5");
    assert_eq!(first.text().await.unwrap().lines().count(), 100_000);
    drop(second);
    server.shutdown().await;
}
