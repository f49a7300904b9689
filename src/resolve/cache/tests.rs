//! The cache by itself: its bounds. What it is for is tested through [`crate::resolve::Fanout`].

use super::*;
use crate::resolve::testing::{START_MS, peer, record, target};

fn answer(number: u32) -> RemoteAnswer {
    let record = record(number % 255, &[1, 2, 3]);
    let records = vec![(record.merge_key(), record)];
    RemoteAnswer::new(&subject(number), records, START_MS, Completeness::Whole)
}

fn subject(number: u32) -> Subject {
    Subject::Content(peer(number).multihash())
}

#[test]
fn memory_is_bounded_in_bytes() {
    let options = CacheOptions { bytes_max: 200_000, ..CacheOptions::default() };
    let cache = AnswerCache::new(options);
    let target = cache.target(&target());
    for number in 0..5_000 {
        let subject = subject(number);
        cache.keep(target, &subject, answer(number), 10);
    }
    cache.answers.as_ref().unwrap().run_pending_tasks();
    let stats = cache.stats();
    assert!((1..=200_000).contains(&stats.bytes), "{stats:?}");
    assert!((50..500).contains(&stats.entries), "{stats:?}");
}

#[test]
fn an_answer_weighs_at_least_its_texts() {
    let answer = answer(1);
    let text = answer.all().iter().map(|(it, _)| it.len_bytes()).sum::<usize>();
    assert!(answer.bytes() > 3 * text);
}

#[test]
fn targets_have_their_own_answers_and_one_name_is_one_target() {
    let cache = AnswerCache::new(CacheOptions::default());
    let one = cache.target(&target());
    let other = cache.target(&TargetId::of_rule(42));
    cache.keep(one, &subject(1), answer(1), 10);
    let is_kept =
        |target: CachedTarget| !matches!(cache.get(target, &subject(1), START_MS), Cached::Nothing);
    assert!(is_kept(one) && is_kept(cache.target(&target())) && !is_kept(other));
}
