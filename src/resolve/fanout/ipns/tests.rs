//! IPNS names, by what is asked of a fanout: the best record, when upstreams are asked, puts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::resolve::testing::*;
use crate::resolve::{AskError, CacheOptions, IpnsPut, ResolveError, Resolver};
use crate::types::ipns_testing::{name, record as signed};
use crate::types::{Hops, IpnsName, IpnsRecord, Origin};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const LONG: &str = "2100-01-01T00:00:00Z";
const LONGER: &str = "2101-01-01T00:00:00Z";
/// Before the tests begin.
const PAST: &str = "2020-01-01T00:00:00Z";

type Answer = Result<Option<IpnsRecord>, AskError>;

/// Records last a minute until they are to be asked for again.
fn of(sequence: u64, end: &str) -> IpnsRecord {
    signed(&name(1), sequence, end)
}

fn upstreams<const N: usize>(answers: [Answer; N]) -> [Arc<FakeUpstream>; N] {
    answers.map(|answer| FakeUpstream::of_name(Duration::ZERO, answer))
}

impl Bench {
    async fn name(&self, name: &IpnsName) -> Result<Option<IpnsRecord>, ResolveError> {
        let found = self.fanout.name(name, Hops::default()).await?;
        Ok(found.map(|stored| stored.record))
    }

    async fn put(&self, record: IpnsRecord) -> Result<IpnsPut, ResolveError> {
        self.fanout.put_name(record, Origin::UNKNOWN, Hops::default()).await
    }

