//! Reading a request's body that is one piece of JSON. It is taken as it is, never decompressed; a field
//! that is given twice is an error, because readers differ in which one counts.

use std::fmt;

use actix_web::HttpRequest;
use actix_web::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use actix_web::web::{Bytes, Payload};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::{AdminError, NOT_COMPRESSED};
use crate::body::{self, BodyError, BodyLimits};
use crate::media;

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

/// A piece of JSON in which no object has a field twice.
pub(super) fn parse(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).map(|UniqueFields(value)| value)
}

/// A value whose objects have each field once.
struct UniqueFields(Value);

impl<'de> Deserialize<'de> for UniqueFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueFieldsVisitor).map(Self)
    }
}

struct UniqueFieldsVisitor;

impl<'de> Visitor<'de> for UniqueFieldsVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(UniqueFields(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, UniqueFields(value))) = entries.next_entry::<String, _>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
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
    body::compression(headers.get_all(CONTENT_ENCODING).map(HeaderValue::as_bytes))
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
    use super::*;

    #[test]
    fn a_body_is_what_serde_json_reads_but_for_fields_that_are_given_twice() {
        for json in [
            "null",
            "true",
            "[1,-2,3.5,1e300,\"\\u00e9\",[],{}]",
            r#"{"a":{"b":null},"c":{"b":[{"b":18446744073709551615}]}}"#,
        ] {
            let expected: Value = serde_json::from_str(json).unwrap();
            assert_eq!(parse(json.as_bytes()).unwrap(), expected, "{json}");
        }
        for json in
            [r#"{"a":1,"a":1}"#, r#"[{"x":{"b":[],"a":0,"b":[]}}]"#, r#"{"a":1,"\u0061":2}"#]
        {
            let error = parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("duplicate field `"), "{json}: {error}");
        }
        assert!(parse(b"{} x").is_err() && parse(b"").is_err() && parse(b"\"\xff\"").is_err());
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
