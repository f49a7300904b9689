//! What is kept of answers, and for how long.

use std::sync::Arc;
use std::time::Duration;

use crate::resolve::testing::*;
use crate::resolve::{AskError, CacheOptions, Resolver};
use crate::types::ReadyRecord;
use crate::types::Subject;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn finds(number: u32) -> Vec<Step> {
    vec![Step::Give(vec![record(number, &[1])])]
}

fn broken() -> Vec<Step> {
    vec![Step::Fail(AskError::Broken)]
}

/// What becomes of a lookup some time after another.
struct Case {
    /// What the two upstreams did at first.
    first: [Vec<Step>; 2],
    then: [Vec<Step>; 2],
    after_ms: u64,
    /// The answer to the second lookup; `None`: an error.
    expected: Option<Vec<Arc<ReadyRecord>>>,
    /// Whether upstreams are asked a second time.
    is_asked: bool,
}

fn cases() -> Vec<Case> {
    let case = |first: [Vec<Step>; 2], then: [Vec<Step>; 2], after_ms, expected, is_asked| {
        let expected: Option<Vec<u32>> = expected;
        let expected = expected
            .map(|numbers| numbers.into_iter().map(|number| record(number, &[1])).collect());
        Case { first, then, after_ms, expected, is_asked }
    };
    let (found, new) = (|| [finds(1), vec![]], || [finds(2), vec![]]);
    let (partial, empty) = (|| [finds(1), broken()], || [vec![], vec![]]);
    let (failing, half) = (|| [broken(), broken()], || [vec![], broken()]);
    vec![
        case(found(), new(), 5 * MINUTE - 1, Some(vec![1]), false),
        case(found(), new(), 5 * MINUTE, Some(vec![1]), true),
        case(found(), new(), 15 * MINUTE - 1, Some(vec![1]), true),
        case(found(), new(), 15 * MINUTE, Some(vec![2]), true),
        case(found(), empty(), 15 * MINUTE, Some(vec![]), true),
        case(found(), failing(), 6 * MINUTE, Some(vec![1]), true),
        case(found(), failing(), 15 * MINUTE, Some(vec![1]), true),
        case(found(), half(), 15 * MINUTE, Some(vec![1]), true),
        case(found(), failing(), 48 * HOUR, Some(vec![1]), true),
        case(found(), failing(), 48 * HOUR + 5 * MINUTE, None, true),
        case(empty(), new(), 15 * SECOND - 1, Some(vec![]), false),
        case(empty(), new(), 15 * SECOND, Some(vec![2]), true),
        case(empty(), failing(), 15 * SECOND, None, true),
        case(partial(), new(), 15 * SECOND - 1, Some(vec![1]), false),
        case(partial(), new(), 15 * SECOND, Some(vec![2]), true),
        case(partial(), failing(), HOUR, Some(vec![1]), true),
        case(half(), new(), 0, Some(vec![2]), true),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_age_has_its_answer() {
    for (at, case) in cases().into_iter().enumerate() {
        let upstreams = case.first.map(FakeUpstream::new);
        let bench = Bench::new(HasLocal::No, &upstreams);
        bench.find(&question()).await.unwrap();
        for (upstream, steps) in upstreams.iter().zip(case.then) {
            upstream.now_do(steps);
        }
        bench.clock.advance(case.after_ms);
        let answer = bench.find(&question()).await.ok();
        assert_eq!(answer, case.expected.map(|records| json(&records)), "case {at}");
        settle().await;
        let asked = upstreams[0].asked();
        assert_eq!(asked, if case.is_asked { 2 } else { 1 }, "case {at}");
        assert_eq!(bench.fanout.0.lookups.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_asked_for_anew_once_in_the_background() {
    let upstream = FakeUpstream::new(finds(1));
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    bench.find(&question()).await.unwrap();
    bench.clock.advance(6 * MINUTE);
    upstream.now_do([Step::Wait(Duration::from_secs(1)), Step::Give(vec![record(2, &[1])])]);
    for _ in 0..10 {
        assert_eq!(bench.find(&question()).await.unwrap(), json(&[record(1, &[1])]));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.find(&question()).await.unwrap(), json(&[record(2, &[1])]));
    assert_eq!(upstream.asked(), 2);
    let stats = bench.cache.stats();
    assert_eq!((stats.misses, stats.stale, stats.hits), (1, 10, 1));
    assert_eq!((bench.counts.upstream.get(), bench.counts.stale.get()), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn what_has_just_failed_is_not_asked_again_at_once_where_there_is_an_answer() {
    let upstream = FakeUpstream::new(finds(1));
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    bench.find(&question()).await.unwrap();
    upstream.now_do(broken());
    bench.clock.advance(HOUR);
    for (after_ms, asked) in [(0, 2), (14 * SECOND, 2), (SECOND, 3), (0, 3)] {
        bench.clock.advance(after_ms);
        assert_eq!(bench.find(&question()).await.unwrap().len(), 1);
        assert_eq!(upstream.asked(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_local_is_never_kept() {
    let upstream = FakeUpstream::new(finds(1));
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream));
    let first = bench.fanout.find(&question()).await.unwrap();
    assert_eq!(first.modified_at_ms, Some(START_MS));
    bench.local.records.lock().push(record(7, &[1]));
    bench.clock.advance(SECOND);
    let expected = json(&[record(7, &[1]), record(1, &[1])]);
    assert_eq!(bench.find(&question()).await.unwrap(), expected);
    bench.local.records.lock().clear();
    let last = bench.fanout.find(&question()).await.unwrap();
    assert_eq!(texts(&last), json(&[record(1, &[1])]));
    assert_eq!(last.modified_at_ms, Some(START_MS), "when it was made");
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn whole_answers_share_their_records_and_texts() {
    let upstream = FakeUpstream::new(finds(1));
    let bench = Bench::new(HasLocal::Yes, &[upstream]);
    let one = bench.fanout.find(&question()).await.unwrap();
    let other = bench.fanout.find(&asking("", Some(1))).await.unwrap();
    let (one, other) = (one.records.shared().unwrap(), other.records.shared().unwrap());
    assert!(std::ptr::eq(one, other));
    // The texts that are kept are those of providers.
    let mut about_peer = question();
    about_peer.subject = Subject::Peer(peer(1));
    let found = bench.fanout.find(&about_peer).await.unwrap();
    assert!(found.records.shared().is_none() && found.records.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_where_no_memory_is_given() {
    let upstream = FakeUpstream::new(finds(1));
    let options = CacheOptions { bytes_max: 0, ..CacheOptions::default() };
    let bench = Bench::with(HasLocal::No, std::slice::from_ref(&upstream), options, 1);
    for asked in 1..4 {
        bench.find(&question()).await.unwrap();
        assert_eq!(upstream.asked(), asked);
    }
    assert_eq!(bench.cache.stats().entries, 0);
}

fn gives(numbers: &[u32]) -> Vec<Step> {
    vec![Step::Give(numbers.iter().map(|number| record(*number, &[1])).collect())]
}

fn records(numbers: &[u32]) -> Vec<String> {
    numbers.iter().map(|number| record(*number, &[1]).json().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_one_upstream_said_stays_when_it_fails_until_its_time_is_over() {
    let upstreams = [FakeUpstream::new(gives(&[1, 2, 3])), FakeUpstream::new(gives(&[4]))];
    let bench = Bench::new(HasLocal::No, &upstreams);
    assert_eq!(bench.find(&question()).await.unwrap(), records(&[1, 2, 3, 4]));
    upstreams[0].now_do(broken());
    upstreams[1].now_do(vec![Step::Give(vec![record(4, &[2]), record(5, &[1])])]);
    bench.clock.advance(6 * MINUTE);
    bench.find(&question()).await.unwrap();
    settle().await;
    let merged = json(&[record(4, &[2, 1]), record(5, &[1]), record(1, &[1])]);
    for _ in 0..3 {
        let found = bench.find(&question()).await.unwrap();
        assert_eq!((&found[..3], found.len()), (&merged[..], 5));
        bench.clock.advance(5 * SECOND);
    }
    assert_eq!(upstreams[0].asked(), 2, "fresh for a short time");
    // The new part is renewed over and over, the old one is not.
    bench.clock.advance(47 * HOUR);
    assert_eq!(bench.find(&question()).await.unwrap().len(), 5);
    assert_eq!(upstreams[0].asked(), 3);
    upstreams.iter().for_each(|upstream| upstream.now_do(broken()));
    bench.clock.advance(SECOND * 60);
    assert_eq!(bench.find(&question()).await.unwrap().len(), 5);
    bench.clock.advance(HOUR);
    let left = json(&[record(4, &[2]), record(5, &[1])]);
    assert_eq!(bench.find(&question()).await.unwrap(), left);
    upstreams[0].now_do(gives(&[1]));
    upstreams[1].now_do([]);
    bench.clock.advance(MINUTE);
    assert_eq!(bench.find(&question()).await.unwrap(), records(&[1]), "a whole answer is all");
}

#[tokio::test(start_paused = true)]
async fn upstreams_that_fail_in_turn_lose_nothing() {
    let upstreams = [FakeUpstream::new(gives(&[1])), FakeUpstream::new(broken())];
    let bench = Bench::new(HasLocal::No, &upstreams);
    assert_eq!(bench.find(&question()).await.unwrap(), records(&[1]));
    for (first, second, expected) in
        [(broken(), gives(&[2]), [2, 1]), (gives(&[1]), broken(), [1, 2])]
    {
        upstreams[0].now_do(first);
        upstreams[1].now_do(second);
        bench.clock.advance(MINUTE);
        assert_eq!(bench.find(&question()).await.unwrap(), records(&expected));
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_an_upstream_has_what_was_kept_of_it() {
    let upstreams = [FakeUpstream::new(gives(&[1])), FakeUpstream::new(gives(&[2]))];
    let bench = Bench::new(HasLocal::No, &upstreams);
    bench.find(&question()).await.unwrap();
    bench.clock.advance(HOUR);
    upstreams[0].now_do([Step::Hang]);
    let found = bench.fanout.find(&question()).await.unwrap();
    assert_eq!((texts(&found), found.is_partial), (records(&[2, 1]), true));
}

#[tokio::test(start_paused = true)]
async fn what_is_served_because_asking_failed_is_to_be_asked_for_again_once_it_is_old() {
    let upstream = FakeUpstream::new(finds(1));
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    bench.find(&question()).await.unwrap();
    upstream.now_do(broken());
    for (after_ms, is_partial) in
        [(6 * MINUTE, false), (SECOND, false), (9 * MINUTE, true), (SECOND, true), (HOUR, true)]
    {
        bench.clock.advance(after_ms);
        let found = bench.fanout.find(&question()).await.unwrap();
        assert_eq!((found.records.len(), found.is_partial), (1, is_partial), "{after_ms}");
        settle().await;
    }
}
