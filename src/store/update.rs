//! What updates come to: which addresses are the newest, which groups the keys go to, and what a
//! journal has to know. The one write path of the stores in this process.
//!
//! A plan changes nothing that lookups see; dropped, it leaves nothing behind. It has all the room that it
//! needs, so that what a journal has of it is not refused afterwards. Between computing and
//! committing it, nobody else may change the same provider's addresses or records: the stores see to
//! that.
//!
//! Announcements of one lineage take effect in their order, though all of a plan is written at once: a
//! key that a newer group of the plan answers for gets a fresh group of the same specification, as one
//! does that a newer group of the index answers for (`index/announce.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Announcement, Applied, ProviderStatement, Update};
use crate::clock::UnixMs;
use crate::index::{GroupSpec, Index, IndexError, Interned, ReservedSets, Statement};
use crate::invariant;
use crate::journal::StrangersWrite;
use crate::types::{ADDRS_MAX, Addr, AnswerSchema, ContentKey, Origin, PeerId, ReadyRecord};

/// Keys that are to point at a group.
pub(super) struct Placement {
    pub(super) group: Interned,
    pub(super) keys: Vec<ContentKey>,
    /// The record as it was announced.
    pub(super) announced_json: String,
}

/// What some updates come to.
#[derive(Default)]
pub(super) struct UpdatePlan {
    pub(super) placements: Vec<Placement>,
    pub(super) statements: Vec<(PeerId, Statement)>,
    known: u64,
    /// Whether strangers announce keys that they have not announced yet.
    has_new_of_strangers: bool,
    _room: Option<ReservedSets>,
}

/// What a plan is computed with.
pub(super) struct PlanInput<'a> {
    pub(super) index: &'a Index,
    pub(super) schema: AnswerSchema,
    pub(super) now_ms: UnixMs,
    /// Providers that begin anew: as soon as they have groups, nothing is known of what they said.
    pub(super) anew: &'a [(PeerId, Statement)],
}

/// The newest that a provider said.
struct NewestStatement {
    stated_at_ms: UnixMs,
    addrs: Arc<[Addr]>,
    /// What was in force before, if this is news.
    before: Option<Arc<[Addr]>>,
    is_news: bool,
}

/// What makes announcements replace each other: the record but for its addresses, the context, and
/// whether it is the operator's.
type LineageId = ([u8; 16], Arc<[u8]>, bool);

/// What of a lineage is planned.
#[derive(Default)]
struct PlannedLineage {
    newest: u64,
    /// The newest serial on each key: worked out when an older group of the lineage comes again.
    by_key: Option<HashMap<ContentKey, u64>>,
}

struct Planner<'a> {
    planning: PlanInput<'a>,
    newest: HashMap<PeerId, NewestStatement>,
    lineages: HashMap<LineageId, PlannedLineage>,
    plan: UpdatePlan,
}

/// Evicts what strangers hold, if the operator's announcements need room. Takes long if there is none.
pub(super) fn make_room(index: &Index, updates: &[Update], now_ms: UnixMs) {
    if updates.iter().any(|update| update.origin.is_operator()) {
        index.make_room(now_ms);
    }
}

impl UpdatePlan {
    /// Plans what updates change. Their groups are interned, and not visible to lookups yet.
    pub(super) fn compute(
        planning: PlanInput<'_>,
        updates: Vec<Update>,
    ) -> Result<Self, IndexError> {
        let mut planner = Planner {
            planning,
            newest: HashMap::new(),
            lineages: HashMap::new(),
            plan: Self::default(),
        };
        for statement in updates.iter().filter_map(|update| update.statement.as_ref()) {
            planner.observe(statement);
        }
        for Update { statement, origin, announcements } in updates {
            let provider = statement.map(|statement| statement.provider);
            let origin = planner.origin_of(provider.as_ref(), origin);
            for announcement in announcements {
                planner.add(provider.as_ref(), origin, announcement)?;
            }
        }
        planner.finish()
    }

    /// Whether everything is known already.
    pub(super) fn is_empty(&self) -> bool {
        self.placements.is_empty() && self.statements.is_empty()
    }

    /// What of it strangers would write.
    pub(super) fn strangers_write(&self) -> Option<StrangersWrite> {
        // Only who announces itself makes statements.
        let is_strangers = |placement: &Placement| !placement.group.origin().is_operator();
        if self.has_new_of_strangers {
            Some(StrangersWrite::New)
        } else if !self.statements.is_empty() || self.placements.iter().any(is_strangers) {
            Some(StrangersWrite::Refresh)
        } else {
            None
        }
    }

