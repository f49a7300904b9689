//! Serials: what was announced may come again in any order, without what ended, and gives the same
//! answers; and an address that changes back is never lost.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::types::Addr;

const KEYS: u32 = 5;
const ADDRS: [&[&str]; 3] = [&[TCP], &[QUIC], &[]];

#[derive(Clone, Debug)]
enum SerialStep {
    Announce { keys: Vec<u32>, lineage: LineageName, addrs: usize, ttl_ms: Option<u64> },
    Remove { lineage: LineageName, is_whole_peer: bool },
    State { of: u32, addrs: usize },
    SetRecord { lineage: LineageName, has_field: bool, addrs: usize },
    Advance { ms: u64 },
    Sweep,
}

type LineageName = (u32, u8);

/// What a journal would have: for each serial the group and its keys, and the serials that ended.
#[derive(Default)]
struct FakeJournal {
    groups: BTreeMap<u64, GroupSpec>,
    keys: Vec<(u64, u32)>,
    ended: BTreeSet<u64>,
    changes: BTreeMap<u64, SerialChange>,
}

#[derive(Clone)]
enum SerialChange {
    Addrs(PeerId, Statement),
    Record(Arc<[u8]>, Arc<ReadyRecord>),
}

fn any_step(peers: u32) -> impl Strategy<Value = SerialStep> {
    let lineage = (0..peers, 0u8..2);
    let keys = prop::collection::vec(0..KEYS, 1..4);
    prop_oneof![
        14 => (keys, lineage.clone(), 0..ADDRS.len(), prop::option::of(1u64..80))
            .prop_map(|(keys, lineage, addrs, ttl_ms)| SerialStep::Announce { keys, lineage, addrs, ttl_ms }),
        1 => (lineage, any::<bool>())
            .prop_map(|(lineage, is_whole_peer)| SerialStep::Remove { lineage, is_whole_peer }),
        3 => (0..peers, 0..ADDRS.len()).prop_map(|(of, addrs)| SerialStep::State { of, addrs }),
        1 => ((0..peers, 0u8..2), any::<bool>(), 0..ADDRS.len()).prop_map(
            |(lineage, has_field, addrs)| SerialStep::SetRecord { lineage, has_field, addrs },
        ),
        2 => (0u64..30).prop_map(|ms| SerialStep::Advance { ms }),
        1 => Just(SerialStep::Sweep),
    ]
}

impl FakeJournal {
    /// Places keys with a group, as a store does: the journal first.
    fn place(&mut self, index: &Index, interned: &Interned, keys: Vec<ContentKey>, now_ms: u64) {
        let record = interned.record();
        let context = interned.context().clone();
        let spec = GroupSpec {
            record,
            context,
            expires_at_ms: interned.expires_at_ms(),
            origin: interned.origin(),
        };
        // What it was made with, whatever changed since.
        self.groups.entry(interned.serial).or_insert(spec);
        let numbers = (0..KEYS).filter(|number| keys.contains(&key(*number)));
        self.keys.extend(numbers.map(|number| (interned.serial, number)));
        index.link_all(interned, &keys, now_ms).unwrap();
    }

    fn announce(&mut self, index: &Index, keys: Vec<ContentKey>, spec: &GroupSpec, now_ms: u64) {
        let count = keys.len() as u64;
        let interned = index.intern(spec, now_ms).unwrap();
        let plan = index.plan(&interned, keys, now_ms).unwrap();
        let behind = plan.superseded.len() as u64;
        assert_eq!(plan.known + plan.to_link.len() as u64 + behind, count);
        assert!(!interned.is_new || (plan.known, behind) == (0, 0));
        self.place(index, &interned, plan.to_link, now_ms);
        if behind > 0 {
            let anew = index.intern_anew(spec, now_ms).unwrap();
            assert!(anew.is_new && anew.serial > interned.serial);
            assert!(anew.is_of_lineage_of(&interned));
            self.place(index, &anew, plan.superseded, now_ms);
        }
    }

