//! The body of a request to the public API.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;

use super::error::ApiError;
use crate::body::{self, BodyLimits};

/// The whole body. What is compressed is refused, as is what is too large, and the connection with it.
pub(super) async fn read(
    request: &HttpRequest,
    payload: Payload,
    limits: BodyLimits,
) -> Result<Bytes, ApiError> {
    let encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if let Some(value) = body::compression(encodings.map(HeaderValue::as_bytes)) {
        return Err(ApiError::Compressed { value });
    }
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok());
    Ok(body::read_request(payload, declared, limits).await?)
}
