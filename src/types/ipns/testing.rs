//! Records for unit tests of other modules: whole but for their signatures, as
//! [`IpnsRecord::restore`] takes them.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::record::unsigned;
use super::{IpnsName, IpnsRecord};

/// The `number`th of any number of names.
pub(crate) fn name(number: u32) -> IpnsName {
    let digest = [&number.to_be_bytes()[..], &[7; 28]].concat();
    IpnsName::from_multihash(&[&[0x12, 0x20][..], &digest].concat()).unwrap()
}

/// A record of a name, valid until `end` (RFC 3339), to be used for a minute.
pub(crate) fn record(name: &IpnsName, sequence: u64, end: &str) -> IpnsRecord {
    record_of_ttl(name, sequence, end, Some(60_000_000_000))
}

/// A record of a name, valid until `end` (RFC 3339), to be used for so many nanoseconds.
pub(crate) fn record_of_ttl(
    name: &IpnsName,
    sequence: u64,
    end: &str,
    ttl_ns: Option<i128>,
) -> IpnsRecord {
    let mut data = BTreeMap::from([
        ("Value".to_owned(), Ipld::Bytes(b"/ipfs/bafkqaaa".to_vec())),
        ("Validity".to_owned(), Ipld::Bytes(end.as_bytes().to_vec())),
        ("ValidityType".to_owned(), Ipld::Integer(0)),
        ("Sequence".to_owned(), Ipld::Integer(sequence.into())),
    ]);
    data.extend(ttl_ns.map(|ttl_ns| ("TTL".to_owned(), Ipld::Integer(ttl_ns))));
    let bytes = unsigned(serde_ipld_dagcbor::to_vec(&Ipld::Map(data)).unwrap());
    IpnsRecord::restore(&bytes, name).unwrap()
}
