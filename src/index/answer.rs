//! What a lookup wants, and the answer of a key with one group.

use std::num::NonZeroUsize;

use super::group::Group;
use crate::clock::UnixMs;
use crate::types::{Filter, Found};

/// What a lookup wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a Filter,
    pub(super) records_max: Option<NonZeroUsize>,
    pub(super) now_ms: UnixMs,
}

/// The answer of a key with one group that has no companions.
pub(super) fn of_one(group: &Group, wanted: Wanted<'_>, shard_changed_at_ms: UnixMs) -> Found {
    if !group.is_live(wanted.now_ms) || group.is_hidden() {
        return Found::default();
    }
    let record = group.record();
    let Some(selection) = wanted.filter.select(&record) else { return Found::default() };
    let modified_at_ms = group.changed_at_ms(wanted.now_ms).max(shard_changed_at_ms);
    Found::new(vec![(record.clone(), selection)].into(), modified_at_ms)
}
