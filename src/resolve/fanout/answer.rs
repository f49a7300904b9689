//! Making answers of what is known locally and of what upstreams said.
//!
//! Local records come first and keep their place when an upstream knows more of the same provider.
//! What of an upstream's record passes the filter is looked at when it is joined.

use std::collections::HashMap;

use crate::resolve::cache::RemoteAnswer;
use crate::resolve::{Found, Question, ResolveError};
use crate::types::{Filter, ReadyRecord, SelectedRecord};

/// What the local index said, if there is one. What it fails to say may be said by others.
#[derive(Default)]
pub(super) struct Local {
    pub(super) found: Found,
    pub(super) error: Option<ResolveError>,
}

impl Local {
    /// Whether there is nothing left to ask for.
    pub(super) fn is_enough(&self, question: &Question) -> bool {
        question.records_max.is_some_and(|max| self.found.records.len() >= max.get())
    }

    /// The answer that has both, local records first.
    pub(super) fn with(
        self,
        remote: &RemoteAnswer,
        question: &Question,
    ) -> Result<Found, ResolveError> {
        let Self { found: local, error } = self;
        let found = if local.records.is_empty() {
            passing(remote, question)
        } else if remote.is_empty() {
            local
        } else {
            joined(local, remote, question)
        };
        match error {
            Some(error) if found.records.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// The answer where no upstream could say anything.
    pub(super) fn without(self, remote_error: ResolveError) -> Result<Found, ResolveError> {
        match self.error {
            _ if !self.found.records.is_empty() => Ok(self.found),
            Some(error) => Err(error),
            None => Err(remote_error),
        }
    }
}

/// As much as is wanted of what passes the filter.
fn passing(remote: &RemoteAnswer, question: &Question) -> Found {
    let Question { filter, records_max, .. } = question;
    if filter.is_empty() {
        return remote.found(*records_max);
    }
    let selected = remote.iter().filter_map(|(_, record)| select(filter, record));
    let max = records_max.map_or(usize::MAX, |max| max.get());
    let records: Vec<SelectedRecord> = selected.take(max).collect();
    let modified_at_ms = (!records.is_empty()).then_some(remote.made_at_ms());
    Found { records: records.into(), modified_at_ms, is_partial: false }
}

fn joined(local: Found, remote: &RemoteAnswer, question: &Question) -> Found {
    let Question { filter, records_max, .. } = question;
    let mut others: HashMap<_, _> = remote.iter().collect();
    let mut records: Vec<SelectedRecord> = Vec::with_capacity(local.records.len() + others.len());
    for (record, selection) in local.records {
        let twin = others.remove(&record.kin());
        let united = twin.and_then(|twin| ReadyRecord::united(&[record.clone(), twin.clone()]));
        let selected = united.and_then(|united| select(filter, &united));
        records.push(selected.unwrap_or((record, selection)));
    }
    let rest = remote.iter().filter(|(kin, _)| others.contains_key(kin));
    let max = records_max.map_or(usize::MAX, |max| max.get());
    let room = max.saturating_sub(records.len());
    records.extend(rest.filter_map(|(_, record)| select(filter, record)).take(room));
    let modified_at_ms = local.modified_at_ms.max(Some(remote.made_at_ms()));
    Found { records: records.into(), modified_at_ms, is_partial: false }
}

/// What of a record passes, if anything does.
pub(super) fn select(
    filter: &Filter,
    record: &std::sync::Arc<ReadyRecord>,
) -> Option<SelectedRecord> {
    filter.select(record).map(|selection| (record.clone(), selection))
}
