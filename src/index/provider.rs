//! Providers: what holds for all groups of a provider at once, whether it is hidden, and its companions.
//!
//! Groups point at their provider, so changing it takes the same time however many groups and keys
//! it has. A group that is hidden lives: it keeps its keys, and it is served again at once.
//!
//! *Companions* are records that are served beside the provider's own: of one set for all of its
//! contexts, and of one set for each context. They are looked up when an answer is made, and count as
//! records there: filtered, merged by identity, capped.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Memory};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;

use crate::clock::UnixMs;
use crate::types::ReadyRecord;

/// The most companions of a set: an answer has to end.
pub const COMPANIONS_MAX: usize = 64;

/// Whether a provider's records are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// They are served.
    Shown,
    /// They are kept and not served.
    Hidden,
}

/// Which protocols a companion speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompanionProtocols {
    /// Those of its own record.
    Own,
    /// Those of the provider's record that it is served beside; of its own it has the ID and the addresses.
    OfProvider,
}

/// A record that is served beside those of a provider.
#[derive(Debug)]
pub(crate) struct ReadyCompanion {
    record: Arc<ReadyRecord>,
    protocols: CompanionProtocols,
    /// What it was served as last, and the digest of the record that it was beside.
    latest: ArcSwapOption<([u8; 16], Arc<ReadyRecord>)>,
}

/// The companions of a provider, for all contexts or for one.
#[derive(Debug, Default)]
pub(crate) struct CompanionSet {
    /// At most [`COMPANIONS_MAX`]; what is more is not served.
    pub(crate) companions: Vec<ReadyCompanion>,
    /// Whether the set for all contexts does not count beside this one, which is of one context.
    pub(crate) overrides: bool,
}

/// A provider.
#[derive(Debug, Default)]
pub(super) struct Provider {
    is_hidden: AtomicBool,
    has_companions: AtomicBool,
    /// When its visibility or its companions last changed.
    changed_at_ms: AtomicU64,
    sets: RwLock<Option<Box<CompanionSets>>>,
}

#[derive(Debug, Default)]
struct CompanionSets {
    of_all: Option<CompanionSet>,
    of_contexts: HashMap<Arc<[u8]>, CompanionSet>,
}

impl Provider {
    pub(super) fn is_hidden(&self) -> bool {
        self.is_hidden.load(Memory::Acquire)
    }

    pub(super) fn has_companions(&self) -> bool {
        self.has_companions.load(Memory::Acquire)
    }

    pub(super) fn changed_at_ms(&self) -> UnixMs {
        self.changed_at_ms.load(Memory::Acquire)
    }

    /// Shows or hides the provider. The time is there before the change is seen.
    pub(super) fn set_visibility(&self, visibility: Visibility, now_ms: UnixMs) {
        self.changed_at_ms.fetch_max(now_ms, Memory::AcqRel);
        self.is_hidden.store(visibility == Visibility::Hidden, Memory::Release);
    }

    /// Replaces a set of companions; an empty one that overrides nothing removes it.
    pub(super) fn set_companions(
        &self,
        context: Option<&Arc<[u8]>>,
        set: CompanionSet,
        now_ms: UnixMs,
    ) {
        self.changed_at_ms.fetch_max(now_ms, Memory::AcqRel);
        let set = Some(set).filter(|set| set.overrides || !set.companions.is_empty());
        let mut guard = self.sets.write();
        let sets = guard.get_or_insert_default();
        match (context, set) {
            (None, set) => sets.of_all = set,
            (Some(context), Some(set)) => drop(sets.of_contexts.insert(context.clone(), set)),
            (Some(context), None) => drop(sets.of_contexts.remove(context)),
        }
        let has_companions = sets.of_all.is_some() || !sets.of_contexts.is_empty();
        if !has_companions {
            *guard = None;
        }
        self.has_companions.store(has_companions, Memory::Release);
    }

    /// Shows the records that are served beside a record under a context to `serve`.
    pub(super) fn companions(
        &self,
        context: &[u8],
        beside: &ReadyRecord,
        mut serve: impl FnMut(Arc<ReadyRecord>),
    ) {
        let sets = self.sets.read();
        let Some(sets) = sets.as_deref() else { return };
        let of_context = sets.of_contexts.get(context);
        let of_all = sets.of_all.as_ref().filter(|_| !of_context.is_some_and(|it| it.overrides));
        for set in of_context.into_iter().chain(of_all) {
            for companion in set.companions.iter().take(COMPANIONS_MAX) {
                serve(companion.beside(beside));
            }
        }
    }
}

impl ReadyCompanion {
    /// A companion with a record.
    pub(crate) fn new(record: Arc<ReadyRecord>, protocols: CompanionProtocols) -> Self {
        Self { record, protocols, latest: ArcSwapOption::empty() }
    }

    /// The record that is served beside another one. It is made once, as long as that stays the same.
    fn beside(&self, other: &ReadyRecord) -> Arc<ReadyRecord> {
        if self.protocols == CompanionProtocols::Own {
            return self.record.clone();
        }
        if let Some(latest) = &*self.latest.load()
            && latest.0 == other.digest()
        {
            return latest.1.clone();
        }
        let record = other.with_provider_of(&self.record).map(Arc::new);
        let record = record.unwrap_or_else(|| self.record.clone());
        self.latest.store(Some(Arc::new((other.digest(), record.clone()))));
        record
    }
}

impl CompanionSet {
    /// The memory that the set takes up, roughly.
    pub(super) fn bytes(&self) -> usize {
        let record = |companion: &ReadyCompanion| {
            size_of::<ReadyCompanion>() + size_of::<ReadyRecord>() + companion.record.len_bytes()
        };
        size_of::<Self>() + 64 + self.companions.iter().map(record).sum::<usize>()
    }
}
