//! The domain: keys, peers, addresses, provider records and filters.
//!
//! Pure data. Nothing here does I/O, asks for the time or is asynchronous, and nothing here
//! depends on another module of the crate. Values that came from outside are newtypes that only
//! parsing can make; parsing never panics and allocates no more than its input is long.

mod addr;
mod filter;
mod hops;
mod ipns;
mod key;
mod limit;
mod lookup;
mod origin;
mod peer;
mod prefix;
mod ready;
mod record;
mod records;
mod target;

pub use addr::Addr;
pub(crate) use addr::AddrError;
pub(crate) use addr::is_public_component;
pub use filter::Filter;
pub(crate) use filter::FilterError;
pub(crate) use hops::HOPS_HEADER;
pub use hops::Hops;
#[cfg(test)]
pub(crate) use ipns::testing as ipns_testing;
pub use ipns::{EndOfValidity, IpnsName, IpnsRecord};
pub(crate) use ipns::{IPNS_RECORD_BYTES_MAX, IpnsNameError};
pub use key::ContentKey;
pub(crate) use key::{DIGEST_BYTES_MAX, KeyError};
pub use limit::Limit;
pub use lookup::{Found, Question, Subject};
pub use origin::Origin;
pub use peer::PeerId;
pub(crate) use peer::PeerIdError;
pub(crate) use prefix::RoutePrefixError;
pub use prefix::{ADDRESS_CHARS_MAX, RoutePrefix};
pub use ready::{AnswerSchema, MergeKey, ReadyRecord, Selection};
pub(crate) use record::{
    ADDRS_MAX, BitswapRecord, ExtraFields, ParsedRecord, PeerRecord, RecordError, Schema,
};
pub use record::{LeftOut, ProviderRecord, UnparsableAddrs};
pub(crate) use records::{Records, Rendered, SelectedRecord, SharedRecords};
pub use target::TargetId;
pub(crate) use target::{TARGET_CHARS_MAX, TargetIdError};
