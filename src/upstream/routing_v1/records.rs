//! Asks for records and streams them.
//!
//! A batch has the records that one chunk of the body completes; it is emitted before more is read.
//! An answer that ends early yields its records, then the error. Dropping the stream cancels the
//! request.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use reqwest::header::ACCEPT;
use reqwest::{Method, Request};

use super::body::{AnswerBodyError, AnswerBodyReader, AnswerFormat, AnswerLimits};
use super::exchange::Exchange;
use super::failure::ExchangeFailure;
use super::reply::{self, ACCEPT_RECORDS, Reply};
use super::sanitize::{SanitizeOptions, Sanitizer};
use super::{Resource, Shared};
use crate::http_client::{HttpAnswer, HttpClientError};
use crate::metrics::UpstreamOutcome;
use crate::resolve::{AskError, AskedRecords};
use crate::types::ReadyRecord;
use crate::types::{Hops, Subject};

/// The state of a lookup.
enum LookupPhase {
    Begin {
        shared: Arc<Shared>,
        subject: Subject,
        hops: Hops,
    },
    Reading(Box<Reading>),
    /// All records were emitted; the error remains.
    Failed(AskError),
    Ended,
}

/// An answer that is being read.
struct Reading {
    shared: Arc<Shared>,
    exchange: Exchange,
    answer: HttpAnswer,
    body: AnswerBodyReader,
    sanitizer: Sanitizer,
}

type RecordBatch = Result<Vec<Arc<ReadyRecord>>, AskError>;

/// The records of a subject, from one request.
pub(super) fn ask(shared: Arc<Shared>, subject: Subject, hops: Hops) -> AskedRecords {
    stream::unfold(LookupPhase::Begin { shared, subject, hops }, step).boxed()
}

async fn step(mut phase: LookupPhase) -> Option<(RecordBatch, LookupPhase)> {
    loop {
        let next = match phase {
            LookupPhase::Begin { shared, subject, hops } => begin(shared, &subject, hops).await,
            LookupPhase::Reading(reading) => reading.next().await,
            LookupPhase::Failed(error) => return Some((Err(error), LookupPhase::Ended)),
            LookupPhase::Ended => return None,
        };
        match next {
            (batch, next) if batch.is_empty() => phase = next,
            (batch, next) => return Some((Ok(batch), next)),
        }
    }
}

async fn begin(
    shared: Arc<Shared>,
    subject: &Subject,
    hops: Hops,
) -> (Vec<Arc<ReadyRecord>>, LookupPhase) {
    let exchange = match shared.begin(resource(subject)).await {
        Ok(exchange) => exchange,
        Err(error) => return (Vec::new(), LookupPhase::Failed(error)),
    };
    let next = match open(&shared, &exchange, subject, hops).await {
        Ok(Some((answer, body))) => {
            let sanitizer = Sanitizer::new(shared.sanitize, subject);
            LookupPhase::Reading(Box::new(Reading { shared, exchange, answer, body, sanitizer }))
        }
        Ok(None) => {
            exchange.succeed(UpstreamOutcome::Empty);
            LookupPhase::Ended
        }
        Err(failure) => LookupPhase::Failed(exchange.fail(&failure)),
    };
    (Vec::new(), next)
}

/// Sends the question; returns the answer if it has a body to read.
async fn open(
    shared: &Shared,
    exchange: &Exchange,
    subject: &Subject,
    hops: Hops,
) -> Result<Option<(HttpAnswer, AnswerBodyReader)>, ExchangeFailure> {
    let request = request(shared, subject, hops)?;
    let answer = exchange.send(shared, request).await?;
    match reply::read(shared, answer).await? {
        Reply::None => Ok(None),
        Reply::Body(answer) => {
            let format = reply::answer_format(&shared.http, &answer)?;
            let body = AnswerBodyReader::new(format, list_name(subject), shared.limits);
            Ok(Some((answer, body)))
        }
    }
}