    fn run(&mut self, index: &Index, step: &SerialStep, now_ms: &mut u64) {
        match step {
            SerialStep::Announce { keys, lineage: (of, context), addrs, ttl_ms } => {
                let spec = GroupSpec {
                    expires_at_ms: ttl_ms.map(|ttl_ms| *now_ms + ttl_ms),
                    ..spec(*of, &[*context], ADDRS[*addrs])
                };
                let keys: Vec<_> = keys.iter().map(|number| key(*number)).collect();
                self.announce(index, keys.clone(), &spec, *now_ms);
                // Whatever was there: the last word counts, and saying it again changes nothing.
                let again = index.intern(&spec, *now_ms).unwrap();
                let known = keys.len() as u64;
                let plan = LinkPlan { known, ..LinkPlan::default() };
                assert_eq!(index.plan(&again, keys, *now_ms), Ok(plan));
            }
            SerialStep::Remove { lineage: (of, context), is_whole_peer } => {
                let context = [*context];
                let context = (!is_whole_peer).then_some(&context[..]);
                self.ended.extend(index.remove(&peer(*of), context, *now_ms));
            }
            SerialStep::State { of, addrs } => {
                let addrs = ADDRS[*addrs].iter().map(|addr| Addr::parse(addr).unwrap()).collect();
                let stamp = index.stamp();
                let statement = Statement { stamp, stated_at_ms: stamp, addrs };
                index.restate(&peer(*of), statement.clone(), *now_ms);
                self.changes.insert(stamp, SerialChange::Addrs(peer(*of), statement));
            }
            SerialStep::SetRecord { lineage: (of, context), has_field, addrs } => {
                let end = if *has_field { r#","x":1}"# } else { "}" };
                let json = record(*of, ADDRS[*addrs]).json().replace("}", end);
                let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
                let record = Arc::new(ReadyRecord::new(parsed, AnswerSchema::Announced));
                let (stamp, context) = (index.stamp(), Arc::from([*context]));
                index.set_record(&context, stamp, &record, *now_ms);
                self.changes.insert(stamp, SerialChange::Record(context, record));
            }
            SerialStep::Advance { ms } => *now_ms += ms,
            SerialStep::Sweep => drop(index.sweep(*now_ms)),
        }
        self.ended.extend(index.take_ended());
    }

    /// The serials that a restart finds: those that neither ended nor expired.
    fn live(&self, now_ms: u64) -> impl Iterator<Item = (u64, &GroupSpec)> {
        let groups = self.groups.iter().filter(|(serial, _)| !self.ended.contains(serial));
        groups
            .filter(move |(_, spec)| spec.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms))
            .map(|(serial, spec)| (*serial, spec))
    }

    fn restore(&self, order: &[usize], now_ms: u64) -> Index {
        let index = Index::new();
        let restore = index.restore(now_ms);
        let groups: BTreeMap<_, _> = self
            .live(now_ms)
            .map(|(serial, spec)| (serial, restore.group(spec, serial, 0).unwrap()))
            .collect();
        for (stamp, change) in &self.changes {
            match change {
                SerialChange::Addrs(peer, statement) => restore.statement(peer, statement.clone()),
                SerialChange::Record(context, record) => restore.record(context, *stamp, record),
            }
        }
        for at in order {
            let (serial, number) = self.keys[at % self.keys.len()];
            let Some(group) = groups.get(&serial) else { continue };
            let multihash = key(number);
            assert_eq!(restore.keys(group, [multihash.as_bytes()].into_iter()), Ok(1));
        }
        restore.finish().unwrap();
        index
    }
}

/// A record's JSON with its addresses in an order of no meaning.
fn sorted(json: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    if let Some(addrs) = value["Addrs"].as_array_mut() {
        addrs.sort_by_key(ToString::to_string);
    }
    value.to_string()
}

/// What a peer is known by, in each index.
fn known_of(index: &Index, of: u32, now_ms: u64) -> Option<String> {
    let answer = index.peer(&peer(of), &Filter::default(), now_ms);
    answer.records.first().map(|(record, _)| sorted(record.json()))
}

