//! Cutting the body of an answer, JSON or NDJSON, into the texts of its records, as it arrives.
//!
//! No I/O here: bytes are pushed in. Memory is bounded by [`AnswerLimits`] whatever is pushed. A record
//! that is too long or no text costs only itself; a body that is too long, or has too many records,
//! is read up to there. NDJSON gives each record when its line is whole, JSON all at the end.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::http_client::{HttpClient, HttpClientError};
use crate::media;

/// How much of one answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Bytes of the body, after decompression.
    pub body_bytes_max: usize,
    /// Bytes of one record; a longer one is skipped.
    pub line_bytes_max: usize,
    /// Records, readable or not; those beyond are not read.
    pub records_max: usize,
}

/// The two forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerFormat {
    Json,
    Ndjson,
}

/// Takes a body in pieces of any size.
pub(super) struct BodyReader {
    format: AnswerFormat,
    /// The field of a JSON body that has the records.
    list: &'static str,
    limits: AnswerLimits,
    bytes_read: usize,
    records_read: usize,
    /// JSON: the body up to here. NDJSON: the line that has begun.
    pending: Vec<u8>,
    /// The rest of a line that is too long is being skipped.
    is_skipping: bool,
}

/// Why the text of a record cannot be had.
#[derive(Debug, Error)]
pub(super) enum TextError {
    #[error("not UTF-8")]
    NotUtf8,
    #[error("more than {0} bytes")]
    TooLong(usize),
}

/// Why no more of a body is read.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
    #[error("its body is not `{{\"{list}\":[...]}}`: {source}")]
    Shape { list: &'static str, source: serde_json::Error },
}

impl Default for AnswerLimits {
    /// Far above real answers (100 records of 1 kB in JSON, 1,000 in NDJSON), far below what hurts.
    fn default() -> Self {
        Self { body_bytes_max: 16 << 20, line_bytes_max: 1 << 20, records_max: 10_000 }
    }
}

impl AnswerFormat {
    /// The format that a `Content-Type` names, parameters aside.
    pub(super) fn of_content_type(content_type: &str) -> Option<Self> {
        match &*media::essence(content_type.as_bytes()) {
            "application/json" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

impl BodyError {
    /// The error of the answer that a router gave to this client.
    pub(super) fn of_answer(self, http: &HttpClient) -> HttpClientError {
        match self {
            Self::TooLarge { what, limit } => http.too_large(what, limit),
            shape @ Self::Shape { .. } => http.unusable(shape.to_string()),
        }
    }
}

impl BodyReader {
    /// A reader of a body whose records stand, in JSON, in the field `list`.
    pub(super) fn new(format: AnswerFormat, list: &'static str, limits: AnswerLimits) -> Self {
        Self {
            format,
            list,
            limits,
            bytes_read: 0,
            records_read: 0,
            pending: Vec::new(),
            is_skipping: false,
        }
    }

    /// Takes the next bytes of the body, and hands on each record that is whole with them. After an
    /// error nothing may follow.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), BodyError> {
        let limit = self.limits.body_bytes_max;
        self.bytes_read = self.bytes_read.saturating_add(bytes.len());
        if self.bytes_read > limit {
            return Err(BodyError::TooLarge { what: "bytes", limit });
        }
        match self.format {
            AnswerFormat::Json => {
                self.pending.extend_from_slice(bytes);
                Ok(())
            }
            AnswerFormat::Ndjson => self.push_lines(bytes, take),
        }
    }

    /// Hands on the records that only the end of the body makes whole.
    pub(super) fn finish(
        &mut self,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), BodyError> {
        match self.format {
            AnswerFormat::Json => self.read_json(take),
            AnswerFormat::Ndjson => self.end_line(take),
        }
    }

    fn push_lines(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), BodyError> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.push_within_line(line);
            self.end_line(take)?;
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.push_within_line(bytes);
        Ok(())
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

    fn end_line(
        &mut self,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), BodyError> {
        let mut line = std::mem::take(&mut self.pending);
        if std::mem::take(&mut self.is_skipping) {
            self.hand_on(Err(TextError::TooLong(self.limits.line_bytes_max)), take)?;
        } else if !line.trim_ascii().is_empty() {
            self.hand_on(std::str::from_utf8(&line).map_err(|_| TextError::NotUtf8), take)?;
        }
        // One buffer serves all lines.
        line.clear();
        self.pending = line;
        Ok(())
    }

    fn read_json(
        &mut self,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), BodyError> {
        let body = std::mem::take(&mut self.pending);
        let list = self.list;
        let records = parse_body(&body, list, self.limits.records_max.saturating_add(1))
            .map_err(|source| BodyError::Shape { list, source })?;
        let limit = self.limits.line_bytes_max;
        for record in records {
            let text = record.get();
            let is_short = text.len() <= limit;
            self.hand_on(if is_short { Ok(text) } else { Err(TextError::TooLong(limit)) }, take)?;
        }
        Ok(())
    }

    fn hand_on(
        &mut self,
        text: Result<&str, TextError>,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), BodyError> {
        let limit = self.limits.records_max;
        if self.records_read >= limit {
            return Err(BodyError::TooLarge { what: "records", limit });
        }
        self.records_read += 1;
        take(text);
        Ok(())
    }
}

/// The first records of a JSON body, unparsed.
fn parse_body<'a>(
    body: &'a [u8],
    list: &'static str,
    records_max: usize,
) -> Result<Vec<&'a RawValue>, serde_json::Error> {
    let mut object = serde_json::Deserializer::from_slice(body);
    let records = object.deserialize_map(Field { name: list })?;
    object.end()?;
    // Go servers write an empty list as null.
    if records.get() == "null" {
        return Ok(Vec::new());
    }
    let mut list = serde_json::Deserializer::from_str(records.get());
    list.deserialize_seq(FirstRecords { records_max })
}

