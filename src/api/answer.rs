//! Making answers of records: bodies, cache headers, validators.
//!
//! A body is a concatenation of bytes that were rendered when the records came in. The ETag is
//! made of the records' own hashes, which say the same as a hash over the body and cost less.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use xxhash_rust::xxh3::xxh3_128;

use super::conditional::{self, Validators};
use super::form::{BodyWriter, Form, Format};
use super::stream::RecordsBody;
use crate::clock::UnixMs;
use crate::config::Settings;
use crate::metrics::WorkerCounts;
use crate::text::hex;
use crate::types::Found;
use crate::types::{ReadyRecord, Rendered, Selection};

/// The most bytes of records that are written out before any is sent. Longer bodies are written
/// while they are sent.
const BODY_BYTES_MAX: usize = 64 << 10;

/// 128 bits in hexadecimal.
const ETAG_DIGITS: usize = 32;

/// What is the same for all answers of one server.
#[derive(Clone, Debug)]
pub(crate) struct AnswerPolicy {
    empty_status: StatusCode,
    json_records_max: Option<NonZeroUsize>,
    ndjson_records_max: Option<NonZeroUsize>,
    cache_found: HeaderValue,
    cache_empty: HeaderValue,
}

impl AnswerPolicy {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            empty_status: empty_status(settings),
            json_records_max: NonZeroUsize::new(settings.json_records_max),
            ndjson_records_max: NonZeroUsize::new(settings.ndjson_records_max),
            cache_found: cache_control(
                settings.cache_found_max_age,
                settings.cache_found_stale_while_revalidate,
                settings.cache_found_stale_if_error,
            ),
            cache_empty: cache_control(
                settings.cache_empty_max_age,
                settings.cache_empty_stale_while_revalidate,
                settings.cache_empty_stale_if_error,
            ),
        }
    }

    /// The most records of an answer in `format`; `None`: all there are.
    pub(super) fn records_max(&self, format: Format) -> Option<NonZeroUsize> {
        match format {
            Format::Json => self.json_records_max,
            Format::Ndjson => self.ndjson_records_max,
        }
    }

    /// The answer that has all that was found. A long one is counted as open while it is sent.
    pub(super) fn respond(
        &self,
        request: &HttpRequest,
        found: Found,
        form: Form,
        now_ms: UnixMs,
        counts: &Arc<WorkerCounts>,
    ) -> HttpResponse {
        if found.records.is_empty() {
            return self.respond_empty(request, form);
        }
        let format = form.format;
        let rendered = rendered(&found, form);
        let etag = match rendered {
            Some(rendered) => etag(rendered.digest),
            None => etag(digest(&found, format)),
        };
        let validators = Validators { etag, modified_at_ms: found.modified_at_ms };
        // Where a source failed, more may be found soon.
        let cache_control = if found.is_partial { &self.cache_empty } else { &self.cache_found };
        if conditional::is_not_modified(request.headers(), &validators) {
            let mut response = HttpResponse::new(StatusCode::NOT_MODIFIED);
            add_found_headers(response.headers_mut(), validators, cache_control, now_ms);
            return response;
        }
        let body = match rendered {
            Some(rendered) => BoxBody::new(rendered.body.clone()),
            None if records_bytes(&found) > BODY_BYTES_MAX => {
                BoxBody::new(RecordsBody::whole(found, form, counts.clone()))
            }
            None => BoxBody::new(body(&found, form)),
        };
        let mut response = HttpResponse::with_body(StatusCode::OK, body);
        response.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
        add_found_headers(response.headers_mut(), validators, cache_control, now_ms);
        response
    }

    /// The answer that goes on while more is found. It has no validators: nobody knows yet what it
    /// will be, nor whether it will be all. So it is fresh for as long as an empty one.
    pub(super) fn respond_growing(&self, body: RecordsBody) -> HttpResponse {
        HttpResponse::build(StatusCode::OK)
            .insert_header((header::CONTENT_TYPE, Format::Ndjson.content_type()))
            .insert_header((header::CACHE_CONTROL, self.cache_empty.clone()))
            .insert_header((header::VARY, HeaderValue::from_static("Accept")))
            .body(body)
    }

    fn respond_empty(&self, request: &HttpRequest, form: Form) -> HttpResponse {
        let (nothing, format) = (Found::default(), form.format);
        let mut response = HttpResponse::new(self.empty_status);
        let mut is_not_modified = false;
        if self.empty_status.is_success() {
            let validators =
                Validators { etag: etag(digest(&nothing, format)), modified_at_ms: None };
            is_not_modified = conditional::is_not_modified(request.headers(), &validators);
            response.headers_mut().insert(header::ETAG, validators.etag);
        }
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, self.cache_empty.clone());
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if is_not_modified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, format.content_type());
        response.set_body(BoxBody::new(body(&nothing, form)))
    }

    /// The answer where something that is no list is not found, told in a text.
    pub(super) fn respond_empty_text(&self, text: &'static str) -> HttpResponse {
        HttpResponse::build(self.empty_status)
            .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
            .insert_header((header::CACHE_CONTROL, self.cache_empty.clone()))
            .insert_header((header::VARY, HeaderValue::from_static("Accept")))
            .body(text)
    }
}

