//! The signed data of a record: strict DAG-CBOR, so that one meaning has one encoding. Unknown
//! fields are accepted; they are signed and kept like the others.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::record::IpnsError;
use super::validity::EndOfValidity;

/// The only kind of validity: an end.
const VALIDITY_TYPE_END: i128 = 0;

/// What the owner of a name signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignedData {
    /// The path that the name stands for.
    pub(super) value: Vec<u8>,
    /// `end` as written.
    pub(super) validity: Vec<u8>,
    pub(super) end: EndOfValidity,
    pub(super) sequence: u64,
    pub(super) ttl_ns: Option<u64>,
}

impl SignedData {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, IpnsError> {
        let not_a_map = |reason| IpnsError::DataForm { reason };
        let decoded: Ipld = serde_ipld_dagcbor::from_slice(bytes)
            .map_err(|error| not_a_map(error.to_string().to_lowercase()))?;
        let Ipld::Map(mut fields) = decoded else {
            return Err(not_a_map("no map".to_owned()));
        };
        if take(&mut fields, "ValidityType", integer)? != VALIDITY_TYPE_END {
            return Err(IpnsError::DataField { field: "ValidityType", reason: "not 0" });
        }
        let validity = take(&mut fields, "Validity", bytes_of)?;
        let end = EndOfValidity::parse(&validity).ok_or(IpnsError::DataField {
            field: "Validity",
            reason: "not a moment in the form of RFC 3339 with at most nine digits of a second",
        })?;
        let ttl_ns = match fields.remove("TTL") {
            None => None,
            Some(ttl) => Some(unsigned(ttl).map_err(|reason| in_field("TTL", reason))?),
        };
        Ok(Self {
            value: take(&mut fields, "Value", bytes_of)?,
            validity,
            end,
            sequence: take(&mut fields, "Sequence", unsigned)?,
            ttl_ns,
        })
    }
}

/// Takes a required field.
fn take<T>(
    fields: &mut BTreeMap<String, Ipld>,
    field: &'static str,
    read: impl FnOnce(Ipld) -> Result<T, &'static str>,
) -> Result<T, IpnsError> {
    let value = fields.remove(field).ok_or(in_field(field, "missing"))?;
    read(value).map_err(|reason| in_field(field, reason))
}

fn in_field(field: &'static str, reason: &'static str) -> IpnsError {
    IpnsError::DataField { field, reason }
}

fn bytes_of(value: Ipld) -> Result<Vec<u8>, &'static str> {
    if let Ipld::Bytes(bytes) = value { Ok(bytes) } else { Err("not bytes") }
}

fn integer(value: Ipld) -> Result<i128, &'static str> {
    if let Ipld::Integer(integer) = value { Ok(integer) } else { Err("not a whole number") }
}

fn unsigned(value: Ipld) -> Result<u64, &'static str> {
    u64::try_from(integer(value)?).map_err(|_| "negative, or more than 64 bits")
}
