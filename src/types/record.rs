//! Provider records: parsed by a switch on `Schema`, never on `Protocol`.
//!
//! Known fields are typed and checked; unknown ones survive: unknown fields of known schemas
//! unchanged, records of unknown schemas byte for byte. Fields that some clients would read
//! differently are dropped. A record that no client could use (no `Schema`, a known schema without
//! a valid `ID`) is refused with a reason. Source: seeds/002, "Provider Records" and "Known
//! Transfer Protocols"; `peer` is IPIP-417.

mod bitswap;
mod fields;
mod graphsync;
mod peer;
mod unknown;
mod writer;

use thiserror::Error;

pub(crate) use bitswap::BitswapRecord;
pub(crate) use fields::ExtraFields;
pub use fields::LeftOut;
pub(crate) use graphsync::GraphsyncRecord;
pub(crate) use peer::PeerRecord;
pub(crate) use unknown::UnknownRecord;

use super::addr::Addr;
use super::peer::{PeerId, PeerIdError};
use fields::{Fields, is_deeper_than};
use writer::single_line;
pub(super) use writer::{AddrsLayout, RecordWriter, addr_list, offset};

/// The most addresses that one record may carry.
pub(crate) const ADDRS_MAX: usize = 4096;

/// How deep objects and lists may be nested: Go's JSON reader gives up a whole answer at 10,000
/// levels, serde_json at 128.
const DEPTH_MAX: usize = 100;

/// Which schema a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Schema {
    /// `bitswap`.
    Bitswap,
    /// `graphsync-filecoinv1`.
    Graphsync,
    /// `peer`.
    Peer,
    /// Any other.
    Unknown,
}

/// One provider record.
#[derive(Clone, Debug, PartialEq)]
pub enum ProviderRecord {
    /// Schema `bitswap`.
    Bitswap(BitswapRecord),
    /// Schema `graphsync-filecoinv1`.
    Graphsync(GraphsyncRecord),
    /// Schema `peer`.
    Peer(PeerRecord),
    /// Any other schema.
    Unknown(UnknownRecord),
}

/// What to do with an address that does not parse as a multiaddr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnparsableAddrs {
    /// It is left out: clients that meet one drop the whole record, or all that follow.
    #[default]
    Drop,
    /// It stays.
    Keep,
}

/// A parsed record, and what was dropped from it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRecord {
    /// The record.
    pub record: ProviderRecord,
    /// How much was dropped.
    pub left_out: LeftOut,
}

/// Why a JSON text is not a provider record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Not a JSON object.
    #[error("not a JSON object: {reason}")]
    Json {
        /// Where and why reading it failed.
        reason: String,
    },
    /// A required field of the schema is missing.
    #[error("the record has no `{0}`")]
    Missing(&'static str),
    /// Objects and lists nested too deep.
    #[error("nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// A known field holds a value of another type.
    #[error("`{field}` must be {expected}")]
    Type {
        /// The field's name.
        field: &'static str,
        /// What it must hold.
        expected: &'static str,
    },
    /// `ID` is not a peer ID.
    #[error("`ID` is not a peer ID")]
    PeerId(#[source] PeerIdError),
    /// More addresses than a record may carry.
    #[error("{0} addresses, at most {ADDRS_MAX} are accepted")]
    TooManyAddrs(usize),
}

impl From<serde_json::Error> for RecordError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json { reason: error.to_string() }
    }
}

impl ProviderRecord {
    /// Reads one record from its JSON text.
    pub fn parse(json: &str, unparsable: UnparsableAddrs) -> Result<ParsedRecord, RecordError> {
        if is_deeper_than(DEPTH_MAX, json) {
            return Err(RecordError::TooDeep);
        }
        Self::read(json, unparsable)
    }

    /// Reads a stored record: it is never refused for a rule that was added after it was stored.
    pub fn restore(json: &str) -> Result<Self, RecordError> {
        Ok(Self::read(json, UnparsableAddrs::Keep)?.record)
    }

