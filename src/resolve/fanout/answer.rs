//! Merges local records and upstreams' records into answers.
//!
//! Local records come first and keep their place when an upstream knows more of the same provider.
//! The filter is applied to the merged record. If more of upstreams' records match than fit, successive
//! answers take them round-robin. A peer has one record, merged of all that are known of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Core;
use crate::clock::UnixMs;
use crate::invariant;
use crate::resolve::ResolveError;
use crate::resolve::cache::RemoteAnswer;
use crate::types::{
    Filter, Found, MergeKey, PeerId, Question, ReadyRecord, SelectedRecord, Subject,
};

/// The local index's part of an answer, if there is one.
#[derive(Default)]
pub(super) struct Local {
    pub(super) found: Found,
    pub(super) error: Option<ResolveError>,
}

impl Core {
    /// The answer that has both, local records first.
    pub(super) fn answer(
        &self,
        local: Local,
        remote: &RemoteAnswer,
        question: &Question,
    ) -> Result<Found, ResolveError> {
        let now_ms = self.clock.now_ms();
        let is_partial = local.error.is_some() || self.cache.options().is_partial(remote, now_ms);
        let Local { found: local, error } = local;
        let mut found = match &question.subject {
            Subject::Peer(peer) => of_peer(peer, local, Some(remote), &question.filter),
            Subject::Content(_) if local.records.is_empty() => passing(remote, question, now_ms),
            Subject::Content(_) if remote.is_empty() => local,
            Subject::Content(_) => merged(local, remote, question, now_ms),
        };
        found.is_partial |= is_partial;
        match error {
            Some(error) if found.records.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}

impl Local {
    /// Whether no upstream need be asked. Of a peer, upstreams may know more.
    pub(super) fn is_enough(&self, question: &Question) -> bool {
        let is_content = matches!(question.subject, Subject::Content(_));
        let is_full = |max: std::num::NonZeroUsize| self.found.records.len() >= max.get();
        is_content && question.records_max.is_some_and(is_full)
    }

    /// Whether a record of it passes the filter.
    pub(super) fn has_some(&self, question: &Question) -> bool {
        let mut records = self.found.records.iter();
        records.any(|(record, _)| question.filter.select(record).is_some())
    }

    /// The answer if all upstreams failed.
    pub(super) fn without(
        self,
        remote_error: ResolveError,
        question: &Question,
    ) -> Result<Found, ResolveError> {
        let mut found = match &question.subject {
            Subject::Peer(peer) => of_peer(peer, self.found, None, &question.filter),
            Subject::Content(_) => self.found,
        };
        if found.records.is_empty() {
            return Err(self.error.unwrap_or(remote_error));
        }
        found.is_partial = true;
        Ok(found)
    }
}

/// One record of a peer, if anything is known of it that passes.
fn of_peer(peer: &PeerId, local: Found, remote: Option<&RemoteAnswer>, filter: &Filter) -> Found {
    let of_remote = remote.into_iter().flat_map(|remote| remote.iter().map(|(_, record)| record));
    let of_local = local.records.iter().map(|(record, _)| record);
    let records: Vec<&ReadyRecord> = of_local.chain(of_remote).map(|record| &**record).collect();
    if records.is_empty() {
        return local;
    }
    let local_at_ms = (!local.records.is_empty()).then_some(local.modified_at_ms);
    let merged = Arc::new(ReadyRecord::of_peer(peer, records.iter().copied()));
    let Some(selected) = select(filter, &merged) else {
        return Found { is_partial: local.is_partial, ..Found::default() };
    };
    let remote_at_ms = remote.filter(|remote| !remote.is_empty()).map(RemoteAnswer::made_at_ms);
    Found {
        records: vec![selected].into(),
        modified_at_ms: changed_at_ms(local_at_ms, remote_at_ms),
        is_partial: local.is_partial,
    }
}

/// The records that pass the filter, up to the cap.
fn passing(remote: &RemoteAnswer, question: &Question, now_ms: UnixMs) -> Found {
    let Question { filter, records_max, .. } = question;
    let max = records_max.map_or(usize::MAX, |max| max.get());
    let records = remote.all();
    let (records, is_cut) = if filter.is_empty() && records.len() <= max {
        (records, false)
    } else {
        let (taken, is_cut) = remote.take_turn(max, filter, |_, record| select(filter, record));
        (taken.into(), is_cut)
    };
    // Where it is cut, each answer is another than the one before.
    let modified_at_ms = if is_cut { now_ms } else { remote.made_at_ms() };
    let modified_at_ms = (!records.is_empty()).then_some(modified_at_ms);
    Found { records, modified_at_ms, is_partial: false }
}

fn merged(local: Found, remote: &RemoteAnswer, question: &Question, now_ms: UnixMs) -> Found {
    let Question { filter, records_max, .. } = question;
    let local_at_ms = (!local.records.is_empty()).then_some(local.modified_at_ms);
    let mut records: Vec<SelectedRecord> = local.records.into_iter().collect();
    let known: HashSet<MergeKey> = records.iter().map(|(record, _)| record.merge_key()).collect();
    merge_into(&mut records, remote, filter);
    let max = records_max.map_or(usize::MAX, |max| max.get());
    let room = max.saturating_sub(records.len());
    let (rest, is_cut) = remote.take_turn(room, filter, |key, record| {
        if known.contains(key) { None } else { select(filter, record) }
    });
    records.extend(rest);
    let remote_at_ms = if is_cut { now_ms } else { remote.made_at_ms() };
    let modified_at_ms = changed_at_ms(local_at_ms, Some(remote_at_ms));
    Found { records: records.into(), modified_at_ms, is_partial: local.is_partial }
}

/// When the answer last changed, if the store knows that of its part.
fn changed_at_ms(local: Option<Option<UnixMs>>, remote: Option<UnixMs>) -> Option<UnixMs> {
    match local {
        Some(local) => local.map(|local| remote.map_or(local, |remote| local.max(remote))),
        None => remote,
    }
}

/// Merges upstreams' records of the same providers into local records.
pub(super) fn merge_into(records: &mut [SelectedRecord], known: &RemoteAnswer, filter: &Filter) {
    let places = records.iter().enumerate().map(|(at, (record, _))| (record.merge_key(), at));
    let places: HashMap<MergeKey, usize> = places.collect();
    for (key, twin) in known.iter() {
        let Some(at) = places.get(key) else { continue };
        if let Some(place) = invariant::present(records.get_mut(*at), "a place is that of a record")
            && let Some(merged) = ReadyRecord::merged(&[place.0.clone(), twin.clone()])
            && let Some(selected) = select(filter, &merged)
        {
            *place = selected;
        }
    }
}

/// The part of a record that passes, if anything does.
pub(super) fn select(filter: &Filter, record: &Arc<ReadyRecord>) -> Option<SelectedRecord> {
    filter.select(record).map(|selection| (record.clone(), selection))
}
