//! A provider's newest statement holds for everything that it announced, and an older one for nothing.

use serde_json::{Value, json};

use super::harness::{CID, NOW_MS, TestServer, records, server};
use super::signing::{HOUR_MS, Provider, VECTOR_CID};

const OLD: &str = "/ip4/192.0.2.1/tcp/4001";
const NEW: &str = "/ip4/192.0.2.2/tcp/4001";

async fn addrs(server: &TestServer, cid: &str) -> Value {
    let found = records(server.providers(cid).await).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]["Addrs"].clone()
}

async fn put(server: &TestServer, body: String) {
    let response = server.put_providers(body).await;
    let status = response.status();
    assert_eq!(status, 200, "{}", response.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_addresses_replace_the_old_ones_of_all_keys_of_the_peer() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    put(&server, provider.announcement(&[CID], &[OLD], NOW_MS - HOUR_MS, 24)).await;
    assert_eq!(addrs(&server, CID).await, json!([OLD]));
    put(&server, provider.announcement(&[VECTOR_CID], &[NEW], NOW_MS, 24)).await;
    assert_eq!(addrs(&server, VECTOR_CID).await, json!([NEW]));
    assert_eq!(addrs(&server, CID).await, json!([NEW]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_announcement_sent_again_changes_no_address() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let older = provider.announcement(&[CID], &[OLD], NOW_MS - HOUR_MS, 24);
    put(&server, older.clone()).await;
    put(&server, provider.announcement(&[CID], &[NEW], NOW_MS, 24)).await;
    put(&server, older).await;
    assert_eq!(addrs(&server, CID).await, json!([NEW]));
    // One that was kept back until now: its key is taken in, with the newest addresses.
    let late = provider.announcement(&[VECTOR_CID], &[OLD], NOW_MS - 1, 24);
    put(&server, late).await;
    assert_eq!(addrs(&server, VECTOR_CID).await, json!([NEW]));
    assert_eq!(addrs(&server, CID).await, json!([NEW]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_addresses_hold_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = server().data_dir(folder.path()).start().await;
    let provider = Provider::ed25519(1);
    let older = provider.announcement(&[CID], &[OLD], NOW_MS - HOUR_MS, 24);
    put(&running, older.clone()).await;
    put(&running, provider.announcement(&[VECTOR_CID], &[NEW], NOW_MS, 24)).await;
    running.shutdown().await;

    let restarted = server().data_dir(folder.path()).start().await;
    for cid in [CID, VECTOR_CID] {
        assert_eq!(addrs(&restarted, cid).await, json!([NEW]));
    }
    put(&restarted, older).await;
    assert_eq!(addrs(&restarted, CID).await, json!([NEW]));
    restarted.shutdown().await;
}