fn add_found_headers(
    headers: &mut HeaderMap,
    validators: Validators,
    cache_control: &HeaderValue,
    now_ms: UnixMs,
) {
    headers.insert(header::CACHE_CONTROL, cache_control.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Some(last_modified) = validators.last_modified(now_ms) {
        headers.insert(header::LAST_MODIFIED, last_modified);
    }
    headers.insert(header::ETAG, validators.etag);
}

fn empty_status(settings: &Settings) -> StatusCode {
    StatusCode::from_u16(settings.empty_status.code()).expect("both choices are statuses")
}

fn cache_control(max_age: Duration, revalidate: Duration, error: Duration) -> HeaderValue {
    let value = format!(
        "public, max-age={}, stale-while-revalidate={}, stale-if-error={}",
        max_age.as_secs(),
        revalidate.as_secs(),
        error.as_secs(),
    );
    HeaderValue::try_from(value).expect("numbers and ASCII text make a header value")
}

/// The body and digest of records that answers share. Made once for each format.
fn rendered(found: &Found, form: Form) -> Option<&Rendered> {
    // Peers are never shared, so the list's name is always the same.
    let place = match form.format {
        Format::Json => 0,
        Format::Ndjson => 1,
    };
    found.records.shared()?.rendered(place, || Rendered {
        body: body(found, form).into(),
        digest: digest(found, form.format),
    })
}

/// How much text the records become at most.
fn records_bytes(found: &Found) -> usize {
    found.records.iter().map(|(record, _)| record.len_bytes() + 1).sum()
}

fn body(found: &Found, form: Form) -> Vec<u8> {
    let mut body = Vec::with_capacity(records_bytes(found) + form.frame_bytes());
    let mut writer = BodyWriter::new(form);
    for (record, selection) in &found.records {
        writer.write(record, selection, &mut body);
    }
    writer.close(&mut body);
    body
}

/// A strong validator: equal bodies have equal ones, different bodies different ones, and it does
/// not depend on the process, so that servers with the same records agree.
fn etag(digest: u128) -> HeaderValue {
    let mut text = [b'"'; ETAG_DIGITS + 2];
    let [_, digits @ .., _] = &mut text;
    digits.copy_from_slice(hex(digest.to_be_bytes()).as_flattened());
    HeaderValue::from_bytes(&text).expect("hexadecimal digits in quotes make a header value")
}

/// What an answer's body is made of, hashed.
fn digest(found: &Found, format: Format) -> u128 {
    // Hashed at once: a hasher that is fed piece by piece takes several times as long.
    let mut hashed = Vec::with_capacity(format.media_type().len() + found.records.len() * 24);
    hashed.extend_from_slice(format.media_type().as_bytes());
    for (record, selection) in &found.records {
        push_parts(&mut hashed, record, selection);
    }
    xxh3_128(&hashed)
}

fn push_parts(hashed: &mut Vec<u8>, record: &ReadyRecord, selection: &Selection) {
    hashed.extend_from_slice(&record.digest());
    if let Selection::Addrs(kept) = selection {
        for position in kept {
            hashed.extend_from_slice(&position.to_le_bytes());
        }
    }
    // Keeps one record's positions apart from the next record's hash.
    hashed.extend_from_slice(&[u8::MAX; 3]);
}
