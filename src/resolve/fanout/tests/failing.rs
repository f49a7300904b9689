//! What the answer is when upstreams fail, or the local index does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;

use crate::resolve::testing::*;
use crate::resolve::{AskError, CacheOptions, ResolveError, Resolver};
use crate::types::{Found, Hops, ipns_testing};

const SOON: Duration = Duration::from_secs(3);

fn fails(error: AskError) -> Vec<Step> {
    vec![Step::Fail(error)]
}

fn broken() -> Vec<Step> {
    fails(AskError::Failed("it".into()))
}

fn finds() -> Vec<Step> {
    vec![Step::Give(vec![record(1, &[1])])]
}

/// How an answer is called in the table.
fn called(answer: &Result<Vec<String>, ResolveError>) -> String {
    match answer {
        Ok(texts) => format!("{} records", texts.len()),
        Err(ResolveError::OverBudget { retry_after }) => {
            format!("over budget for {}", humantime::format_duration(*retry_after))
        }
        Err(ResolveError::Backoff { retry_after }) => {
            format!("backoff for {}", humantime::format_duration(*retry_after))
        }
        // Without the names of upstreams.
        Err(error) => error.to_string().split(" (").next().unwrap().to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn each_combination_has_its_answer() {
    let none = Vec::new;
    let spent = || fails(AskError::OverBudget { retry_after: SOON });
    let backoff = || fails(AskError::Backoff { retry_after: 2 * SOON });
    let late = || fails(AskError::TimedOut);
    let partly = || [finds(), broken()].concat();
    // Upstreams, the answer without a local index, and how often two are asked for two lookups.
    for (steps, expected, asked) in [
        (vec![none()], "0 records", 1),
        (vec![none(), broken()], "0 records", 4),
        (vec![none(), spent()], "0 records", 4),
        (vec![finds(), broken()], "1 records", 2),
        (vec![finds(), late()], "1 records", 2),
        (vec![partly(), spent()], "1 records", 2),
        (vec![vec![Step::Panic], finds()], "1 records", 2),
        (vec![vec![Step::Panic]], "every upstream failed", 2),
        (vec![broken(), broken()], "every upstream failed", 4),
        (vec![spent(), spent()], "over budget for 3s", 4),
        (vec![spent(), backoff()], "backoff for 3s", 4),
        (vec![backoff()], "backoff for 6s", 2),
        (vec![fails(AskError::Loop), finds()], "1 records", 2),
        (vec![fails(AskError::Loop), none()], "0 records", 4),
        (vec![spent(), broken()], "every upstream failed", 4),
        (vec![late(), late()], "the lookup timed out", 4),
        (vec![late(), broken()], "every upstream failed", 4),
        (vec![fails(AskError::Busy)], "too many lookups at once", 2),
        (vec![fails(AskError::Broken)], "every upstream failed", 2),
        (vec![fails(AskError::NotOffered)], "every upstream failed", 2),
        (vec![fails(AskError::NotOffered), none()], "0 records", 2),
        (vec![fails(AskError::NotOffered), late()], "the lookup timed out", 4),
    ] {
        let upstreams: Vec<_> = steps.into_iter().map(FakeUpstream::new).collect();
        let bench = Bench::new(HasLocal::No, &upstreams);
        for _ in 0..2 {
            let answer = bench.find(&question()).await;
            assert_eq!(called(&answer), expected, "{expected}");
        }
        let all: usize = upstreams.iter().map(|upstream| upstream.asked()).sum();
        assert_eq!(all, asked, "{expected}");
        let mut items = bench.stream(&question()).await;
        assert!(items.len() <= 1);
        let streamed = items.pop().unwrap_or(Ok(Vec::new()));
        assert_eq!(called(&streamed), expected, "{expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_local_is_an_answer_whatever_upstreams_do() {
    for steps in [broken(), fails(AskError::TimedOut), vec![Step::Panic]] {
        let upstreams = [FakeUpstream::new(steps)];
        let bench = Bench::new(HasLocal::Yes, &upstreams).holding([record(1, &[1])]);
        assert_eq!(bench.find(&question()).await.unwrap(), json(&[record(1, &[1])]));
        assert_eq!(bench.streamed(&question()).await, json(&[record(1, &[1])]));
        bench.local.records.lock().clear();
        assert!(bench.find(&question()).await.is_err());
    }
    let not_offered = [FakeUpstream::new(fails(AskError::NotOffered))];
    let bench = Bench::new(HasLocal::Yes, &not_offered);
    assert_eq!(called(&bench.find(&question()).await), "0 records");
}

#[tokio::test(start_paused = true)]
async fn a_local_index_that_fails_is_the_answer_only_if_nobody_else_knows() {
    for (steps, expected) in [
        (finds(), "1 records"),
        (vec![], "the local store failed"),
        (broken(), "the local store failed"),
    ] {
        let bench = Bench::new(HasLocal::Yes, &[FakeUpstream::new(steps)]);
        bench.local.fails.store(true, Ordering::SeqCst);
        assert_eq!(called(&bench.find(&question()).await), expected);
        let mut items = bench.stream(&question()).await;
        assert_eq!(called(&items.pop().unwrap()), expected);
        assert!(items.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn without_upstreams_the_local_index_answers_and_without_either_nobody_does() {
    let bench = Bench::new(HasLocal::Yes, &[]).holding([record(1, &[1])]);
    assert_eq!(bench.find(&question()).await.unwrap().len(), 1);
    assert_eq!(bench.streamed(&question()).await.len(), 1);
    assert_eq!(bench.cache.stats().misses, 0);
    let bench = Bench::new(HasLocal::No, &[]);
    assert_eq!(called(&bench.find(&question()).await), "every upstream failed");
}

#[tokio::test(start_paused = true)]
async fn a_looping_lookup_that_finds_nothing_is_not_kept() {
    let upstream = FakeUpstream::new(finds());
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream));
    assert_eq!(called(&bench.find(&question()).await), "1 records");
    upstream.now_do(fails(AskError::Loop));
    bench.clock.advance(20 * 60_000);
    for asked in 2..4 {
        assert_eq!(called(&bench.find(&question()).await), "0 records");
        assert_eq!(upstream.asked(), asked);
    }
    upstream.now_do(broken());
    assert_eq!(called(&bench.find(&question()).await), "1 records", "what was kept is still there");
}

#[tokio::test(start_paused = true)]
async fn what_a_looping_lookup_finds_is_kept_anew_each_time() {
    let upstreams = [FakeUpstream::new(finds()), FakeUpstream::new(fails(AskError::Loop))];
    let bench = Bench::new(HasLocal::Yes, &upstreams);
    for asked in 1..4 {
        for _ in 0..3 {
            assert_eq!(called(&bench.find(&question()).await), "1 records");
        }
        assert_eq!(upstreams[0].asked(), asked);
        bench.clock.advance(16_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_at_its_end_that_there_may_be_more() {
    for steps in [vec![finds(), broken()], vec![broken()]] {
        let upstreams: Vec<_> = steps.into_iter().map(FakeUpstream::new).collect();
        let bench = Bench::new(HasLocal::Yes, &upstreams).holding([record(1, &[1])]);
        // The second time from what was kept, if anything was.
        for _ in 0..2 {
            let mut stream = bench.fanout.stream(question());
            let mut found = Found::default();
            while let Some(item) = stream.next().await {
                found.append(item.unwrap());
            }
            assert_eq!((found.records.len(), found.is_partial), (1, true));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_whole_is_good_even_where_nothing_is_kept() {
    let upstream = FakeUpstream::new(finds());
    let times = CacheOptions {
        found_fresh: Duration::ZERO,
        empty_fresh: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        ..CacheOptions::default()
    };
    let bench = Bench::with(HasLocal::No, std::slice::from_ref(&upstream), times, 1_000);
    for _ in 0..3 {
        assert!(!bench.fanout.find(&question()).await.unwrap().is_partial);
    }
}

#[tokio::test(start_paused = true)]
async fn lookups_for_which_nobody_could_be_asked_count_as_that() {
    let upstreams = [FakeUpstream::new(fails(AskError::Busy)), FakeUpstream::new(finds())];
    let bench = Bench::new(HasLocal::No, &upstreams[..1]);
    *upstreams[0].readiness.lock() = Err(AskError::Busy);
    assert!(bench.find(&question()).await.is_err());
    let name = ipns_testing::name(1);
    bench.fanout.name(&name, Hops::default()).await.unwrap();
    assert_eq!((bench.counts.upstream.get(), bench.counts.none_ready.get()), (0, 2));
    let bench = Bench::new(HasLocal::No, &upstreams);
    bench.find(&question()).await.unwrap();
    bench.fanout.name(&name, Hops::default()).await.unwrap();
    assert_eq!((bench.counts.upstream.get(), bench.counts.none_ready.get()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_whether_it_is_to_be_asked_for_again_soon() {
    for (steps, has_local, is_partial) in [
        (vec![finds()], HasLocal::Yes, false),
        (vec![vec![]], HasLocal::Yes, false),
        (vec![fails(AskError::NotOffered)], HasLocal::Yes, false),
        (vec![fails(AskError::Loop)], HasLocal::Yes, true),
        (vec![broken()], HasLocal::Yes, true),
        (vec![vec![], broken()], HasLocal::Yes, true),
        (vec![finds(), broken()], HasLocal::Yes, true),
        (vec![finds(), broken()], HasLocal::No, true),
        (vec![finds(), vec![Step::Hang]], HasLocal::No, true),
        (vec![vec![Step::Hang]], HasLocal::Yes, true),
        (vec![[finds(), broken()].concat()], HasLocal::No, true),
    ] {
        let upstreams: Vec<_> = steps.into_iter().map(FakeUpstream::new).collect();
        let bench = Bench::new(has_local, &upstreams).holding([record(9, &[1])]);
        for _ in 0..2 {
            let found = bench.fanout.find(&question()).await.unwrap();
            assert_eq!(found.is_partial, is_partial, "{:?}", texts(&found));
        }
    }
    let bench = Bench::new(HasLocal::Yes, &[FakeUpstream::new(finds())]);
    bench.local.fails.store(true, Ordering::SeqCst);
    assert!(bench.fanout.find(&question()).await.unwrap().is_partial);
}
