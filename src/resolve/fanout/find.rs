//! Answers in one piece: they wait for all upstreams, but once there is something for one, no longer
//! than a moment.

use std::borrow::Cow;
use std::sync::Arc;

use super::answer::Local;
use super::{Core, Remote};
use crate::resolve::cache::RemoteAnswer;
use crate::resolve::coalesce::Follower;
use crate::resolve::patience::Patience;
use crate::resolve::{Found, Question, ResolveError, Subject};
use crate::types::Filter;

pub(super) async fn find(core: &Arc<Core>, question: &Question) -> Result<Found, ResolveError> {
    let local = match &core.local {
        None => Local::default(),
        Some(local) => match local.find(&of_local(question)).await {
            Ok(found) => Local { found, error: None },
            Err(error) => Local { found: Found::default(), error: Some(error) },
        },
    };
    if local.is_enough(question) {
        core.counts.local.inc();
        return Ok(local.found);
    }
    let remote = match core.remote(question) {
        Remote::Kept(answer) => Ok(answer),
        Remote::Asked { follower, reserve } => {
            let has_some = local.has_some(question);
            gather(core, question, follower, reserve, has_some).await
        }
    };
    match remote {
        Ok(answer) => core.answer(local, &answer, question),
        Err(error) => local.without(error, question),
    }
}

/// What the local index is asked. What it knows of a peer is filtered when it is united with what
/// upstreams know.
fn of_local(question: &Question) -> Cow<'_, Question> {
    match question.subject {
        Subject::Content(_) => Cow::Borrowed(question),
        Subject::Peer(_) => Cow::Owned(Question { filter: Filter::default(), ..question.clone() }),
    }
}

/// What upstreams say, as far as it is worth waiting for. `has_some`: whether the answer will have
/// records anyway.
async fn gather(
    core: &Arc<Core>,
    question: &Question,
    mut follower: Follower,
    reserve: Option<Arc<RemoteAnswer>>,
    has_some: bool,
) -> Result<Arc<RemoteAnswer>, ResolveError> {
    let mut patience = Patience::new(core.options.gather_timeout);
    patience.begin_if(has_some);
    loop {
        if let Some(landed) = follower.landed(core.clock.now_ms()) {
            return core.served(landed, reserve, &question.subject);
        }
        if !patience.has_begun() {
            let read = follower.read();
            let passes = read.iter().any(|(_, record)| question.filter.select(record).is_some());
            patience.begin_if(passes);
        }
        tokio::select! {
            biased;
            () = follower.news() => {}
            () = patience.is_over() => {
                follower.keep_running();
                let so_far = follower.so_far(core.clock.now_ms());
                return Ok(core.with_reserve(so_far, reserve, &question.subject));
            }
        }
    }
}
