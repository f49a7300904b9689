//! Takes the fields of a JSON object one by one; unknown fields are left over.
//!
//! A record must mean the same to every client's JSON parser. Go matches names ignoring case, and
//! Go and JavaScript take the last of duplicate fields: so only the last duplicate is kept, and a
//! field whose name folds to one in [`READ_BY_CLIENTS`] without being it is dropped.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::writer::{push_string, single_line};
use super::{ADDRS_MAX, RecordError, UnparsableAddrs};
use crate::types::addr::Addr;
use crate::types::peer::PeerId;

/// The fields that clients read of a record of any schema.
const READ_BY_CLIENTS: [&str; 5] = ["Schema", "ID", "Addrs", "Protocols", "Protocol"];

/// The fields of one JSON object, in their order, values unparsed.
pub(super) struct Fields<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    unparsable: UnparsableAddrs,
    left_out: LeftOut,
}

/// What parsing dropped from a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Items of `Addrs` that are not an address which all clients read.
    pub(crate) addrs: usize,
    /// Fields, and items of `Protocols`, that clients read differently.
    pub(crate) fields: usize,
}

/// Fields that the schema does not name: name and JSON value unchanged, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExtraFields(Vec<(Box<str>, Box<RawValue>)>);

impl<'a> Fields<'a> {
    pub(super) fn read(json: &'a str, unparsable: UnparsableAddrs) -> Result<Self, RecordError> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fields = deserializer.deserialize_map(FieldsVisitor)?;
        deserializer.end()?;
        let total = fields.len();
        let fields = of_one_meaning(fields);
        let left_out = LeftOut { addrs: 0, fields: total - fields.len() };
        Ok(Self { fields, unparsable, left_out })
    }

    pub(super) fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The object of the fields that are there, on one line.
    pub(super) fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (position, (name, value)) in self.fields.iter().enumerate() {
            if position > 0 {
                json.push(',');
            }
            push_string(&mut json, name);
            json.push(':');
            json.push_str(&single_line(value.get()));
        }
        json.push('}');
        json
    }

    /// Drops a field that clients read in records of other schemas, and some in this one too.
    pub(super) fn leave_out(&mut self, name: &str) {
        let before = self.fields.len();
        self.fields.retain(|(field, _)| field != name);
        self.left_out.fields += before - self.fields.len();
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<Option<String>, RecordError> {
        self.typed(name, "a string")
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, RecordError> {
        self.typed(name, "true or false")
    }

    /// The strings of a list; other items are dropped.
    pub(super) fn strings(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<String>>, RecordError> {
        let Some((strings, total)) = self.list(name)? else { return Ok(None) };
        self.left_out.fields += total - strings.len();
        Ok(Some(strings))
    }

    /// The strings of a list, and how many items it has.
    pub(super) fn list(
        &mut self,
        name: &'static str,
    ) -> Result<Option<(Vec<String>, usize)>, RecordError> {
        let Some(items) = self.typed::<Vec<&RawValue>>(name, "a list of strings")? else {
            return Ok(None);
        };
        let strings = items.iter().filter_map(|item| serde_json::from_str(item.get()).ok());
        Ok(Some((strings.collect(), items.len())))
    }

    pub(super) fn peer_id(&mut self) -> Result<PeerId, RecordError> {
        let text = self.string("ID")?.ok_or(RecordError::Missing("ID"))?;
        PeerId::parse(&text).map_err(RecordError::PeerId)
    }

    pub(super) fn addrs(&mut self) -> Result<Option<Vec<Addr>>, RecordError> {
        let Some((texts, total)) = self.list("Addrs")? else { return Ok(None) };
        if total > ADDRS_MAX {
            return Err(RecordError::TooManyAddrs(total));
        }
        let addrs: Vec<Addr> = texts.iter().filter_map(|text| self.addr(text)).collect();
        self.left_out.addrs += total - addrs.len();
        Ok(Some(addrs))
    }

    /// The remaining fields.
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
    fn typed<T: Deserialize<'a>>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, RecordError> {
        let Some(position) = self.fields.iter().position(|(name, _)| name == field) else {
            return Ok(None);
        };
        let (_, value) = self.fields.remove(position);
        // `Option` reads `null` as `None`.
        serde_json::from_str(value.get()).map_err(|_| RecordError::Type { field, expected })
    }
}

impl ExtraFields {
    /// The fields' names and JSON values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// Puts a field before all others.
    pub(super) fn prepend(&mut self, name: &str, value: Box<RawValue>) {
        self.0.insert(0, (name.into(), value));
    }
}

/// The fields that every client reads as we do.
fn of_one_meaning<'a>(
    mut fields: Vec<(Cow<'a, str>, &'a RawValue)>,
) -> Vec<(Cow<'a, str>, &'a RawValue)> {
    fields.retain(|(name, _)| !is_taken_for_another(name));
    let mut names = HashSet::with_capacity(fields.len());
    let is_last: Vec<bool> = fields.iter().rev().map(|(name, _)| names.insert(name)).collect();
    let mut is_last = is_last.into_iter().rev();
    fields.retain(|_| is_last.next().unwrap_or(true));
    fields
}

/// Whether a client that folds names takes the field for one that it reads.
fn is_taken_for_another(name: &str) -> bool {
    let is_folded_to = |known: &str| {
        let folded = name.chars().map(simple_fold);
        folded.eq(known.chars().map(simple_fold)) && name != known
    };
    // Three bytes, of U+212A, are the most that one letter takes.
    name.len() <= 3 * "Protocols".len() && READ_BY_CLIENTS.iter().any(|known| is_folded_to(known))
}

/// Unicode's simple case folding, as far as it leads to letters of ASCII.
fn simple_fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// Whether objects and lists are nested more than `levels` deep.
pub(super) fn is_deeper_than(levels: usize, json: &str) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > levels {
            return true;
        }
    }
    false
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

impl<'de> Deserialize<'de> for Name<'de> {
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
