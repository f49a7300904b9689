//! Answers that come record by record: local ones at once, then what upstreams say, as it comes.
//!
//! Each provider comes once. An upstream's record that has no addresses waits until all upstreams have
//! answered, because another may know some; until then nothing else waits for anything. What is said
//! of a provider that has been told of already is dropped. The filter looks at what is known of a
//! provider by then, so that one whose first addresses do not pass comes when others do.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::answer::{Local, select};
use super::{Core, Remote};
use crate::resolve::cache::RemoteAnswer;
use crate::resolve::coalesce::Follower;
use crate::resolve::{Found, FoundStream, Question, ResolveError};
use crate::types::{Kin, ReadyRecord, Schema, SelectedRecord};

/// An answer under way.
struct Streaming {
    core: Arc<Core>,
    question: Question,
    stage: Stage,
    /// What it has told of.
    told: HashSet<Kin>,
    /// How many records it has given.
    given: usize,
    local_error: Option<ResolveError>,
}

/// Where the next records come from.
enum Stage {
    Local(Option<FoundStream>),
    Following { follower: Follower, reserve: Option<Arc<RemoteAnswer>> },
    Ended,
}

type Item = Result<Found, ResolveError>;

pub(super) fn stream(core: Arc<Core>, question: Question) -> FoundStream {
    let local = core.local.as_ref().map(|local| local.stream(question.clone()));
    let streaming = Streaming {
        core,
        question,
        stage: Stage::Local(local),
        told: HashSet::new(),
        given: 0,
        local_error: None,
    };
    stream::unfold(streaming, |mut streaming| async {
        streaming.next().await.map(|item| (item, streaming))
    })
    .boxed()
}

impl Streaming {
    async fn next(&mut self) -> Option<Item> {
        loop {
            if self.room() == 0 {
                self.stage = Stage::Ended;
            }
            let item = match &mut self.stage {
                Stage::Ended => return None,
                Stage::Local(_) => self.next_local().await,
                Stage::Following { .. } => self.next_remote().await,
            };
            match item {
                Some(Ok(found)) if found.records.is_empty() => {}
                Some(Ok(found)) => {
                    self.given += found.records.len();
                    return Some(Ok(found));
                }
                Some(Err(error)) => {
                    self.stage = Stage::Ended;
                    return Some(Err(error));
                }
                None => {}
            }
        }
    }

    /// How many more records are wanted.
    fn room(&self) -> usize {
        let max = self.question.records_max.map_or(usize::MAX, |max| max.get());
        max.saturating_sub(self.given)
    }

    async fn next_local(&mut self) -> Option<Item> {
        let Stage::Local(local) = &mut self.stage else { return None };
        let next = match local {
            Some(local) => local.next().await,
            None => None,
        };
        match next {
            Some(Ok(found)) => {
                self.told.extend(found.records.iter().map(|(record, _)| record.kin()));
                if found.records.len() >= self.room() {
                    self.core.counts.local.inc();
                }
                return Some(Ok(found));
            }
            Some(Err(error)) => self.local_error = Some(error),
            None => {}
        }
        match self.core.remote(&self.question) {
            Remote::Kept(answer) => Some(self.end_with(Ok(answer))),
            Remote::Asked { follower, reserve } => {
                self.stage = Stage::Following { follower, reserve };
                None
            }
        }
    }

    async fn next_remote(&mut self) -> Option<Item> {
        let Stage::Following { follower, reserve } = &mut self.stage else { return None };
        let read = follower.read();
        if !read.is_empty() {
            let now_ms = self.core.clock.now_ms();
            let records = self.select(read.into_iter().filter(|(_, record)| !can_wait(record)));
            return Some(Ok(Found {
                records: records.into(),
                modified_at_ms: Some(now_ms),
                is_partial: false,
            }));
        }
        match follower.landed(self.core.clock.now_ms()) {
            Some(landed) => {
                let served = self.core.served(landed, reserve.take(), &self.question.subject);
                Some(self.end_with(served))
            }
            None => {
                follower.news().await;
                None
            }
        }
    }

    /// What is left to tell when all upstreams have said what they know.
    fn end_with(&mut self, remote: Result<Arc<RemoteAnswer>, ResolveError>) -> Item {
        self.stage = Stage::Ended;
        let local = Local { found: Found::default(), error: self.local_error.take() };
        let answer = match remote {
            Ok(answer) => answer,
            Err(_) if self.given > 0 => return Ok(Found::default()),
            Err(error) => return local.without(error),
        };
        if self.told.is_empty() {
            return local.with(&answer, &self.question);
        }
        let left = answer.iter().map(|(kin, record)| (*kin, record.clone()));
        let records = self.select(left);
        Ok(Found {
            records: records.into(),
            modified_at_ms: Some(answer.made_at_ms()),
            is_partial: false,
        })
    }

    /// What passes of records that were not told of, as much as is wanted. Counts as told.
    fn select(
        &mut self,
        records: impl IntoIterator<Item = (Kin, Arc<ReadyRecord>)>,
    ) -> Vec<SelectedRecord> {
        let mut selected = Vec::new();
        for (kin, record) in records {
            if selected.len() == self.room() {
                break;
            }
            if !self.told.contains(&kin)
                && let Some(record) = select(&self.question.filter, &record)
            {
                self.told.insert(kin);
                selected.push(record);
            }
        }
        selected
    }
}

/// Whether a record may become a better one: addresses may come for it.
fn can_wait(record: &ReadyRecord) -> bool {
    !record.has_addrs() && record.schema() != Schema::Unknown
}
