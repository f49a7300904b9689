//! The write path: updates and records are planned, written, and then seen. What has a statement is one
//! frame of the journal.
//!
//! One change of a provider at a time, so that the newest statement is also the last one written;
//! providers share a few hundred locks. The work is a task of its own: whoever asked for it may go
//! away, and what is on the disk is seen nevertheless. What takes time by the groups of a provider
//! runs beside the threads that answer lookups.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::{DurableInner, StoreOpenError};
use crate::clock::UnixMs;
use crate::detached::run_blocking;
use crate::index::{Restore, Statement, Visibility};
use crate::invariant;
use crate::journal::{
    AddrsChange, Change, CompanionsChange, GroupDefinition, JournalEntry, Receipt, RecordChange,
    VisibilityChange,
};
use crate::store::provider::{ProviderChange, read_companions};
use crate::store::update::{Placement, PlanInput, UpdatePlan, make_room};
use crate::store::{Applied, Changed, ContextId, StoreError, Update};
use crate::types::{Addr, AnswerSchema, PeerId, ProviderRecord, ReadyRecord, RecordError};

/// How many locks providers share: enough that two of them rarely wait for each other.
const LOCKS: usize = 512;

/// The locks under which providers' addresses and records change.
pub(super) struct ProviderLocks(Box<[Mutex<()>]>);

impl ProviderLocks {
    pub(super) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }

    /// The locks of some providers, taken in one order by everybody.
    async fn lock<'a>(&self, peers: impl Iterator<Item = &'a PeerId>) -> Vec<MutexGuard<'_, ()>> {
        let number = |peer: &PeerId| {
            let mut hasher = DefaultHasher::new();
            peer.hash(&mut hasher);
            hasher.finish() as usize % LOCKS
        };
        let mut numbers: Vec<_> = peers.map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut guards = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(lock) =
                invariant::present(self.0.get(number), "there is a lock of each number")
            {
                guards.push(lock.lock().await);
            }
        }
        guards
    }
}

impl DurableInner {
    pub(super) async fn update(
        self: Arc<Self>,
        updates: Vec<Update>,
        now_ms: UnixMs,
    ) -> Result<Applied, StoreError> {
        let stating: HashSet<PeerId> = updates
            .iter()
            .filter_map(|update| Some(update.statement.as_ref()?.provider.clone()))
            .collect();
        let mut anew: HashSet<PeerId> = announcers(&updates);
        anew.retain(|peer| !stating.contains(peer) && self.index.has_forgotten(peer));
        let _locks = self.locks.lock(stating.iter().chain(&anew)).await;
        let (_written, anew) = self.begin_anew(anew).await?;
        let is_whole = !stating.is_empty();
        let inner = self.clone();
        let compute = move || {
            let (index, schema) = (&*inner.index, inner.schema);
            make_room(index, &updates, now_ms);
            let plan =
                UpdatePlan::compute(PlanInput { index, schema, now_ms, anew: &anew }, updates)?;
            plan.strangers_write().map_or(Ok(()), |write| inner.journal.check_reserve(write))?;
            Ok::<_, StoreError>(plan)
        };
        let plan = run_blocking(compute).await??;
        // Held until lookups see it: compaction would take it for superseded before.
        let mut _receipt = None;
        if !plan.is_empty() {
            let entries = entries_of(&plan);
            _receipt = if is_whole {
                Some(self.journal.append_whole(entries).await?)
            } else {
                self.write(entries).await?
            };
        }
        let inner = self.clone();
        Ok(run_blocking(move || plan.commit(&inner.index, inner.later_than(now_ms))).await??)
    }

    /// Makes sure that what providers said before they were removed stays forgotten after a restart,
    /// now that they are about to have groups again. The caller has their locks.
    async fn begin_anew(
        &self,
        peers: HashSet<PeerId>,
    ) -> Result<(Option<Receipt>, Vec<(PeerId, Statement)>), StoreError> {
        let forgotten = peers.into_iter().filter(|peer| self.index.has_forgotten(peer));
        let nothing = |peer| (peer, Statement::nothing(self.index.stamp()));
        let anew: Vec<_> = forgotten.map(nothing).collect();
        if anew.is_empty() {
            return Ok((None, anew));
        }
        let entries = anew.iter().map(|(peer, nothing)| entry_of(peer, nothing)).collect();
        Ok((self.write(entries).await?, anew))
    }

    pub(super) async fn change_provider(
        self: Arc<Self>,
        provider: PeerId,
        change: ProviderChange,
        now_ms: UnixMs,
    ) -> Result<(), StoreError> {
        let _locks = self.locks.lock([&provider].into_iter()).await;
        if matches!(change, ProviderChange::Visibility(to) if to == self.index.visibility(&provider))
        {
            return Ok(());
        }
        let stamp = self.index.stamp();
        let entry = JournalEntry::Change(change.to_journal(&provider, stamp));
        // Held until lookups see it: compaction would take it for superseded before.
        let _receipt = self.journal.append_whole(vec![entry]).await?;
        change.commit(&self.index, (&provider, stamp), self.schema, self.later_than(now_ms));
        Ok(())
    }

