//! Taking announcements in, in steps, so that a journal can be written in between.
//!
//! ```text
//! intern -> plan -> (journal) -> link_all
//!              \-> keys that a newer group answers for: intern_anew -> (journal) -> link_all
//! ```
//!
//! A group keeps its serial, so announcing it again for a key on which a newer group of the lineage
//! stands (addresses went from A to B and back to A) would change nothing: those keys get a fresh
//! group of the same specification. Announcements of one lineage that are to take effect one after
//! the other are planned one after the other, each after the one before is linked.

use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::group::{Group, GroupSpec, Groups};
use super::lineage::LineageRef;
use super::sets::{KeySet, ReservedSets};
use super::{
    GROUP_OF_AN_ENTRY, Index, IndexError, LinkOutcome, Memory, Reference, SET_OF_AN_ENTRY,
};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{ContentKey, Origin};

/// What announcing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// (key, record) pairs that were not known, or no longer.
    pub(crate) added: u64,
    /// (key, record) pairs that were known.
    pub(crate) refreshed: u64,
}

/// A group that is being announced. It counts as a reference to the group until it is dropped; a
/// group that no key has by then ends.
#[derive(Debug)]
pub struct Interned {
    /// The group's serial: given out in increasing order, never twice.
    pub(crate) serial: u64,
    /// Whether the group was made for this.
    pub(crate) is_new: bool,
    groups: Arc<Groups>,
    pub(super) group: Arc<Group>,
}

/// What is to be done about the keys of an announcement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkPlan {
    /// How many keys answer with just this already: nothing is to be done.
    pub(crate) known: u64,
    /// How many keys do not have the announcement yet; not counted for new groups of the operator.
    pub(crate) new: u64,
    /// The keys to journal and to link.
    pub(crate) to_link: Vec<ContentKey>,
    /// The keys that answer with a newer group of the lineage: to journal and to link to a group
    /// from [`Index::intern_anew`].
    pub(crate) superseded: Vec<ContentKey>,
}

impl Interned {
    /// The group's record.
    #[cfg(test)]
    pub(crate) fn record(&self) -> Arc<crate::types::ReadyRecord> {
        self.group.record().clone()
    }

    /// What of it makes announcements replace each other: a record's identity, and the context.
    pub(crate) fn lineage(&self) -> ([u8; 16], Arc<[u8]>, bool) {
        let is_operators = self.group.origin.is_operator();
        (self.group.identity(), self.group.context.clone(), is_operators)
    }

    /// The provider's name for the set of keys; empty without one.
    pub(crate) fn context(&self) -> &Arc<[u8]> {
        &self.group.context
    }

    /// Who announces it.
    pub(crate) fn origin(&self) -> Origin {
        self.group.origin
    }

    /// Since when its provider has been announced from there without a gap, in milliseconds since the
    /// Unix epoch.
    pub(crate) fn since_ms(&self) -> UnixMs {
        self.group.since_ms
    }

    /// When the group lapses, in milliseconds since the Unix epoch; `None`: never.
    pub(crate) fn expires_at_ms(&self) -> Option<UnixMs> {
        self.group.expires_at_ms()
    }

    /// Whether two announcements are of one lineage: the later one replaces the earlier one.
    pub(crate) fn is_of_lineage_of(&self, other: &Self) -> bool {
        self.group.is_of_lineage_of(&other.group)
    }

    /// Gives the reference back, as dropping does.
    #[cfg(test)]
    pub(crate) fn release(self) {}
}

impl Drop for Interned {
    fn drop(&mut self) {
        self.groups.release(&self.group);
    }
}

impl Announced {
    fn count(&mut self, outcome: LinkOutcome) {
        match outcome {
            LinkOutcome::Added => self.added += 1,
            LinkOutcome::Refreshed | LinkOutcome::Behind => self.refreshed += 1,
            LinkOutcome::Crowded => {}
        }
    }
}

impl Index {
    /// The group of a specification, which must not have expired: the newest there is, or a new one.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`].
    pub fn intern(&self, spec: &GroupSpec, now_ms: UnixMs) -> Result<Interned, IndexError> {
        Ok(self.interned(self.groups.intern(spec, now_ms)?))
    }

    /// The newest group of a specification, if there is one.
    pub(crate) fn find_group(&self, spec: &GroupSpec) -> Option<Interned> {
        self.groups.find(spec).map(|group| self.interned((group, false)))
    }

    /// A new group of a specification, even if there is one. [`Index::intern`] finds it from now on.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`].
    pub(crate) fn intern_anew(
        &self,
        spec: &GroupSpec,
        now_ms: UnixMs,
    ) -> Result<Interned, IndexError> {
        let group = self.groups.intern_anew(spec, now_ms)?;
        Ok(self.interned((group, true)))
    }

