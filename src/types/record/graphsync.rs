//! Schema `graphsync-filecoinv1` (seeds/002, "Filecoin Graphsync Read Provider Records"):
//!
//! ```json
//! {
//!   "Protocol": "transport-graphsync-filecoinv1", "Schema": "graphsync-filecoinv1",
//!   "ID": "12D3K...", "Addrs": ["/ip4/..."],
//!   "PieceCID": "<cid>", "VerifiedDeal": true, "FastRetrieval": true
//! }
//! ```

use serde_json::value::{RawValue, to_raw_value};

use super::fields::{ExtraFields, Fields};
use super::peer::PeerRecord;
use super::{RecordError, RecordWriter};
use crate::types::addr::Addr;
use crate::types::peer::PeerId;

pub(super) const SCHEMA: &str = "graphsync-filecoinv1";

/// A Filecoin storage provider that speaks graphsync.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphsyncRecord {
    /// The transfer protocol, `transport-graphsync-filecoinv1` as a rule.
    pub(crate) protocol: Option<String>,
    /// The provider's peer ID.
    pub(crate) id: PeerId,
    /// Hints where the provider may be; a missing list and an empty one are different.
    pub(crate) addrs: Option<Vec<Addr>>,
    /// The CID of the piece within which the data is stored, as an opaque text.
    pub(crate) piece_cid: Option<String>,
    /// Whether the deal for the data is verified.
    pub(crate) verified_deal: Option<bool>,
    /// Whether the provider claims to hold an unsealed copy.
    pub(crate) fast_retrieval: Option<bool>,
    /// Fields that the schema does not name.
    pub(crate) extra: ExtraFields,
}

impl GraphsyncRecord {
    pub(super) fn from_fields(fields: &mut Fields<'_>) -> Result<Self, RecordError> {
        fields.leave_out("Protocols");
        Ok(Self {
            protocol: fields.string("Protocol")?,
            id: fields.peer_id()?,
            addrs: fields.addrs()?,
            piece_cid: fields.string("PieceCID")?,
            verified_deal: fields.boolean("VerifiedDeal")?,
            fast_retrieval: fields.boolean("FastRetrieval")?,
            extra: fields.rest(),
        })
    }

    pub(super) fn write(&self) -> RecordWriter {
        RecordWriter::new()
            .optional_string("Protocol", self.protocol.as_deref())
            .string("Schema", SCHEMA)
            .string("ID", self.id.as_str())
            .addrs(self.addrs.as_deref())
            .optional_string("PieceCID", self.piece_cid.as_deref())
            .optional_boolean("VerifiedDeal", self.verified_deal)
            .optional_boolean("FastRetrieval", self.fast_retrieval)
            .extra(&self.extra)
            .end()
    }
}

impl From<GraphsyncRecord> for PeerRecord {
    fn from(record: GraphsyncRecord) -> Self {
        let mut extra = record.extra;
        let own = [
            ("FastRetrieval", record.fast_retrieval.map(|claimed| raw(&claimed))),
            ("VerifiedDeal", record.verified_deal.map(|verified| raw(&verified))),
            ("PieceCID", record.piece_cid.map(|cid| raw(&cid))),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                extra.prepend(name, value);
            }
        }
        Self {
            id: record.id,
            addrs: record.addrs,
            protocols: record.protocol.map(|protocol| vec![protocol]),
            extra,
        }
    }
}

fn raw<T: serde::Serialize>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("booleans and strings always have a JSON form")
}
