//! Any other schema: kept byte for byte, unless a field must be dropped; then the others keep their
//! order.
//!
//! Filters apply to such a record only where it carries `Addrs` or `Protocols` of the usual shape
//! (a list; of strings); only line breaks between its tokens are taken out, for NDJSON's sake.

use serde_json::value::RawValue;

use super::fields::Fields;
use super::writer::{AddrsLayout, RecordWriter, offset};
use crate::types::addr::Addr;
use crate::types::peer::PeerId;

/// A record of a schema that we do not know.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownRecord {
    schema: String,
    json: String,
    id: Option<PeerId>,
    addrs: Option<(Vec<Addr>, AddrsLayout)>,
    protocols: Option<Vec<String>>,
}

impl UnknownRecord {
    pub(super) fn from_fields(schema: String, json: String, fields: &mut Fields<'_>) -> Self {
        let id = fields.string("ID").ok().flatten().and_then(|id| PeerId::parse(&id).ok());
        let protocols = fields.list("Protocols").ok().flatten();
        let protocols = protocols.filter(|(names, total)| names.len() == *total);
        let protocols = protocols.map(|(names, _)| names);
        let addrs = layout(&json);
        Self { schema, json, id, addrs, protocols }
    }

    /// The schema's name.
    pub(crate) fn schema_name(&self) -> &str {
        &self.schema
    }

    /// The provider, where `ID` is a peer ID.
    pub(crate) fn id(&self) -> Option<&PeerId> {
        self.id.as_ref()
    }

    /// The addresses, where `Addrs` is a list: the strings in it.
    pub(crate) fn addrs(&self) -> Option<&[Addr]> {
        self.addrs.as_ref().map(|(addrs, _)| &addrs[..])
    }

    /// The protocols, where `Protocols` is a list of strings.
    pub(crate) fn protocols(&self) -> Option<&[String]> {
        self.protocols.as_deref()
    }

    pub(super) fn write(&self) -> RecordWriter {
        let layout = self.addrs.as_ref().map(|(_, layout)| layout.clone());
        RecordWriter::verbatim(self.json.clone(), layout)
    }
}

/// Finds the addresses in the record's own bytes.
fn layout(json: &str) -> Option<(Vec<Addr>, AddrsLayout)> {
    #[derive(serde::Deserialize)]
    struct Addrs<'a> {
        #[serde(rename = "Addrs", borrow)]
        list: &'a RawValue,
    }
    let Addrs { list } = serde_json::from_str(json).ok()?;
    let values: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let position = |value: &RawValue| value.get().as_ptr().addr() - json.as_ptr().addr();
    let mut addrs = Vec::with_capacity(values.len());
    let mut items = Vec::with_capacity(values.len());
    for value in values {
        // A value that is not a string is no address to any client.
        let Ok(text) = serde_json::from_str::<String>(value.get()) else { continue };
        let addr = Addr::parse(&text).unwrap_or_else(|_| Addr::unparsable(&text));
        let start = position(value);
        items.push((offset(start), offset(start + value.get().len()), addr.protocols()));
        addrs.push(addr);
    }
    let start = position(list);
    let inner = (start + 1, start + list.get().len() - 1);
    let layout = AddrsLayout { start: offset(inner.0), end: offset(inner.1), items: items.into() };
    Some((addrs, layout))
}
