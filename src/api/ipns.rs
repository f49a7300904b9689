//! GET, HEAD and PUT /routing/v1/ipns/{name}: the signed record of a name.
//!
//! A record is served byte for byte as it was stored, for as long as it is valid, and stored only if
//! the name's key has signed it and none that counts more is there. The answer to a PUT is sent when
//! the store has the record for good.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use xxhash_rust::xxh3::xxh3_128;

use super::accept;
use super::body;
use super::conditional::{self, Validators};
use super::context::{Context, with_timeout};
use super::endpoint::decode_id;
use super::error::ApiError;
use crate::body::BodyLimits;
use crate::clock::UnixMs;
use crate::media;
use crate::metrics::BodyFormat;
use crate::resolve::{IpnsPut, StoredIpns};
use crate::types::{IPNS_RECORD_BYTES_MAX, IpnsName, IpnsRecord};

/// The media type of records.
const MEDIA_TYPE: &str = "application/vnd.ipfs.ipns-record";

/// How long a record whose TTL is absent or below a second may be used before it is asked for again.
const TTL_WITHOUT_ONE: Duration = Duration::from_mins(1);

/// The largest number of a record that Go and JavaScript software reads.
const INT64_MAX: u64 = i64::MAX as u64;

const NOT_FOUND: &str = "no valid record of this name is known here\n";

/// Answers GET and HEAD.
pub(super) async fn get(context: &Context, name: &str) -> Result<HttpResponse, ApiError> {
    let (request, state) = (&context.request, context.state());
    let malformed = |reason| ApiError::Malformed { parameter: "name", reason };
    let name = parse_name(name).map_err(malformed)?;
    let lines = request.headers().get_all(header::ACCEPT).map(HeaderValue::as_bytes);
    if !accept::accepts(lines, MEDIA_TYPE) {
        return Err(ApiError::NotAcceptable { offered: MEDIA_TYPE });
    }
    let now_ms = state.clock.now_ms();
    let work = state.resolver.name(&name, context.hops());
    let Some(stored) = with_timeout(state.lookup_timeout, work).await? else {
        return Ok(state.policy.respond_empty_text(NOT_FOUND));
    };
    context.format.set(BodyFormat::IpnsRecord);
    Ok(respond(request, &stored, now_ms))
}

/// Answers PUT.
pub(super) async fn put(
    context: &Context,
    payload: Payload,
    name: &str,
) -> Result<HttpResponse, ApiError> {
    let result = store(context, payload, name).await;
    context.state().metrics.ipns_put(outcome(&result));
    result.map(|_| HttpResponse::Ok().finish())
}

/// Stores the record in the body, and says what became of it.
async fn store(context: &Context, payload: Payload, name: &str) -> Result<IpnsPut, ApiError> {
    let (request, state) = (&context.request, context.state());
    let name = parse_name(name).map_err(|reason| ApiError::Invalid { part: "name", reason })?;
    if !is_record(request) {
        return Err(ApiError::MediaType { expected: MEDIA_TYPE });
    }
    let limits =
        BodyLimits { bytes_max: IPNS_RECORD_BYTES_MAX as u64, timeout: state.client_timeout };
    let bytes = body::read(request, payload, limits).await?;
    let invalid = |reason| ApiError::Invalid { part: "record", reason };
    let record = IpnsRecord::verify(&bytes, &name).map_err(|error| invalid(error.to_string()))?;
    if record.sequence() > INT64_MAX
        || record.ttl().is_some_and(|ttl| ttl.as_nanos() > INT64_MAX.into())
    {
        return Err(invalid(format!(
            "its sequence or TTL is above {INT64_MAX}, which other software cannot read"
        )));
    }
    let now_ms = state.clock.now_ms();
    let end = record.end_of_validity();
    if end.is_over(now_ms) {
        return Err(invalid(format!("its validity ended at {end}")));
    }
    match state.resolver.put_name(record, context.origin(), context.hops()).await? {
        IpnsPut::Superseded { sequence, end } => Err(ApiError::Superseded {
            reason: format!(
                "a record that counts more is here: sequence {sequence}, valid until {end}"
            ),
        }),
        done @ (IpnsPut::Stored | IpnsPut::Unchanged) => Ok(done),
    }
}

