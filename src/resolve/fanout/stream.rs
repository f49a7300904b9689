//! Answers that come record by record: local ones at once, then what upstreams say, as it comes.
//!
//! Each provider comes once. An upstream's record that has no addresses waits until all upstreams have
//! answered, because another may know some, but no longer than an answer in one piece waits from its
//! first record on; nothing else waits for anything. Of a peer there is one record, which waits like an
//! answer in one piece, since it is one. What is said
//! of a provider that has been told of already is dropped. The filter looks at what is known of a
//! provider by then, so that one whose first addresses do not pass comes when others do.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::answer::{Local, select};
use super::{Core, Remote, find};
use crate::resolve::cache::RemoteAnswer;
use crate::resolve::coalesce::Follower;
use crate::resolve::patience::Patience;
use crate::resolve::{Found, FoundStream, Question, ResolveError};
use crate::types::{Kin, ReadyRecord, Schema, SelectedRecord};

/// An answer under way.
struct Streaming {
    core: Arc<Core>,
    question: Question,
    stage: Stage,
    /// What it has told of, but for the local records whose kin nobody has asked for yet.
    told: HashSet<Kin>,
    told_local: Vec<Arc<ReadyRecord>>,
    /// How long records without addresses wait, and whether they have.
    patience: Patience,
    has_waited: bool,
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
    let patience = Patience::new(core.options.gather_timeout);
    let streaming = Streaming {
        core,
        question,
        stage: Stage::Local(local),
        told: HashSet::new(),
        told_local: Vec::new(),
        patience,
        has_waited: false,
        given: 0,
        local_error: None,
    };
    stream::unfold(streaming, |mut streaming| async {
        streaming.next().await.map(|item| (item, streaming))
    })
    .boxed()
}

/// The only item is the whole answer.
pub(super) fn in_one_piece(core: Arc<Core>, question: Question) -> FoundStream {
    stream::once(async move { find::find(&core, &question).await }).boxed()
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
                // That there may be more is worth telling.
                Some(Ok(found)) if found.records.is_empty() && !found.is_partial => {}
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
                self.told_local.extend(found.records.iter().map(|(record, _)| record.clone()));
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
                self.patience.begin_if(self.given > 0);
                None
            }
        }
    }

    async fn next_remote(&mut self) -> Option<Item> {
        let Stage::Following { follower, reserve } = &mut self.stage else { return None };
        let read = follower.read();
        if !read.is_empty() {
            let filter = &self.question.filter;
            if !self.patience.has_begun() {
                let passes = read.iter().any(|(_, record)| filter.select(record).is_some());
                self.patience.begin_if(passes);
            }
            let has_waited = self.has_waited;
            let ready = read.into_iter().filter(|(_, record)| has_waited || !can_wait(record));
            return Some(Ok(self.untold(ready)));
        }
        match follower.landed(self.core.clock.now_ms()) {
            Some(landed) => {
                let served = self.core.served(landed, reserve.take(), &self.question.subject);
                Some(self.end_with(served))
            }
            None => tokio::select! {
                biased;
                () = follower.news() => None,
                () = self.patience.is_over(), if !self.has_waited => {
                    self.has_waited = true;
                    let known = follower.so_far(self.core.clock.now_ms());
                    Some(Ok(self.untold(known.iter().map(|(kin, record)| (*kin, record.clone())))))
                }
            },
        }
    }

    /// What is left to tell when all upstreams have said what they know.
    fn end_with(&mut self, remote: Result<Arc<RemoteAnswer>, ResolveError>) -> Item {
        self.stage = Stage::Ended;
        let local = Local { found: Found::default(), error: self.local_error.take() };
        let has_local_failed = local.error.is_some();
        let answer = match remote {
            Ok(answer) => answer,
            Err(_) if self.given > 0 => {
                return Ok(Found { is_partial: true, ..Found::default() });
            }
            Err(error) => return local.without(error, &self.question),
        };
        if self.given == 0 {
            return self.core.answer(local, &answer, &self.question);
        }
        self.learn_local();
        let room = self.room();
        let Self { question, told, .. } = self;
        let (records, _) = answer.take_turn(room, &question.filter, |kin, record| {
            if told.contains(kin) { None } else { select(&question.filter, record) }
        });
        let is_partial = has_local_failed
            || self.core.cache.options().is_partial(&answer, self.core.clock.now_ms());
        let modified_at_ms = Some(answer.made_at_ms());
        Ok(Found { records: records.into(), modified_at_ms, is_partial })
    }

    /// What passes of records that were not told of, as much as is wanted. Counts as told.
    fn untold(&mut self, records: impl Iterator<Item = (Kin, Arc<ReadyRecord>)>) -> Found {
        self.learn_local();
        let room = self.room();
        let mut selected: Vec<SelectedRecord> = Vec::new();
        for (kin, record) in records {
            if selected.len() == room {
                break;
            }
            if !self.told.contains(&kin)
                && let Some(record) = select(&self.question.filter, &record)
            {
                self.told.insert(kin);
                selected.push(record);
            }
        }
        let modified_at_ms = Some(self.core.clock.now_ms());
        Found { records: selected.into(), modified_at_ms, is_partial: false }
    }

    /// Puts the local records among what was told, now that upstreams know something.
    fn learn_local(&mut self) {
        self.told.extend(self.told_local.drain(..).map(|record| record.kin()));
    }
}

/// Whether a record may become a better one: addresses may come for it.
fn can_wait(record: &ReadyRecord) -> bool {
    !record.has_addrs() && record.schema() != Schema::Unknown
}
