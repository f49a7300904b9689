//! IPNS names and their signed records.
//!
//! A name is the multihash of a public key, written as a version 1 CID of codec libp2p-key. Its
//! record says, signed by that key, what the name stands for, and until when. A record is protobuf
//! around signed DAG-CBOR:
//!
//! ```text
//! field  name          what it holds
//!   1    value         ┐
//!   2    signatureV1   │ version 1: each field may be missing; those that are there must say
//!   3    validityType  │ what the signed data says. The signature of version 1 is not read.
//!   4    validity      │
//!   5    sequence      │
//!   6    ttl           ┘
//!   7    pubKey        the public key, where the name does not hold it
//!   8    signatureV2   over "ipns-signature:" and the bytes of `data`
//!   9    data          DAG-CBOR, a map:
//!                        Value         bytes, the path that the name stands for
//!                        Validity      bytes, the end of validity: RFC 3339, nanoseconds
//!                        ValidityType  0, which says that Validity is an end
//!                        Sequence      number, greater in a newer record
//!                        TTL           nanoseconds; may be missing
//! ```
//!
//! Of two records of a name the one with the higher sequence counts, then the one that is valid
//! longer. A record that was verified stays so; whether it has expired is asked with the time.
//!
//! Everything that is wrong with a record is an `IpnsError`; no bytes panic.

mod data;
mod name;
mod record;
mod validity;

#[cfg(test)]
pub(crate) mod testing;

pub use name::IpnsName;
pub(crate) use name::IpnsNameError;
pub(crate) use record::IPNS_RECORD_BYTES_MAX;
pub use record::IpnsRecord;
pub use validity::EndOfValidity;
