//! Any sequence of appends, ends, supersessions, compactions, expiries and starts leaves what a simple
//! model says.

use std::sync::Arc;

use proptest::prelude::*;

use super::disk::MemoryDisk;
use super::*;
use crate::journal::compaction::Uses;

#[derive(Clone, Debug)]
enum JournalStep {
    Append { lane: usize, from: u64, count: u64 },
    End { lane: usize },
    Supersede { lane: usize, from: u64, count: u64 },
    Change { make: fn(u64, u64) -> Change, provider: u64 },
    Unneed { provider: u64 },
    Compact,
    Open { is_closed: bool },
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = JournalStep> {
    prop_oneof![
        6 => (0..6_usize, 0..300_u64, 0..60_u64)
            .prop_map(|(lane, from, count)| JournalStep::Append { lane, from, count }),
        2 => (0..6_usize).prop_map(|lane| JournalStep::End { lane }),
        1 => (0..6_usize, 0..300_u64, 0..200_u64)
            .prop_map(|(lane, from, count)| JournalStep::Supersede { lane, from, count }),
        2 => (0..4_u64).prop_map(|provider| JournalStep::Change { make: stated, provider }),
        1 => (0..3_u64).prop_map(|provider| JournalStep::Change { make: recorded, provider }),
        1 => (0..3_u64).prop_map(|provider| JournalStep::Change { make: hidden, provider }),
        1 => (0..3_u64).prop_map(|provider| JournalStep::Change { make: accompanied, provider }),
        1 => (0..4_u64).prop_map(|provider| JournalStep::Unneed { provider }),
        3 => Just(JournalStep::Compact),
        1 => any::<bool>().prop_map(|is_closed| JournalStep::Open { is_closed }),
        1 => (0..200_u64).prop_map(|ms| JournalStep::Pass { ms }),
    ]
}

/// Lanes 4 and 5 expire.
fn lane_group(serial: u64, lane: usize, now_ms: u64) -> Arc<GroupDefinition> {
    let mut definition = (*group(serial)).clone();
    definition.expires_at_ms = (lane >= 4).then_some(now_ms + 150);
    Arc::new(definition)
}

struct JournalModel {
    disk: MemoryDisk,
    clock: ManualClock,
    opened: Option<Opened>,
    lanes: Vec<Arc<GroupDefinition>>,
    next_serial: u64,
    held: HeldKeys,
    superseded: HeldKeys,
    expiries: Vec<(u64, u64)>,
    changes: BTreeMap<ChangeKey, Change>,
    /// Stamps that count for no group.
    unneeded: BTreeSet<u64>,
}

impl JournalModel {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let clock = ManualClock::new(1_000);
        let lanes = (0..6).map(|lane| lane_group(lane as u64 + 1, lane, 1_000)).collect();
        let (held, superseded) = (HeldKeys::new(), HeldKeys::new());
        let mut model = Self {
            disk,
            clock,
            opened: None,
            lanes,
            next_serial: 7,
            held,
            superseded,
            expiries: Vec::new(),
            changes: BTreeMap::new(),
            unneeded: BTreeSet::new(),
        };
        model.open();
        model
    }

    fn now_ms(&self) -> u64 {
        Clock::Manual(self.clock.clone()).now_ms()
    }

    fn open(&mut self) {
        let mut options = options_on(&self.disk);
        options.clock = Clock::Manual(self.clock.clone());
        self.opened = Some(Journal::open(options).unwrap());
    }

    fn journal(&self) -> &Journal {
        &self.opened.as_ref().unwrap().journal
    }

    fn renew(&mut self, lane: usize) {
        self.lanes[lane] = lane_group(self.next_serial, lane, self.now_ms());
        self.next_serial += 1;
    }

    fn change(&mut self, make: fn(u64, u64) -> Change, provider: u64) {
        let change = make(self.next_serial, provider);
        self.next_serial += 1;
        append(self.journal(), vec![JournalEntry::Change(change.clone())]).unwrap();
        self.changes.insert(change.key(), change);
    }

    fn unneed(&mut self, provider: u64) {
        let keys = [stated(0, provider).key(), recorded(0, provider).key()];
        let stamps = keys.iter().filter_map(|key| self.changes.get(key).map(Change::stamp));
        self.unneeded.extend(stamps);
    }

