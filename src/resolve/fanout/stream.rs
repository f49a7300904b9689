//! Streamed answers: records at hand first, then the rest as they come.
//!
//! The local index is polled first: where it has enough at hand, nobody else is asked; where it has to
//! wait itself, upstreams are asked meanwhile. Each provider is sent once, merged of all that is known of it
//! at that moment; later records of it are dropped. An upstream's record without addresses waits until all
//! upstreams have answered, because another may know some, but no longer than the grace timeout from the
//! first record on; no other record waits. A peer has one record, which is an answer in one piece. The
//! filter is applied to the merged record, so that a provider whose first addresses do not pass is sent when
//! others do.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};

use super::answer::{self, Local, select};
use super::grace::GraceTimeout;
use super::singleflight::Follower;
use super::{Core, Remote, find};
use crate::resolve::cache::RemoteAnswer;
use crate::resolve::{FoundStream, ResolveError};
use crate::types::{Found, MergeKey, Question, ReadyRecord, Schema, SelectedRecord};

/// An answer under way.
struct FanoutStream {
    core: Arc<Core>,
    question: Question,
    /// The local index, until it has ended.
    local: Option<FoundStream>,
    local_error: Option<ResolveError>,
    upstreams: Upstreams,
    /// The records that it has given.
    sent: HashSet<MergeKey>,
    given: usize,
    /// How long records without addresses wait, and whether that is over.
    grace: GraceTimeout,
    has_waited: bool,
}

/// How far asking upstreams has come.
enum Upstreams {
    NotAsked,
    Followed {
        follower: Follower,
        stale: Option<Arc<RemoteAnswer>>,
    },
    /// They have answered; not all of that has been given.
    Answered(Result<Arc<RemoteAnswer>, ResolveError>),
    /// All that they know has been given.
    Given,
    /// So has what the local index knows.
    Ended,
}

type Item = Result<Found, ResolveError>;

