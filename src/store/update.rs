//! What updates come to: which addresses are the newest, which groups the keys go to, and what a
//! journal has to know. The one write path of the stores in this process.
//!
//! A plan changes nothing that lookups see; dropped, it leaves nothing behind. Between computing and
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
use crate::index::{GroupSpec, Index, IndexError, Interned, Statement};
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
        Ok(planner.finish())
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
            let announced = index.link_all(group, keys, now_ms)?;
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

    /// Draws the stamps, now that all groups are there that the statements count for.
    fn finish(mut self) -> UpdatePlan {
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
        self.plan
    }
}

fn note_newest(newest_on: &mut HashMap<ContentKey, u64>, serial: u64, keys: &[ContentKey]) {
    for key in keys {
        let newest = newest_on.entry(key.clone()).or_default();
        *newest = serial.max(*newest);
    }
}
