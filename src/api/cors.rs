//! CORS: every page may read every answer of the public API, errors included.
//!
//! The headers do not depend on the request's `Origin`, so that shared caches keep one copy.

use actix_web::http::header::{self, HeaderMap, HeaderValue};

const ALLOW_HEADERS: &str =
    "Content-Type, Accept, If-None-Match, If-Modified-Since, Cache-Control, X-Requested-With";
const EXPOSE_HEADERS: &str = "ETag, Retry-After, Age, Date, Server-Timing, X-Request-Id";

/// How long a browser may remember a preflight's answer, in seconds: the longest that every
/// browser accepts without capping.
const MAX_AGE_S: u16 = 600;

/// Headers for every answer of the public API.
pub(super) fn allow_every_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSE_HEADERS));
}

/// Further headers for the answer to OPTIONS of a resource that has these methods.
pub(super) fn describe_methods(headers: &mut HeaderMap, allow_methods: &'static str) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow_methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOW_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_S));
}
