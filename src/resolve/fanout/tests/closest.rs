//! The peers that are closest to a key: their order, how many come, and who offers to name them.

use std::collections::BTreeSet;

use multihash_codetable::{Code, MultihashDigest};

use crate::resolve::testing::*;
use crate::resolve::{ResolveError, Resolver};
use crate::types::{ContentKey, PeerId};

fn bytes_of(key: &ContentKey) -> Vec<u8> {
    Code::Sha2_256.digest(key.as_bytes()).digest().to_vec()
}

#[tokio::test(start_paused = true)]
async fn the_closest_peers_come_nearest_first_each_once_and_twenty_at_most() {
    let upstreams = [FakeUpstream::new([]), FakeUpstream::new([]), FakeUpstream::new([])];
    *upstreams[0].closest.lock() = Some((0..30).map(|number| record(number, &[1])).collect());
    *upstreams[1].closest.lock() = Some((20..40).map(|number| record(number, &[2])).collect());
    let bench = Bench::new(HasLocal::Yes, &upstreams);
    let question = asking("", None);
    let target = bytes_of(&question.subject.multihash());
    let distance = |peer: &PeerId| -> Vec<u8> {
        bytes_of(&peer.multihash()).iter().zip(&target).map(|(one, other)| one ^ other).collect()
    };
    let mut expected: Vec<_> = (0..40).map(peer).collect();
    expected.sort_by_key(distance);
    expected.truncate(20);
    let found = bench.fanout.closest(&question).await.unwrap();
    let peers: Vec<_> = found.records.iter().map(|(it, _)| it.peer().unwrap().clone()).collect();
    assert_eq!(peers, expected);
    let known_twice: BTreeSet<_> = (20..30).map(peer).collect();
    for (record, _) in &found.records {
        let is_known_twice = known_twice.contains(record.peer().unwrap());
        assert_eq!(record.addr_count(), if is_known_twice { 2 } else { 1 });
    }
    assert!(!found.is_partial);
    let capped = bench.fanout.closest(&asking("", Some(3))).await.unwrap();
    assert_eq!(texts(&capped), texts(&found)[..3]);
    let filtered = bench.fanout.closest(&asking("filter-addrs=ws", None)).await.unwrap();
    assert!(filtered.records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_who_offers_closest_peers_and_nobody_who_knows_any_are_different() {
    let upstream = FakeUpstream::new([]);
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream));
    let unanswered = bench.fanout.closest(&question()).await;
    assert!(matches!(unanswered, Err(ResolveError::NotOffered)), "{unanswered:?}");
    *upstream.closest.lock() = Some(Vec::new());
    assert!(bench.fanout.closest(&question()).await.unwrap().records.is_empty());
    let alone = Bench::new(HasLocal::Yes, &[]);
    assert!(matches!(alone.fanout.closest(&question()).await, Err(ResolveError::NotOffered)));
}
