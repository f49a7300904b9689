//! Who shares a lookup that is under way, and when that ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};

use crate::resolve::testing::*;
use crate::resolve::{CacheOptions, ResolveError, Resolver};
use crate::types::Hops;

fn slow() -> Vec<Step> {
    let second = Step::Wait(Duration::from_secs(1));
    vec![
        second.clone(),
        Step::Give(vec![record(1, &[1])]),
        second,
        Step::Give(vec![record(2, &[1]), record(1, &[2])]),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_thousand_equal_lookups_are_one() {
    let upstreams = [FakeUpstream::new(slow()), FakeUpstream::new([])];
    let bench = Arc::new(Bench::new(HasLocal::No, &upstreams));
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.streamed(&question()).await })
        })
        .collect();
    let finds: Vec<_> = (0..500)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.find(&asking("transport=tcp", None)).await })
        })
        .collect();
    for stream in streams {
        assert_eq!(stream.await.unwrap(), json(&[record(1, &[1]), record(2, &[1])]));
    }
    for find in finds {
        assert_eq!(find.await.unwrap().unwrap(), json(&[record(1, &[1])]), "after half a second");
    }
    settle().await;
    assert_eq!((upstreams[0].asked(), upstreams[1].asked()), (1, 1));
    assert_eq!((bench.counts.upstream.get(), bench.counts.coalesced.get()), (1, 999));
    assert_eq!(bench.fanout.0.lookups.len(), 0);
}

/// A worker that has drained its requests ends while those of others are under way.
#[tokio::test(start_paused = true)]
async fn a_lookup_goes_on_when_the_thread_of_the_request_that_began_it_ends() {
    let upstream = FakeUpstream::new(slow());
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    let begin = || {
        let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        worker.block_on(async {
            let mut begun = bench.fanout.stream(question());
            assert!(begun.next().now_or_never().is_none());
            settle().await;
            begun
        })
    };
    let begun = std::thread::scope(|scope| scope.spawn(begin).join().unwrap());
    assert_eq!(bench.streamed(&question()).await, json(&[record(1, &[1]), record(2, &[1])]));
    assert_eq!(upstream.asked(), 1);
    drop(begun);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_follows_from_the_beginning_and_who_is_slow_holds_up_nobody() {
    let upstream = FakeUpstream::new(slow());
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    let mut early = bench.fanout.stream(question());
    assert_eq!(texts(&early.next().await.unwrap().unwrap()), json(&[record(1, &[1])]));
    // It reads no further, while another reads all.
    let late = bench.streamed(&question()).await;
    assert_eq!(late, json(&[record(1, &[1]), record(2, &[1])]));
    assert_eq!(texts(&early.next().await.unwrap().unwrap()), json(&[record(2, &[1])]));
    assert!(early.next().await.is_none());
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn lookups_that_came_by_different_ways_do_not_wait_for_each_other() {
    let upstream = FakeUpstream::new([Step::Hang]);
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    let streams: Vec<_> = ["0", "2", "4"]
        .iter()
        .map(|hops| {
            let mut question = question();
            question.hops = Hops::parse(hops).unwrap();
            let mut stream = bench.fanout.stream(question);
            assert!(stream.next().now_or_never().is_none());
            stream
        })
        .collect();
    settle().await;
    assert_eq!((upstream.asked(), upstream.listening()), (3, 3));
    drop(streams);
    settle().await;
    assert_eq!(upstream.listening(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_ends_when_the_last_has_gone() {
    let upstream = FakeUpstream::new([Step::Give(vec![record(1, &[1])]), Step::Hang]);
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    let mut stream = bench.fanout.stream(question());
    let mut other = bench.fanout.stream(question());
    stream.next().await.unwrap().unwrap();
    other.next().await.unwrap().unwrap();
    drop(stream);
    settle().await;
    assert_eq!((upstream.asked(), upstream.listening()), (1, 1));
    drop(other);
    settle().await;
    assert_eq!((upstream.listening(), bench.fanout.0.lookups.len()), (0, 0));
    // One that is begun now is a new one.
    let asked = asking("transport=ws", None);
    let find = bench.find(&asked);
    let timed = tokio::time::timeout(Duration::from_secs(60), find).await;
    assert!(timed.is_err(), "nothing passes, so it waits");
    settle().await;
    assert_eq!((upstream.asked(), upstream.listening()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_capped_stream_ends_its_lookup_when_it_is_full() {
    let upstream = FakeUpstream::new([Step::Give(vec![record(1, &[1])]), Step::Hang]);
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    assert_eq!(bench.streamed(&asking("", Some(1))).await.len(), 1);
    settle().await;
    assert_eq!(upstream.listening(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_no_longer_leaves_the_lookup_running() {
    let upstream = FakeUpstream::new([Step::Give(vec![record(1, &[1])]), Step::Hang]);
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    assert_eq!(bench.find(&question()).await.unwrap().len(), 1);
    settle().await;
    assert_eq!(upstream.listening(), 1);
    // Others follow it, and leave it running, too.
    assert_eq!(bench.find(&question()).await.unwrap().len(), 1);
    assert_eq!((upstream.asked(), upstream.listening()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_left_where_many_come_and_go_at_once() {
    let gives = |number| Step::Give(vec![record(number, &[1])]);
    let yields = || Step::Wait(Duration::ZERO);
    let upstream = FakeUpstream::new([yields(), gives(1), yields(), gives(2), yields(), gives(3)]);
    // Nothing is kept, so every lookup follows or begins one.
    let options = CacheOptions { bytes_max: 0, ..CacheOptions::default() };
    let bench = Arc::new(Bench::with(HasLocal::No, std::slice::from_ref(&upstream), options, 1));
    let clients: Vec<_> = (0..8_u32)
        .map(|client| {
            let bench = bench.clone();
            tokio::spawn(async move {
                for round in 0..300_u32 {
                    let mut stream = bench.fanout.stream(question());
                    // Some go away after none, one or two records.
                    let wanted = (client + round) as usize % 5;
                    let mut found = Vec::new();
                    while found.len() < wanted
                        && let Some(item) = stream.next().await
                    {
                        found.extend(texts(&item.unwrap()));
                    }
                    let expected = json(&[record(1, &[1]), record(2, &[1]), record(3, &[1])]);
                    assert!(expected.starts_with(&found), "{found:?}");
                    assert!(found.len() >= wanted.min(3));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // Tasks that were told to end do so by themselves.
    let all_ended = async {
        while upstream.listening() > 0 || bench.fanout.0.lookups.len() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_ended).await.unwrap();
}

#[test]
fn followers_of_a_lookup_whose_task_dies_get_an_error() {
    let upstream = FakeUpstream::new([Step::Hang]);
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap()
    };
    let (asking, following) = (runtime(), runtime());
    let bench = {
        let _entered = asking.enter();
        Bench::new(HasLocal::No, &[upstream])
    };
    let mut first = bench.fanout.stream(question());
    asking.block_on(async {
        assert!(first.next().now_or_never().is_none());
        settle().await;
    });
    let mut second = bench.fanout.stream(question());
    following.block_on(async { assert!(second.next().now_or_never().is_none()) });
    drop(asking);
    let item = following.block_on(second.next());
    assert!(matches!(item, Some(Err(ResolveError::UpstreamsFailed(_)))), "{item:?}");
    assert_eq!(bench.fanout.0.lookups.len(), 0);
}