/// What an index answers for each key, in an order of no meaning.
fn answers(index: &Index, now_ms: u64) -> Vec<BTreeSet<String>> {
    let records = |number| {
        let answer = index.all(&key(number), now_ms);
        let identities: BTreeSet<_> = answer.records.iter().map(|(it, _)| it.identity()).collect();
        assert_eq!(identities.len(), answer.records.len(), "a record twice");
        answer.records.iter().map(|(record, _)| sorted(record.json())).collect()
    };
    (0..KEYS).map(records).collect()
}

fn check_any_order(steps: &[SerialStep], order: &[usize]) -> Result<(), TestCaseError> {
    let index = Index::new();
    let mut journal = FakeJournal::default();
    let mut now_ms = 1_000;
    for step in steps {
        journal.run(&index, step, &mut now_ms);
    }
    if journal.keys.is_empty() {
        return Ok(());
    }
    let restored = journal.restore(order, now_ms);
    // Some of the live groups are there without a key: they end when the restart is finished.
    journal.ended.extend(restored.take_ended());
    for later_ms in [0, 1, 10, 20, 40, 80, 200] {
        let then_ms = now_ms + later_ms;
        prop_assert_eq!(answers(&index, then_ms), answers(&restored, then_ms));
        for of in 0..50 {
            prop_assert_eq!(known_of(&index, of, then_ms), known_of(&restored, of, then_ms));
        }
        for (serial, number) in &journal.keys {
            let multihash = key(*number);
            let holds = |index: &Index| index.holds(multihash.as_bytes(), *serial, then_ms);
            prop_assert_eq!(holds(&index), holds(&restored), "serial {}", serial);
        }
    }
    let greatest = journal.live(now_ms).map(|(serial, _)| serial).max().unwrap_or(0);
    let next = restored.intern(&spec(99, b"", &[]), 1).unwrap();
    prop_assert!(next.serial > greatest);
    index.sweep_all(now_ms);
    restored.sweep_all(now_ms);
    prop_assert_eq!(index.stats().entries, restored.stats().entries);
    prop_assert_eq!(index.stats().keys, restored.stats().keys);
    // Taking away what was announced leaves nothing, so every reference was given back.
    drop(next);
    for index in [&index, &restored] {
        (0..50).for_each(|number| drop(index.remove(&peer(number), None, now_ms)));
        index.sweep_all(now_ms);
        let IndexStats { entries, keys, groups, providers, .. } = index.stats();
        prop_assert_eq!((entries, keys, groups, providers), (0, 0, 0, 0));
        let left = journal.changes.keys().filter(|stamp| index.is_in_force(**stamp)).count();
        prop_assert_eq!(left, 0, "changes outlive what they counted for");
    }
    Ok(())
}

/// Every announcement at least once, in any order, some several times.
fn any_order() -> impl Strategy<Value = Vec<usize>> {
    let positions: Vec<usize> = (0..2_000).collect();
    Just(positions).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn announcements_in_any_order_give_the_same_answers(
        steps in prop::collection::vec(any_step(3), 1..150), order in any_order(),
    ) {
        check_any_order(&steps, &order)?;
    }

    #[test]
    fn announcements_of_hot_key_in_any_order_give_the_same_answers(
        steps in prop::collection::vec(any_step(50), 200..600), order in any_order(),
    ) {
        check_any_order(&steps, &order)?;
    }
}

