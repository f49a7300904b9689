//! Writes a record's JSON and records the positions of its addresses.

use std::borrow::Cow;

use super::fields::ExtraFields;
use crate::types::addr::{Addr, ProtocolSet};

/// The positions of the addresses in a record's JSON, so that an answer can omit some by copying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::types) struct AddrsLayout {
    /// First byte after the list's `[`.
    pub(in crate::types) start: u32,
    /// The list's `]`.
    pub(in crate::types) end: u32,
    /// Where each address is, quotes included.
    pub(in crate::types) items: AddrPlaces,
}

/// Each address of a list: its first byte, the byte after its last, its protocols.
pub(in crate::types) type AddrPlaces = Box<[(u32, u32, ProtocolSet)]>;

/// A JSON object under construction, on one line.
pub(in crate::types) struct RecordWriter {
    json: String,
    addrs: Option<AddrsLayout>,
}

impl RecordWriter {
    pub(super) fn new() -> Self {
        Self { json: String::from("{"), addrs: None }
    }

    /// A record that is already JSON.
    pub(super) fn verbatim(json: String, addrs: Option<AddrsLayout>) -> Self {
        Self { json, addrs }
    }

    pub(super) fn string(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        push_string(&mut self.json, value);
        self
    }

    pub(super) fn optional_string(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.string(name, value),
            None => self,
        }
    }

    pub(super) fn optional_boolean(self, name: &str, value: Option<bool>) -> Self {
        match value {
            Some(true) => self.raw(name, "true"),
            Some(false) => self.raw(name, "false"),
            None => self,
        }
    }

    pub(super) fn strings(mut self, name: &str, values: Option<&[String]>) -> Self {
        let Some(values) = values else { return self };
        self.name(name);
        self.json.push('[');
        for (position, value) in values.iter().enumerate() {
            if position > 0 {
                self.json.push(',');
            }
            push_string(&mut self.json, value);
        }
        self.json.push(']');
        self
    }

    pub(super) fn addrs(mut self, addrs: Option<&[Addr]>) -> Self {
        let Some(addrs) = addrs else { return self };
        self.name("Addrs");
        self.json.push('[');
        let start = offset(self.json.len());
        let (list, items) = addr_list(addrs, self.json.len());
        self.json.push_str(&list);
        self.addrs = Some(AddrsLayout { start, end: offset(self.json.len()), items });
        self.json.push(']');
        self
    }

    pub(super) fn extra(self, extra: &ExtraFields) -> Self {
        extra.iter().fold(self, |writer, (name, value)| writer.raw(name, value))
    }

    pub(super) fn end(mut self) -> Self {
        self.json.push('}');
        self
    }

    /// The JSON, and where its addresses stand.
    pub(in crate::types) fn into_parts(self) -> (String, Option<AddrsLayout>) {
        (self.json, self.addrs)
    }

    fn raw(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.json.push_str(value);
        self
    }

    fn name(&mut self, name: &str) {
        if self.json.len() > 1 {
            self.json.push(',');
        }
        push_string(&mut self.json, name);
        self.json.push(':');
    }
}

/// JSON on one line: line breaks can only be between tokens, where they mean nothing.
pub(super) fn single_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], ""))
    } else {
        Cow::Borrowed(json)
    }
}

/// Addresses with commas between them, and where each is in a record in which they begin at `start`.
pub(in crate::types) fn addr_list(addrs: &[Addr], start: usize) -> (String, AddrPlaces) {
    let mut list = String::new();
    let mut items = Vec::with_capacity(addrs.len());
    for addr in addrs {
        if !items.is_empty() {
            list.push(',');
        }
        let first = offset(start + list.len());
        push_string(&mut list, addr.as_str());
        items.push((first, offset(start + list.len()), addr.protocols()));
    }
    (list, items.into())
}

/// An offset into a record. Every decoder bounds records far below 4 GiB.
pub(in crate::types) fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a record is bounded far below 4 GiB")
}

pub(super) fn push_string(json: &mut String, value: &str) {
    json.push_str(&serde_json::to_string(value).expect("a string always has a JSON form"));
}
