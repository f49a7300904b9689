//! What statements of providers come to: which addresses are the newest, which groups the keys go to,
//! and what a journal has to know.
//!
//! A plan changes nothing that lookups see; dropped, it leaves nothing behind. Between planning and
//! settling, nobody else may change the same provider's addresses or records: the stores see to that.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Announcement, Applied, ProviderUpdate};
use crate::clock::UnixMs;
use crate::index::{GroupSpec, Index, IndexError, Interned, Statement};
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
pub(super) struct Plan {
    pub(super) placements: Vec<Placement>,
    pub(super) statements: Vec<(PeerId, Statement)>,
    known: u64,
}

/// The newest that a provider said.
struct Newest {
    stated_at_ms: UnixMs,
    addrs: Arc<[Addr]>,
    /// What was in force before, if this is news.
    before: Option<Arc<[Addr]>>,
    is_news: bool,
}

struct Planner<'a> {
    index: &'a Index,
    schema: AnswerSchema,
    now_ms: UnixMs,
    newest: HashMap<PeerId, Newest>,
    plan: Plan,
}

impl Plan {
    /// Finds out what updates change. Their groups are interned, and seen by nobody.
    pub(super) fn draw(
        index: &Index,
        schema: AnswerSchema,
        updates: Vec<ProviderUpdate>,
        now_ms: UnixMs,
    ) -> Result<Self, IndexError> {
        let (newest, plan) = (HashMap::new(), Self::default());
        let mut planner = Planner { index, schema, now_ms, newest, plan };
        for update in &updates {
            planner.hear(update);
        }
        for ProviderUpdate { provider, origin, announcements, .. } in updates {
            let origin = planner.origin_of(&provider, origin);
            for announcement in announcements {
                planner.add(&provider, origin, announcement)?;
            }
        }
        Ok(planner.finish())
    }

    /// Whether everything is known already.
    pub(super) fn is_empty(&self) -> bool {
        self.placements.is_empty() && self.statements.is_empty()
    }

    /// Lets lookups see it.
    pub(super) fn settle(self, index: &Index, now_ms: UnixMs) -> Result<Applied, IndexError> {
        let mut applied = Applied { entries_added: 0, entries_refreshed: self.known };
        for (peer, statement) in self.statements {
            index.restate(&peer, statement, now_ms);
        }
        for Placement { group, keys, .. } in &self.placements {
            let announced = index.link_all(group, keys, now_ms)?;
            applied.entries_added += announced.added;
            applied.entries_refreshed += announced.refreshed;
        }
        Ok(applied)
    }
}

impl Planner<'_> {
    fn hear(&mut self, update: &ProviderUpdate) {
        let (index, provider) = (self.index, &update.provider);
        let known = self.newest.entry(provider.clone()).or_insert_with(|| {
            let known = index.statement(provider);
            Newest {
                stated_at_ms: known.as_ref().map_or(0, |known| known.stated_at_ms),
                addrs: known.as_ref().map(|known| known.addrs.clone()).unwrap_or_default(),
                before: known.map(|known| known.addrs),
                is_news: false,
            }
        });
        let is_first = !known.is_news && known.before.is_none();
        if is_first || update.stated_at_ms > known.stated_at_ms {
            known.stated_at_ms = update.stated_at_ms;
            known.addrs = update.addrs.iter().take(ADDRS_MAX).cloned().collect();
            known.is_news = true;
        }
    }

    /// Where announcements count as coming from. Whoever sends an old one again, and that may be
    /// anybody, does not move its provider.
    fn origin_of(&self, provider: &PeerId, origin: Origin) -> Origin {
        let is_news = self.newest.get(provider).is_some_and(|newest| newest.is_news);
        let known = || self.index.origin_of(provider).unwrap_or(origin);
        if is_news || origin.is_operator() { origin } else { known() }
    }

    fn add(
        &mut self,
        provider: &PeerId,
        origin: Origin,
        announcement: Announcement,
    ) -> Result<(), IndexError> {
        let Announcement { keys, record, context, expires_at_ms } = announcement;
        if keys.is_empty() || expires_at_ms.is_some_and(|expires_at| expires_at <= self.now_ms) {
            return Ok(());
        }
        let newest = self.newest.get(provider).filter(|_| record.peer() == Some(provider));
        let before = newest.filter(|newest| newest.is_news).and_then(|it| it.before.as_ref());
        let record_before = before.map(|addrs| record.clone().with_addrs(addrs));
        let record = match newest {
            Some(newest) => record.with_addrs(&newest.addrs),
            None => record,
        };
        let announced_json = record.to_json();
        let schema = self.schema;
        let context: Arc<[u8]> = context.as_bytes().into();
        let spec = |record| {
            let record = Arc::new(ReadyRecord::new(record, schema));
            GroupSpec { record, context: context.clone(), expires_at_ms, origin }
        };
        let (before, spec) = (record_before.map(spec), spec(record));
        // Groups that will have the new addresses are found by the old ones.
        let found = self.index.find_group(&spec);
        let found = found.or_else(|| self.index.find_group(before.as_ref()?));
        let group = found.map_or_else(|| self.index.intern(&spec, self.now_ms), Ok)?;
        let plan = self.index.plan(&group, keys, self.now_ms);
        self.plan.known += plan.known;
        self.place(group, plan.to_link, &announced_json);
        if !plan.superseded.is_empty() {
            let anew = self.index.intern_anew(&spec, self.now_ms)?;
            self.place(anew, plan.superseded, &announced_json);
        }
        Ok(())
    }

    fn place(&mut self, group: Interned, keys: Vec<ContentKey>, announced_json: &str) {
        if !keys.is_empty() {
            let announced_json = announced_json.to_owned();
            self.plan.placements.push(Placement { group, keys, announced_json });
        }
    }

    /// Draws the stamps, now that all groups are there that the statements count for.
    fn finish(mut self) -> Plan {
        for (peer, newest) in self.newest {
            // A provider of whom nothing is there has nothing to be reached for.
            if !newest.is_news || !self.index.has_provider(&peer) {
                continue;
            }
            let Newest { stated_at_ms, addrs, .. } = newest;
            let statement = Statement { stamp: self.index.stamp(), stated_at_ms, addrs };
            self.plan.statements.push((peer, statement));
        }
        self.plan
    }
}
