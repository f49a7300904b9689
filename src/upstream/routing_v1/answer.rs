//! Collects the records of a provider answer.
//!
//! No I/O here: bytes are pushed in, and memory is bounded with the body. A record that cannot be
//! parsed costs only itself: it is counted, and the first reason kept. An answer whose records are
//! all unparsable is an error.

use std::ops::ControlFlow;

use super::body::{AnswerBodyReader, AnswerFormat, AnswerLimits, TextError};
use crate::http_client::{HttpClient, HttpClientError};
use crate::text::printable;
use crate::types::{ProviderRecord, UnparsableAddrs};

/// What a router knows about who provides something.
#[derive(Debug, Default)]
pub(crate) struct ProvidersAnswer {
    /// The records that can be read, in the router's order; empty: none found.
    pub(crate) records: Vec<ReceivedRecord>,
    /// How many records could not be read.
    pub(crate) records_bad: usize,
    /// Why the first of them could not be read; printable.
    pub(crate) first_bad: Option<String>,
    /// Why the answer is not whole, if it is not.
    pub(crate) cut: Option<HttpClientError>,
    /// The answer is a 404 with a web page as body, as something other than a router sends it.
    pub(crate) is_web_page: bool,
}

/// One record, read and as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReceivedRecord {
    /// The record; addresses that do not parse are in it.
    pub(crate) record: ProviderRecord,
    /// The JSON text that the router sent.
    pub(crate) json: Box<str>,
}

/// Takes a body in pieces of any size.
pub(super) struct AnswerReader<'a> {
    body: AnswerBodyReader,
    /// Names the router in errors.
    http: &'a HttpClient,
    answer: ProvidersAnswer,
}

impl<'a> AnswerReader<'a> {
    pub(super) fn new(format: AnswerFormat, limits: AnswerLimits, http: &'a HttpClient) -> Self {
        Self {
            body: AnswerBodyReader::new(format, "Providers", limits),
            http,
            answer: ProvidersAnswer::default(),
        }
    }

    /// Takes the next bytes of the body; breaks when reading should stop.
    pub(super) fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let Self { body, http, answer } = self;
        match body.push(bytes, &mut |text| answer.take(text)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                answer.cut = Some(error.of_answer(http));
                ControlFlow::Break(())
            }
        }
    }

    /// The answer, when the body has ended: by itself, by a limit, or by `failure`. A truncated
    /// answer counts for the records read, if there are any.
    pub(super) fn finish(
        self,
        failure: Option<HttpClientError>,
    ) -> Result<ProvidersAnswer, HttpClientError> {
        let Self { mut body, http, mut answer } = self;
        answer.cut = answer.cut.or(failure);
        if answer.cut.is_none() {
            let rest = body.finish(&mut |text| answer.take(text));
            answer.cut = rest.err().map(|error| error.of_answer(http));
        }
        if !answer.records.is_empty() {
            return Ok(answer);
        }
        match (&answer.first_bad, answer.cut.take()) {
            (Some(reason), _) => {
                let records_bad = answer.records_bad;
                let reason = format!("none of its {records_bad} records can be read: {reason}");
                Err(http.unusable(reason))
            }
            (None, Some(cut)) => Err(cut),
            (None, None) => Ok(answer),
        }
    }
}

impl ProvidersAnswer {
    fn take(&mut self, text: Result<&str, TextError>) {
        let json = match text {
            Ok(json) => json,
            Err(error) => return self.count_bad(&error.to_string()),
        };
        match ProviderRecord::parse(json, UnparsableAddrs::Keep) {
            Ok(parsed) => {
                let json = json.trim().into();
                self.records.push(ReceivedRecord { record: parsed.record, json });
            }
            Err(error) => self.count_bad(&error.to_string()),
        }
    }

    fn count_bad(&mut self, reason: &str) {
        self.records_bad += 1;
        self.first_bad.get_or_insert_with(|| printable(reason).into());
    }
}

#[cfg(test)]
mod tests;