/// Finds the value of one field of an object.
struct Field {
    name: &'static str,
}

impl<'de> Visitor<'de> for Field {
    type Value = &'de RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            if name != self.name {
                fields.next_value::<IgnoredAny>()?;
            } else if found.replace(fields.next_value()?).is_some() {
                return Err(de::Error::duplicate_field(self.name));
            }
        }
        found.ok_or_else(|| de::Error::missing_field(self.name))
    }
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
mod tests {
    use super::*;

    fn texts(format: AnswerFormat, limits: AnswerLimits, body: &str) -> Vec<Option<String>> {
        let mut texts = Vec::new();
        let mut take = |text: Result<&str, TextError>| texts.push(text.ok().map(str::to_owned));
        let mut reader = BodyReader::new(format, "Peers", limits);
        reader.push(body.as_bytes(), &mut take).unwrap();
        reader.finish(&mut take).unwrap();
        texts
    }

    #[test]
    fn content_types_name_the_format_in_any_case_and_with_parameters() {
        for (text, format) in [
            ("application/json", Some(AnswerFormat::Json)),
            ("Application/JSON; charset=utf-8", Some(AnswerFormat::Json)),
            ("application/x-ndjson", Some(AnswerFormat::Ndjson)),
            (" application/x-ndjson ;q=1", Some(AnswerFormat::Ndjson)),
            ("text/html", None),
            ("application/jsonp", None),
            ("", None),
        ] {
            assert_eq!(AnswerFormat::of_content_type(text), format, "{text}");
        }
    }

    #[test]
    fn only_the_named_list_has_the_records() {
        let limits = AnswerLimits::default();
        let body = r#"{"Providers":[9],"Peers":[1,{"a":2}],"x":{"Peers":[3]}}"#;
        let expected = [Some("1".to_owned()), Some(r#"{"a":2}"#.to_owned())];
        assert_eq!(texts(AnswerFormat::Json, limits, body), expected);
        let mut reader = BodyReader::new(AnswerFormat::Json, "Peers", limits);
        assert!(reader.finish(&mut |_| {}).is_err());
        let mut twice = BodyReader::new(AnswerFormat::Json, "Peers", limits);
        twice.push(br#"{"Peers":[],"Peers":[]}"#, &mut |_| {}).unwrap();
        let message = twice.finish(&mut |_| {}).unwrap_err().to_string();
        assert!(message.contains("duplicate field"), "{message}");
    }

    #[test]
    fn a_record_that_is_too_long_costs_only_itself_in_both_formats() {
        let limits = AnswerLimits { line_bytes_max: 3, ..AnswerLimits::default() };
        let expected = [Some("123".to_owned()), None, Some("7".to_owned())];
        assert_eq!(texts(AnswerFormat::Ndjson, limits, "123\n1234\n7"), expected);
        assert_eq!(texts(AnswerFormat::Json, limits, r#"{"Peers":[123,1234,7]}"#), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_without_being_held() {
        let limits = AnswerLimits { line_bytes_max: 100, ..AnswerLimits::default() };
        let mut reader = BodyReader::new(AnswerFormat::Ndjson, "Peers", limits);
        let mut bad = 0;
        let mut take = |text: Result<&str, TextError>| bad += usize::from(text.is_err());
        for _ in 0..100 {
            reader.push(&[b'x'; 1000], &mut take).unwrap();
            assert!(reader.pending.capacity() <= 200);
        }
        reader.finish(&mut take).unwrap();
        assert_eq!(bad, 1);
    }
}