    async fn stored(&self) -> Option<IpnsRecord> {
        settle().await;
        self.ipns.get(&name(1), START_MS).await.unwrap().map(|stored| stored.record)
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_of_the_greatest_sequence_wins_then_of_the_latest_end() {
    for (local, answers, best) in [
        (None, [Ok(None), Ok(None)], None),
        (None, [Ok(Some(of(1, LONG))), Ok(Some(of(2, LONG)))], Some(of(2, LONG))),
        (None, [Ok(Some(of(2, LONG))), Ok(Some(of(1, LONGER)))], Some(of(2, LONG))),
        (None, [Ok(Some(of(2, LONG))), Ok(Some(of(2, LONGER)))], Some(of(2, LONGER))),
        (None, [Ok(Some(of(3, PAST))), Ok(Some(of(2, LONG)))], Some(of(2, LONG))),
        (None, [Ok(Some(of(3, PAST))), Ok(None)], None),
        (Some(of(1, LONG)), [Ok(Some(of(2, LONG))), Ok(None)], Some(of(2, LONG))),
        (Some(of(3, LONG)), [Ok(Some(of(2, LONG))), Ok(None)], Some(of(3, LONG))),
        (Some(of(3, LONG)), [Err(AskError::Broken), Err(AskError::TimedOut)], Some(of(3, LONG))),
        (None, [Err(AskError::Broken), Ok(Some(of(1, LONG)))], Some(of(1, LONG))),
        (None, [Err(AskError::Broken), Ok(None)], None),
    ] {
        let bench = Bench::new(HasLocal::Yes, &upstreams(answers));
        if let Some(local) = local {
            bench.ipns.put(local, Origin::UNKNOWN, START_MS).await.unwrap();
        }
        assert_eq!(bench.name(&name(1)).await.unwrap(), best);
        assert_eq!(bench.stored().await, best, "stored");
        assert_eq!(bench.fanout.0.name_lookups.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_mean_the_same_as_for_records() {
    let spent = || Err(AskError::OverBudget { retry_after: Duration::from_secs(3) });
    for (answers, has_local, expected) in [
        ([Err(AskError::TimedOut), Err(AskError::TimedOut)], HasLocal::Yes, "the lookup timed out"),
        ([Err(AskError::TimedOut), spent()], HasLocal::Yes, "every upstream failed"),
        ([spent(), spent()], HasLocal::No, "the budget of what would be asked is used up"),
        (
            [Err(AskError::NotOffered), Err(AskError::NotOffered)],
            HasLocal::No,
            "every upstream failed",
        ),
    ] {
        let asked = upstreams(answers);
        let bench = Bench::new(has_local, &asked);
        for count in 1..3 {
            let error = bench.name(&name(1)).await.unwrap_err();
            assert_eq!(error.to_string().split(" (").next(), Some(expected));
            assert_eq!(asked[0].asked(), count, "a failure is not kept");
        }
    }
    let not_offered = upstreams([Err(AskError::NotOffered)]);
    let bench = Bench::new(HasLocal::Yes, &not_offered);
    assert_eq!(bench.name(&name(1)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn without_a_local_index_nothing_is_read_from_the_store_or_put_there() {
    let bench = Bench::new(HasLocal::No, &upstreams([Ok(Some(of(1, LONG)))]));
    bench.ipns.put(of(9, LONG), Origin::UNKNOWN, START_MS).await.unwrap();
    assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(1, LONG)));
    let bench = Bench::new(HasLocal::No, &upstreams([Ok(Some(of(1, LONG)))]));
    assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(1, LONG)));
    assert_eq!(bench.stored().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_is_no_error_for_who_reads() {
    let upstreams = upstreams([Ok(Some(of(1, LONG)))]);
    let bench = Bench::with(HasLocal::Yes, &upstreams, CacheOptions::default(), 0);
    for _ in 0..2 {
        assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(1, LONG)));
        assert_eq!(bench.stored().await, None);
    }
    assert_eq!(upstreams[0].asked(), 1, "it is remembered all the same");
}

#[tokio::test(start_paused = true)]
async fn upstreams_are_asked_again_when_their_answer_is_old_enough() {
    let newer = || Ok(Some(of(2, LONG)));
    // What they said, what is local, how long ago, and whether they are asked again.
    for (said, local, after_ms, is_asked) in [
        (Ok(Some(of(1, LONG))), None, MINUTE - 1, false),
        (Ok(Some(of(1, LONG))), None, MINUTE, true),
        (Ok(None), Some(of(1, LONG)), MINUTE - 1, false),
        (Ok(None), Some(of(1, LONG)), MINUTE, true),
        (Ok(None), None, 15 * SECOND - 1, false),
        (Ok(None), None, 15 * SECOND, true),
        (Err(AskError::Broken), Some(of(1, LONG)), 15 * SECOND - 1, false),
        (Err(AskError::Broken), Some(of(1, LONG)), 15 * SECOND, true),
    ] {
        let upstreams = upstreams([said.clone()]);
        let bench = Bench::new(HasLocal::Yes, &upstreams);
        if let Some(local) = local {
            bench.ipns.put(local, Origin::UNKNOWN, START_MS).await.unwrap();
        }
        let first = bench.name(&name(1)).await.unwrap();
        upstreams[0].say_of_name(Duration::ZERO, newer());
        bench.clock.advance(after_ms);
        let second = bench.name(&name(1)).await.unwrap();
        assert_eq!(second, if is_asked { Some(of(2, LONG)) } else { first }, "{said:?} {after_ms}");
        assert_eq!(upstreams[0].asked(), if is_asked { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_found_counts_as_long_as_it_is_valid() {
    let end_ms = START_MS + 10 * MINUTE;
    let end = "2023-11-14T22:23:20Z";
    assert_eq!(of(1, end).end_of_validity().unix_ms(), end_ms);
    let upstreams = upstreams([Ok(Some(of(1, end)))]);
    let bench = Bench::new(HasLocal::No, &upstreams);
    let first = bench.fanout.name(&name(1), Hops::default()).await.unwrap();
    upstreams[0].say_of_name(Duration::ZERO, Err(AskError::Broken));
    bench.clock.advance(9 * MINUTE);
    let second = bench.fanout.name(&name(1), Hops::default()).await.unwrap();
    assert_eq!(first, second, "when it was first seen, too");
    bench.clock.advance(MINUTE);
    assert!(bench.name(&name(1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_has_a_record_waits_only_a_moment_for_a_better_one() {
    let after = |ms, answer| FakeUpstream::of_name(Duration::from_millis(ms), answer);
    for (local, expected_ms) in [(false, 600), (true, 500)] {
        let upstreams = [after(100, Ok(Some(of(1, LONG)))), after(9_000, Ok(Some(of(5, LONG))))];
        let bench = Bench::new(HasLocal::Yes, &upstreams);
        if local {
            bench.ipns.put(of(1, LONG), Origin::UNKNOWN, START_MS).await.unwrap();
        }
        let start = runtime_now();
        assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(1, LONG)));
        assert_eq!(start.elapsed().as_millis() / 10 * 10, expected_ms);
        // The upstreams go on for who comes later.
        assert_eq!(upstreams[1].listening(), 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(5, LONG)));
        assert_eq!(bench.stored().await, Some(of(5, LONG)));
        assert_eq!(upstreams[1].asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_task_follows_a_lookup_to_its_end_however_many_callers_do_not_wait() {
    let upstream = FakeUpstream::of_name(Duration::from_secs(60), Ok(Some(of(2, LONG))));
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream));
    bench.ipns.put(of(1, LONG), Origin::UNKNOWN, START_MS).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..50 {
        assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(1, LONG)));
        // The lookup and whoever follows it.
        assert_eq!((tasks() - before, upstream.asked()), (2, 1));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.stored().await, Some(of(2, LONG)));
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_asked_for_once_and_only_as_long_as_somebody_waits() {
    let upstream = FakeUpstream::of_name(Duration::from_secs(60), Ok(Some(of(1, LONG))));
    let bench = Arc::new(Bench::new(HasLocal::No, std::slice::from_ref(&upstream)));
    let all: Vec<_> = (0..100)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.name(&name(1)).await.unwrap() })
        })
        .collect();
    settle().await;
    assert_eq!((upstream.asked(), upstream.listening()), (1, 1));
    for (at, waiting) in all.into_iter().enumerate() {
        if at < 99 {
            waiting.abort();
            settle().await;
            assert_eq!(upstream.listening(), 1);
        } else {
            assert_eq!(waiting.await.unwrap(), Some(of(1, LONG)));
        }
    }
    bench.clock.advance(10 * MINUTE);
    let alone = name(1);
    let mut alone = bench.fanout.name(&alone, Hops::default());
    assert!((&mut alone).now_or_never().is_none());
    settle().await;
    assert_eq!((upstream.asked(), upstream.listening()), (2, 1));
    drop(alone);
    settle().await;
    assert_eq!((upstream.listening(), bench.fanout.0.name_lookups.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_stored_and_handed_on_if_it_is_new() {
    let upstreams = upstreams([Ok(None), Ok(None)]);
    *upstreams[1].taking.lock() = Err(AskError::Broken);
    let bench = Bench::new(HasLocal::Yes, &upstreams);
    assert_eq!(bench.put(of(2, LONG)).await.unwrap(), IpnsPut::Stored);
    settle().await;
    assert_eq!(*upstreams[0].taken.lock(), [of(2, LONG)]);
    let forwarded =
        bench.fanout.put_name(of(2, LONG), Origin::UNKNOWN, Hops::parse("1").unwrap()).await;
    assert_eq!(forwarded.unwrap(), IpnsPut::Unchanged);
    assert!(matches!(bench.put(of(1, LONG)).await.unwrap(), IpnsPut::Superseded { .. }));
    settle().await;
    assert_eq!(upstreams[0].taken.lock().len(), 1, "where routers hand on to each other it ends");
    *upstreams[1].taking.lock() = Ok(());
    assert_eq!(bench.put(of(2, LONG)).await.unwrap(), IpnsPut::Unchanged);
    settle().await;
    assert_eq!(
        *upstreams[1].taken.lock(),
        [of(2, LONG)],
        "one that was down gets it from a client"
    );
    assert_eq!(upstreams[0].taken.lock().len(), 2);
    let full = Bench::with(HasLocal::Yes, &upstreams, CacheOptions::default(), 0);
    assert!(matches!(full.put(of(2, LONG)).await, Err(ResolveError::Ipns(_))));
    settle().await;
    assert_eq!(upstreams[0].taken.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_local_index_one_upstream_that_takes_it_is_enough() {
    let slow = FakeUpstream::of_name(Duration::from_secs(5), Ok(None));
    let [quick, broken] = upstreams([Ok(None), Ok(None)]);
    *broken.taking.lock() = Err(AskError::Broken);
    let all = [slow.clone(), quick.clone(), broken.clone()];
    let bench = Bench::new(HasLocal::No, &all);
    assert_eq!(bench.name(&name(1)).await.unwrap(), None);
    let start = runtime_now();
    assert_eq!(bench.put(of(1, LONG)).await.unwrap(), IpnsPut::Stored);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.name(&name(1)).await.unwrap(), Some(of(1, LONG)), "what was put is found");
    assert_eq!(bench.stored().await, None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((slow.taken.lock().len(), quick.taken.lock().len()), (1, 1));
    for (error, expected) in [
        (AskError::Broken, "every upstream failed"),
        (AskError::TimedOut, "the lookup timed out"),
        (AskError::NotOffered, "every upstream failed"),
    ] {
        *broken.taking.lock() = Err(error);
        let bench = Bench::new(HasLocal::No, std::slice::from_ref(&broken));
        let error = bench.put(of(1, LONG)).await.unwrap_err().to_string();
        assert_eq!(error.split(" (").next(), Some(expected));
    }
}
