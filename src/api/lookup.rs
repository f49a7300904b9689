//! Lookups: GET and HEAD of providers and peers, whole or as a stream.
//!
//! JSON answers are whole. NDJSON answers begin when the first record is known, because only then
//! is their status, and go on record by record; one that is complete by then is sent in one piece
//! like JSON. A lookup ends within `lookup_timeout`, and when its client goes away.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{FutureExt, StreamExt};

use super::accept::{self, Format};
use super::answer::{Form, ListName};
use super::edge::{self, Context};
use super::error::ApiError;
use super::stream::{Deadline, RecordsBody};
use super::{Worker, peers, providers};
use crate::metrics::BodyFormat;
use crate::resolve::{Found, FoundStream, Question, ResolveError, Subject};
use crate::types::Filter;

/// The media types of lookups, as a 406 names them.
const OFFERED: &str = "application/json, application/x-ndjson";

/// A lookup, by the endpoint that it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// Who has the CID of this text, as it stands in the path.
    Providers(&'a str),
    /// How the peer of this text is reached, as it stands in the path.
    Peers(&'a str),
}

impl Asked<'_> {
    fn subject(self) -> Result<Subject, ApiError> {
        match self {
            Self::Providers(cid) => providers::subject(cid),
            Self::Peers(peer) => peers::subject(peer),
        }
    }

    fn list(self) -> ListName {
        match self {
            Self::Providers(_) => providers::LIST,
            Self::Peers(_) => peers::LIST,
        }
    }
}

/// Answers a lookup.
pub(super) async fn get(
    request: &HttpRequest,
    worker: &Rc<Worker>,
    context: &Context,
    asked: Asked<'_>,
) -> HttpResponse {
    edge::answer(context, find(request, worker, context, asked)).await
}

async fn find(
    request: &HttpRequest,
    worker: &Rc<Worker>,
    context: &Context,
    asked: Asked<'_>,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    let subject = asked.subject()?;
    let filter = Filter::from_query(request.query_string())?;
    let format = format(request, context)?;
    let records_max = state.policy.records_max(format);
    let question = Question { subject, filter, records_max, hops: context.hops() };
    // HEAD is answered without a body, so there is nothing to begin early.
    if format == Format::Ndjson && request.method() != Method::HEAD {
        return stream(request, worker, context, question, asked.list()).await;
    }
    let found = within(state.lookup_timeout, state.resolver.find(&question)).await?;
    context.set_records(found.records.len() as u64);
    let form = Form { format, list: asked.list() };
    Ok(state.policy.respond(request, found, form, worker))
}

/// Answers with NDJSON.
async fn stream(
    request: &HttpRequest,
    worker: &Rc<Worker>,
    context: &Context,
    question: Question,
    list: ListName,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    let mut source = state.resolver.stream(question);
    let mut found = Found::default();
    let mut deadline = None;
    let rest = loop {
        match source.next().now_or_never() {
            Some(None) => break None,
            Some(Some(Ok(more))) => found.append(more),
            Some(Some(Err(error))) if found.records.is_empty() => return Err(error.into()),
            // What was found stands, and there may be more.
            Some(Some(Err(_))) => {
                found.is_partial = true;
                break None;
            }
            None if !found.records.is_empty() => break Some(source),
            // Nobody knows yet whether there is anything to begin with.
            None => {
                let until = deadline.get_or_insert_with(|| Deadline::after(state.lookup_timeout));
                match first_of(&mut source, until).await? {
                    Some(first) => found.append(first),
                    None => break None,
                }
            }
        }
    };
    let Some(source) = rest else {
        context.set_records(found.records.len() as u64);
        let form = Form { format: Format::Ndjson, list };
        return Ok(state.policy.respond(request, found, form, worker));
    };
    let deadline = deadline.unwrap_or_else(|| Deadline::after(state.lookup_timeout));
    let body = RecordsBody::growing(found, source, deadline, worker.counts.clone());
    Ok(state.policy.respond_growing(body))
}

/// The next records of a stream that has none at hand; an error when there are none in time.
async fn first_of(
    source: &mut FoundStream,
    deadline: &mut Deadline,
) -> Result<Option<Found>, ResolveError> {
    tokio::select! {
        biased;
        next = source.next() => next.transpose(),
        () = deadline => Err(ResolveError::TimedOut),
    }
}

/// What becomes of `work`, if it is done in time.
pub(super) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, ResolveError>>,
) -> Result<T, ResolveError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(ResolveError::TimedOut))
}

fn format(request: &HttpRequest, context: &Context) -> Result<Format, ApiError> {
    let lines = request.headers().get_all(header::ACCEPT).map(|line| line.as_bytes());
    let format = accept::negotiate(lines).ok_or(ApiError::NotAcceptable { offered: OFFERED })?;
    context.set_format(match format {
        Format::Json => BodyFormat::Json,
        Format::Ndjson => BodyFormat::Ndjson,
    });
    Ok(format)
}
