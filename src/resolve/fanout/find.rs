//! Answers in one piece: they wait for the local index and all upstreams, but once there is something
//! for one, no longer than the grace timeout.
//!
//! The local index is polled first: if it is ready and has enough, no upstream is asked. Where it
//! has to wait itself, upstreams are asked meanwhile.

use std::borrow::Cow;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;

use super::answer::Local;
use super::grace::GraceTimeout;
use super::singleflight::Follower;
use super::{Core, Remote};
use crate::resolve::cache::RemoteAnswer;
use crate::resolve::{ResolveError, UpstreamReasons};
use crate::types::{Filter, Found, Question, ReadyRecord, Subject};

pub(super) async fn find(core: &Arc<Core>, question: &Question) -> Result<Found, ResolveError> {
    let mut asking_local = pin!(ask_local(core, question));
    let mut local = asking_local.as_mut().now_or_never();
    if let Some(enough) = local.take_if(|local| local.is_enough(question)) {
        core.counts.local.inc();
        return Ok(enough.found);
    }
    let mut gathering = Gathering::new(core, question);
    loop {
        gathering.read(local.as_ref());
        if local.is_some() && gathering.answer.is_some() {
            break;
        }
        tokio::select! {
            biased;
            known = asking_local.as_mut(), if local.is_none() => {
                if known.is_enough(question) {
                    return Ok(known.found);
                }
                local = Some(known);
            }
            news = gathering.news() => if news.is_none() {
                break;
            },
        }
    }
    // A local index that is slow counts like one that fails.
    let late = || Local {
        found: Found::default(),
        error: Some(ResolveError::TimedOut(UpstreamReasons::default())),
    };
    let local = local.unwrap_or_else(late);
    match gathering.finish() {
        Ok(answer) => core.answer(local, &answer, question),
        Err(error) => local.without(error, question),
    }
}

async fn ask_local(core: &Core, question: &Question) -> Local {
    let Some(local) = &core.local else { return Local::default() };
    match local.find(&for_local(question)).await {
        Ok(found) => Local { found, error: None },
        Err(error) => Local { found: Found::default(), error: Some(error) },
    }
}

/// The local index's question. Of a peer it is unfiltered, because the merged record is filtered.
fn for_local(question: &Question) -> Cow<'_, Question> {
    match question.subject {
        Subject::Content(_) => Cow::Borrowed(question),
        Subject::Peer(_) => Cow::Owned(Question { filter: Filter::default(), ..question.clone() }),
    }
}

/// Collects upstreams' records until the grace timeout.
struct Gathering<'a> {
    core: &'a Core,
    question: &'a Question,
    follower: Option<Follower>,
    stale: Option<Arc<RemoteAnswer>>,
    /// The result, when the lookup has ended.
    answer: Option<Result<Arc<RemoteAnswer>, ResolveError>>,
    grace: GraceTimeout,
}

impl<'a> Gathering<'a> {
    fn new(core: &'a Arc<Core>, question: &'a Question) -> Self {
        let grace = GraceTimeout::new(core.options.gather_timeout);
        let (follower, stale, answer) = match core.remote(question) {
            Remote::Kept(answer) => (None, None, Some(Ok(answer))),
            Remote::Asked { follower, stale } => (Some(follower), stale, None),
        };
        Self { core, question, follower, stale, answer, grace }
    }

    /// Reads what is new. With the first record that passes the grace timeout begins.
    fn read(&mut self, local: Option<&Local>) {
        let Self { core, question, follower, stale, answer, grace } = self;
        let passes = |record: &ReadyRecord| question.filter.select(record).is_some();
        if let (Some(follower), None) = (follower, &answer) {
            if let Some(outcome) = follower.outcome(core.clock.now_ms()) {
                *answer = Some(core.served(outcome, stale.take(), &question.subject));
            } else if !grace.has_begun() && follower.read().iter().any(|(_, it)| passes(it)) {
                grace.begin();
            }
        }
        if local.is_some_and(|local| local.has_some(question))
            || matches!(answer, Some(Ok(answer)) if answer.iter().any(|(_, it)| passes(it)))
        {
            grace.begin();
        }
    }

    /// Waits until there is something to read; `None`: no longer.
    async fn news(&mut self) -> Option<()> {
        let Self { follower, answer, grace, .. } = self;
        let changed = async {
            match (follower, answer) {
                (Some(follower), None) => follower.changed().await,
                (None, _) | (_, Some(_)) => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = changed => Some(()),
            () = grace.is_over() => None,
        }
    }

    /// The answer so far. A lookup that has not ended goes on, so that the next answer has it all.
    fn finish(self) -> Result<Arc<RemoteAnswer>, ResolveError> {
        let Self { core, question, follower, stale, answer, grace: _ } = self;
        answer.unwrap_or_else(|| {
            let follower = follower.expect("without an answer there is a lookup to follow");
            follower.keep_running();
            let so_far = follower.so_far(core.clock.now_ms());
            Ok(core.with_stale(so_far, stale, &question.subject))
        })
    }
}
