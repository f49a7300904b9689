//! Which JSON a client of the routing table's API wants: `application/json` or `application/hal+json`.
//! The bodies are the same.

use actix_web::http::header::{ACCEPT, HeaderMap, HeaderValue};

use super::error::AdminError;
use crate::media;

/// A media type of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
    Json,
    Hal,
}

impl JsonType {
    /// The type of the answer to a request with these headers. HAL goes to those who name it and do
    /// not name JSON with as much weight.
    pub(super) fn negotiated(headers: &HeaderMap) -> Result<Self, AdminError> {
        let lines = headers.get_all(ACCEPT).map(HeaderValue::as_bytes);
        let types = [Self::Json, Self::Hal].map(Self::media_type);
        let Some([json, hal]) = media::acceptance(lines, types) else { return Ok(Self::Json) };
        let is_hal =
            hal.weight > json.weight || (hal.weight == json.weight && json.named.is_none());
        match hal.named {
            Some(1..) if is_hal => Ok(Self::Hal),
            _ if json.weight > 0 => Ok(Self::Json),
            _ if hal.weight > 0 => Ok(Self::Hal),
            _ => Err(AdminError::NotAcceptable {
                offered: "application/json and application/hal+json are",
            }),
        }
    }

    /// The media type, as it stands in `Content-Type`.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Hal => "application/hal+json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hal_goes_to_those_who_name_it_and_prefer_nothing_to_it() {
        const JSON: Option<JsonType> = Some(JsonType::Json);
        const HAL: Option<JsonType> = Some(JsonType::Hal);
        for (accept, expected) in [
            ("", JSON),
            ("*/*", JSON),
            ("application/*", JSON),
            ("application/json", JSON),
            ("application/json, application/hal+json", JSON),
            ("application/hal+json;q=0.5, application/json;q=0.6", JSON),
            ("application/hal+json;q=0.5, */*", JSON),
            ("application/hal+json;q=0, */*", JSON),
            ("application/hal+json", HAL),
            ("Application/HAL+JSON; charset=utf-8", HAL),
            ("application/hal+json, application/json;q=0.9", HAL),
            ("application/hal+json, */*", HAL),
            ("application/json;q=0, */*", HAL),
            ("text/html", None),
            ("*/*;q=0", None),
            ("application/json;q=0, application/hal+json;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(JsonType::negotiated(&headers).ok(), expected, "{accept}");
        }
        assert_eq!(JsonType::negotiated(&HeaderMap::new()).ok(), JSON);
    }
}
