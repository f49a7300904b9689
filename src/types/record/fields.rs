//! Taking the fields of a JSON object one by one, so that what nobody takes is left over.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::writer::single_line;
use super::{ADDRS_MAX, RecordError, UnparsableAddrs};
use crate::types::addr::Addr;
use crate::types::peer::PeerId;

/// The fields of one JSON object, in their order, values unparsed.
pub(super) struct Fields<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    unparsable: UnparsableAddrs,
    addrs_dropped: usize,
}

/// Fields that the schema does not name: name and JSON value as they came, in their order.
#[derive(Clone, Debug, Default)]
pub struct ExtraFields(Vec<(Box<str>, Box<RawValue>)>);

impl<'a> Fields<'a> {
    pub(super) fn read(json: &'a str, unparsable: UnparsableAddrs) -> Result<Self, RecordError> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fields = deserializer.deserialize_map(FieldsVisitor)?;
        deserializer.end()?;
        Ok(Self { fields, unparsable, addrs_dropped: 0 })
    }

    pub(super) fn addrs_dropped(&self) -> usize {
        self.addrs_dropped
    }

    /// Looks at a field without taking it.
    pub(super) fn peek(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<Option<String>, RecordError> {
        self.typed(name, "a string")
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, RecordError> {
        self.typed(name, "true or false")
    }

    pub(super) fn strings(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<String>>, RecordError> {
        self.typed(name, "a list of strings")
    }

    pub(super) fn peer_id(&mut self) -> Result<PeerId, RecordError> {
        let text = self.string("ID")?.ok_or(RecordError::Missing("ID"))?;
        PeerId::parse(&text).map_err(RecordError::PeerId)
    }

    pub(super) fn addrs(&mut self) -> Result<Option<Vec<Addr>>, RecordError> {
        let Some(texts) = self.strings("Addrs")? else { return Ok(None) };
        if texts.len() > ADDRS_MAX {
            return Err(RecordError::TooManyAddrs(texts.len()));
        }
        let addrs: Vec<Addr> = texts.iter().filter_map(|text| self.addr(text)).collect();
        self.addrs_dropped = texts.len() - addrs.len();
        Ok(Some(addrs))
    }

    /// Everything that was not taken.
    pub(super) fn rest(&mut self) -> ExtraFields {
        let owned = |value: &RawValue| match single_line(value.get()) {
            Cow::Borrowed(_) => value.to_owned(),
            Cow::Owned(line) => RawValue::from_string(line)
                .expect("JSON stays JSON when the line breaks between its tokens go"),
        };
        let rest = self.fields.drain(..);
        ExtraFields(rest.map(|(name, value)| (name.into(), owned(value))).collect())
    }

    fn addr(&self, text: &str) -> Option<Addr> {
        match (Addr::parse(text), self.unparsable) {
            (Ok(addr), _) => Some(addr),
            (Err(_), UnparsableAddrs::Keep) => Some(Addr::unparsable(text)),
            (Err(_), UnparsableAddrs::Drop) => None,
        }
    }

    /// Takes a field; `null` counts as missing.
    fn typed<T: DeserializeOwned>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, RecordError> {
        let Some(position) = self.fields.iter().position(|(name, _)| name == field) else {
            return Ok(None);
        };
        let (_, value) = self.fields.remove(position);
        if self.peek(field).is_some() {
            return Err(RecordError::Twice(field));
        }
        // `Option` reads `null` as `None`.
        serde_json::from_str(value.get()).map_err(|_| RecordError::Type { field, expected })
    }
}

impl ExtraFields {
    /// The fields' names and JSON values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// Puts a field before all others.
    pub(super) fn prepend(&mut self, name: &str, value: Box<RawValue>) {
        self.0.insert(0, (name.into(), value));
    }
}

impl PartialEq for ExtraFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(fields)
    }
}

/// A field's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}
