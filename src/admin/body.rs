//! Reading a request's body that is one piece of JSON. It is taken as it is, never decompressed.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, Payload};

use super::error::AdminError;
use crate::body::{self, BodyError, BodyLimits};
use crate::media;

/// What to do about a body that is compressed.
pub(super) const NOT_COMPRESSED: &str = "send the body as it is, without Content-Encoding";

/// The whole body of a request that says that it is JSON, or does not say what it is, and is not
/// compressed.
pub(super) async fn read_json(
    request: &HttpRequest,
    payload: Payload,
    limits: BodyLimits,
) -> Result<Bytes, AdminError> {
    check_type(request.headers())?;
    if let Some(value) = compression(request.headers()) {
        let understood = NOT_COMPRESSED;
        return Err(AdminError::MediaType { header: "Content-Encoding", value, understood });
    }
    Ok(read(request, payload, limits).await?)
}

/// The whole body.
pub(super) async fn read(
    request: &HttpRequest,
    payload: Payload,
    limits: BodyLimits,
) -> Result<Bytes, BodyError> {
    let declared = request.headers().get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok());
    body::read_request(payload, declared, limits).await
}

/// The `Content-Encoding` of a request whose body is compressed.
pub(super) fn compression(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(CONTENT_ENCODING);
    let all = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>();
    let all = all.join(", ");
    let is_none = |name: &str| name.is_empty() || name.eq_ignore_ascii_case("identity");
    let is_plain = all.split(',').all(|name| is_none(name.trim()));
    (!is_plain).then_some(all)
}

fn check_type(headers: &HeaderMap) -> Result<(), AdminError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let value = String::from_utf8_lossy(value.as_bytes());
    match &*media::essence(value.as_bytes()) {
        "" | "application/json" | "application/hal+json" => Ok(()),
        _ => Err(AdminError::MediaType {
            header: "Content-Type",
            value: value.into_owned(),
            understood: "application/json is",
        }),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn what_is_compressed_is_not_taken_for_json() {
        let compression = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            compression(&headers)
        };
        for plain in [&[][..], &[""], &["identity"], &["Identity, identity"], &["", "identity"]] {
            assert_eq!(compression(plain), None, "{plain:?}");
        }
        for (values, told) in [
            (&["gzip"][..], "gzip"),
            (&["identity, br"], "identity, br"),
            (&["identity", "zstd"], "identity, zstd"),
        ] {
            assert_eq!(compression(values).as_deref(), Some(told));
        }
    }

    #[test]
    fn json_is_what_says_so_or_says_nothing() {
        let is_taken = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(value).unwrap());
            check_type(&headers).is_ok()
        };
        assert!(check_type(&HeaderMap::new()).is_ok());
        let json =
            ["application/json", "Application/JSON; charset=utf-8", "application/hal+json", ""];
        assert!(json.iter().all(|value| is_taken(value.as_bytes())));
        let others = [&b"text/plain"[..], b"application/jsonx", b"text/json", b"json", b"\xff"];
        assert!(!others.into_iter().any(is_taken));
    }
}
