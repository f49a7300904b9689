//! Schema `bitswap` (seeds/002, "Bitswap Read Provider Records"):
//!
//! ```json
//! { "Protocol": "transport-bitswap", "Schema": "bitswap", "ID": "12D3K...", "Addrs": ["/ip4/..."] }
//! ```

use super::fields::{ExtraFields, Fields};
use super::peer::PeerRecord;
use super::{RecordError, RecordWriter};
use crate::types::addr::Addr;
use crate::types::peer::PeerId;

pub(super) const SCHEMA: &str = "bitswap";

/// A provider that speaks bitswap.
#[derive(Clone, Debug, PartialEq)]
pub struct BitswapRecord {
    /// The transfer protocol, `transport-bitswap` as a rule.
    pub(crate) protocol: Option<String>,
    /// The peer to contact.
    pub(crate) id: PeerId,
    /// Hints where the peer may be; a missing list and an empty one are different.
    pub(crate) addrs: Option<Vec<Addr>>,
    /// Fields that the schema does not name.
    pub(crate) extra: ExtraFields,
}

impl BitswapRecord {
    pub(super) fn from_fields(fields: &mut Fields<'_>) -> Result<Self, RecordError> {
        fields.leave_out("Protocols");
        Ok(Self {
            protocol: fields.string("Protocol")?,
            id: fields.peer_id()?,
            addrs: fields.addrs()?,
            extra: fields.rest(),
        })
    }

    pub(super) fn write(&self) -> RecordWriter {
        RecordWriter::new()
            .optional_string("Protocol", self.protocol.as_deref())
            .string("Schema", SCHEMA)
            .string("ID", self.id.as_str())
            .addrs(self.addrs.as_deref())
            .extra(&self.extra)
            .end()
    }
}

impl From<BitswapRecord> for PeerRecord {
    fn from(record: BitswapRecord) -> Self {
        Self {
            id: record.id,
            addrs: record.addrs,
            protocols: record.protocol.map(|protocol| vec![protocol]),
            extra: record.extra,
        }
    }
}
