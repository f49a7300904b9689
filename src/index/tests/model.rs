//! The index against a naive model: a list of what was announced for each key.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::types::Addr;

const KEYS: u32 = 6;
const ADDRS: [&[&str]; 4] = [&[], &[TCP], &[QUIC], &[TCP, QUIC]];
const FILTERS: [&str; 4] = ["", "filter-addrs=tcp", "filter-addrs=unknown", "transport=quic-v1"];

#[derive(Clone, Debug)]
enum ModelStep {
    Announce {
        keys: Vec<u32>,
        peer: u32,
        context: u8,
        addrs: usize,
        ttl_ms: Option<u64>,
    },
    RemoveContext {
        peer: u32,
        context: u8,
    },
    RemovePeer {
        peer: u32,
    },
    /// The provider's addresses from now on.
    State {
        peer: u32,
        addrs: usize,
    },
    /// Another record for a context, with or without a further field.
    SetRecord {
        peer: u32,
        context: u8,
        has_field: bool,
        addrs: usize,
    },
    Peer {
        peer: u32,
    },
    Advance {
        ms: u64,
    },
    Sweep,
    Find {
        key: u32,
        filter: usize,
        cap: usize,
    },
}

/// What passes of each provider's records: the one with a further field, and the one without.
type Visible = BTreeMap<(PeerId, bool), BTreeSet<&'static str>>;

struct ModelGroup {
    peer: u32,
    context: u8,
    addrs: usize,
    has_field: bool,
    expires_at_ms: UnixMs,
}

#[derive(Default)]
struct IndexModel {
    now_ms: UnixMs,
    held: HashMap<u32, Vec<ModelGroup>>,
    seen: HashMap<u32, Visible>,
    changed_at_ms: HashMap<u32, UnixMs>,
}

fn any_step() -> impl Strategy<Value = ModelStep> {
    let (peers, contexts) = (0u32..40, 0u8..3);
    prop_oneof![
        12 => (
            prop::collection::vec(0..KEYS, 1..4), peers.clone(), contexts.clone(),
            0..ADDRS.len(), prop::option::of(1u64..60),
        ).prop_map(|(keys, peer, context, addrs, ttl_ms)| {
            ModelStep::Announce { keys, peer, context, addrs, ttl_ms }
        }),
        1 => (peers.clone(), contexts).prop_map(|(peer, context)| ModelStep::RemoveContext { peer, context }),
        2 => peers.clone().prop_map(|peer| ModelStep::RemovePeer { peer }),
        4 => (peers.clone(), 0..ADDRS.len())
            .prop_map(|(peer, addrs)| ModelStep::State { peer, addrs }),
        2 => (peers.clone(), 0u8..3, any::<bool>(), 0..ADDRS.len()).prop_map(
            |(peer, context, has_field, addrs)| {
                ModelStep::SetRecord { peer, context, has_field, addrs }
            },
        ),
        2 => peers.prop_map(|peer| ModelStep::Peer { peer }),
        2 => (0u64..30).prop_map(|ms| ModelStep::Advance { ms }),
        1 => Just(ModelStep::Sweep),
        6 => (0..KEYS, 0..FILTERS.len(), 0usize..12)
            .prop_map(|(key, filter, cap)| ModelStep::Find { key, filter, cap }),
    ]
}

impl IndexModel {
    fn visible(&self, key: u32, filter: usize) -> Visible {
        let mut visible = Visible::new();
        let mut newest = BTreeMap::new();
        // In the order of announcements: the last of a lineage that lives is the one that counts.
        let held = self.held.get(&key).into_iter().flatten();
        for held in held.filter(|held| held.expires_at_ms > self.now_ms) {
            newest.insert((held.peer, held.context), (held.has_field, held.addrs));
        }
        for ((number, _), (has_field, addrs)) in newest {
            visible.entry((peer(number), has_field)).or_default().extend(ADDRS[addrs]);
        }
        visible.retain(|_, addrs| {
            let had_addrs = !addrs.is_empty();
            match filter {
                1 => addrs.retain(|addr| *addr == TCP),
                3 => addrs.retain(|addr| *addr == QUIC),
                _ => {}
            }
            match filter {
                0 => true,
                2 => !had_addrs,
                _ => !addrs.is_empty(),
            }
        });
        visible
    }

