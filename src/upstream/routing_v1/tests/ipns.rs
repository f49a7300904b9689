//! IPNS records: what counts of those that come, and how those that are put are answered.

use super::*;
use crate::http_client::test_server::TestServer;

const MEDIA_TYPE: &str = "application/vnd.ipfs.ipns-record";

const NAME: &str = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w";
const RECORD_BYTES: &[u8] = include_bytes!(
    "../../../../tests/fixtures/ipns/k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w_v1-v2.ipns-record"
);
const BROKEN_NAME: &str = "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c";
const BROKEN_BYTES: &[u8] = include_bytes!(
    "../../../../tests/fixtures/ipns/k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c_v1-v2-broken-signature-v2.ipns-record"
);

fn name(text: &str) -> IpnsName {
    IpnsName::parse(text).unwrap()
}

fn record() -> IpnsRecord {
    IpnsRecord::verify(RECORD_BYTES, &name(NAME)).unwrap()
}

async fn get(rig: &Rig, text: &str) -> std::result::Result<Option<IpnsRecord>, AskError> {
    rig.upstream.name(&name(text), Hops::default()).await
}

async fn put(rig: &Rig) -> std::result::Result<(), AskError> {
    rig.upstream.put_name(&record(), Hops::default()).await
}

#[tokio::test]
async fn a_record_that_is_signed_and_valid_is_found() {
    let router = TestServer::answering("200 OK", MEDIA_TYPE, RECORD_BYTES);
    let rig = Rig::new(&router.url());
    assert_eq!(get(&rig, NAME).await, Ok(Some(record())));
    assert_eq!((rig.outcome("found"), rig.in_flight()), (1, 0));
    let head = router.heads().remove(0);
    assert!(head.starts_with(&format!("get /routing/v1/ipns/{NAME} ")), "{head}");
    for line in [format!("\naccept: {MEDIA_TYPE}\r\n"), "\nfingerpost-hops: 1\r\n".to_owned()] {
        assert!(head.contains(&line), "{head}");
    }
}

#[tokio::test]
async fn none_found_is_said_by_the_status_or_with_any_other_type_than_a_records() {
    for (status, content_type) in [
        ("404 Not Found", "text/plain; charset=utf-8"),
        ("404 Not Found", "application/json"),
        ("404 Not Found", "text/html"),
        ("404 Not Found", MEDIA_TYPE),
        ("204 No Content", MEDIA_TYPE),
        ("200 OK", "text/plain; charset=utf-8"),
        ("200 OK", "text/html"),
        ("200 OK", "application/json"),
        ("200 OK", "application/octet-stream"),
        ("200 OK", ""),
    ] {
        let router = TestServer::answering(status, content_type, "delegate error: not found");
        let rig = Rig::new(&router.url());
        assert_eq!(get(&rig, NAME).await, Ok(None), "{status} {content_type}");
        assert_eq!(rig.outcome("empty"), 1);
    }
}

#[tokio::test]
async fn records_that_do_not_count_are_failures() {
    let cut = &RECORD_BYTES[..RECORD_BYTES.len() - 1];
    let long = [RECORD_BYTES, &[0; IPNS_RECORD_BYTES_MAX]].concat();
    for (asked, content_type, body, expected) in [
        (BROKEN_NAME, MEDIA_TYPE, BROKEN_BYTES, "signatureV2 is not by the name's key"),
        (BROKEN_NAME, MEDIA_TYPE, RECORD_BYTES, "does not count"),
        (NAME, MEDIA_TYPE, cut, "not the protobuf"),
        (NAME, MEDIA_TYPE, b"", "does not count"),
        (NAME, MEDIA_TYPE, &long, "more than 10240 bytes"),
    ] {
        let router = TestServer::answering("200 OK", content_type, body);
        let rig = Rig::new(&router.url());
        let reason = reason(get(&rig, asked).await.err());
        assert!(reason.contains(expected), "{expected}: {reason}");
        assert_eq!(rig.outcome("failed"), 1);
    }
}

#[tokio::test]
async fn a_record_whose_time_is_over_does_not_count() {
    let router = TestServer::answering("200 OK", MEDIA_TYPE, RECORD_BYTES);
    let rig = Rig::new(&router.url());
    let end_ms = record().end_of_validity().unix_ms();
    rig.clock.set(end_ms - 1);
    assert!(get(&rig, NAME).await.is_ok());
    rig.clock.set(end_ms);
    let reason = reason(get(&rig, NAME).await.err());
    assert!(reason.contains("was valid until 2123-08-14"), "{reason}");
    assert_eq!(rig.bad_records(), 1);
}

#[tokio::test]
async fn a_loop_is_said() {
    let router = TestServer::answering("508 Loop Detected", "text/plain", "loop");
    let rig = Rig::new(&router.url());
    assert_eq!(get(&rig, NAME).await, Err(AskError::Loop));
    assert_eq!((rig.outcome("loop"), rig.outcome("failed")), (1, 0));
}

#[tokio::test]
async fn a_record_is_stored_as_it_is() {
    for status in ["200 OK", "201 Created", "204 No Content"] {
        let router = TestServer::answering(status, "text/plain", "");
        let rig = Rig::new(&router.url());
        assert_eq!(put(&rig).await, Ok(()), "{status}");
        assert_eq!(rig.outcome("stored"), 1);
        let head = router.heads().remove(0);
        assert!(head.starts_with(&format!("put /routing/v1/ipns/{NAME} ")), "{head}");
        for line in [format!("\ncontent-type: {MEDIA_TYPE}\r\n"), "fingerpost-hops: 1".to_owned()] {
            assert!(head.contains(&line), "{head}");
        }
        assert_eq!(router.bodies(), [RECORD_BYTES]);
    }
}

#[tokio::test]
async fn a_record_that_is_not_stored_is_a_failure_and_sent_once() {
    let failed = |text: &str| AskError::Failed(text.into());
    for (status, expected) in [
        ("409 Conflict", failed("409 Conflict: newer")),
        ("400 Bad Request", failed("400 Bad Request: newer")),
        ("508 Loop Detected", AskError::Loop),
        ("501 Not Implemented", AskError::NotOffered),
        ("405 Method Not Allowed", AskError::NotOffered),
        ("404 Not Found", AskError::NotOffered),
        ("429 Too Many", AskError::Backoff { retry_after: Duration::from_secs(1) }),
    ] {
        let router = TestServer::answering(status, "text/plain", "newer\nmore");
        let rig = Rig::new(&router.url());
        match (put(&rig).await.unwrap_err(), expected) {
            (AskError::Failed(reason), AskError::Failed(end)) => {
                assert!(reason.ends_with(&*end), "{reason}");
            }
            (error, expected) => assert_eq!(error, expected),
        }
        assert_eq!(router.heads().len(), 1);
    }
    let closing = TestServer::start(|_| Ok(()));
    assert!(reason(put(&Rig::new(&closing.url())).await.err()).contains("broke off"));
    assert_eq!(closing.heads().len(), 1);
}

#[tokio::test]
async fn a_record_is_not_taken_for_stored_because_a_redirect_was_read() {
    let location = "Location: /welcome\r\n";
    let router = TestServer::with_headers("303 See Other", location, "");
    let reason = reason(put(&Rig::new(&router.url())).await.err());
    assert!(reason.contains("it asks for another method"), "{reason}");
    assert_eq!(router.heads().len(), 1);
}
