//! The body of a request that creates or changes a pool.
//!
//! `{"route": {"name", "requested_target_daily_volume", "overflow_route"}}`. Not looking like that is
//! an error of the request; a field that cannot be read is a problem of the pool, which is told
//! together with all others.

use serde_json::{Map, Value};

use crate::admin::body::parse as parse_json;
use crate::admin::error::PoolError;
use crate::dispatch::pool::{Field, PoolDraft, PoolId, PoolReference, VOLUME_MAX};

const NAME: &str = "name must be a text";
const VOLUME: &str =
    "requested_target_daily_volume must be a whole number from 1 to 9007199254740992";
const OVERFLOW: &str = "overflow_route must be null, {\"id\": a pool's id} or {\"name\": a \
                        pool's name}";

/// Reads a body.
pub(super) fn parse(body: &[u8]) -> Result<PoolDraft, PoolError> {
    let body = parse_json(body)
        .map_err(|error| PoolError::request(format!("the body cannot be read: {error}")))?;
    let Some(Value::Object(route)) = body.get("route") else {
        let message = "the body has no object `route`: send {\"route\": {...}}";
        return Err(PoolError::request(message));
    };
    Ok(PoolDraft {
        name: field(route, "name", NAME, |value| value.as_str().map(str::to_owned)),
        requested_daily_volume: field(route, "requested_target_daily_volume", VOLUME, whole_number),
        overflow: field(route, "overflow_route", OVERFLOW, overflow),
    })
}

fn field<T>(
    route: &Map<String, Value>,
    name: &str,
    expected: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Field<T> {
    match route.get(name) {
        None => Field::Absent,
        Some(value) => read(value).map_or(Field::Invalid(expected), Field::Given),
    }
}

/// A whole number, also one that is written with a point or an exponent.
fn whole_number(value: &Value) -> Option<u64> {
    let number = value.as_number()?;
    number.as_u64().or_else(|| {
        let number = number.as_f64()?;
        let is_whole = number.fract() == 0.0 && (0.0..=VOLUME_MAX as f64).contains(&number);
        is_whole.then_some(number as u64)
    })
}

/// `None`: not readable; `Some(None)`: into nothing. Where both are given the id counts, so that what
/// an answer had may be sent back; one that is `null` is not given.
#[expect(clippy::option_option, reason = "null is a value of this field")]
fn overflow(value: &Value) -> Option<Option<PoolReference>> {
    if value.is_null() {
        return Some(None);
    }
    let object = value.as_object()?;
    let given = |field| object.get(field).filter(|value| !value.is_null());
    let reference = match (given("id"), given("name")) {
        (Some(id), _) => PoolReference::Id(PoolId(whole_number(id)?)),
        (None, Some(name)) => PoolReference::Name(name.as_str()?.to_owned()),
        (None, None) => return None,
    };
    Some(Some(reference))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draft(route: &str) -> PoolDraft {
        parse(format!(r#"{{"route":{route}}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_read_and_those_that_are_not_for_writing_are_ignored() {
        let all = draft(
            r#"{"id":7,"name":"a","requested_target_daily_volume":50000,"overflow_route":null,
                "recommended_max_daily_volume":"x","routing_rule":[],"else":{}}"#,
        );
        assert_eq!(all.name, Field::Given("a".to_owned()));
        assert_eq!(all.requested_daily_volume, Field::Given(50_000));
        assert_eq!(all.overflow, Field::Given(None));
        let none = draft("{}");
        assert_eq!((none.name, none.overflow), (Field::Absent, Field::Absent));
    }

    #[test]
    fn an_overflow_is_named_by_id_or_by_name() {
        let id = |id| Field::Given(Some(PoolReference::Id(PoolId(id))));
        let by_name = |name: &str| Field::Given(Some(PoolReference::Name(name.to_owned())));
        for (text, expected) in [
            (r#"{"id":3}"#, id(3)),
            (r#"{"id":3,"name":"b"}"#, id(3)),
            (r#"{"name":"b"}"#, by_name("b")),
            (r#"{"id":3.0}"#, id(3)),
            (r#"{"id":3e0,"name":null}"#, id(3)),
            (r#"{"id":null,"name":"b"}"#, by_name("b")),
            (r#"{}"#, Field::Invalid(OVERFLOW)),
            (r#"{"id":null}"#, Field::Invalid(OVERFLOW)),
            (r#"{"id":3.5,"name":"b"}"#, Field::Invalid(OVERFLOW)),
            (r#"{"id":"3"}"#, Field::Invalid(OVERFLOW)),
            (r#"{"id":-3}"#, Field::Invalid(OVERFLOW)),
            (r#"{"name":3}"#, Field::Invalid(OVERFLOW)),
            ("3", Field::Invalid(OVERFLOW)),
            (r#""b""#, Field::Invalid(OVERFLOW)),
            ("[]", Field::Invalid(OVERFLOW)),
        ] {
            assert_eq!(draft(&format!(r#"{{"overflow_route":{text}}}"#)).overflow, expected);
        }
    }

    #[test]
    fn a_volume_is_a_whole_number_however_it_is_written() {
        for (text, expected) in [
            ("5", Field::Given(5)),
            ("0", Field::Given(0)),
            ("5e4", Field::Given(50_000)),
            ("5.0", Field::Given(5)),
            ("9007199254740992", Field::Given(VOLUME_MAX)),
            ("9007199254740993", Field::Given(VOLUME_MAX + 1)),
            ("1e300", Field::Invalid(VOLUME)),
            ("5.5", Field::Invalid(VOLUME)),
            ("-1", Field::Invalid(VOLUME)),
            (r#""5""#, Field::Invalid(VOLUME)),
            ("null", Field::Invalid(VOLUME)),
        ] {
            let draft = draft(&format!(r#"{{"requested_target_daily_volume":{text}}}"#));
            assert_eq!(draft.requested_daily_volume, expected, "{text}");
        }
        assert!(VOLUME.ends_with(&VOLUME_MAX.to_string()));
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused() {
        for body in [
            r#"{"route":{"name":"a","name":"a"}}"#,
            r#"{"route":{"name":"a"},"route":{"name":"b"}}"#,
            r#"{"route":{"overflow_route":{"id":1,"id":2}}}"#,
        ] {
            assert!(matches!(parse(body.as_bytes()), Err(PoolError::Request(_))), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "\\PC{0,60}", route in "\\{\"route\":\\PC{0,40}\\}") {
            let _ = parse(body.as_bytes());
            let _ = parse(route.as_bytes());
        }
    }
}
