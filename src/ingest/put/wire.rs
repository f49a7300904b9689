//! The JSON of a request: its shape and its counts. Content is not judged here.
//!
//! Unknown fields are ignored, and a duplicate field is an error. Lists are read to their end, but
//! no more items are kept than accepted. A payload's bytes are kept unchanged.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::addrs::ADDRS_READ_MAX;
use super::error::PutError;
use super::{ANNOUNCED_PROTOCOL, ANNOUNCED_SCHEMA, RECORDS_MAX};
use crate::ingest::whole::Whole;
use crate::types::PeerId;

/// One record, signed or not.
#[derive(Debug)]
pub(super) struct SignedRecord<'a> {
    pub(super) signature: Option<String>,
    /// The payload as it was transmitted: what is signed.
    pub(super) payload_json: &'a str,
    pub(super) payload: Payload,
}

/// The payload of a record.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) id: PeerId,
    pub(super) timestamp_ms: i64,
    pub(super) advisory_ttl_ns: i64,
    /// At least one.
    pub(super) keys: Vec<String>,
    /// A `null` costs only itself.
    pub(super) addrs: BoundedList<Option<String>>,
}

/// A list that keeps at most as many items as are accepted.
#[derive(Debug)]
pub(super) struct BoundedList<T> {
    pub(super) kept: Vec<T>,
    /// How many there were.
    pub(super) total: usize,
}

impl<T> Default for BoundedList<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), total: 0 }
    }
}

#[derive(Deserialize)]
struct RequestFields<'a> {
    #[serde(rename = "Providers", borrow)]
    providers: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RecordFields<'a> {
    #[serde(rename = "Schema")]
    schema: Option<String>,
    #[serde(rename = "Protocol")]
    protocol: Option<String>,
    #[serde(rename = "Signature")]
    signature: Option<String>,
    #[serde(rename = "Payload", borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct PayloadFields<'a> {
    #[serde(rename = "Keys", borrow)]
    keys: Option<&'a RawValue>,
    #[serde(rename = "Timestamp")]
    timestamp_ms: Option<Whole<i64>>,
    #[serde(rename = "AdvisoryTTL")]
    advisory_ttl_ns: Option<Whole<i64>>,
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Addrs", borrow)]
    addrs: Option<&'a RawValue>,
}

/// Reads a request of at most [`RECORDS_MAX`] records with at most `keys_max` keys together.
pub(super) fn read(body: &[u8], keys_max: usize) -> Result<Vec<SignedRecord<'_>>, PutError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(format!("not UTF-8 at byte {}", error.valid_up_to() + 1)))?;
    let fields: RequestFields<'_> = object(text, "the body")?;
    let providers = fields.providers.ok_or_else(|| missing("Providers", "the body"))?;
    let records: BoundedList<&RawValue> = list(providers, RECORDS_MAX, "`Providers`")?;
    if records.total == 0 {
        return Err(malformed("`Providers` is empty".to_owned()));
    }
    within("records", records.total, RECORDS_MAX)?;
    let mut keys_left = keys_max;
    let mut keys_total = 0;
    let mut signed = Vec::with_capacity(records.kept.len());
    for (number, record) in (1..).zip(records.kept) {
        let (record, keys) = read_record(record, number, keys_left)?;
        keys_total += keys;
        keys_left = keys_left.saturating_sub(keys);
        signed.push(record);
    }
    within("keys", keys_total, keys_max)?;
    Ok(signed)
}

/// One record, with at most `keys_max` of its keys, and the number that it has.
fn read_record(
    record: &RawValue,
    number: usize,
    keys_max: usize,
) -> Result<(SignedRecord<'_>, usize), PutError> {
    let place = format!("record {number}");
    let fields: RecordFields<'_> = object(record.get(), &place)?;
    match fields.schema.as_deref() {
        Some(ANNOUNCED_SCHEMA) => {}
        Some(_) => return Err(malformed(format!("{place}: `Schema` is not `{ANNOUNCED_SCHEMA}`"))),
        None => return Err(missing("Schema", &place)),
    }
    // It is not signed and has one possible value, so it may be missing.
    if fields.protocol.as_deref().is_some_and(|protocol| protocol != ANNOUNCED_PROTOCOL) {
        return Err(malformed(format!("{place}: `Protocol` is not `{ANNOUNCED_PROTOCOL}`")));
    }
    let payload = fields.payload.ok_or_else(|| missing("Payload", &place))?;
    let payload_json = payload.get();
    let (payload, keys) = read_payload(payload_json, &format!("{place}: Payload"), keys_max)?;
    Ok((SignedRecord { signature: fields.signature, payload_json, payload }, keys))
}

fn read_payload(json: &str, place: &str, keys_max: usize) -> Result<(Payload, usize), PutError> {
    let fields: PayloadFields<'_> = object(json, place)?;
    let id = fields.id.ok_or_else(|| missing("ID", place))?;
    let id = PeerId::parse(&id)
        .map_err(|error| malformed(format!("{place}: `ID` is not a peer ID: {error}")))?;
    let keys = fields.keys.ok_or_else(|| missing("Keys", place))?;
    let keys: BoundedList<String> = list(keys, keys_max, &format!("{place}: `Keys`"))?;
    if keys.total == 0 {
        return Err(malformed(format!("{place}: `Keys` is empty")));
    }
    let read_addrs = |addrs| list(addrs, ADDRS_READ_MAX, &format!("{place}: `Addrs`"));
    let Whole(timestamp_ms) = fields.timestamp_ms.ok_or_else(|| missing("Timestamp", place))?;
    let advisory_ttl_ns = fields.advisory_ttl_ns.ok_or_else(|| missing("AdvisoryTTL", place))?;
    let payload = Payload {
        id,
        timestamp_ms,
        advisory_ttl_ns: advisory_ttl_ns.0,
        keys: keys.kept,
        addrs: fields.addrs.map(read_addrs).transpose()?.unwrap_or_default(),
    };
    Ok((payload, keys.total))
}

fn object<'a, T: Deserialize<'a>>(json: &'a str, place: &str) -> Result<T, PutError> {
    // serde would accept an array as the fields in order.
    if !json.trim_ascii_start().starts_with('{') {
        return Err(malformed(format!("{place} is not a JSON object")));
    }
    serde_json::from_str(json).map_err(|error| malformed(format!("{place}: {error}")))
}

fn list<'a, T: Deserialize<'a>>(
    json: &'a RawValue,
    kept_max: usize,
    place: &str,
) -> Result<BoundedList<T>, PutError> {
    let visitor = ListVisitor { kept_max, item: PhantomData };
    serde_json::Deserializer::from_str(json.get())
        .deserialize_seq(visitor)
        .map_err(|error| malformed(format!("{place}: {error}")))
}

struct ListVisitor<T> {
    kept_max: usize,
    item: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> Visitor<'a> for ListVisitor<T> {
    type Value = BoundedList<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut listed = BoundedList::default();
        while listed.total < self.kept_max {
            let Some(item) = items.next_element()? else { return Ok(listed) };
            listed.kept.push(item);
            listed.total += 1;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {
            listed.total += 1;
        }
        Ok(listed)
    }
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), PutError> {
    if count > most { Err(PutError::TooMany { what, count, most }) } else { Ok(()) }
}

fn missing(field: &str, place: &str) -> PutError {
    malformed(format!("{place} has no `{field}`"))
}

fn malformed(reason: String) -> PutError {
    PutError::Malformed { reason }
}