    pub(super) async fn set_record(
        self: Arc<Self>,
        context: ContextId,
        record: ProviderRecord,
        now_ms: UnixMs,
    ) -> Result<Changed, StoreError> {
        let Some(peer) = record.peer().cloned() else { return Ok(Changed::default()) };
        let _locks = self.locks.lock([&peer].into_iter()).await;
        let record_json = record.to_json().into();
        let ready = Arc::new(ReadyRecord::new(record, self.schema));
        let context: Arc<[u8]> = context.as_bytes().into();
        let (inner, of, new) = (self.clone(), context.clone(), ready.clone());
        let would_change = move || inner.index.would_change(&of, &new, now_ms);
        if !run_blocking(would_change).await? {
            return Ok(Changed::default());
        }
        let stamp = self.index.stamp();
        let (provider, bytes) = (peer.as_str().into(), (*context).into());
        let change = RecordChange { stamp, provider, context: bytes, record_json };
        let entries = vec![JournalEntry::Change(Change::Record(change))];
        let _receipt = self.journal.append_whole(entries).await?;
        let inner = self.clone();
        let set = move || inner.index.set_record(&context, stamp, &ready, inner.later_than(now_ms));
        Ok(Changed { groups: run_blocking(set).await? })
    }
}

/// Everybody of whom something is announced.
fn announcers(updates: &[Update]) -> HashSet<PeerId> {
    let announcements = updates.iter().flat_map(|update| &update.announcements);
    let mut peers = HashSet::new();
    for peer in announcements.filter_map(|announcement| announcement.record.peer()) {
        if !peers.contains(peer) {
            peers.insert(peer.clone());
        }
    }
    peers
}

fn entry_of(peer: &PeerId, statement: &Statement) -> JournalEntry {
    JournalEntry::Change(Change::Addrs(AddrsChange {
        stamp: statement.stamp,
        provider: peer.as_str().into(),
        stated_at_ms: statement.stated_at_ms,
        addrs: statement.addrs.iter().map(|addr| addr.as_str().into()).collect(),
    }))
}

/// What the journal has to know of a plan.
fn entries_of(plan: &UpdatePlan) -> Vec<JournalEntry> {
    let statements = plan.statements.iter().map(|(peer, statement)| entry_of(peer, statement));
    let keys = plan.placements.iter().map(|Placement { group, keys, announced_json }| {
        let definition = GroupDefinition {
            serial: group.serial,
            context: (**group.context()).into(),
            record_json: announced_json.as_str().into(),
            expires_at_ms: group.expires_at_ms(),
            origin: group.origin(),
            since_ms: group.since_ms(),
        };
        JournalEntry::Keys { group: Arc::new(definition), keys: keys.clone() }
    });
    statements.chain(keys).collect()
}

/// Puts the changes of a journal into force, once all groups are made.
pub(super) fn restore_changes(
    changes: &[Change],
    restore: &Restore<'_>,
    schema: AnswerSchema,
) -> Result<(), StoreOpenError> {
    let mut in_order: Vec<&Change> = changes.iter().collect();
    in_order.sort_by_key(|change| change.stamp());
    for change in in_order {
        match change {
            Change::Addrs(change) => {
                let AddrsChange { stamp, provider, stated_at_ms, addrs } = change;
                let (stamp, stated_at_ms) = (*stamp, *stated_at_ms);
                // Only known peers are written; whoever made this up has nothing announced.
                let Ok(peer) = PeerId::parse(provider) else { continue };
                let addrs = read_addrs(addrs).into();
                restore.statement(&peer, Statement { stamp, stated_at_ms, addrs });
            }
            Change::Record(RecordChange { stamp, context, record_json, .. }) => {
                let record = ProviderRecord::restore(record_json)
                    .map_err(|source| StoreOpenError::Record { serial: *stamp, source })?;
                let ready = Arc::new(ReadyRecord::new(record, schema));
                restore.record(&(**context).into(), *stamp, &ready);
            }
            Change::Visibility(VisibilityChange { stamp, provider, is_hidden }) => {
                let Ok(peer) = PeerId::parse(provider) else { continue };
                let visibility = if *is_hidden { Visibility::Hidden } else { Visibility::Shown };
                restore.visibility(&peer, *stamp, visibility);
            }
            Change::Companions(change) => {
                let CompanionsChange { stamp, provider, context, .. } = change;
                let Ok(peer) = PeerId::parse(provider) else { continue };
                let set = read_companions(change, schema)
                    .map_err(|source| StoreOpenError::Record { serial: *stamp, source })?;
                let context = context.as_deref().map(Arc::from);
                restore.companions(&peer, context.as_ref(), *stamp, set);
            }
        }
    }
    Ok(())
}

/// The record of a group with the changes that count for it, as it would be announced now.
pub(super) fn with_changes(
    group: &GroupDefinition,
    addrs_of: impl FnOnce(&str) -> Result<Option<AddrsChange>, StoreError>,
    record_of: impl FnOnce(&str, &[u8]) -> Result<Option<RecordChange>, StoreError>,
) -> Result<Arc<str>, StoreError> {
    let unreadable = |error: RecordError| StoreError::Unavailable { reason: error.to_string() };
    let mut record = ProviderRecord::restore(&group.record_json).map_err(unreadable)?;
    let Some(peer) = record.peer().cloned() else { return Ok((*group.record_json).into()) };
    let mut said_at = group.serial;
    let mut is_changed = false;
    let new = record_of(peer.as_str(), &group.context)?;
    if let Some(new) = new.filter(|new| new.stamp > group.serial) {
        record = ProviderRecord::restore(&new.record_json).map_err(unreadable)?;
        said_at = if record.addrs().is_some() { new.stamp } else { said_at };
        is_changed = true;
    }
    let stated = addrs_of(peer.as_str())?;
    if let Some(stated) = stated.filter(|stated| stated.stamp > said_at) {
        record = record.with_addrs(&read_addrs(&stated.addrs));
        is_changed = true;
    }
    if is_changed { Ok(record.to_json().into()) } else { Ok((*group.record_json).into()) }
}

fn read_addrs(texts: &[Box<str>]) -> Vec<Addr> {
    let read = |text: &str| Addr::parse(text).unwrap_or_else(|_| Addr::unparsable(text));
    texts.iter().map(|text| read(text)).collect()
}
