//! GET and HEAD /routing/v1/providers/{cid}: who has this CID?

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::accept::{self, Format};
use super::answer::ListName;
use super::edge::{self, Context};
use super::error::ApiError;
use super::{ApiState, decode_segment};
use crate::metrics::BodyFormat;
use crate::resolve::Lookup;
use crate::types::{ContentKey, Filter};

/// The media types of this endpoint, as a 406 names them.
const OFFERED: &str = "application/json, application/x-ndjson";

/// Answers one lookup of `cid`, as it stands in the path.
pub(super) async fn get(
    request: &HttpRequest,
    state: &ApiState,
    context: &Context,
    cid: &str,
) -> HttpResponse {
    edge::answer(context, find(request, state, context, cid)).await
}

async fn find(
    request: &HttpRequest,
    state: &ApiState,
    context: &Context,
    cid: &str,
) -> Result<HttpResponse, ApiError> {
    let key = content_key(cid)?;
    let filter = Filter::from_query(request.query_string())?;
    let format = format(request, context)?;
    let lookup =
        Lookup { key: &key, filter: &filter, records_max: state.policy.records_max(format) };
    let found = state.resolver.providers(lookup).await?;
    context.set_records(found.records.len() as u64);
    let now_ms = state.clock.now_ms();
    Ok(state.policy.respond(request, &found, format, ListName::Providers, now_ms))
}

fn content_key(cid: &str) -> Result<ContentKey, ApiError> {
    let malformed = |reason| ApiError::Malformed { parameter: "cid", reason };
    let text = decode_segment(cid).map_err(malformed)?;
    ContentKey::from_cid_text(&text).map_err(|error| malformed(error.to_string()))
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