#[test]
fn addresses_that_change_back_are_the_ones_that_are_served() {
    let index = Index::new();
    let (tcp, quic) = (spec(1, b"c", &[TCP]), spec(1, b"c", &[QUIC]));
    index.announce(&keys(0..10), &tcp, 1).unwrap();
    index.announce(&keys(0..5), &quic, 2).unwrap();
    let interned = index.intern(&tcp, 1).unwrap();
    assert_eq!((interned.serial, interned.is_new), (1, false));
    let plan = index.plan(&interned, keys(3..12), 3).unwrap();
    let expected = LinkPlan { known: 5, new: 2, to_link: keys(10..12), superseded: keys(3..5) };
    assert_eq!(plan, expected);
    // Placing an older group changes nothing.
    index.link_all(&interned, &plan.superseded, 3).unwrap();
    assert_eq!(index.all(&key(4), 3).records[0].0.json(), quic.record.json());
    assert!(!index.holds(key(4).as_bytes(), 1, 3) && index.holds(key(4).as_bytes(), 2, 3));
    index.announce(&keys(0..5), &tcp, 4).unwrap();
    assert_eq!(index.all(&key(4), 4).records[0].0.json(), tcp.record.json());
    assert_eq!(index.take_ended(), [2]);
    assert!(index.holds(key(4).as_bytes(), 3, 4) && index.holds(key(9).as_bytes(), 1, 4));
    assert_eq!(index.intern(&tcp, 1).unwrap().serial, 3);
    let removed: BTreeSet<_> = index.remove(&peer(1), None, 6).into_iter().collect();
    assert_eq!(removed, [1, 3].into());
    assert_eq!(index.take_ended().len(), 2);
}

#[test]
fn a_newer_group_that_lasts_shorter_stands_before_the_older_one_until_it_lapses() {
    // On a key with a few groups, and on one with very many.
    for others in [0, 200] {
        let index = Index::new();
        for number in 0..others {
            index.announce(&keys(0..1), &spec(100 + number, b"", &[TCP]), 1).unwrap();
        }
        let lasting = GroupSpec { expires_at_ms: Some(100), ..spec(1, b"", &[TCP]) };
        let brief = GroupSpec { expires_at_ms: Some(50), ..spec(1, b"", &[QUIC]) };
        index.announce(&keys(0..1), &lasting, 10).unwrap();
        let announced = index.announce(&keys(0..1), &brief, 20).unwrap();
        assert_eq!(announced, Announced { added: 0, refreshed: 1 });
        let served = |now_ms| {
            let answer = index.all(&key(0), now_ms);
            assert_eq!(peers_of(&answer).len(), answer.records.len());
            let mut records = answer.records.iter().map(|(record, _)| record.clone());
            records.find(|record| record.peer() == Some(&peer(1)))
        };
        assert_eq!(served(20).unwrap().json(), brief.record.json());
        assert_eq!(served(49).unwrap().json(), brief.record.json());
        assert_eq!(served(50).unwrap().json(), lasting.record.json());
        assert!(index.all(&key(0), 60).modified_at_ms >= Some(50));
        index.sweep_all(60);
        assert_eq!(served(60).unwrap().json(), lasting.record.json());
        assert!(served(100).is_none());
        assert_eq!(index.take_ended(), [0; 0], "what expires is not reported");
    }
}

#[test]
fn a_group_ends_with_the_last_key_that_a_newer_one_takes() {
    let index = Index::new();
    index.announce(&keys(0..3), &spec(1, b"", &[TCP]), 1).unwrap();
    index.announce(&keys(0..2), &spec(1, b"", &[QUIC]), 2).unwrap();
    assert_eq!(index.take_ended(), [0; 0]);
    index.announce(&keys(2..3), &spec(1, b"", &[QUIC]), 3).unwrap();
    assert_eq!(index.take_ended(), [1]);
    assert_eq!((index.stats().groups, index.stats().providers), (1, 1));
    // A group that was made and never placed ends, too.
    index.intern(&spec(2, b"", &[]), 1).unwrap().release();
    assert_eq!(index.take_ended(), [3]);
}

#[test]
fn serials_that_are_reserved_are_not_given_out() {
    let index = Index::new();
    index.reserve_serials(500);
    index.reserve_serials(7);
    assert_eq!(index.intern(&spec(1, b"", &[]), 1).unwrap().serial, 500);
    let restore = index.restore(1);
    restore.group(&spec(2, b"", &[]), 900, 0).unwrap();
    restore.finish().unwrap();
    assert_eq!(index.intern(&spec(3, b"", &[]), 1).unwrap().serial, 901);
}