    /// Lets lookups see it.
    pub(super) fn commit(self, index: &Index, now_ms: UnixMs) -> Result<Applied, IndexError> {
        let (mut taken_in, mut added) = (self.known, 0);
        for (peer, statement) in self.statements {
            index.restate(&peer, statement, now_ms);
        }
        for Placement { group, keys, .. } in &self.placements {
            let linked = index.link_all(group, keys, now_ms);
            invariant::holds(linked.is_ok(), "a plan has the room that it needs");
            let announced = linked?;
            taken_in += announced.added + announced.refreshed;
            added += announced.added;
        }
        Ok(Applied { taken_in, added: Some(added) })
    }
}

impl Planner<'_> {
    fn observe(&mut self, statement: &ProviderStatement) {
        let (index, provider) = (self.planning.index, &statement.provider);
        let known = self.newest.entry(provider.clone()).or_insert_with(|| {
            let known = index.statement(provider);
            NewestStatement {
                stated_at_ms: known.as_ref().map_or(0, |known| known.stated_at_ms),
                addrs: known.as_ref().map(|known| known.addrs.clone()).unwrap_or_default(),
                before: known.map(|known| known.addrs),
                is_news: false,
            }
        });
        let is_first = !known.is_news && known.before.is_none();
        if is_first || statement.stated_at_ms > known.stated_at_ms {
            known.stated_at_ms = statement.stated_at_ms;
            known.addrs = statement.addrs.iter().take(ADDRS_MAX).cloned().collect();
            known.is_news = true;
        }
    }

    /// Where announcements count as coming from. Whoever sends an old one again, and that may be
    /// anybody, does not move its provider.
    fn origin_of(&self, provider: Option<&PeerId>, origin: Origin) -> Origin {
        let Some(provider) = provider else { return origin };
        let is_news = self.newest.get(provider).is_some_and(|newest| newest.is_news);
        let known = || self.planning.index.origin_of(provider).unwrap_or(origin);
        if is_news || origin.is_operator() { origin } else { known() }
    }

    fn add(
        &mut self,
        provider: Option<&PeerId>,
        origin: Origin,
        announcement: Announcement,
    ) -> Result<(), IndexError> {
        let PlanInput { index, schema, now_ms, .. } = self.planning;
        let Announcement { keys, record, context, expires_at_ms } = announcement;
        if keys.is_empty() || expires_at_ms.is_some_and(|expires_at| expires_at <= now_ms) {
            return Ok(());
        }
        let peer = record.peer().cloned();
        let newest = provider.filter(|_| peer.as_ref() == provider);
        let newest = newest.and_then(|provider| self.newest.get(provider));
        let before = newest.filter(|newest| newest.is_news).and_then(|it| it.before.as_ref());
        let record_before = before.map(|addrs| record.clone().with_addrs(addrs));
        let record = match newest {
            Some(newest) => record.with_addrs(&newest.addrs),
            None => record,
        };
        let announced_json = record.to_json();
        let context: Arc<[u8]> = context.as_bytes().into();
        let spec = |record| {
            let record = Arc::new(ReadyRecord::new(record, schema));
            GroupSpec { record, context: context.clone(), expires_at_ms, origin }
        };
        let (before, spec) = (record_before.map(spec), spec(record));
        // Groups that will have the new addresses are found by the old ones.
        let found = index.find_group(&spec);
        let found = found.or_else(|| index.find_group(before.as_ref()?));
        let group = found.map_or_else(|| index.intern(&spec, now_ms), Ok)?;
        self.begin_anew(peer.as_ref());
        let (mut superseded, keys) = self.split_superseded(&group, keys);
        let mut placing = index.plan(&group, keys, now_ms)?;
        self.plan.known += placing.known;
        self.plan.has_new_of_strangers |= placing.new > 0 && !group.origin().is_operator();
        self.place(group, placing.to_link, &announced_json);
        superseded.append(&mut placing.superseded);
        if !superseded.is_empty() {
            let anew = index.intern_anew(&spec, now_ms)?;
            self.place(anew, superseded, &announced_json);
        }
        Ok(())
    }

    /// A provider that has a group again starts with nothing said.
    fn begin_anew(&self, peer: Option<&PeerId>) {
        let PlanInput { index, now_ms, anew, .. } = self.planning;
        if let Some((peer, nothing)) = anew.iter().find(|(of, _)| Some(of) == peer) {
            index.restate(peer, nothing.clone(), now_ms);
        }
    }

    /// The keys on which a newer group of the lineage is planned, and the others.
    fn split_superseded(
        &mut self,
        group: &Interned,
        keys: Vec<ContentKey>,
    ) -> (Vec<ContentKey>, Vec<ContentKey>) {
        let planned = self.lineages.get_mut(&group.lineage());
        let Some(planned) = planned.filter(|planned| planned.newest > group.serial) else {
            return (Vec::new(), keys);
        };
        let placements = &self.plan.placements;
        let newest_on = planned.by_key.get_or_insert_with(|| {
            let mut newest_on = HashMap::new();
            for placement in placements.iter().filter(|it| it.group.is_of_lineage_of(group)) {
                note_newest(&mut newest_on, placement.group.serial, &placement.keys);
            }
            newest_on
        });
        let is_newer = |newest: &u64| *newest > group.serial;
        keys.into_iter().partition(|key| newest_on.get(key).is_some_and(is_newer))
    }

    fn place(&mut self, group: Interned, keys: Vec<ContentKey>, announced_json: &str) {
        if keys.is_empty() {
            return;
        }
        let planned = self.lineages.entry(group.lineage()).or_default();
        planned.newest = planned.newest.max(group.serial);
        if let Some(newest_on) = &mut planned.by_key {
            note_newest(newest_on, group.serial, &keys);
        }
        let announced_json = announced_json.to_owned();
        self.plan.placements.push(Placement { group, keys, announced_json });
    }

    /// Draws the stamps, now that all groups are there that the statements count for, and reserves room.
    fn finish(mut self) -> Result<UpdatePlan, IndexError> {
        let index = self.planning.index;
        for (peer, newest) in self.newest {
            // A provider of whom nothing is there has nothing to be reached for.
            if !newest.is_news || !index.has_provider(&peer) {
                continue;
            }
            let NewestStatement { stated_at_ms, addrs, .. } = newest;
            let statement = Statement { stamp: index.stamp(), stated_at_ms, addrs };
            self.plan.statements.push((peer, statement));
        }
        let keys: usize = self.plan.placements.iter().map(|placement| placement.keys.len()).sum();
        if keys > 0 {
            self.plan._room = Some(index.reserve(keys as u64)?);
        }
        Ok(self.plan)
    }
}

