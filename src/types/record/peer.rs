//! Schema `peer` (IPIP-417):
//!
//! ```json
//! { "Schema": "peer", "ID": "12D3K...", "Addrs": ["/ip4/..."], "Protocols": ["transport-bitswap"] }
//! ```
//!
//! A protocol's own data stands in a further field with the protocol's name.

use super::fields::{ExtraFields, Fields};
use super::{RecordError, RecordWriter};
use crate::types::addr::Addr;
use crate::types::peer::PeerId;

pub(super) const SCHEMA: &str = "peer";

/// A peer, with any number of transfer protocols.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRecord {
    /// The peer.
    pub(crate) id: PeerId,
    /// Where the peer may be; a missing list and an empty one are different.
    pub(crate) addrs: Option<Vec<Addr>>,
    /// The transfer protocols that the peer speaks; missing or empty: unknown.
    pub(crate) protocols: Option<Vec<String>>,
    /// Fields that the schema does not name, the protocols' own data among them.
    pub(crate) extra: ExtraFields,
}

impl PeerRecord {
    pub(super) fn from_fields(fields: &mut Fields<'_>) -> Result<Self, RecordError> {
        fields.leave_out("Protocol");
        Ok(Self {
            id: fields.peer_id()?,
            addrs: fields.addrs()?,
            protocols: fields.strings("Protocols")?,
            extra: fields.rest(),
        })
    }

    pub(super) fn write(&self) -> RecordWriter {
        RecordWriter::new()
            .string("Schema", SCHEMA)
            .string("ID", self.id.as_str())
            .addrs(self.addrs.as_deref())
            .strings("Protocols", self.protocols.as_deref())
            .extra(&self.extra)
            .end()
    }
}