pub(super) fn stream(core: Arc<Core>, question: Question) -> FoundStream {
    let streaming = FanoutStream {
        local: core.local.as_ref().map(|local| local.stream(question.clone())),
        local_error: None,
        upstreams: Upstreams::NotAsked,
        sent: HashSet::new(),
        given: 0,
        grace: GraceTimeout::new(core.options.gather_timeout),
        has_waited: false,
        core,
        question,
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

impl FanoutStream {
    async fn next(&mut self) -> Option<Item> {
        loop {
            if self.room() == 0 {
                self.upstreams = Upstreams::Ended;
            }
            let item = match &self.upstreams {
                Upstreams::Ended => return None,
                Upstreams::NotAsked => Some(self.begin()),
                Upstreams::Followed { .. } | Upstreams::Answered(_) | Upstreams::Given => {
                    self.go_on().await
                }
            };
            match item {
                // An empty item still tells that the answer is partial.
                Some(Ok(found)) if found.records.is_empty() && !found.is_partial => {}
                Some(Ok(found)) => {
                    self.given += found.records.len();
                    if self.given > 0 {
                        self.grace.begin();
                    }
                    return Some(Ok(found));
                }
                Some(Err(error)) => {
                    self.upstreams = Upstreams::Ended;
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

    /// The records that are at hand when the stream is first polled.
    fn begin(&mut self) -> Item {
        let mut found = Found::default();
        while let Some(local) = &mut self.local
            && let Some(next) = local.next().now_or_never()
        {
            found.append(self.read_local(next));
            if found.records.len() >= self.room() {
                self.core.counts.local.inc();
                self.upstreams = Upstreams::Ended;
                return Ok(found);
            }
        }
        match self.core.remote(&self.question) {
            Remote::Kept(answer) if self.local.is_none() => return self.end(found, Ok(answer)),
            Remote::Kept(answer) => self.upstreams = Upstreams::Answered(Ok(answer)),
            Remote::Asked { follower, stale } => {
                self.upstreams = Upstreams::Followed { follower, stale };
            }
        }
        Ok(self.give_local(found))
    }

    /// Reads the local index's next item; empty at its end.
    fn read_local(&mut self, next: Option<Item>) -> Found {
        match next {
            Some(Ok(found)) => return found,
            Some(Err(error)) => self.local_error = Some(error),
            None => {}
        }
        self.local = None;
        Found::default()
    }

    async fn go_on(&mut self) -> Option<Item> {
        if let Upstreams::Followed { follower, stale } = &mut self.upstreams {
            let read = follower.read();
            if !read.is_empty() {
                let filter = &self.question.filter;
                if read.iter().any(|(_, it)| filter.select(it).is_some()) {
                    self.grace.begin();
                }
                let has_waited = self.has_waited;
                let ready = read.into_iter().filter(|(_, it)| has_waited || !can_wait(it));
                return Some(Ok(self.unsent(ready)));
            }
            if let Some(outcome) = follower.outcome(self.core.clock.now_ms()) {
                let served = self.core.served(outcome, stale.take(), &self.question.subject);
                self.upstreams = Upstreams::Answered(served);
            }
        }
        match std::mem::replace(&mut self.upstreams, Upstreams::Given) {
            Upstreams::Answered(answer) if self.local.is_none() => {
                return Some(self.end(Found::default(), answer));
            }
            Upstreams::Answered(Ok(answer)) => return Some(Ok(self.rest(&answer))),
            Upstreams::Given if self.local.is_none() => {
                let nothing = self.core.nothing(&self.question.subject);
                return Some(self.end(Found::default(), Ok(nothing)));
            }
            waiting @ (Upstreams::NotAsked
            | Upstreams::Followed { .. }
            | Upstreams::Answered(Err(_))
            | Upstreams::Given
            | Upstreams::Ended) => self.upstreams = waiting,
        }
        self.wait().await
    }

    /// Waits until there is something new.
    async fn wait(&mut self) -> Option<Item> {
        let Self { local, upstreams, grace, .. } = self;
        tokio::select! {
            biased;
            next = next_of(local) => {
                let found = self.read_local(next);
                Some(Ok(self.give_local(found)))
            }
            () = change_of(upstreams) => None,
            () = grace.is_over(), if !self.has_waited => {
                self.has_waited = true;
                let known = self.at_hand()?;
                let known = known.iter().map(|(key, record)| (*key, record.clone()));
                Some(Ok(self.unsent(known)))
            }
        }
    }

    /// The upstreams' answer so far.
    fn at_hand(&self) -> Option<Arc<RemoteAnswer>> {
        match &self.upstreams {
            Upstreams::Followed { follower, stale } => {
                let so_far = follower.so_far(self.core.clock.now_ms());
                Some(self.core.with_stale(so_far, stale.clone(), &self.question.subject))
            }
            Upstreams::Answered(Ok(answer)) => Some(answer.clone()),
            Upstreams::Answered(Err(_))
            | Upstreams::NotAsked
            | Upstreams::Given
            | Upstreams::Ended => None,
        }
    }

    /// Unsent local records, merged with upstreams' records of the same providers.
    fn give_local(&mut self, local: Found) -> Found {
        if local.records.is_empty() {
            return local;
        }
        let Found { records, modified_at_ms, is_partial } = local;
        let is_new = |(record, _): &SelectedRecord| self.sent.insert(record.merge_key());
        let mut records: Vec<_> = records.into_iter().filter(is_new).collect();
        if let Some(known) = self.at_hand() {
            answer::merge_into(&mut records, &known, &self.question.filter);
        }
        records.truncate(self.room());
        Found { records: records.into(), modified_at_ms, is_partial }
    }

    /// The last item, when the local index and all upstreams have ended.
    fn end(&mut self, local: Found, remote: Result<Arc<RemoteAnswer>, ResolveError>) -> Item {
        self.upstreams = Upstreams::Ended;
        let local = Local { found: local, error: self.local_error.take() };
        match remote {
            Ok(answer) if self.given == 0 => self.core.answer(local, &answer, &self.question),
            Err(error) if self.given == 0 => local.without(error, &self.question),
            Ok(answer) => {
                let mut rest = self.rest(&answer);
                rest.is_partial |= local.error.is_some();
                Ok(rest)
            }
            Err(_) => Ok(Found { is_partial: true, ..Found::default() }),
        }
    }

    /// The unsent records of an answer that pass the filter, up to the cap. Marks them sent.
    fn rest(&mut self, answer: &RemoteAnswer) -> Found {
        let room = self.room();
        let Self { question, sent, .. } = self;
        let (records, _) = answer.take_turn(room, &question.filter, |key, record| {
            if sent.contains(key) { None } else { select(&question.filter, record) }
        });
        sent.extend(records.iter().map(|(record, _)| record.merge_key()));
        let is_partial = self.core.cache.options().is_partial(answer, self.core.clock.now_ms());
        let modified_at_ms = Some(answer.made_at_ms());
        Found { records: records.into(), modified_at_ms, is_partial }
    }

    /// The unsent ones of `records` that pass the filter, up to the cap. Marks them sent.
    fn unsent(&mut self, records: impl Iterator<Item = (MergeKey, Arc<ReadyRecord>)>) -> Found {
        let room = self.room();
        let mut selected: Vec<SelectedRecord> = Vec::new();
        for (key, record) in records {
            if selected.len() == room {
                break;
            }
            if !self.sent.contains(&key)
                && let Some(record) = select(&self.question.filter, &record)
            {
                self.sent.insert(key);
                selected.push(record);
            }
        }
        let modified_at_ms = Some(self.core.clock.now_ms());
        Found { records: selected.into(), modified_at_ms, is_partial: false }
    }
}

async fn next_of(local: &mut Option<FoundStream>) -> Option<Item> {
    match local {
        Some(local) => local.next().await,
        None => pending().await,
    }
}

async fn change_of(upstreams: &mut Upstreams) {
    match upstreams {
        Upstreams::Followed { follower, .. } => follower.changed().await,
        Upstreams::NotAsked | Upstreams::Answered(_) | Upstreams::Given | Upstreams::Ended => {
            pending().await
        }
    }
}

/// Whether a record may become a better one: addresses may come for it.
fn can_wait(record: &ReadyRecord) -> bool {
    !record.has_addrs() && record.schema() != Schema::Unknown
}