fn note_newest(newest_on: &mut HashMap<ContentKey, u64>, serial: u64, keys: &[ContentKey]) {
    for key in keys {
        let newest = newest_on.entry(key.clone()).or_default();
        *newest = serial.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ContextId;
    use crate::types::{Limit, ProviderRecord, UnparsableAddrs};

    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

    /// The announcement of some of many keys under a context.
    fn update(context: &[u8], keys: std::ops::Range<u8>) -> Vec<Update> {
        let key = |number| {
            let multihash = [&[0x12, 0x20][..], &[number; 32]].concat();
            ContentKey::from_multihash(&multihash).unwrap()
        };
        let json = format!(r#"{{"Schema":"peer","ID":"{PEER}"}}"#);
        let announcement = Announcement {
            keys: keys.map(key).collect(),
            record: ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record,
            context: ContextId::new(context).unwrap(),
            expires_at_ms: None,
        };
        let announcements = vec![announcement];
        vec![Update { statement: None, origin: Origin::OPERATOR, announcements }]
    }

    #[test]
    fn a_plan_for_which_there_is_no_room_is_refused_before_a_journal_has_it() {
        let index = Index::with_ids_max(64);
        let plan = |context: &[u8], keys| {
            let schema = AnswerSchema::Announced;
            let planning = PlanInput { index: &index, schema, now_ms: 1, anew: &[] };
            UpdatePlan::compute(planning, update(context, keys))
        };
        let first = plan(b"a", 0..30).unwrap();
        let full = Some(IndexError::Full { limit: Limit::GroupSets });
        assert_eq!(plan(b"b", 0..30).err(), full, "the first may need as many");
        assert_eq!(index.stats().keys, 0);
        assert_eq!(first.commit(&index, 1).unwrap().added, Some(30));
        // What it did not need is free again.
        assert_eq!(plan(b"b", 0..30).unwrap().commit(&index, 1).unwrap().added, Some(30));
        drop(plan(b"c", 0..30).unwrap());
        assert!(plan(b"c", 0..30).is_ok());
    }
}
