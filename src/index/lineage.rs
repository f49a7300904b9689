//! Lineages: which group of the same announcement a key keeps, and which an answer takes.
//!
//! `group` states the rule; here it is applied, to a few groups in order and to the groups of one
//! merge key in a hot key. Of a lineage, the groups that a key keeps form a staircase: the newer, the
//! earlier they expire. So one neighbour on each side decides, however many there are; dead groups
//! between them are taken out on the way.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use super::LinkOutcome;
use super::group::Group;
use super::merge::{MERGED_MAX, RecordMerge};
use crate::clock::UnixMs;
use crate::types::{MergeKey, Origin, ReadyRecord};

/// A lineage: what makes announcements replace each other on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineageRef<'a> {
    identity: [u8; 16],
    context: &'a Arc<[u8]>,
    is_operators: bool,
    /// Follows from the identity.
    pub(super) merge_key: MergeKey,
}

impl<'a> LineageRef<'a> {
    /// The lineage of what is announced with a record.
    pub(crate) fn new(record: &ReadyRecord, context: &'a Arc<[u8]>, origin: Origin) -> Self {
        let (identity, merge_key) = (record.identity(), record.merge_key());
        Self { identity, context, is_operators: origin.is_operator(), merge_key }
    }

    fn key(&self) -> LineageOfKey {
        (self.identity, self.context.clone(), !self.is_operators)
    }
}

/// What linking a group to a key changes.
pub(super) struct LinkDecision {
    pub(super) outcome: LinkOutcome,
    /// Whether the key is to have the group.
    pub(super) is_linked: bool,
    /// Groups of the lineage that the key no longer has.
    pub(super) gone: SmallVec<[Arc<Group>; 2]>,
}

impl LinkDecision {
    /// Decides. `newer` and `older` are the groups of the lineage that the key has, the nearest
    /// first.
    pub(super) fn decide<'a>(
        group: &Group,
        newer: impl Iterator<Item = &'a Arc<Group>>,
        older: impl Iterator<Item = &'a Arc<Group>>,
        now_ms: UnixMs,
    ) -> Self {
        let mut decision =
            Self { outcome: LinkOutcome::Added, is_linked: true, gone: SmallVec::new() };
        for other in older {
            if other.is_live(now_ms) {
                decision.outcome = LinkOutcome::Refreshed;
                if !group.supersedes(other) {
                    break;
                }
            }
            decision.gone.push(other.clone());
        }
        for other in newer {
            if other.is_live(now_ms) {
                decision.outcome = LinkOutcome::Behind;
                decision.is_linked = !other.supersedes(group);
                break;
            }
            decision.gone.push(other.clone());
        }
        decision
    }
}

/// The groups of one merge key that a key has.
#[derive(Default)]
pub(super) enum Lineages {
    /// None at all.
    #[default]
    None,
    /// One, which is the usual case.
    One(Arc<Group>),
    /// Several, in the order of groups on a key.
    Many(BTreeMap<LineageKey, Arc<Group>>),
}

/// The order of groups of one merge key: by lineage, and of one lineage the newest first.
pub(super) type LineageKey = (LineageOfKey, Reverse<u64>);

/// What tells lineages of one merge key apart: the identity, the context, and whether they are the
/// operator's.
type LineageOfKey = ([u8; 16], Arc<[u8]>, bool);

impl Lineages {
    /// Adds a group, as far as it is not superseded.
    pub(super) fn insert(&mut self, group: &Arc<Group>, now_ms: UnixMs) -> LinkDecision {
        match self {
            Self::None => {
                *self = Self::One(group.clone());
                LinkDecision { outcome: LinkOutcome::Added, is_linked: true, gone: SmallVec::new() }
            }
            Self::One(one) => {
                let one = one.clone();
                let mate = group.is_of_lineage_of(&one).then_some(&one);
                let newer = mate.filter(|mate| mate.serial > group.serial);
                let older = mate.filter(|mate| mate.serial < group.serial);
                let decision =
                    LinkDecision::decide(group, newer.into_iter(), older.into_iter(), now_ms);
                if !decision.gone.is_empty() {
                    *self = Self::One(group.clone());
                } else if decision.is_linked {
                    let both = [(key_of(&one), one.clone()), (key_of(group), group.clone())];
                    *self = Self::Many(both.into());
                }
                decision
            }
            Self::Many(groups) => {
                let place = key_of(group);
                let newest = (place.0.clone(), Reverse(u64::MAX));
                let oldest = (place.0.clone(), Reverse(0));
                let newer = groups.range(&newest..&place).rev().map(|(_, other)| other);
                let after = (Bound::Excluded(&place), Bound::Included(&oldest));
                let older = groups.range(after).map(|(_, other)| other);
                let decision = LinkDecision::decide(group, newer, older, now_ms);
                for gone in &decision.gone {
                    groups.remove(&key_of(gone));
                }
                if decision.is_linked {
                    groups.insert(place, group.clone());
                }
                self.simplify();
                decision
            }
        }
    }

