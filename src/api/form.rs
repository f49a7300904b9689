//! What the body of a lookup's answer looks like: one JSON object, or one JSON object a line.

use actix_web::http::header::HeaderValue;

use crate::metrics::BodyFormat;
use crate::types::{ReadyRecord, Selection};

/// A body format of lookup answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// One JSON object: `application/json`.
    Json,
    /// One JSON object a line: `application/x-ndjson`.
    Ndjson,
}

/// The name of the list in a JSON answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum ListName {
    Providers,
    Peers,
}

/// A format, and the list's name if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) format: Format,
    pub(super) list: ListName,
}

/// Writes a body record by record.
pub(super) struct BodyWriter {
    form: Form,
    progress: BodyProgress,
}

/// How far a body is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyProgress {
    Empty,
    Open,
    Closed,
}

impl Format {
    /// The media type, exactly as it stands in `Content-Type`: clients break on anything else.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(self.media_type())
    }

    /// What the metrics call it.
    pub(super) fn body_format(self) -> BodyFormat {
        match self {
            Self::Json => BodyFormat::Json,
            Self::Ndjson => BodyFormat::Ndjson,
        }
    }
}

impl Form {
    fn opening(self) -> &'static [u8] {
        match (self.format, self.list) {
            (Format::Json, ListName::Providers) => br#"{"Providers":["#,
            (Format::Json, ListName::Peers) => br#"{"Peers":["#,
            (Format::Ndjson, _) => b"",
        }
    }

    fn closing(self) -> &'static [u8] {
        match self.format {
            Format::Json => b"]}",
            Format::Ndjson => b"",
        }
    }

    /// Bytes of a body beside its records, and a byte for each of these.
    pub(super) fn frame_bytes(self) -> usize {
        self.opening().len() + self.closing().len()
    }
}

impl BodyWriter {
    pub(super) fn new(form: Form) -> Self {
        Self { form, progress: BodyProgress::Empty }
    }

    /// Writes a record and what comes before it.
    pub(super) fn write(&mut self, record: &ReadyRecord, selection: &Selection, out: &mut Vec<u8>) {
        let is_list = self.form.format == Format::Json;
        if self.progress == BodyProgress::Empty {
            out.extend_from_slice(self.form.opening());
            self.progress = BodyProgress::Open;
        } else if is_list {
            out.push(b',');
        }
        record.write_to(selection, out);
        if !is_list {
            out.push(b'\n');
        }
    }

    /// Writes what ends a body, the first time that it is called.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if self.progress == BodyProgress::Empty {
            out.extend_from_slice(self.form.opening());
        }
        if self.progress != BodyProgress::Closed {
            out.extend_from_slice(self.form.closing());
            self.progress = BodyProgress::Closed;
        }
    }
}
