//! Reading the body of a provider answer, JSON or NDJSON, as it arrives.
//!
//! No I/O here: bytes are pushed in. Memory is bounded by [`AnswerLimits`] whatever is pushed, and
//! a record or line that cannot be read costs only itself: it is counted, and the first reason
//! kept. An answer of which no record can be read, though it has some, is no answer.

use std::fmt;
use std::ops::ControlFlow;

use memchr::memchr;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::UpstreamError;
use super::printable::printable;
use crate::types::{ProviderRecord, UnparsableAddrs};

/// How much of one answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Bytes of the body, after decompression.
    pub body_bytes_max: usize,
    /// Bytes of one NDJSON line; a longer one is skipped.
    pub line_bytes_max: usize,
    /// Records, readable or not; those beyond are not read.
    pub records_max: usize,
}

impl Default for AnswerLimits {
    /// Far above real answers (100 records of 1 kB in JSON, 1,000 in NDJSON), far below what hurts.
    fn default() -> Self {
        Self { body_bytes_max: 16 << 20, line_bytes_max: 1 << 20, records_max: 10_000 }
    }
}

/// What a router knows about who provides something.
#[derive(Debug, Default)]
pub struct ProvidersAnswer {
    /// The records that can be read, in the router's order; empty: none found.
    pub records: Vec<ReceivedRecord>,
    /// How many records could not be read.
    pub records_bad: usize,
    /// Why the first of them could not be read; printable.
    pub first_bad: Option<String>,
    /// Why the answer is not whole, if it is not.
    pub cut: Option<UpstreamError>,
    /// The answer is a 404 with a web page as body, as something other than a router sends it.
    pub is_web_page: bool,
}

/// One record, read and as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRecord {
    /// The record; addresses that do not parse are in it.
    pub record: ProviderRecord,
    /// The JSON text that the router sent.
    pub json: Box<str>,
}

/// The two forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerFormat {
    Json,
    Ndjson,
}

/// Takes a body in pieces of any size.
pub(super) struct AnswerReader {
    format: AnswerFormat,
    limits: AnswerLimits,
    /// The router, for errors.
    url: String,
    bytes_read: usize,
    /// JSON: the body up to here. NDJSON: the line that has begun.
    pending: Vec<u8>,
    /// The rest of a line that is too long is being skipped.
    is_skipping: bool,
    answer: ProvidersAnswer,
}

impl AnswerFormat {
    /// The format that a `Content-Type` names, parameters aside.
    pub(super) fn of_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

impl AnswerReader {
    pub(super) fn new(format: AnswerFormat, limits: AnswerLimits, url: &str) -> Self {
        Self {
            format,
            limits,
            url: url.to_owned(),
            bytes_read: 0,
            pending: Vec::new(),
            is_skipping: false,
            answer: ProvidersAnswer::default(),
        }
    }

    /// Takes the next bytes of the body; breaks when no more should be read.
    pub(super) fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.bytes_read = self.bytes_read.saturating_add(bytes.len());
        if self.bytes_read > self.limits.body_bytes_max {
            return self.cut("bytes", self.limits.body_bytes_max);
        }
        match self.format {
            AnswerFormat::Json => {
                self.pending.extend_from_slice(bytes);
                ControlFlow::Continue(())
            }
            AnswerFormat::Ndjson => self.push_lines(bytes),
        }
    }

    /// The answer, when the body has ended: by itself, by a limit, or by `failure`. An answer
    /// that was cut counts for what was read of it, if that is anything.
    pub(super) fn finish(
        mut self,
        failure: Option<UpstreamError>,
    ) -> Result<ProvidersAnswer, UpstreamError> {
        self.answer.cut = self.answer.cut.or(failure);
        if self.answer.cut.is_none() {
            self.read_rest()?;
        }
        if !self.answer.records.is_empty() {
            return Ok(self.answer);
        }
        let ProvidersAnswer { records_bad, first_bad, cut, .. } = &mut self.answer;
        match (first_bad, cut.take()) {
            (Some(reason), _) => {
                let reason = format!("none of its {records_bad} records can be read: {reason}");
                Err(self.not_routing(reason))
            }
            (None, Some(cut)) => Err(cut),
            (None, None) => Ok(self.answer),
        }
    }

