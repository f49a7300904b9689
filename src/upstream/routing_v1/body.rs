//! Splits the body of an answer, JSON or NDJSON, into the texts of its records, as it arrives.
//!
//! No I/O here: bytes are pushed in. Memory is bounded by [`AnswerLimits`] whatever is pushed. A record
//! that is too long or no text costs only itself; a body that is too long, or has too many records,
//! is read up to there. NDJSON gives each record when it is whole, JSON all at the end.
//!
//! What is called NDJSON need not be: records may stand on one line or stretch over many, and a body that
//! begins with the list of a JSON answer is read as one.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::json_values::{ScanStep, ValueScanner};
use crate::http_client::{HttpClient, HttpClientError};
use crate::media;

/// How much of one answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Bytes of the body, after decompression.
    pub body_bytes_max: usize,
    /// Bytes of one record; a longer one is skipped.
    pub record_bytes_max: usize,
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
pub(super) struct AnswerBodyReader {
    format: AnswerFormat,
    /// The field of a JSON body that has the records.
    list: &'static str,
    limits: AnswerLimits,
    bytes_read: usize,
    records_read: usize,
    /// JSON: the body up to here. NDJSON: the record that has begun.
    pending: Vec<u8>,
    /// NDJSON: what has begun.
    begun: Begun,
    /// NDJSON: where in `pending` the line begins that is being read; 0 in a record's first line.
    line_start: usize,
    /// NDJSON: what has begun is too long, and is not held.
    is_too_long: bool,
}

/// What of NDJSON has begun and not ended.
#[derive(Clone, Copy)]
enum Begun {
    None,
    /// An object, as records are, or a list.
    Value(ValueScanner),
    /// Anything else.
    Nonsense,
}

/// Why the text of a record is refused.
#[derive(Debug, Error)]
pub(super) enum TextError {
    #[error("not UTF-8")]
    NotUtf8,
    #[error("more than {0} bytes")]
    TooLong(usize),
}

/// Why reading a body stopped.
#[derive(Debug, Error)]
pub(super) enum AnswerBodyError {
    #[error("more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
    #[error("its body is not `{{\"{list}\":[...]}}`: {source}")]
    Shape { list: &'static str, source: serde_json::Error },
}

impl Default for AnswerLimits {
    /// Far above real answers (100 records of 1 kB in JSON, 1,000 in NDJSON), and harmless in
    /// memory.
    fn default() -> Self {
        Self { body_bytes_max: 16 << 20, record_bytes_max: 1 << 20, records_max: 10_000 }
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

impl AnswerBodyError {
    /// The error of the answer that a router gave to this client.
    pub(super) fn of_answer(self, http: &HttpClient) -> HttpClientError {
        match self {
            Self::TooLarge { what, limit } => http.too_large(what, limit),
            shape @ Self::Shape { .. } => http.unusable(shape.to_string()),
        }
    }
}

impl AnswerBodyReader {
    /// A reader of a body whose records stand, in JSON, in the field `list`.
    pub(super) fn new(format: AnswerFormat, list: &'static str, limits: AnswerLimits) -> Self {
        Self {
            format,
            list,
            limits,
            bytes_read: 0,
            records_read: 0,
            pending: Vec::new(),
            begun: Begun::None,
            line_start: 0,
            is_too_long: false,
        }
    }

    /// Takes the next bytes of the body, and emits each record that they complete. After an error
    /// nothing may follow.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), AnswerBodyError> {
        let limit = self.limits.body_bytes_max;
        self.bytes_read = self.bytes_read.saturating_add(bytes.len());
        if self.bytes_read > limit {
            return Err(AnswerBodyError::TooLarge { what: "bytes", limit });
        }
        match self.format {
            AnswerFormat::Json => {
                self.pending.extend_from_slice(bytes);
                Ok(())
            }
            AnswerFormat::Ndjson => self.push_records(bytes, take),
        }
    }

    /// Emits the records that the end of the body completes.
    pub(super) fn finish(
        &mut self,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), AnswerBodyError> {
        match self.format {
            AnswerFormat::Json => self.read_json(take),
            AnswerFormat::Ndjson => match self.begun {
                Begun::None => Ok(()),
                Begun::Nonsense | Begun::Value(_) => self.end_record(take),
            },
        }
    }

    fn push_records(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), AnswerBodyError> {
        while let Some(first) = bytes.first() {
            bytes = match self.begun {
                Begun::None => {
                    self.begun = match first {
                        b'{' | b'[' => Begun::Value(ValueScanner::default()),
                        byte if byte.is_ascii_whitespace() => Begun::None,
                        _ => Begun::Nonsense,
                    };
                    let used = usize::from(matches!(self.begun, Begun::None));
                    bytes.split_at(used).1
                }
                Begun::Nonsense => self.push_nonsense(bytes, take)?,
                Begun::Value(scanner) => self.push_value(scanner, bytes, take)?,
            };
        }
        Ok(())
    }

    /// What is no object is skipped up to the end of its line. Gives what follows.
    fn push_nonsense<'a>(
        &mut self,
        bytes: &'a [u8],
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<&'a [u8], AnswerBodyError> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.hold(bytes);
            return Ok(&[]);
        };
        let (line, rest) = bytes.split_at(end);
        self.hold(line);
        self.end_record(take)?;
        Ok(rest)
    }