    /// Computes which keys have to be linked so that they answer with a group.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`] if there are keys that do not have the announcement yet and are too many.
    pub(crate) fn plan(
        &self,
        interned: &Interned,
        keys: Vec<ContentKey>,
        now_ms: UnixMs,
    ) -> Result<LinkPlan, IndexError> {
        let mut plan = LinkPlan::default();
        if interned.is_new && interned.group.origin.is_operator() {
            // Nobody asks which of them are new; there is nothing to find out otherwise.
            self.admit(interned, keys.len() as u64)?;
            return Ok(LinkPlan { to_link: keys, ..plan });
        }
        let lineage = interned.group.lineage();
        let fingerprints = self.fingerprints(&keys);
        for (key, fingerprint) in keys.into_iter().zip(fingerprints) {
            match self.newest_like(&lineage, fingerprint, now_ms) {
                Some(newest) if newest.says_the_same_as(&interned.group) => plan.known += 1,
                Some(newest) if newest.serial > interned.serial => plan.superseded.push(key),
                Some(_) => plan.to_link.push(key),
                None => {
                    plan.new += 1;
                    plan.to_link.push(key);
                }
            }
        }
        self.admit(interned, plan.new)?;
        Ok(plan)
    }

    /// Reserves room for linking so many keys. For as long as it is held, linking them does not fail.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`].
    pub(crate) fn reserve(&self, keys: u64) -> Result<ReservedSets, IndexError> {
        self.sets.reserve(keys)
    }

    /// Links each key to the group, unless a newer one of the lineage supersedes it there.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`], where no room was reserved; some of the keys may have been linked by then.
    pub fn link_all(
        &self,
        interned: &Interned,
        keys: &[ContentKey],
        now_ms: UnixMs,
    ) -> Result<Announced, IndexError> {
        let mut announced = Announced::default();
        for fingerprint in self.fingerprints(keys) {
            let outcome = self.link(fingerprint, &interned.group, now_ms)?;
            if outcome == LinkOutcome::Crowded {
                self.counters.crowded.fetch_add(1, Memory::Relaxed);
            }
            announced.count(outcome);
        }
        Ok(announced)
    }

    fn interned(&self, (group, is_new): (Arc<Group>, bool)) -> Interned {
        Interned { serial: group.serial, is_new, groups: self.groups.clone(), group }
    }

    /// The fingerprints of keys that are about to be probed for, one by one and in this order.
    ///
    /// A probe in a large table takes as long as memory does to answer. Here the slots are read
    /// shard by shard before, without waiting for one to read the next, so that many reads are under
    /// way at once and the probes find their slots in the processor's caches.
    fn fingerprints(&self, keys: &[ContentKey]) -> Vec<Fingerprint> {
        let fingerprints: Vec<_> = keys.iter().map(|key| self.fingerprinter.of(key)).collect();
        let mut by_shard = fingerprints.clone();
        by_shard.sort_unstable_by_key(Fingerprint::shard);
        for of_shard in by_shard.chunk_by(|one, other| one.shard() == other.shard()) {
            if let [first, _, ..] = of_shard {
                self.shard(*first).read().table.prefetch(of_shard);
            }
        }
        fingerprints
    }

    /// The newest group that lives and that a key has of a lineage.
    pub(super) fn newest_like(
        &self,
        lineage: &LineageRef<'_>,
        fingerprint: Fingerprint,
        now_ms: UnixMs,
    ) -> Option<Arc<Group>> {
        let shard = self.shard(fingerprint).read();
        let is_like = |other: &Arc<Group>| other.lineage() == *lineage && other.is_live(now_ms);
        match Reference::read(shard.table.get(fingerprint)?) {
            Reference::Group(id) => {
                let group = invariant::present(self.groups.get(id).clone(), GROUP_OF_AN_ENTRY);
                group.filter(is_like)
            }
            Reference::Set(id) => {
                let set = self.sets.get(id).clone();
                drop(shard);
                match invariant::present(set.as_deref(), SET_OF_AN_ENTRY)? {
                    KeySet::Few(few) => few.groups.iter().find(|other| is_like(other)).cloned(),
                    KeySet::Hot(hot_key) => hot_key.newest_like(lineage, now_ms),
                }
            }
        }
    }
}

#[cfg(test)]
impl Index {
    /// Takes an announcement in: lets each key answer with the group. A group that a key has already
    /// under the same context, of the same record but for the addresses, is replaced there as long
    /// as the new one lasts.
    ///
    /// An announcement that has lapsed already is left out.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`]; some of the keys may have been taken in then.
    pub(super) fn announce(
        &self,
        keys: &[ContentKey],
        spec: &GroupSpec,
        now_ms: UnixMs,
    ) -> Result<Announced, IndexError> {
        let mut announced = Announced::default();
        if keys.is_empty() || spec.expires_at_ms.is_some_and(|expires_at| expires_at <= now_ms) {
            return Ok(announced);
        }
        let interned = self.intern(spec, now_ms)?;
        let mut anew: Option<Interned> = None;
        for key in keys {
            let fingerprint = self.fingerprinter.of(key);
            let outcome = self.link(fingerprint, &interned.group, now_ms)?;
            announced.count(outcome);
            if outcome == LinkOutcome::Behind {
                if anew.is_none() {
                    anew = Some(self.intern_anew(spec, now_ms)?);
                }
                let anew = anew.as_ref().expect("it was made just now");
                self.link(fingerprint, &anew.group, now_ms)?;
            }
        }
        Ok(announced)
    }
}