    /// Whether exactly this group is there.
    pub(super) fn has(&self, group: &Arc<Group>) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => Arc::ptr_eq(one, group),
            Self::Many(groups) => groups.contains_key(&key_of(group)),
        }
    }

    /// The newest of a lineage that lives.
    pub(super) fn newest_like(
        &self,
        lineage: &LineageRef<'_>,
        now_ms: UnixMs,
    ) -> Option<&Arc<Group>> {
        match self {
            Self::None => None,
            Self::One(one) => {
                Some(one).filter(|one| one.lineage() == *lineage && one.is_live(now_ms))
            }
            Self::Many(groups) => {
                let of = lineage.key();
                let lineage = (of.clone(), Reverse(u64::MAX))..=(of, Reverse(0));
                let mut newest_first = groups.range(lineage).map(|(_, other)| other);
                newest_first.find(|other| other.is_live(now_ms))
            }
        }
    }

    /// Merges the records of the newest that live, which are one unless records changed. Raises
    /// `changed_at_ms` to when one of them last changed the answer.
    pub(super) fn merge(&self, now_ms: UnixMs, changed_at_ms: &mut UnixMs) -> RecordMerge<1> {
        let mut merge = RecordMerge::default();
        match self {
            Self::None => {}
            Self::One(one) => {
                merge.add(one, now_ms, changed_at_ms);
            }
            Self::Many(groups) => {
                let mut rest = groups.range::<LineageKey, _>(..);
                // They are all of one provider.
                if let Some((_, first)) = groups.first_key_value()
                    && first.is_hidden()
                {
                    merge.add(first, now_ms, changed_at_ms);
                    return merge;
                }
                while let Some((place, group)) = rest.next() {
                    let is_served = merge.add(group, now_ms, changed_at_ms);
                    if merge.is_full() {
                        break;
                    }
                    let is_last =
                        |next: Option<(&LineageKey, _)>| next.is_none_or(|n| n.0.0 != place.0);
                    if is_served && !is_last(rest.clone().next()) {
                        let oldest = (place.0.clone(), Reverse(0));
                        rest = groups.range((Bound::Excluded(oldest), Bound::Unbounded));
                    }
                }
            }
        }
        merge
    }

    /// Whether one of those that are served has addresses.
    pub(super) fn has_addrs(&self) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => one.record().has_addrs(),
            Self::Many(groups) => {
                let mut last: Option<&LineageOfKey> = None;
                groups.iter().take(MERGED_MAX).any(|((lineage, _), group)| {
                    let is_newest = last.replace(lineage) != Some(lineage);
                    is_newest && group.record().has_addrs()
                })
            }
        }
    }

    /// Removes dead groups from `from` on, visiting at most `steps`, which it counts down. Returns where
    /// to continue, or `None` at the end.
    pub(super) fn prune(
        &mut self,
        from: Option<LineageKey>,
        steps: &mut usize,
        now_ms: UnixMs,
        gone: &mut Vec<Arc<Group>>,
    ) -> Option<LineageKey> {
        match self {
            Self::None => None,
            Self::One(one) => {
                if !one.is_live(now_ms) {
                    gone.push(one.clone());
                    *self = Self::None;
                }
                None
            }
            Self::Many(groups) => {
                let first = from.map_or(Bound::Unbounded, Bound::Included);
                let mut range = groups.range((first, Bound::Unbounded));
                let known = gone.len();
                while *steps > 0 {
                    let Some((_, group)) = range.next() else { break };
                    *steps -= 1;
                    if !group.is_live(now_ms) {
                        gone.push(group.clone());
                    }
                }
                let next = range.next().map(|(place, _)| place.clone());
                for group in gone.iter().skip(known) {
                    groups.remove(&key_of(group));
                }
                self.simplify();
                next
            }
        }
    }

    /// All groups, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(groups) => (None, Some(groups.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Gives the map up that is no longer needed.
    fn simplify(&mut self) {
        let Self::Many(groups) = self else { return };
        if groups.len() > 1 {
            return;
        }
        *self = groups.pop_first().map_or(Self::None, |(_, group)| Self::One(group));
    }
}

fn key_of(group: &Group) -> LineageKey {
    (group.lineage().key(), Reverse(group.serial))
}