    /// Reads what could not be read before the end of the body was known. A limit that is met
    /// here is noted in the answer like any other.
    fn read_rest(&mut self) -> Result<(), UpstreamError> {
        match self.format {
            AnswerFormat::Json => self.read_json(),
            AnswerFormat::Ndjson => {
                let _ = self.end_line();
                Ok(())
            }
        }
    }

    fn push_lines(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.push_within_line(line);
            self.end_line()?;
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.push_within_line(bytes);
        ControlFlow::Continue(())
    }

    fn push_within_line(&mut self, bytes: &[u8]) {
        if self.is_skipping {
            return;
        }
        if self.pending.len() + bytes.len() > self.limits.line_bytes_max {
            self.is_skipping = true;
            self.pending = Vec::new();
            return;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn end_line(&mut self) -> ControlFlow<()> {
        let mut line = std::mem::take(&mut self.pending);
        let outcome = if std::mem::take(&mut self.is_skipping) {
            self.count_bad(&format!("a line of more than {} bytes", self.limits.line_bytes_max))
        } else if line.trim_ascii().is_empty() {
            ControlFlow::Continue(())
        } else {
            match std::str::from_utf8(&line) {
                Ok(json) => self.read_record(json),
                Err(_) => self.count_bad("not UTF-8"),
            }
        };
        // One buffer serves all lines.
        line.clear();
        self.pending = line;
        outcome
    }

    fn read_json(&mut self) -> Result<(), UpstreamError> {
        let body = std::mem::take(&mut self.pending);
        let records =
            parse_body(&body, self.limits.records_max.saturating_add(1)).map_err(|error| {
                self.not_routing(format!("its body is not `{{\"Providers\":[...]}}`: {error}"))
            })?;
        for record in records {
            if self.read_record(record.get()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_record(&mut self, json: &str) -> ControlFlow<()> {
        self.check_room()?;
        match ProviderRecord::parse(json, UnparsableAddrs::Keep) {
            Ok(parsed) => {
                let json = json.trim().into();
                self.answer.records.push(ReceivedRecord { record: parsed.record, json });
                ControlFlow::Continue(())
            }
            Err(error) => self.count_bad(&error.to_string()),
        }
    }

    fn count_bad(&mut self, reason: &str) -> ControlFlow<()> {
        self.check_room()?;
        self.answer.records_bad += 1;
        self.answer.first_bad.get_or_insert_with(|| printable(reason).into());
        ControlFlow::Continue(())
    }

    fn check_room(&mut self) -> ControlFlow<()> {
        if self.answer.records.len() + self.answer.records_bad < self.limits.records_max {
            return ControlFlow::Continue(());
        }
        self.cut("records", self.limits.records_max)
    }

    fn cut(&mut self, what: &'static str, limit: usize) -> ControlFlow<()> {
        self.answer.cut = Some(UpstreamError::TooLarge { url: self.url.clone(), what, limit });
        ControlFlow::Break(())
    }

    fn not_routing(&self, reason: String) -> UpstreamError {
        UpstreamError::NotRouting { url: self.url.clone(), reason }
    }
}

/// The first records of a JSON body, unparsed.
fn parse_body(body: &[u8], records_max: usize) -> Result<Vec<&RawValue>, serde_json::Error> {
    let body: Body<'_> = serde_json::from_slice(body)?;
    // Go servers write an empty list as null.
    if body.providers.get() == "null" {
        return Ok(Vec::new());
    }
    let mut list = serde_json::Deserializer::from_str(body.providers.get());
    list.deserialize_seq(FirstRecords { records_max })
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "Providers", borrow)]
    providers: &'a RawValue,
}

/// Collects the first elements of a list, without holding the others.
struct FirstRecords {
    records_max: usize,
}

impl<'de> Visitor<'de> for FirstRecords {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while records.len() < self.records_max {
            match list.next_element()? {
                Some(record) => records.push(record),
                None => return Ok(records),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(records)
    }
}

#[cfg(test)]
mod tests;