    fn check_changes(&self, opened: &Opened) {
        let found = changes(opened);
        let snapshot = opened.journal.snapshot();
        for (key, newest) in &self.changes {
            let found = found.get(key);
            if self.unneeded.contains(&newest.stamp()) {
                assert!(found.is_none_or(|found| found.stamp() <= newest.stamp()), "made up");
                continue;
            }
            assert_eq!(found, Some(newest));
            let read = match newest {
                Change::Addrs(it) => snapshot.addrs_of(&it.provider).unwrap().map(Change::Addrs),
                Change::Record(it) => {
                    let record = snapshot.record_of(&it.provider, &it.context);
                    record.unwrap().map(Change::Record)
                }
                // Nothing reads these from a snapshot.
                Change::Visibility(_) | Change::Companions(_) => Some(newest.clone()),
            };
            assert_eq!(read.as_ref(), Some(newest));
        }
        assert!(found.keys().all(|key| self.changes.contains_key(key)));
    }

    fn take(&mut self, step: &JournalStep) {
        match *step {
            JournalStep::Append { lane, from, count } => {
                let group = Arc::clone(&self.lanes[lane]);
                if let Some(at_ms) = group.expires_at_ms {
                    self.expiries.push((at_ms, group.serial));
                }
                self.held.extend(expected((from..from + count).map(|it| (group.serial, it))));
                for it in expected((from..from + count).map(|it| (group.serial, it))) {
                    self.superseded.remove(&it);
                }
                append(
                    self.journal(),
                    vec![JournalEntry::Keys { group, keys: keys(from..from + count) }],
                )
                .unwrap();
            }
            JournalStep::End { lane } => {
                let serial = self.lanes[lane].serial;
                append(self.journal(), vec![JournalEntry::End { serial }]).unwrap();
                self.held.retain(|(held, _)| *held != serial);
                self.renew(lane);
            }
            JournalStep::Supersede { lane, from, count } => {
                let serial = self.lanes[lane].serial;
                let gone = expected((from..from + count).map(|it| (serial, it)));
                self.superseded.extend(gone.intersection(&self.held).cloned());
            }
            JournalStep::Change { make, provider } => self.change(make, provider),
            JournalStep::Unneed { provider } => self.unneed(provider),
            JournalStep::Compact => {
                let unneeded = self.unneeded.clone();
                let is_needed = move |stamp: u64| !unneeded.contains(&stamp);
                let superseded = self.superseded.clone();
                let is_held = move |serial: u64, multihash: &[u8]| {
                    !superseded.contains(&(serial, multihash.to_vec()))
                };
                let uses = Uses { is_held: &is_held, is_needed: &is_needed };
                self.journal().compact_once_with(uses).unwrap();
            }
            JournalStep::Open { is_closed } => {
                let before = self.journal().stats();
                let opened = self.opened.take().unwrap();
                if is_closed {
                    opened.journal.close().unwrap();
                } else {
                    let operations = self.disk.operations();
                    drop(opened);
                    self.disk = self.disk.image(operations, super::disk::Crash::KeepSynced);
                }
                self.open();
                self.check(&before);
            }
            JournalStep::Pass { ms } => {
                self.clock.advance(ms);
                let now_ms = self.now_ms();
                let expired: BTreeSet<u64> = self
                    .expiries
                    .iter()
                    .filter(|(at, _)| *at <= now_ms)
                    .map(|(_, it)| *it)
                    .collect();
                self.held.retain(|(serial, _)| !expired.contains(serial));
                for lane in 4..6 {
                    if self.lanes[lane].expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                        self.renew(lane);
                    }
                }
            }
        }
    }

    fn check(&self, before: &crate::journal::JournalStats) {
        let opened = self.opened.as_ref().unwrap();
        let found = held(opened);
        let must: HeldKeys = self.held.difference(&self.superseded).cloned().collect();
        assert_eq!(must.difference(&found).next(), None, "lost");
        assert_eq!(found.difference(&self.held).next(), None, "revived");
        let after = opened.journal.stats();
        assert_eq!((after.groups, after.entries), (before.groups, before.entries));
        assert!(opened.next_serial() <= self.next_serial);
        self.check_changes(opened);
        let snapshot = Mutex::new(HeldKeys::new());
        opened
            .journal
            .snapshot()
            .visit(|group, keys| {
                assert!(
                    self.lanes.iter().any(|lane| lane.serial == group.serial)
                        || group.serial < self.next_serial
                );
                snapshot.lock().extend(keys.iter().map(|it| (group.serial, it.to_vec())));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(snapshot.into_inner(), found);
    }

    /// Compacts until there is nothing to do.
    fn compact_all(&mut self) {
        while self.journal().compact_once(&|_, _| true).unwrap() {}
        let stats = self.journal().stats();
        assert!(stats.garbage_bytes * 100 <= stats.bytes * 25, "{stats:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_journal_holds_what_its_model_holds(steps in proptest::collection::vec(step(), 1..80)) {
        let mut model = JournalModel::new();
        for step in &steps {
            model.take(step);
        }
        model.take(&JournalStep::Open { is_closed: true });
        model.compact_all();
        model.take(&JournalStep::Open { is_closed: false });
    }
}