/// How the metrics call what became of a record.
fn outcome(result: &Result<IpnsPut, ApiError>) -> &'static str {
    match result {
        Ok(IpnsPut::Stored) => "stored",
        Ok(IpnsPut::Unchanged) => "unchanged",
        Ok(IpnsPut::Superseded { .. }) => "superseded",
        Err(error) => error.ipns_outcome(),
    }
}

fn parse_name(segment: &str) -> Result<IpnsName, String> {
    IpnsName::parse(&decode_id(segment)?).map_err(|error| error.to_string())
}

/// Whether the body is said to be a record, with or without parameters.
fn is_record(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| media::essence(value.as_bytes()) == MEDIA_TYPE)
}

fn respond(request: &HttpRequest, stored: &StoredIpns, now_ms: UnixMs) -> HttpResponse {
    let bytes = stored.record.bytes();
    let etag = format!("\"{:032x}\"", xxh3_128(bytes));
    let validators = Validators { etag: ascii(etag), modified_at_ms: Some(stored.stored_at_ms) };
    if conditional::is_not_modified(request.headers(), &validators) {
        let mut response = HttpResponse::build(StatusCode::NOT_MODIFIED);
        add_headers(&mut response, stored, validators, now_ms);
        return response.finish();
    }
    let mut response = HttpResponse::Ok();
    add_headers(&mut response, stored, validators, now_ms);
    let file_name = format!("attachment; filename=\"{}.ipns-record\"", stored.record.name());
    response
        .insert_header((header::CONTENT_TYPE, MEDIA_TYPE))
        .insert_header((header::CONTENT_DISPOSITION, ascii(file_name)))
        .body(bytes.clone())
}

fn add_headers(
    response: &mut HttpResponseBuilder,
    stored: &StoredIpns,
    validators: Validators,
    now_ms: UnixMs,
) {
    let end = stored.record.end_of_validity();
    let expires = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(end.unix_s()));
    let cache_control = cache_control(stored.record.ttl(), end.remaining_s(now_ms));
    if let Some(last_modified) = validators.last_modified(now_ms) {
        response.insert_header((header::LAST_MODIFIED, last_modified));
    }
    response
        .insert_header((header::CACHE_CONTROL, ascii(cache_control)))
        .insert_header((header::EXPIRES, ascii(expires)))
        .insert_header((header::VARY, HeaderValue::from_static("Accept")))
        .insert_header((header::ETAG, validators.etag));
}

/// Fresh for the record's TTL, usable until the end of its validity and not a second longer.
fn cache_control(ttl: Option<Duration>, remaining_s: u64) -> String {
    let ttl = ttl.filter(|ttl| *ttl >= Duration::from_secs(1)).unwrap_or(TTL_WITHOUT_ONE);
    let max_age = ttl.as_secs().min(remaining_s);
    let stale = remaining_s - max_age;
    format!("public, max-age={max_age}, stale-while-revalidate={stale}, stale-if-error={stale}")
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("it is made of printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_fresh_for_the_ttl_and_never_outlives_the_record() {
        let minutes = Duration::from_mins;
        for (ttl, remaining_s, max_age, stale) in [
            (Some(minutes(5)), 1_000, 300, 700),
            (Some(minutes(5)), 300, 300, 0),
            (Some(minutes(5)), 299, 299, 0),
            (Some(minutes(5)), 0, 0, 0),
            (Some(Duration::ZERO), 1_000, 60, 940),
            (Some(Duration::from_nanos(999_999_999)), 10, 10, 0),
            (Some(Duration::from_nanos(1_999_999_999)), 10, 1, 9),
            (Some(Duration::from_nanos(u64::MAX)), 10, 10, 0),
            (None, 1_000, 60, 940),
            (None, 59, 59, 0),
        ] {
            let expected = format!(
                "public, max-age={max_age}, stale-while-revalidate={stale}, stale-if-error={stale}"
            );
            assert_eq!(cache_control(ttl, remaining_s), expected, "{ttl:?} {remaining_s}");
        }
    }
}