    fn note_changes(&mut self) {
        for key in 0..KEYS {
            let visible = self.visible(key, 0);
            if self.seen.get(&key) != Some(&visible) {
                self.seen.insert(key, visible);
                self.changed_at_ms.insert(key, self.now_ms);
            }
        }
    }

    fn announce(&mut self, key: u32, new: ModelGroup) -> bool {
        let now_ms = self.now_ms;
        let held = self.held.entry(key).or_default();
        held.retain(|held| held.expires_at_ms > now_ms);
        let is_same = |held: &ModelGroup| (held.peer, held.context) == (new.peer, new.context);
        let was_there = held.iter().any(is_same);
        held.retain(|held| !is_same(held) || held.expires_at_ms > new.expires_at_ms);
        held.push(new);
        was_there
    }

    /// Removes from the model; returns how many specifications that were.
    fn remove(&mut self, gone: impl Fn(&ModelGroup) -> bool) -> u64 {
        let mut groups = BTreeSet::new();
        for held in self.held.values_mut() {
            held.retain(|held| {
                if gone(held) && held.expires_at_ms > self.now_ms {
                    groups.insert((held.peer, held.context, held.addrs, held.expires_at_ms));
                }
                !gone(held)
            });
        }
        groups.len() as u64
    }

    fn run(&mut self, index: &Index, step: &ModelStep) {
        match step {
            ModelStep::Announce { keys, peer, context, addrs, ttl_ms } => {
                let expires_at_ms = ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms);
                let mut expected = Announced::default();
                for key in keys {
                    let expires_at_ms = expires_at_ms.unwrap_or(UnixMs::MAX);
                    let held = ModelGroup {
                        peer: *peer,
                        context: *context,
                        addrs: *addrs,
                        has_field: false,
                        expires_at_ms,
                    };
                    match self.announce(*key, held) {
                        true => expected.refreshed += 1,
                        false => expected.added += 1,
                    }
                }
                let keys: Vec<_> = keys.iter().map(|number| key(*number)).collect();
                let spec = GroupSpec { expires_at_ms, ..spec(*peer, &[*context], ADDRS[*addrs]) };
                assert_eq!(index.announce(&keys, &spec, self.now_ms), Ok(expected));
            }
            ModelStep::RemoveContext { peer: number, context } => {
                let removed = index.remove(&peer(*number), Some(&[*context]), self.now_ms);
                let gone = self.remove(|held| (held.peer, held.context) == (*number, *context));
                check_removed(&removed, gone);
            }
            ModelStep::RemovePeer { peer: number } => {
                let removed = index.remove(&peer(*number), None, self.now_ms);
                check_removed(&removed, self.remove(|held| held.peer == *number));
            }
            ModelStep::State { peer: number, addrs } => {
                let texts = ADDRS[*addrs].iter().map(|addr| Addr::parse(addr).unwrap());
                let statement =
                    Statement { stamp: index.stamp(), stated_at_ms: 0, addrs: texts.collect() };
                index.restate(&peer(*number), statement, self.now_ms);
                let all = self.held.values_mut().flatten();
                all.filter(|held| held.peer == *number).for_each(|held| held.addrs = *addrs);
            }
            ModelStep::SetRecord { peer: number, context, has_field, addrs } => {
                let record = record_with(*number, *has_field, ADDRS[*addrs]);
                index.set_record(&Arc::from([*context]), index.stamp(), &record, self.now_ms);
                let all = self.held.values_mut().flatten();
                for held in all.filter(|it| (it.peer, it.context) == (*number, *context)) {
                    held.has_field = *has_field;
                    held.addrs = *addrs;
                }
            }
            ModelStep::Peer { peer: number } => self.check_peer(index, *number),
            ModelStep::Advance { ms } => {
                for _ in 0..*ms {
                    self.now_ms += 1;
                    self.note_changes();
                }
            }
            ModelStep::Sweep => {
                index.sweep(self.now_ms);
            }
            ModelStep::Find { key, filter, cap } => self.check(index, *key, *filter, *cap),
        }
        self.note_changes();
    }

    fn check_peer(&self, index: &Index, number: u32) {
        let live = self.held.values().flatten().filter(|it| it.expires_at_ms > self.now_ms);
        let live: Vec<_> = live.filter(|held| held.peer == number).collect();
        let addrs: BTreeSet<_> = live.iter().flat_map(|held| ADDRS[held.addrs]).copied().collect();
        let answer = index.peer(&peer(number), &Filter::default(), self.now_ms);
        assert_eq!(answer.records.is_empty(), live.is_empty());
        let Some((record, _)) = answer.records.first() else { return };
        let value: serde_json::Value = serde_json::from_str(record.json()).unwrap();
        let found = value["Addrs"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        assert_eq!(found.collect::<BTreeSet<_>>(), addrs);
    }

    fn check(&self, index: &Index, number: u32, filter: usize, records_max: usize) {
        let expected = self.visible(number, filter);
        let query = Filter::from_query(FILTERS[filter]).unwrap();
        let answer = index.find(&key(number), &query, cap(records_max), self.now_ms);
        let found = visible_of(&answer);
        if records_max == 0 || expected.len() <= records_max {
            assert_eq!(found, expected);
            let again = index.find(&key(number), &query, cap(records_max), self.now_ms);
            assert_eq!(in_order(&again), in_order(&answer), "the order changed");
        } else {
            assert_eq!(found.len(), records_max);
            assert!(found.iter().all(|(peer, addrs)| expected.get(peer) == Some(addrs)));
            let mut seen: BTreeSet<_> = found.into_keys().collect();
            // Where a provider has two records since one changed, they may get in each other's way.
            let is_mixed = |(peer, has_field): &(PeerId, bool)| {
                *has_field && expected.contains_key(&(peer.clone(), false))
            };
            let is_exact = !expected.keys().any(is_mixed);
            let turns = expected.len().div_ceil(records_max) * if is_exact { 1 } else { 40 };
            for _ in 1..turns {
                let next = index.find(&key(number), &query, cap(records_max), self.now_ms);
                seen.extend(visible_of(&next).into_keys());
            }
            assert_eq!(seen, expected.keys().cloned().collect(), "someone had no turn");
        }
        match answer.modified_at_ms {
            None => assert!(expected.is_empty()),
            Some(at_ms) => assert!(at_ms >= self.changed_at_ms[&number], "changed after {at_ms}"),
        }
    }
}