    fn read(json: &str, unparsable: UnparsableAddrs) -> Result<ParsedRecord, RecordError> {
        let json = json.trim();
        let mut fields = Fields::read(json, unparsable)?;
        let shortened = (fields.left_out().fields > 0).then(|| fields.to_json());
        let schema = fields.string("Schema")?.filter(|schema| !schema.is_empty());
        let schema = schema.ok_or(RecordError::Missing("Schema"))?;
        let record = match schema.as_str() {
            bitswap::SCHEMA => Self::Bitswap(BitswapRecord::from_fields(&mut fields)?),
            graphsync::SCHEMA => Self::Graphsync(GraphsyncRecord::from_fields(&mut fields)?),
            peer::SCHEMA => Self::Peer(PeerRecord::from_fields(&mut fields)?),
            _ => {
                let json = shortened.unwrap_or_else(|| single_line(json).into_owned());
                Self::Unknown(UnknownRecord::from_fields(schema, json, &mut fields))
            }
        };
        Ok(ParsedRecord { record, left_out: fields.left_out() })
    }

    /// The schema that the record is of.
    pub(crate) fn schema(&self) -> Schema {
        match self {
            Self::Bitswap(_) => Schema::Bitswap,
            Self::Graphsync(_) => Schema::Graphsync,
            Self::Peer(_) => Schema::Peer,
            Self::Unknown(_) => Schema::Unknown,
        }
    }

    /// The provider; a record of an unknown schema may name none.
    pub(crate) fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Bitswap(record) => Some(&record.id),
            Self::Graphsync(record) => Some(&record.id),
            Self::Peer(record) => Some(&record.id),
            Self::Unknown(record) => record.id(),
        }
    }

    /// The addresses; `None` where the record has no such list.
    pub fn addrs(&self) -> Option<&[Addr]> {
        match self {
            Self::Bitswap(record) => record.addrs.as_deref(),
            Self::Graphsync(record) => record.addrs.as_deref(),
            Self::Peer(record) => record.addrs.as_deref(),
            Self::Unknown(record) => record.addrs(),
        }
    }

    /// The same record with these addresses instead of its own. One of an unknown schema is
    /// unchanged, since the meaning of its addresses is unknown. A missing list stays missing if
    /// there are no addresses.
    pub(crate) fn with_addrs(mut self, addrs: &[Addr]) -> Self {
        let list = match &mut self {
            Self::Bitswap(record) => &mut record.addrs,
            Self::Graphsync(record) => &mut record.addrs,
            Self::Peer(record) => &mut record.addrs,
            Self::Unknown(_) => return self,
        };
        if list.is_some() || !addrs.is_empty() {
            *list = Some(addrs.to_vec());
        }
        self
    }

    /// The names of the transfer protocols: `Protocols`, or `Protocol` of the legacy schemas.
    pub(crate) fn protocols(&self) -> &[String] {
        match self {
            Self::Bitswap(record) => record.protocol.as_slice(),
            Self::Graphsync(record) => record.protocol.as_slice(),
            Self::Peer(record) => record.protocols.as_deref().unwrap_or_default(),
            Self::Unknown(record) => record.protocols().unwrap_or_default(),
        }
    }

    /// The record in the `peer` schema: `bitswap` and `graphsync-filecoinv1` are turned into it,
    /// their protocol becomes the only one, and their other fields stay as they are.
    pub(crate) fn into_peer(self) -> Self {
        match self {
            Self::Bitswap(record) => Self::Peer(record.into()),
            Self::Graphsync(record) => Self::Peer(record.into()),
            Self::Peer(_) | Self::Unknown(_) => self,
        }
    }

    /// The record's JSON, on one line.
    pub fn to_json(&self) -> String {
        self.write().into_parts().0
    }

    /// Writes the record, keeping track of where its addresses stand.
    pub(super) fn write(&self) -> RecordWriter {
        match self {
            Self::Bitswap(record) => record.write(),
            Self::Graphsync(record) => record.write(),
            Self::Peer(record) => record.write(),
            Self::Unknown(record) => record.write(),
        }
    }
}

#[cfg(test)]
mod tests;
