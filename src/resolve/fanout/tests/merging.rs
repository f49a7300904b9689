//! What answers hold, in which order, and when each record of them comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::resolve::testing::*;
use crate::resolve::{FoundStream, Resolver};
use crate::types::Subject;
use crate::types::{ContentKey, ReadyRecord};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn gives(records: impl Into<Vec<Arc<ReadyRecord>>>) -> Step {
    Step::Give(records.into())
}

/// The time since `start` in milliseconds, by the paused clock of the runtime.
fn elapsed_ms(start: Instant) -> u128 {
    start.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn local_records_come_first_and_those_without_addresses_last() {
    let one = FakeUpstream::new([gives([record_without_addrs(5), record(2, &[1])])]);
    let other = FakeUpstream::new([Step::Wait(MS(10)), gives([record(3, &[1])])]);
    let bench =
        Bench::new(HasLocal::Yes, &[one, other]).holding([record(9, &[1]), record(1, &[1])]);
    let expected = [
        record(9, &[1]),
        record(1, &[1]),
        record(2, &[1]),
        record(3, &[1]),
        record_without_addrs(5),
    ];
    assert_eq!(bench.find(&question()).await.unwrap(), json(&expected));
    // The same from what was kept, and as a stream.
    assert_eq!(bench.find(&question()).await.unwrap(), json(&expected));
    assert_eq!(bench.streamed(&question()).await, json(&expected));
}

#[tokio::test(start_paused = true)]
async fn one_provider_is_one_record_with_the_addresses_of_all_who_know_it() {
    let one = FakeUpstream::new([gives([record(1, &[2, 3]), record(2, &[1])])]);
    let other = FakeUpstream::new([gives([record(2, &[7]), record(1, &[1, 4])])]);
    let bench = Bench::new(HasLocal::Yes, &[one, other]).holding([record(1, &[1])]);
    let found = bench.fanout.find(&question()).await.unwrap();
    let peers: Vec<_> = found.records.iter().filter_map(|(it, _)| it.peer().cloned()).collect();
    assert_eq!(peers, [peer(1), peer(2)]);
    let addrs = addrs_of(&found.records[0].0);
    assert_eq!(addrs, ["1", "2", "3", "4"].map(|port| format!("/ip4/192.0.2.1/tcp/{port}")));
    assert_eq!(addrs_of(&found.records[1].0).len(), 2);
    assert_eq!(found.modified_at_ms, Some(START_MS));
}

#[tokio::test(start_paused = true)]
async fn records_stream_out_as_they_come() {
    let one = FakeUpstream::new([
        Step::Wait(MS(10)),
        gives([record(1, &[1]), record_without_addrs(2)]),
        Step::Wait(MS(100)),
        gives([record(3, &[1]), record(1, &[9])]),
    ]);
    let other = FakeUpstream::new([Step::Wait(MS(50)), gives([record(2, &[1]), record(1, &[8])])]);
    let third = FakeUpstream::new([gives([record_without_addrs(4)]), Step::Wait(MS(200))]);
    let bench = Bench::new(HasLocal::Yes, &[one, other, third]).holding([record_without_addrs(6)]);
    let start = runtime_now();
    let mut stream = bench.fanout.stream(question());
    let mut times = Vec::new();
    while let Some(item) = stream.next().await {
        for text in texts(&item.unwrap()) {
            times.push((elapsed_ms(start) as u64, text));
        }
    }
    // Timers have a resolution of a millisecond.
    let rounded: Vec<_> = times.into_iter().map(|(ms, text)| (ms / 5 * 5, text)).collect();
    let expected = [
        (0, record_without_addrs(6)),
        (10, record(1, &[1])),
        (50, record(2, &[1])),
        (110, record(3, &[1])),
        (200, record_without_addrs(4)),
    ];
    assert_eq!(rounded, expected.map(|(ms, record)| (ms, record.json().to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_is_local_is_sent_at_once_and_not_again() {
    let upstream = FakeUpstream::new([gives([record(1, &[1]), record(2, &[1])])]);
    let bench = Bench::new(HasLocal::Yes, &[upstream]).holding([record_without_addrs(1)]);
    let expected = json(&[record_without_addrs(1), record(2, &[1])]);
    assert_eq!(bench.streamed(&question()).await, expected);
    // In one piece there is time to merge them.
    let found = bench.find(&question()).await.unwrap();
    assert_eq!(found, json(&[record(1, &[1]), record(2, &[1])]));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_provider_when_its_record_is_sent_is_in_it() {
    let upstream = FakeUpstream::new([gives([record(1, &[2]), record(2, &[1])])]);
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream));
    let bench = bench.holding([record(1, &[1])]);
    let merged = json(&[record(1, &[1, 2]), record(2, &[1])]);
    assert_eq!(bench.find(&question()).await.unwrap(), merged);
    assert_eq!(bench.streamed(&question()).await, merged, "from what was kept");
    // Kept for long, asked for anew, and not yet answered.
    bench.clock.advance(3_600_000);
    upstream.now_do([Step::Hang]);
    let mut stream = bench.fanout.stream(question());
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(texts(&first), json(&[record(1, &[1, 2])]));
    // A lookup under way has some already.
    let upstream = FakeUpstream::new([gives([record(1, &[2])]), Step::Hang]);
    let bench = Bench::new(HasLocal::Yes, &[upstream]);
    let mut first = bench.fanout.stream(question());
    assert_eq!(texts(&first.next().await.unwrap().unwrap()), json(&[record(1, &[2])]));
    let bench = bench.holding([record(1, &[1])]);
    let second = bench.fanout.stream(question()).next().await.unwrap().unwrap();
    assert_eq!(texts(&second), json(&[record(1, &[1, 2])]));
}

#[tokio::test(start_paused = true)]
async fn a_local_index_that_has_to_wait_is_asked_beside_upstreams() {
    for (waits_ms, found_ms, local_is_late) in [(100, 200, false), (1_000, 700, true)] {
        let upstream = FakeUpstream::new([Step::Wait(MS(200)), gives([record(2, &[1])])]);
        let bench = Bench::new(HasLocal::Yes, &[upstream]).holding([record(1, &[1])]);
        *bench.local.waits.lock() = Some(MS(waits_ms));
        let start = runtime_now();
        let found = bench.fanout.find(&question()).await.unwrap();
        assert_eq!(elapsed_ms(start) / 10 * 10, found_ms);
        let all = [record(1, &[1]), record(2, &[1])];
        let expected = if local_is_late { &all[1..] } else { &all[..] };
        assert_eq!((texts(&found), found.is_partial), (json(expected), local_is_late));
    }
    // As a stream each comes when it is known.
    let upstream = FakeUpstream::new([gives([record(2, &[1]), record(1, &[2])])]);
    let bench = Bench::new(HasLocal::Yes, &[upstream]).holding([record(3, &[1]), record(1, &[1])]);
    *bench.local.waits.lock() = Some(MS(10_000));
    for _ in 0..2 {
        let streamed = bench.stream(&question()).await;
        let streamed: Vec<_> = streamed.into_iter().map(Result::unwrap).collect();
        let expected = [&[record(2, &[1]), record(1, &[2])][..], &[record(3, &[1])][..]];
        assert_eq!(streamed, expected.map(json));
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_index_that_had_to_wait_may_be_enough() {
    let upstream = FakeUpstream::new([Step::Hang]);
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream));
    let bench = bench.holding([record(1, &[1])]);
    *bench.local.waits.lock() = Some(MS(100));
    let question = asking("", Some(1));
    assert_eq!(bench.find(&question).await.unwrap(), json(&[record(1, &[1])]));
    assert_eq!(bench.streamed(&question).await, json(&[record(1, &[1])]));
    settle().await;
    assert_eq!((upstream.asked(), upstream.listening()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_one_piece_waits_a_moment_from_its_first_record_on() {
    let slow = || {
        [
            Step::Wait(MS(100)),
            gives([record(1, &[1])]),
            Step::Wait(MS(10_000)),
            gives([record(2, &[1])]),
        ]
    };
    for (local, filter, expected_ms, expected) in [
        (None, "", 600, vec![record(1, &[1])]),
        (Some(9), "", 500, vec![record(9, &[1]), record(1, &[1])]),
        // What does not pass is nothing that somebody could have.
        (Some(9), "transport=ws", 10_100, vec![]),
    ] {
        let upstream = FakeUpstream::new(slow());
        let local: Vec<_> = local.map(|number| record(number, &[1])).into_iter().collect();
        let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream)).holding(local);
        let start = runtime_now();
        let found = bench.find(&asking(filter, None)).await.unwrap();
        assert_eq!(found, json(&expected), "{filter}");
        assert_eq!(elapsed_ms(start) / 10 * 10, expected_ms, "{filter}");
        // It goes on, so that the next one has all.
        tokio::time::sleep(MS(20_000)).await;
        let all = bench.find(&asking("", Some(2))).await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(upstream.asked(), 1);
        assert_eq!(bench.fanout.0.lookups.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn filters_come_before_the_cap_and_serve_from_one_asking() {
    let websocket = |number: u32| {
        let addr = format!(r#""/ip4/192.0.2.{number}/tcp/1/ws""#);
        let plain = format!(r#""/ip4/192.0.2.{number}/tcp/1""#);
        let id = peer(number);
        let all = ready(&format!(r#"{{"Schema":"peer","ID":"{id}","Addrs":[{plain},{addr}]}}"#));
        let some = ready(&format!(r#"{{"Schema":"peer","ID":"{id}","Addrs":[{addr}]}}"#));
        (all, some)
    };
    let records =
        [record(1, &[1]), websocket(2).0, record(3, &[1]), websocket(4).0, record(5, &[1])];
    let upstream = FakeUpstream::new([gives(records)]);
    let bench =
        Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream)).holding([websocket(7).0]);
    for _ in 0..2 {
        let question = asking("filter-addrs=ws", Some(3));
        let expected = json(&[websocket(7).1, websocket(2).1, websocket(4).1]);
        assert_eq!(bench.find(&question).await.unwrap(), expected);
        assert_eq!(bench.streamed(&question).await, expected);
    }
    assert_eq!(bench.find(&asking("", None)).await.unwrap().len(), 6);
    assert_eq!(bench.find(&asking("filter-protocols=none", None)).await.unwrap().len(), 0);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_first_addresses_do_not_pass_comes_when_others_do() {
    let id = peer(1);
    let websocket =
        ready(&format!(r#"{{"Schema":"peer","ID":"{id}","Addrs":["/dns4/a.example/tcp/1/ws"]}}"#));
    let upstream = FakeUpstream::new([gives([record(1, &[1])]), gives([websocket.clone()])]);
    let bench = Bench::new(HasLocal::No, &[upstream]);
    let question = asking("transport=ws", None);
    assert_eq!(bench.streamed(&question).await, json(&[websocket]));
    assert_eq!(bench.streamed(&question).await, bench.find(&question).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn upstreams_are_not_asked_where_the_local_index_is_enough() {
    let upstream = FakeUpstream::new([gives([record(3, &[1])])]);
    let bench = Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream))
        .holding([record(1, &[1]), record(2, &[1])]);
    let question = asking("", Some(2));
    assert_eq!(bench.find(&question).await.unwrap().len(), 2);
    assert_eq!(bench.streamed(&question).await.len(), 2);
    assert_eq!((upstream.asked(), bench.counts.local.get()), (0, 2));
    assert_eq!(bench.find(&asking("", Some(3))).await.unwrap().len(), 3);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_a_key_that_is_its_own_content() {
    let mut question = question();
    question.subject = Subject::Content(ContentKey::from_cid_text("bafkqaaa").unwrap());
    for (has_local, expected) in
        [(HasLocal::Yes, json(&[record(1, &[1])])), (HasLocal::No, json(&[]))]
    {
        let upstream = FakeUpstream::new([gives([record(3, &[1])])]);
        let bench = Bench::new(has_local, std::slice::from_ref(&upstream));
        let bench = bench.holding([record(1, &[1])]);
        assert_eq!(bench.find(&question).await.unwrap(), expected);
        assert_eq!(bench.streamed(&question).await, expected);
        assert_eq!((upstream.asked(), bench.counts.local.get()), (0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn what_upstreams_contribute_is_bounded() {
    let many: Vec<_> = (0..10_500).map(|number| record(number % 255, &[number as u16])).collect();
    let endless = (0..10_500).map(|number| ready(&format!(r#"{{"Schema":"x","n":{number}}}"#)));
    let upstream = FakeUpstream::new([gives(many), gives(endless.collect::<Vec<_>>())]);
    let bench = Bench::new(HasLocal::No, &[upstream]);
    assert_eq!(bench.find(&question()).await.unwrap().len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn hops_are_sent_to_upstreams() {
    let upstream = FakeUpstream::new([]);
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    let mut question = question();
    question.hops = crate::types::Hops::parse("3").unwrap();
    bench.find(&question).await.unwrap();
    assert_eq!(*upstream.hops.lock(), [question.hops]);
}

#[tokio::test(start_paused = true)]
async fn records_without_addresses_wait_no_longer_than_an_answer_in_one_piece() {
    let upstream = FakeUpstream::new([
        Step::Wait(MS(100)),
        gives([record_without_addrs(1), record(2, &[1])]),
        Step::Wait(MS(1_000)),
        gives([record_without_addrs(3), record(1, &[1])]),
        Step::Hang,
    ]);
    for (local, waited_ms) in [(vec![], 600), (vec![record(9, &[1])], 500)] {
        let bench =
            Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream)).holding(local.clone());
        let start = runtime_now();
        let mut stream = bench.fanout.stream(question());
        let mut times = Vec::new();
        while times.len() < 3 + local.len() {
            for text in texts(&stream.next().await.unwrap().unwrap()) {
                times.push((elapsed_ms(start) / 10 * 10, text));
            }
        }
        let mut expected: Vec<_> = local.into_iter().map(|record| (0, record)).collect();
        expected.push((100, record(2, &[1])));
        expected.push((waited_ms, record_without_addrs(1)));
        expected.push((1_100, record_without_addrs(3)));
        let expected: Vec<_> =
            expected.into_iter().map(|(ms, record)| (ms, record.json().to_owned())).collect();
        assert_eq!(times, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn where_more_match_than_fit_all_have_their_turn() {
    let mut given: Vec<_> = (0..120).map(|number| record(number, &[1])).collect();
    given.extend((120..150).map(record_without_addrs));
    let upstream = FakeUpstream::new([gives(given.clone())]);
    for (local, filter) in
        [(vec![], ""), (vec![], "filter-addrs=tcp"), (vec![record(200, &[1])], "")]
    {
        let bench =
            Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream)).holding(local.clone());
        let matching = if filter.is_empty() { 150 } else { 120 };
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..30 {
            let found = bench.find(&asking(filter, Some(100))).await.unwrap();
            assert_eq!(found.len(), 100);
            let has_addrs: Vec<_> = found.iter().map(|it| it.contains("/tcp/")).collect();
            assert!(has_addrs.is_sorted_by(|one, other| one >= other));
            found.into_iter().skip(local.len()).for_each(|it| *times.entry(it).or_default() += 1);
        }
        assert_eq!(times.len(), matching, "{filter}");
        let (least, most) = (times.values().min().unwrap(), times.values().max().unwrap());
        assert!(most - least <= 1, "{least} {most}");
        // As a stream, from what was kept, too.
        let streamed = [
            bench.streamed(&asking(filter, Some(100))).await,
            bench.streamed(&asking(filter, Some(100))).await,
        ];
        assert!(streamed.iter().all(|it| it.len() == 100) && streamed[0] != streamed[1]);
        // Where all fit they come in order.
        let all = bench.find(&asking(filter, Some(151))).await.unwrap();
        assert_eq!(all[local.len()], given[0].json());
        assert_eq!(all.len(), matching + local.len());
    }
}

#[tokio::test(start_paused = true)]
async fn alternating_questions_are_served_all_records_too() {
    let given: Vec<_> = (0..200).map(|number| record(number, &[1])).collect();
    let upstream = FakeUpstream::new([gives(given)]);
    let bench = Bench::new(HasLocal::No, std::slice::from_ref(&upstream));
    let mut served = [BTreeMap::new(), BTreeMap::new()];
    for _ in 0..4 {
        for (served, filter) in served.iter_mut().zip(["", "filter-addrs=tcp"]) {
            let found = bench.find(&asking(filter, Some(100))).await.unwrap();
            found.into_iter().for_each(|it| *served.entry(it).or_insert(0) += 1);
        }
    }
    assert_eq!(served.map(|served| served.len()), [200, 200]);
}

#[tokio::test(start_paused = true)]
async fn while_one_hangs_all_that_others_know_has_its_turn() {
    let given: Vec<_> = (0..20).map(|number| record(number, &[1])).collect();
    let upstreams = [FakeUpstream::new([gives(given)]), FakeUpstream::new([Step::Hang])];
    let bench = Bench::new(HasLocal::No, &upstreams);
    let mut served = BTreeMap::new();
    // Each of the twenty is left out of all these answers once in 10^28 runs.
    for _ in 0..100 {
        let found = bench.find(&asking("", Some(10))).await.unwrap();
        found.into_iter().for_each(|it| *served.entry(it).or_insert(0) += 1);
    }
    assert_eq!(served.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn turns_go_on_when_an_answer_is_renewed() {
    let upstream = FakeUpstream::new([gives([1, 2, 3].map(|number| record(number, &[1])))]);
    let bench = Bench::new(HasLocal::No, &[upstream]);
    let mut served = Vec::new();
    for _ in 0..4 {
        served.extend(bench.find(&asking("", Some(1))).await.unwrap());
        bench.clock.advance(3_600_000);
    }
    assert_eq!(served, json(&[1, 2, 3, 1].map(|number| record(number, &[1]))));
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_one_record_of_what_all_know_of_it() {
    let peer_record =
        |fields: &str| ready(&format!(r#"{{"Schema":"peer","ID":"{}"{fields}}}"#, peer(1)));
    let one = peer_record(r#","Addrs":["/ip4/192.0.2.1/tcp/1"],"Protocols":["a"],"x":1"#);
    let other = peer_record(r#","Addrs":["/ip4/192.0.2.1/tcp/2/ws"],"Protocols":["b"],"y":2"#);
    let local = peer_record(r#","Addrs":["/ip4/192.0.2.1/tcp/3"],"Protocols":["c"]"#);
    let upstreams = [FakeUpstream::new([gives([one])]), FakeUpstream::new([gives([other])])];
    let of = |ports: &str, protocols: &str| {
        peer_record(&format!(r#","Addrs":[{ports}],"Protocols":[{protocols}]"#)).json().to_owned()
    };
    let (first, second) = (r#""/ip4/192.0.2.1/tcp/1""#, r#""/ip4/192.0.2.1/tcp/2/ws""#);
    let third = r#""/ip4/192.0.2.1/tcp/3""#;
    for (held, filter, expected) in [
        (vec![], "", of(&[first, second].join(","), r#""a","b""#)),
        (vec![local.clone()], "", of(&[third, first, second].join(","), r#""c","a","b""#)),
        // What is local does not pass by itself.
        (vec![local.clone()], "filter-addrs=ws", of(second, r#""c","a","b""#)),
    ] {
        let bench = Bench::new(HasLocal::Yes, &upstreams).holding(held);
        let mut question = asking(filter, Some(1));
        question.subject = crate::types::Subject::Peer(peer(1));
        let expected = [expected];
        for _ in 0..2 {
            assert_eq!(bench.find(&question).await.unwrap(), expected);
            assert_eq!(bench.streamed(&question).await, expected);
        }
    }
    let bench =
        Bench::new(HasLocal::Yes, &[FakeUpstream::new([Step::Hang])]).holding([local.clone()]);
    let mut question = question();
    question.subject = crate::types::Subject::Peer(peer(1));
    let start = runtime_now();
    assert_eq!(bench.streamed(&question).await, json(&[local]));
    assert_eq!(elapsed_ms(start) / 10 * 10, 500);
}

/// The records of a stream.
async fn served(stream: FoundStream) -> Vec<String> {
    let items: Vec<_> = stream.collect().await;
    let records = items.into_iter().flat_map(|item| item.unwrap().records);
    records.map(|(record, _)| record.peer().unwrap().to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_provider_comes_once_with_all_its_addresses_in_whatever_order_and_pieces(
        local in prop::collection::vec((1_u32..8, prop::collection::btree_set(1_u16..6, 0..3)), 0..3),
        upstreams in prop::collection::vec(
            prop::collection::vec(
                (prop::collection::vec((1_u32..8, prop::collection::btree_set(1_u16..6, 0..3)), 0..4), 0_u64..30),
                0..4,
            ),
            1..4,
        ),
    ) {
        let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut made = |(number, ports): &(u32, BTreeSet<u16>)| {
            let record = if ports.is_empty() { record_without_addrs(*number) } else { record(*number, &ports.iter().copied().collect::<Vec<_>>()) };
            expected.entry(peer(*number).to_string()).or_default().extend(addrs_of(&record));
            record
        };
        // A local index has each of its records once.
        let mut seen = BTreeSet::new();
        let local: Vec<_> = local.iter().filter(|(number, _)| seen.insert(*number)).map(&mut made).collect();
        let upstreams: Vec<_> = upstreams.iter().map(|steps| {
            let steps = steps.iter().flat_map(|(records, ms)| {
                [Step::Wait(MS(*ms)), gives(records.iter().map(&mut made).collect::<Vec<_>>())]
            });
            FakeUpstream::new(steps.collect::<Vec<_>>())
        }).collect();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(HasLocal::Yes, &upstreams).holding(local);
            let streamed = served(bench.fanout.stream(question())).await;
            let found = bench.fanout.find(&question()).await.unwrap();
            let mut all = BTreeMap::new();
            for (record, _) in &found.records {
                let addrs = addrs_of(record);
                let each: BTreeSet<_> = addrs.iter().cloned().collect();
                prop_assert_eq!(each.len(), addrs.len());
                prop_assert!(all.insert(record.peer().unwrap().to_string(), each).is_none());
            }
            prop_assert_eq!(&all, &expected);
            let once: BTreeSet<_> = streamed.iter().cloned().collect();
            prop_assert_eq!(once.len(), streamed.len());
            prop_assert_eq!(once, expected.keys().cloned().collect::<BTreeSet<_>>());
            Ok(())
        })?;
    }
}