/// There may be several groups of one specification.
fn check_removed(serials: &[u64], specifications: u64) {
    let distinct: BTreeSet<_> = serials.iter().collect();
    assert_eq!(distinct.len(), serials.len(), "a serial twice");
    assert!(serials.len() as u64 >= specifications);
    assert_eq!(serials.is_empty(), specifications == 0);
}

/// A record that a further field tells from the announced ones.
fn record_with(of: u32, has_field: bool, addrs: &[&str]) -> Arc<ReadyRecord> {
    let end = if has_field { r#","x":1}"# } else { "}" };
    let json = record(of, addrs).json().replace("}", end);
    let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap();
    Arc::new(ReadyRecord::new(parsed.record, AnswerSchema::Announced))
}

fn visible_of(answer: &Found) -> Visible {
    let count = answer.records.len();
    let records = answer.records.iter().map(|(record, selection)| {
        let mut json = Vec::new();
        record.write_to(selection, &mut json);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let addrs = value["Addrs"].as_array().unwrap();
        assert!(addrs.len() <= 2);
        let known = |addr: &serde_json::Value| [TCP, QUIC].into_iter().find(|known| addr == known);
        let of = (record.peer().unwrap().clone(), !value["x"].is_null());
        (of, addrs.iter().map(|addr| known(addr).unwrap()).collect())
    });
    let visible: Visible = records.collect();
    assert_eq!(visible.len(), count, "a record twice");
    visible
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_index_answers_as_the_model_does(steps in prop::collection::vec(any_step(), 1..300)) {
        let index = Index::new();
        let mut model = IndexModel { now_ms: 1_000, ..IndexModel::default() };
        model.note_changes();
        for step in &steps {
            model.run(&index, step);
        }
        for key in 0..KEYS {
            for filter in 0..FILTERS.len() {
                model.check(&index, key, filter, 5);
                model.check(&index, key, filter, 0);
            }
        }
        index.sweep_all(model.now_ms);
        let held = model.held.values().flatten().filter(|held| held.expires_at_ms > model.now_ms);
        let entries = held.count() as u64;
        // Groups that expired and are not referred to are freed by the next sweep.
        prop_assert_eq!(index.stats().entries, entries);
        for number in 0..40 {
            index.remove(&peer(number), None, model.now_ms);
        }
        index.sweep_all(model.now_ms);
        let stats = index.stats();
        prop_assert_eq!((stats.entries, stats.keys, stats.groups), (0, 0, 0));
        prop_assert_eq!(index.sets.len(), 0);
    }
}