    /// A record ends with its last bracket. Where it breaks, it costs the lines before the one in which it
    /// does, or the whole line that it began in. Gives what follows.
    fn push_value<'a>(
        &mut self,
        mut scanner: ValueScanner,
        bytes: &'a [u8],
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<&'a [u8], AnswerBodyError> {
        let held = self.pending.len();
        let mut steps = bytes.iter().enumerate().map(|(at, byte)| (at, scanner.step(*byte), *byte));
        let stop = steps.find(|(at, step, byte)| {
            if *byte == b'\n' && *step == ScanStep::More {
                self.line_start = held + at + 1;
            }
            *step != ScanStep::More
        });
        let Some((at, step, _)) = stop else {
            self.begun = Begun::Value(scanner);
            self.hold(bytes);
            return Ok(&[]);
        };
        let (used, rest) = bytes.split_at(at + usize::from(step == ScanStep::End));
        self.hold(used);
        match step {
            ScanStep::More => {}
            ScanStep::End => self.end_record(take)?,
            ScanStep::OuterName if self.is_whole_answer() => {
                self.format = AnswerFormat::Json;
                self.pending.extend_from_slice(rest);
                return Ok(&[]);
            }
            ScanStep::OuterName => {
                // The colon has been taken.
                let (colon, rest) = rest.split_at(1);
                self.hold(colon);
                self.begun = Begun::Value(scanner);
                return Ok(rest);
            }
            ScanStep::Broken if self.line_start == 0 || self.is_too_long => {
                self.begun = Begun::Nonsense;
            }
            ScanStep::Broken => {
                let line = self.pending.split_off(self.line_start);
                self.end_record(take)?;
                // It has no line end, so the recursion ends here.
                self.push_records(&line, take)?;
            }
        }
        Ok(rest)
    }

    /// Whether the body began as that of an answer in JSON does.
    fn is_whole_answer(&self) -> bool {
        let name = self.pending.split_first().map(|(_, name)| name.trim_ascii());
        let name = name.and_then(|it| it.strip_prefix(b"\"")?.strip_suffix(b"\""));
        self.records_read == 0 && name == Some(self.list.as_bytes())
    }

    /// Holds more of the record that has begun.
    fn hold(&mut self, bytes: &[u8]) {
        if self.is_too_long {
            return;
        }
        if self.pending.len() + bytes.len() > self.limits.record_bytes_max {
            self.is_too_long = true;
            self.pending = Vec::new();
            return;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn end_record(
        &mut self,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), AnswerBodyError> {
        let mut record = std::mem::take(&mut self.pending);
        (self.begun, self.line_start) = (Begun::None, 0);
        if std::mem::take(&mut self.is_too_long) {
            self.hand_on(Err(TextError::TooLong(self.limits.record_bytes_max)), take)?;
        } else {
            let text = std::str::from_utf8(record.trim_ascii()).map_err(|_| TextError::NotUtf8);
            self.hand_on(text, take)?;
        }
        // One buffer serves all records.
        record.clear();
        self.pending = record;
        Ok(())
    }

    fn read_json(
        &mut self,
        take: &mut impl FnMut(Result<&str, TextError>),
    ) -> Result<(), AnswerBodyError> {
        let body = std::mem::take(&mut self.pending);
        let list = self.list;
        let records = parse_body(&body, list, self.limits.records_max.saturating_add(1))
            .map_err(|source| AnswerBodyError::Shape { list, source })?;
        let limit = self.limits.record_bytes_max;
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
    ) -> Result<(), AnswerBodyError> {
        let limit = self.limits.records_max;
        if self.records_read >= limit {
            return Err(AnswerBodyError::TooLarge { what: "records", limit });
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
    let records = object.deserialize_map(ListField { name: list })?;
    object.end()?;
    // Go servers write an empty list as null.
    if records.get() == "null" {
        return Ok(Vec::new());
    }
    let mut list = serde_json::Deserializer::from_str(records.get());
    list.deserialize_seq(FirstRecords { records_max })
}

/// Finds the value of one field of an object.
struct ListField {
    name: &'static str,
}

impl<'de> Visitor<'de> for ListField {
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
    use proptest::prelude::*;

    use super::*;

    fn texts(format: AnswerFormat, limits: AnswerLimits, body: &str) -> Vec<Option<String>> {
        let mut texts = Vec::new();
        let mut take = |text: Result<&str, TextError>| texts.push(text.ok().map(str::to_owned));
        let mut reader = AnswerBodyReader::new(format, "Peers", limits);
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
        let mut reader = AnswerBodyReader::new(AnswerFormat::Json, "Peers", limits);
        assert!(reader.finish(&mut |_| {}).is_err());
        let mut twice = AnswerBodyReader::new(AnswerFormat::Json, "Peers", limits);
        twice.push(br#"{"Peers":[],"Peers":[]}"#, &mut |_| {}).unwrap();
        let message = twice.finish(&mut |_| {}).unwrap_err().to_string();
        assert!(message.contains("duplicate field"), "{message}");
    }

    #[test]
    fn a_record_that_is_too_long_costs_only_itself_in_both_formats() {
        let limits = AnswerLimits { record_bytes_max: 3, ..AnswerLimits::default() };
        let expected = [Some("123".to_owned()), None, Some("7".to_owned())];
        assert_eq!(texts(AnswerFormat::Ndjson, limits, "123\n1234\n7"), expected);
        assert_eq!(texts(AnswerFormat::Json, limits, r#"{"Peers":[123,1234,7]}"#), expected);
    }

    #[test]
    fn records_are_found_whatever_white_space_is_between_them() {
        let limits = AnswerLimits::default();
        let (first, second) = (r#"{"a":["}{"],"b":{}}"#, "{\n  \"c\": [\n    1\n  ]\n}");
        let expected = [Some(first.to_owned()), Some(second.to_owned())];
        for between in ["", " ", "\n", "\r\n\r\n", "\t \n"] {
            let body = format!("{between}{first}{between}{second}{between}");
            assert_eq!(texts(AnswerFormat::Ndjson, limits, &body), expected, "{between:?}");
        }
    }

    #[test]
    fn a_whole_json_answer_is_read_where_ndjson_is_named() {
        // One record at a time is bounded, not the list.
        let limits = AnswerLimits { record_bytes_max: 20, ..AnswerLimits::default() };
        let list = [r#"{"a":1}"#; 10];
        let expected = vec![Some(r#"{"a":1}"#.to_owned()); 10];
        let body = format!("\n{{ \"Peers\" : [{}]}}\n", list.join(",\n"));
        assert_eq!(texts(AnswerFormat::Ndjson, limits, &body), expected);
        // What only resembles one is a record.
        for record in [r#"{"peers":[]}"#, r#"{"a":{"Peers":0}}"#, r#"{"a":0,"Peers":1}"#] {
            let expected = [Some(record.to_owned())];
            assert_eq!(texts(AnswerFormat::Ndjson, limits, record), expected);
        }
    }

    #[test]
    fn a_broken_record_costs_no_line_that_begins_anew() {
        let limits = AnswerLimits::default();
        for broken in
            ["{\"a\":1", "{\"a\":\"x", "{\"a\":1}}", "{a", "[1,", "hello", "{\n\"a\":{\"b\":1\n"]
        {
            let body = format!("{{}}\n{broken}\n{{\"good\":1}}\n{{}}\n");
            let texts = texts(AnswerFormat::Ndjson, limits, &body);
            let kept = texts.iter().flatten().filter(|text| *text == "{\"good\":1}").count();
            // A list that has begun may have the next line as its element.
            let expected = if broken == "[1," { 0 } else { 1 };
            assert_eq!(kept, expected, "{broken:?}: {texts:?}");
            assert_eq!(texts.first(), Some(&Some("{}".to_owned())));
            assert_eq!(texts.last(), Some(&Some("{}".to_owned())));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_between_and_in_records_pieces_make_no_difference(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("{\"a\":[1,{}]}"), Just("{\n\"b\" : 2\n}"), Just("{\"Peers\":[{},{}]}"),
                    Just("\n"), Just(" "), Just("nonsense"), Just("{\"c\":\"}"), Just("}"), Just("["),
                    Just("{\"long\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"),
                ],
                0..20,
            ),
            piece in 1usize..9,
        ) {
            let limits =
                AnswerLimits { body_bytes_max: 400, record_bytes_max: 40, records_max: 8 };
            let body = parts.concat();
            let read = |pieces: Vec<&[u8]>| {
                let mut texts = Vec::new();
                let mut take = |text: Result<&str, TextError>| {
                    texts.push(text.map(str::to_owned).map_err(|error| error.to_string()));
                };
                let mut reader = AnswerBodyReader::new(AnswerFormat::Ndjson, "Peers", limits);
                let read = pieces.into_iter().try_for_each(|it| reader.push(it, &mut take));
                let read = read.and_then(|()| reader.finish(&mut take));
                (texts, read.map_err(|error| error.to_string()))
            };
            let whole = read(vec![body.as_bytes()]);
            // How much is read of a body that is too long depends on its last whole chunk.
            if body.len() <= limits.body_bytes_max {
                prop_assert_eq!(read(body.as_bytes().chunks(piece).collect()), whole);
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_without_being_held() {
        let limits = AnswerLimits { record_bytes_max: 100, ..AnswerLimits::default() };
        let mut reader = AnswerBodyReader::new(AnswerFormat::Ndjson, "Peers", limits);
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