/// The question.
fn request(shared: &Shared, subject: &Subject, hops: Hops) -> Result<Request, HttpClientError> {
    let url = match subject {
        Subject::Content(key) => shared.url.endpoint(["providers", &key.to_cid_text()]),
        Subject::Peer(peer) => shared.url.endpoint(["peers", &peer.to_cid_text()]),
    };
    shared.http.build(shared.request(Method::GET, url, hops).header(ACCEPT, ACCEPT_RECORDS))
}

fn resource(subject: &Subject) -> Resource {
    match subject {
        Subject::Content(_) => Resource::Providers,
        Subject::Peer(_) => Resource::Peers,
    }
}

/// The field of a JSON answer that has the records.
fn list_name(subject: &Subject) -> &'static str {
    match subject {
        Subject::Content(_) => "Providers",
        Subject::Peer(_) => "Peers",
    }
}

/// What an upstream hands on of an answer of this `Content-Type` whose body comes in these pieces: its
/// records up to the end or to where it breaks a limit, with the options of an upstream of which nothing
/// else is known.
pub fn received<'a>(
    content_type: &str,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    subject: &Subject,
    limits: AnswerLimits,
) -> Vec<Arc<ReadyRecord>> {
    let Some(format) = AnswerFormat::of_content_type(content_type) else { return Vec::new() };
    let mut sanitizer = Sanitizer::new(SanitizeOptions::default(), subject);
    let mut body = AnswerBodyReader::new(format, list_name(subject), limits);
    let read = pieces
        .into_iter()
        .try_for_each(|piece| body.push(piece, &mut |text| sanitizer.take(text)))
        .and_then(|()| body.finish(&mut |text| sanitizer.take(text)));
    // Records before the failure count.
    let _ = read;
    sanitizer.batch()
}

impl Reading {
    /// Reads the next piece of the answer.
    async fn next(mut self: Box<Self>) -> (Vec<Arc<ReadyRecord>>, LookupPhase) {
        match self.read().await {
            ControlFlow::Continue(()) => {
                let batch = self.sanitizer.batch();
                (batch, LookupPhase::Reading(self))
            }
            ControlFlow::Break(failure) => self.end(failure),
        }
    }

    /// Breaks at the end of the answer, with the error if it is not whole.
    async fn read(&mut self) -> ControlFlow<Option<ExchangeFailure>> {
        let bad_before = self.sanitizer.records_bad();
        let chunk = self.shared.http.chunk(&mut self.answer).await;
        let read = match chunk {
            Ok(Some(bytes)) => {
                match self.body.push(&bytes, &mut |text| self.sanitizer.take(text)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(Some(self.shared.cut(error))),
                }
            }
            Ok(None) => {
                let rest = self.body.finish(&mut |text| self.sanitizer.take(text));
                ControlFlow::Break(rest.err().map(|error| self.shared.cut(error)))
            }
            Err(error) => ControlFlow::Break(Some(error.into())),
        };
        let bad = self.sanitizer.records_bad() - bad_before;
        self.exchange.received(self.sanitizer.waiting(), bad);
        self.exchange.dropped_fields(self.sanitizer.take_fields_dropped());
        read
    }

    fn end(mut self, failure: Option<ExchangeFailure>) -> (Vec<Arc<ReadyRecord>>, LookupPhase) {
        let batch = self.sanitizer.batch();
        let failure = failure.or_else(|| self.sanitizer.no_answer().map(ExchangeFailure::Contents));
        let next = match failure {
            Some(failure) => LookupPhase::Failed(self.exchange.fail(&failure)),
            None if self.sanitizer.has_records() => {
                self.exchange.succeed(UpstreamOutcome::Found);
                LookupPhase::Ended
            }
            None => {
                self.exchange.succeed(UpstreamOutcome::Empty);
                LookupPhase::Ended
            }
        };
        (batch, next)
    }
}

impl Shared {
    fn cut(&self, error: AnswerBodyError) -> ExchangeFailure {
        error.of_answer(&self.http).into()
    }
}
