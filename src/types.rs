//! The domain: keys, peers, addresses, provider records and filters.
//!
//! Pure data. Nothing here does I/O, asks for the time or is asynchronous, and nothing here
//! depends on another module of the crate. Values that came from outside are newtypes that only
//! parsing can make; parsing never panics and allocates no more than its input is long.

mod account;
mod addr;
mod filter;
mod hops;
mod ipns;
mod key;
mod lookup;
mod origin;
mod peer;
mod prefix;
mod ready;
mod record;
mod records;

pub use account::{ACCOUNT_CHARS_MAX, AccountId, AccountIdError};
pub(crate) use addr::is_public_component;
pub use addr::{Addr, AddrError, ProtocolSet};
pub use filter::{Filter, FilterError, TERM_CHARS_MAX, TERMS_MAX};
pub use hops::{HOPS_HEADER, Hops};
#[cfg(test)]
pub(crate) use ipns::testing as ipns_testing;
pub use ipns::{
    EndOfValidity, IPNS_RECORD_BYTES_MAX, IpnsError, IpnsName, IpnsNameError, IpnsRecord,
};
pub use key::{CID_TEXT_BYTES_MAX, ContentKey, DIGEST_BYTES_MAX, KeyError};
pub use lookup::{Found, Question, Subject};
pub use origin::Origin;
pub use peer::{PeerId, PeerIdError};
pub use prefix::{ADDRESS_CHARS_MAX, RoutePrefix, RoutePrefixError};
pub use ready::{AnswerSchema, MergeKey, ReadyRecord, Selection};
pub use record::{
    ADDRS_MAX, BitswapRecord, ExtraFields, GraphsyncRecord, LeftOut, ParsedRecord, PeerRecord,
    ProviderRecord, RecordError, Schema, UnknownRecord, UnparsableAddrs,
};
pub use records::{Records, Rendered, SelectedRecord, SharedRecords};
