//! Answers that are kept are those that would be found.

use proptest::prelude::*;

use super::*;
use crate::index::group::Statement;
use crate::types::Addr;

/// More providers than make a hot key.
const PROVIDERS: u32 = 60;

#[derive(Clone, Debug)]
enum MemoStep {
    Announce { of: u32, ends_in_ms: Option<u64> },
    Remove { of: u32 },
    Readdress { of: u32, port: u16 },
    Sweep,
    Wait { ms: u64 },
}

fn any_step() -> impl Strategy<Value = MemoStep> {
    let of = 0..PROVIDERS + 10;
    prop_oneof![
        3 => (of.clone(), proptest::option::of(1..50u64))
            .prop_map(|(of, ends_in_ms)| MemoStep::Announce { of, ends_in_ms }),
        2 => of.clone().prop_map(|of| MemoStep::Remove { of }),
        2 => (of, 1..9u16).prop_map(|(of, port)| MemoStep::Readdress { of, port }),
        1 => Just(MemoStep::Sweep),
        2 => (1..20u64).prop_map(|ms| MemoStep::Wait { ms }),
    ]
}

fn take(index: &Index, step: &MemoStep, now_ms: &mut UnixMs) {
    match step {
        MemoStep::Announce { of, ends_in_ms } => {
            let expires_at_ms = ends_in_ms.map(|ms| *now_ms + ms);
            let spec = GroupSpec { expires_at_ms, ..spec(*of, b"", &[TCP]) };
            index.announce(&[key(0)], &spec, *now_ms).unwrap();
        }
        MemoStep::Remove { of } => drop(index.remove(&peer(*of), None, *now_ms)),
        MemoStep::Readdress { of, port } => {
            let addr = Addr::parse(&format!("/ip4/192.0.2.1/tcp/{port}")).unwrap();
            let stamp = index.stamp();
            let statement = Statement { stamp, stated_at_ms: stamp, addrs: [addr].into() };
            index.restate(&peer(*of), statement, *now_ms);
        }
        MemoStep::Sweep => drop(index.sweep_all(*now_ms)),
        MemoStep::Wait { ms } => *now_ms += ms,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_that_is_kept_is_the_one_that_would_be_found(
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let index = Index::new();
        let mut now_ms = 1_000;
        for of in 0..PROVIDERS {
            index.announce(&[key(0)], &spec(of, b"", &[TCP]), now_ms).unwrap();
        }
        let everything = Filter::from_query("filter-addrs=tcp,unknown").unwrap();
        for step in steps {
            take(&index, &step, &mut now_ms);
            // Filtered answers are never kept.
            let found = index.find(&key(0), &everything, cap(100), now_ms);
            for _ in 0..2 {
                let kept = index.find(&key(0), &Filter::default(), cap(100), now_ms);
                prop_assert_eq!(in_order(&kept), in_order(&found));
            }
        }
    }
}

#[test]
fn the_answer_of_a_hot_key_is_shared_until_something_changes() {
    let index = Index::new();
    for of in 0..PROVIDERS {
        index.announce(&[key(0)], &spec(of, b"", &[TCP]), 1).unwrap();
    }
    let ask = |now_ms| index.find(&key(0), &Filter::default(), cap(100), now_ms);
    let is_shared = |one: &Found, other: &Found| {
        let (one, other) = (one.records.shared().unwrap(), other.records.shared().unwrap());
        std::ptr::eq(one, other)
    };
    let first = ask(2);
    assert!(is_shared(&first, &ask(2)) && is_shared(&first, &ask(3)));
    index.remove(&peer(7), None, 4);
    let without = ask(4);
    assert!(!is_shared(&first, &without) && without.records.len() + 1 == first.records.len());
    assert_eq!(without.modified_at_ms, Some(4));
    assert!(is_shared(&without, &ask(5)));
    // Whatever the cap, if it fits.
    for records_max in [None, cap(1_000), cap(PROVIDERS as usize - 1)] {
        let same = index.find(&key(0), &Filter::default(), records_max, 5);
        assert!(is_shared(&without, &same));
    }
    // Where providers take turns, each answer is another.
    assert!(index.find(&key(0), &Filter::default(), cap(10), 5).records.shared().is_none());
}
