//! When an upstream is not asked: backoff, breaker, busy.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc;

use rstest::rstest;

use super::*;
use crate::http_client::test_server::{TestServer, wait_for_close, write_chunk};
use crate::upstream::breaker::{FAILURES_MAX, PAUSE_MS_FIRST};

fn error(error: AskError) -> Asked {
    Asked { records: Vec::new(), error: Some(error) }
}

#[tokio::test]
async fn an_upstream_that_rests_is_not_asked_until_it_is_over() {
    let headers = "Retry-After: 5\r\n";
    let router = TestServer::with_headers("429 Too Many Requests", headers, "slow down");
    let rig = Rig::new(&router.url());
    let left = |seconds| AskError::Backoff { retry_after: Duration::from_secs(seconds) };
    assert_eq!(rig.ask().await, error(left(5)));
    rig.clock.advance(4_000);
    assert_eq!(rig.upstream.is_ready(), Err(left(1)));
    assert_eq!(rig.ask().await, error(left(1)));
    assert_eq!(router.heads().len(), 1);
    assert_eq!((rig.outcome("refused"), rig.outcome("backoff")), (1, 1));
    rig.clock.advance(1_000);
    assert_eq!(rig.upstream.is_ready(), Ok(()));
    assert_eq!(rig.ask().await, error(left(5)));
    assert_eq!(router.heads().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_fails_again_and_again_is_not_asked_until_a_probe_succeeds() {
    let (set_status, status) = mpsc::channel();
    set_status.send("500 Oops").unwrap();
    let mut current = "";
    let router = TestServer::start(move |stream| {
        current = status.try_recv().unwrap_or(current);
        write!(stream, "HTTP/1.1 {current}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let rig = Rig::new(&router.url());
    for _ in 0..FAILURES_MAX {
        assert_eq!(rig.upstream.is_ready(), Ok(()));
        assert!(reason(rig.ask().await.error).contains("500"));
    }
    let asked = FAILURES_MAX as usize;
    assert_eq!(rig.ask().await, error(AskError::Broken));
    assert_eq!(rig.upstream.is_ready(), Err(AskError::Broken));
    assert_eq!((router.heads().len(), rig.outcome("broken")), (asked, 1));
    assert_eq!(rig.count("breaker{upstream=\"far\"}"), 1);

    rig.clock.advance(PAUSE_MS_FIRST);
    assert!(reason(rig.ask().await.error).contains("500"));
    rig.clock.advance(PAUSE_MS_FIRST);
    assert_eq!(rig.ask().await, error(AskError::Broken));
    assert_eq!(router.heads().len(), asked + 1);

    set_status.send("404 Not Found").unwrap();
    rig.clock.advance(PAUSE_MS_FIRST);
    assert_eq!(rig.ask().await.error, None);
    assert_eq!((rig.upstream.is_ready(), rig.count("breaker{upstream=\"far\"}")), (Ok(()), 0));
}

#[tokio::test]
async fn what_others_wrote_into_its_answers_does_not_break_it() {
    let router = TestServer::answering("200 OK", "application/x-ndjson", "{}\n");
    let rig = Rig::new(&router.url());
    for _ in 0..=FAILURES_MAX {
        assert!(reason(rig.ask().await.error).starts_with("none of its 1 records"));
    }
    assert_eq!(rig.upstream.is_ready(), Ok(()));
}

#[rstest]
#[case::bad_gateway("502 Bad Gateway")]
#[case::gateway_timeout("504 Gateway Timeout")]
#[case::looping("508 Loop Detected")]
#[tokio::test]
async fn that_those_behind_it_fail_does_not_break_it(#[case] status: &'static str) {
    let (set_status, statuses) = mpsc::channel::<&str>();
    let mut current = status;
    let router = TestServer::start(move |stream| {
        current = statuses.try_iter().last().unwrap_or(current);
        write!(stream, "HTTP/1.1 {current}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let rig = Rig::new(&router.url());
    for _ in 0..=FAILURES_MAX {
        rig.ask().await.error.unwrap();
    }
    assert_eq!(rig.upstream.is_ready(), Ok(()));

    // Nor does it keep it broken.
    set_status.send("500 Oops").unwrap();
    for _ in 0..FAILURES_MAX {
        rig.ask().await.error.unwrap();
    }
    assert_eq!(rig.upstream.is_ready(), Err(AskError::Broken));
    set_status.send(status).unwrap();
    rig.clock.advance(PAUSE_MS_FIRST);
    rig.ask().await.error.unwrap();
    assert_eq!(rig.upstream.is_ready(), Ok(()));
}

#[tokio::test]
async fn an_upstream_that_gives_records_works_however_its_answers_end() {
    let router = TestServer::streaming(|stream| write_chunk(stream, &line(RECORD)));
    let rig = Rig::new(&router.url());
    for _ in 0..=FAILURES_MAX {
        let asked = rig.ask().await;
        assert_eq!(asked.records.len(), 1);
        assert!(reason(asked.error).contains("broke off"));
    }
    assert_eq!(rig.upstream.is_ready(), Ok(()));
}

#[tokio::test]
async fn more_than_it_may_have_at_once_it_is_not_asked() {
    let (arrived, arrivals) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    let router = TestServer::concurrent(move |stream| {
        arrived.lock().unwrap().send(()).unwrap();
        wait_for_close(stream)
    });
    let rig = Rig::with(&router.url(), |options| options.requests_max = 2);
    let subject = Subject::Content(ContentKey::from_cid_text(CID).unwrap());
    let lookups: Vec<_> = (0..2)
        .map(|_| {
            let mut batches = rig.upstream.records(&subject, Hops::default());
            tokio::spawn(async move { batches.next().await })
        })
        .collect();
    let both = move || [arrivals.recv().unwrap(), arrivals.recv().unwrap()];
    tokio::task::spawn_blocking(both).await.unwrap();
    assert_eq!(rig.upstream.is_ready(), Ok(()), "nobody waits yet");
    assert_eq!(rig.ask().await, error(AskError::Busy));
    assert_eq!((rig.outcome("busy"), rig.in_flight()), (1, 2));
    for lookup in lookups {
        lookup.abort();
        assert!(lookup.await.unwrap_err().is_cancelled());
    }
    assert_eq!((rig.upstream.is_ready(), rig.in_flight()), (Ok(()), 0));
    assert_eq!((router.heads().len(), rig.outcome("abandoned")), (2, 2));
}
