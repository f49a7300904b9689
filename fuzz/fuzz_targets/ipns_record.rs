//! Any bytes as an IPNS record of a name whose key nobody here has: no panic, and what verifies says
//! what the name's owner signed, whatever stands around it. What verifies reads back from a store.
#![no_main]

use fingerpost::types::{IpnsName, IpnsRecord};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w";
const RECORD: &[u8] = include_bytes!(
    "../../tests/fixtures/ipns/k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w_v1-v2.ipns-record"
);

fuzz_target!(|bytes: &[u8]| {
    let name = IpnsName::parse(NAME).expect("a name");
    // Without the signature too: what comes after it is to be reached by more than the owner.
    let restored = IpnsRecord::restore(bytes, &name);
    let Ok(record) = IpnsRecord::verify(bytes, &name) else { return };
    let signed = IpnsRecord::verify(RECORD, &name).expect("a sound record");
    assert_eq!(record.cmp_precedence(&signed), std::cmp::Ordering::Equal);
    assert_eq!((record.value(), record.ttl()), (signed.value(), signed.ttl()));
    assert_eq!(restored.as_ref(), Ok(&record));
    assert_eq!(record.bytes(), bytes);
});
