//! Records ready for answers: the JSON rendered once, and the protocol sets for filters computed
//! once.
//!
//! An answer is a concatenation of these bytes. Where a filter keeps only some of the addresses,
//! the record's bytes around them are copied too; nothing is parsed or serialised again.

mod merge;

use std::collections::HashSet;

use smallvec::SmallVec;

use super::addr::{Addr, ProtocolSet};
use super::peer::PeerId;
use super::record::{
    AddrsLayout, ExtraFields, PeerRecord, ProviderRecord, Schema, UnparsableAddrs, addr_list,
    offset,
};

pub use merge::MergeKey;

/// The most addresses that a merged record has; positions of addresses have 16 bits.
const MERGED_ADDRS_MAX: usize = 4096;

/// A record of more bytes takes no more addresses in.
const MERGED_BYTES_MAX: usize = 128 << 10;

/// The schema that records are served in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerSchema {
    /// The one that they were announced in.
    #[default]
    Announced,
    /// `bitswap` and `graphsync-filecoinv1` as `peer`; others as announced.
    Peer,
}

/// A provider record that is ready to be part of an answer.
#[derive(Clone, Debug)]
pub struct ReadyRecord {
    json: Box<str>,
    schema: Schema,
    peer: Option<PeerId>,
    addrs: Option<AddrsLayout>,
    protocols: Protocols,
    identity: [u8; 16],
    digest: [u8; 16],
    merge_key: MergeKey,
}

/// The transfer protocols that a record names.
#[derive(Clone, Debug)]
enum Protocols {
    /// These; empty: unknown.
    Named(Box<[String]>),
    /// Protocol filters do not apply: an unknown schema without `Protocols` of the usual shape.
    Opaque,
}

/// The part of a record that passes a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    Whole,
    /// All of it, of the addresses only those at these positions.
    Addrs(SmallVec<[u16; 12]>),
}

impl ReadyRecord {
    /// Renders a record.
    pub fn new(record: ProviderRecord, schema: AnswerSchema) -> Self {
        let record = match schema {
            AnswerSchema::Announced => record,
            AnswerSchema::Peer => record.into_peer(),
        };
        let (json, addrs) = record.write().into_parts();
        let is_opaque =
            matches!(&record, ProviderRecord::Unknown(unknown) if unknown.protocols().is_none());
        let protocols =
            if is_opaque { Protocols::Opaque } else { Protocols::Named(record.protocols().into()) };
        let digest = short_hash(json.as_bytes());
        Self {
            schema: record.schema(),
            peer: record.peer().cloned(),
            identity: identity(&json, record.schema(), addrs.as_ref()),
            merge_key: MergeKey::new(&record, digest),
            digest,
            json: json.into(),
            addrs,
            protocols,
        }
    }

    /// The record's JSON, on one line.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The schema that the record is served in.
    pub(crate) fn schema(&self) -> Schema {
        self.schema
    }

    /// The provider; a record of an unknown schema may name none.
    pub fn peer(&self) -> Option<&PeerId> {
        self.peer.as_ref()
    }

    /// Whether the record has an address.
    pub fn has_addrs(&self) -> bool {
        self.addr_count() > 0
    }

    /// How many addresses the record has.
    pub fn addr_count(&self) -> usize {
        self.addrs.as_ref().map_or(0, |addrs| addrs.items.len())
    }

    /// Identifies the announcement, within its context: records of one provider and schema with
    /// equal fields but for the addresses have the same value, and the newer replaces the older.
    /// Collision-resistant. Which records an answer merges: [`ReadyRecord::merge_key`].
    pub(crate) fn identity(&self) -> [u8; 16] {
        self.identity
    }

    /// A hash of the record's JSON.
    pub(crate) fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// How many bytes [`ReadyRecord::write_to`] writes at most.
    pub(crate) fn len_bytes(&self) -> usize {
        self.json.len()
    }

    /// Appends the selected part of the record's JSON.
    pub fn write_to(&self, selection: &Selection, out: &mut Vec<u8>) {
        match (selection, &self.addrs) {
            (Selection::Addrs(kept), Some(addrs)) => self.write_some_addrs(addrs, kept, out),
            _ => out.extend_from_slice(self.json.as_bytes()),
        }
    }

    /// The same record with these addresses instead of its own, as
    /// [`ProviderRecord::with_addrs`] has them; `None` when that makes no difference.
    pub(crate) fn with_addrs(&self, addrs: &[Addr]) -> Option<Self> {
        if self.schema == Schema::Unknown || self.has_just(addrs) {
            return None;
        }
        let changed = match &self.addrs {
            Some(ours) => self.with_list(ours, addrs),
            // Only the schema knows where the list belongs.
            None => {
                let record = ProviderRecord::parse(&self.json, UnparsableAddrs::Keep).ok()?.record;
                Self::new(record.with_addrs(addrs), AnswerSchema::Announced)
            }
        };
        (changed.digest != self.digest).then_some(changed)
    }

    /// The same record with this list of addresses instead of its own, without parsing JSON.
    fn with_list(&self, ours: &AddrsLayout, addrs: &[Addr]) -> Self {
        let (head, _) = self.json.split_at(ours.start as usize);
        let (_, tail) = self.json.split_at(ours.end as usize);
        let (list, items) = addr_list(addrs, head.len());
        let end = offset(head.len() + list.len());
        let json = [head, &list, tail].concat();
        let digest = short_hash(json.as_bytes());
        let addrs = AddrsLayout { start: ours.start, end, items };
        Self { json: json.into(), addrs: Some(addrs), digest, ..self.clone() }
    }

    /// The same record with the ID and the addresses of another: that peer's record with these
    /// protocols. Parses the JSON of both. `None`: one of them is of an unknown schema.
    pub(crate) fn with_provider_of(&self, other: &Self) -> Option<Self> {
        // Its JSON has the schema of answers already.
        let read = |ready: &Self| ProviderRecord::parse(&ready.json, UnparsableAddrs::Keep).ok();
        let (mut record, other) = (read(self)?.record, read(other)?.record);
        let (id, addrs) = match &mut record {
            ProviderRecord::Bitswap(record) => (&mut record.id, &mut record.addrs),
            ProviderRecord::Graphsync(record) => (&mut record.id, &mut record.addrs),
            ProviderRecord::Peer(record) => (&mut record.id, &mut record.addrs),
            ProviderRecord::Unknown(_) => return None,
        };
        *id = other.peer()?.clone();
        *addrs = other.addrs().map(<[Addr]>::to_vec);
        Some(Self::new(record, AnswerSchema::Announced))
    }

    /// One record of schema `peer` with the addresses and the protocols that several records name,
    /// each once and in their order; as many addresses as [`ReadyRecord::merged`] takes.
    pub(crate) fn of_peer<'a>(
        peer: &PeerId,
        records: impl Iterator<Item = &'a Self> + Clone,
    ) -> Self {
        let mut protocols: Vec<String> = Vec::new();
        for name in records.clone().filter_map(Self::protocol_names).flatten() {
            if !protocols.contains(name) {
                protocols.push(name.clone());
            }
        }
        let empty = PeerRecord {
            id: peer.clone(),
            addrs: Some(Vec::new()),
            protocols: Some(protocols),
            extra: ExtraFields::default(),
        };
        let empty = Self::new(ProviderRecord::Peer(empty), AnswerSchema::Announced);
        let mut bytes = 0;
        let addrs = records.flat_map(|record| {
            let items = record.addrs.iter().flat_map(|addrs| addrs.items.iter());
            items.map(|item| (record.item(item), item.2))
        });
        let bounded = addrs.take_while(|(item, _)| {
            bytes += item.len();
            bytes <= MERGED_BYTES_MAX
        });
        empty.with_more_addrs(bounded).unwrap_or(empty)
    }

    /// Whether the record has a list of addresses, perhaps empty.
    pub(crate) fn has_addr_list(&self) -> bool {
        self.addrs.is_some()
    }

    /// Whether these are the record's addresses, compared without parsing JSON: a restart asks this
    /// of every group whose provider has a statement.
    fn has_just(&self, addrs: &[Addr]) -> bool {
        let Some(ours) = &self.addrs else { return false };
        let is_it = |(item, addr): (&(u32, u32, ProtocolSet), &Addr)| {
            let quoted = self.item(item).strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            quoted.is_some_and(|text| text == addr.as_str() && !text.contains('\\'))
        };
        ours.items.len() == addrs.len() && ours.items.iter().zip(addrs).all(is_it)
    }

    /// The same record with these addresses, as they stand in JSON, after its own; `None` when it
    /// has them all, or as many as a record may have.
    fn with_more_addrs<'a>(
        &self,
        more: impl Iterator<Item = (&'a str, ProtocolSet)>,
    ) -> Option<Self> {
        let ours = self.addrs.as_ref()?;
        let mut known: HashSet<&str> = ours.items.iter().map(|item| self.item(item)).collect();
        let new: Vec<_> = more.filter(|(item, _)| known.insert(item)).collect();
        let room = MERGED_ADDRS_MAX.saturating_sub(ours.items.len());
        if new.is_empty() || room == 0 || self.json.len() > MERGED_BYTES_MAX {
            return None;
        }
        let (head, tail) = self.json.split_at(ours.end as usize);
        let new_bytes: usize = new.iter().map(|(item, _)| item.len() + 1).sum();
        let mut json = String::with_capacity(self.json.len() + new_bytes);
        json.push_str(head);
        let mut items = ours.items.to_vec();
        for (item, protocols) in new.into_iter().take(room) {
            if !items.is_empty() {
                json.push(',');
            }
            let start = json.len() as u32;
            json.push_str(item);
            items.push((start, json.len() as u32, protocols));
        }
        let addrs = AddrsLayout { start: ours.start, end: json.len() as u32, items: items.into() };
        json.push_str(tail);
        let digest = short_hash(json.as_bytes());
        Some(Self { json: json.into(), addrs: Some(addrs), digest, ..self.clone() })
    }

    /// The protocols of each address, in order; `None` where the record has no list of addresses.
    pub(super) fn addr_protocols(&self) -> Option<impl Iterator<Item = ProtocolSet>> {
        self.addrs.as_ref().map(|addrs| addrs.items.iter().map(|(_, _, protocols)| *protocols))
    }

    /// The names of the transfer protocols; `None` where protocol filters do not apply.
    pub(super) fn protocol_names(&self) -> Option<&[String]> {
        match &self.protocols {
            Protocols::Named(names) => Some(names),
            Protocols::Opaque => None,
        }
    }

    fn item(&self, (start, end, _): &(u32, u32, ProtocolSet)) -> &str {
        self.json.get(*start as usize..*end as usize).expect("an address stands inside its record")
    }

    fn write_some_addrs(&self, addrs: &AddrsLayout, kept: &[u16], out: &mut Vec<u8>) {
        let (head, rest) = self.json.split_at(addrs.start as usize);
        let (_, tail) = rest.split_at((addrs.end - addrs.start) as usize);
        out.extend_from_slice(head.as_bytes());
        let items = kept.iter().filter_map(|position| addrs.items.get(usize::from(*position)));
        for (written, item) in items.enumerate() {
            if written > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.item(item).as_bytes());
        }
        out.extend_from_slice(tail.as_bytes());
    }
}

/// The hash of everything but the addresses; of a record of an unknown schema, of all its bytes.
fn identity(json: &str, schema: Schema, addrs: Option<&AddrsLayout>) -> [u8; 16] {
    match addrs {
        Some(addrs) if schema != Schema::Unknown => {
            let (head, rest) = json.split_at(addrs.start as usize);
            let (_, tail) = rest.split_at((addrs.end - addrs.start) as usize);
            let mut hasher = blake3::Hasher::new();
            hasher.update(head.as_bytes()).update(tail.as_bytes());
            shorten(&hasher.finalize())
        }
        _ => short_hash(json.as_bytes()),
    }
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    shorten(&blake3::hash(bytes))
}

/// 128 bits: a collision takes 2^64 tries.
fn shorten(hash: &blake3::Hash) -> [u8; 16] {
    let (short, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::UnparsableAddrs;

    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

    fn ready(fields: &str) -> ReadyRecord {
        let json = format!(r#"{{"Schema":"peer","ID":"{PEER}"{fields}}}"#);
        let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap();
        ReadyRecord::new(parsed.record, AnswerSchema::Announced)
    }

    #[test]
    fn addresses_are_no_part_of_a_records_identity() {
        let one = ready(r#","Addrs":["/ip4/192.0.2.1/tcp/1"],"Protocols":["a"]"#);
        let other = ready(r#","Addrs":["/ip4/192.0.2.2/tcp/1"],"Protocols":["a"]"#);
        assert_eq!(one.identity(), other.identity());
        assert_ne!(one.digest(), other.digest());
        assert_ne!(one.identity(), ready(r#","Addrs":[],"Protocols":["b"]"#).identity());
    }

    #[test]
    fn merged_addresses_stand_once_each_and_can_be_filtered() {
        let one = ready(r#","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.1/udp/1"],"x":1"#);
        let other = ready(r#","Addrs":["/ip4/192.0.2.1/udp/1","/ip4/192.0.2.9/tcp/9/ws"],"x":1"#);
        let [one, other] = [one, other].map(std::sync::Arc::new);
        let both = ReadyRecord::merged(&[one.clone(), other]).unwrap();
        let all = ready(
            r#","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.1/udp/1","/ip4/192.0.2.9/tcp/9/ws"],"x":1"#,
        );
        assert_eq!((both.json(), both.digest()), (all.json(), all.digest()));
        assert_eq!(both.identity(), one.identity());
        let filter = crate::types::Filter::from_query("transport=ws").unwrap();
        let mut json = Vec::new();
        both.write_to(&filter.select(&both).unwrap(), &mut json);
        let expected = ready(r#","Addrs":["/ip4/192.0.2.9/tcp/9/ws"],"x":1"#);
        assert_eq!(json, expected.json().as_bytes());
        let again = ReadyRecord::merged(&[both.clone(), one]).unwrap();
        assert_eq!(again.digest(), both.digest());
    }
    #[test]
    fn new_addresses_change_nothing_else_whatever_schema_is_served() {
        let new = [Addr::parse("/ip4/192.0.2.7/tcp/7").unwrap()];
        let fields = [
            r#"{"Schema":"peer","Protocols":["a"],"b":[1, 2],"a":{"x":null},"ID":"PEER","Addrs":[]}"#,
            r#"{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"PEER","Addrs":["/ip4/1.2.3.4/tcp/1"],"more":1.50}"#,
            r#"{"Schema":"graphsync-filecoinv1","Protocol":"g","ID":"PEER","Addrs":null,"PieceCID":"c","VerifiedDeal":true,"z":0}"#,
            r#"{"Schema":"bitswap","ID":"PEER"}"#,
        ];
        for json in fields.map(|json| json.replace("PEER", PEER)) {
            let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
            for schema in [AnswerSchema::Announced, AnswerSchema::Peer] {
                let before = ReadyRecord::new(record.clone(), schema);
                let expected = ReadyRecord::new(record.clone().with_addrs(&new), schema);
                let after = before.with_addrs(&new).unwrap();
                assert_eq!((after.json(), after.digest()), (expected.json(), expected.digest()));
                assert_eq!(after.identity(), expected.identity());
                assert!(after.json().contains(r#""Addrs":["/ip4/192.0.2.7/tcp/7"]"#), "{json}");
                assert!(after.with_addrs(&new).is_none(), "{json}");
            }
        }
        let unknown = format!(r#"{{"Schema":"x","ID":"{PEER}","Addrs":["/ip4/1.2.3.4/tcp/1"]}}"#);
        let unknown = ProviderRecord::parse(&unknown, UnparsableAddrs::Drop).unwrap().record;
        assert_eq!(unknown.clone().with_addrs(&new), unknown);
    }

    proptest! {
        #[test]
        fn other_addresses_without_reading_the_record_are_those_of_a_record_that_was_read(
            schema in 0..3_usize,
            before in prop::collection::vec("/(ip4|dns4)/[a-z0-9.]{1,9}(/tcp/[1-9]{1,4}|/\\PC{0,6}|\"){0,2}", 0..5),
            after in prop::collection::vec("/(ip4|dns4)/[a-z0-9.]{1,9}(/tcp/[1-9]{1,4}|/\\PC{0,6}|\"){0,2}", 0..5),
            extra in "[a-z\\[\\]\"\\\\,]{0,8}",
        ) {
            let read = |texts: &[String]| -> Vec<Addr> {
                let read = |text: &String| Addr::parse(text).unwrap_or_else(|_| Addr::unparsable(text));
                texts.iter().map(read).collect()
            };
            let (before, after) = (read(&before), read(&after));
            let schema = ["peer", "bitswap", "graphsync-filecoinv1"][schema];
            let extra = serde_json::to_string(&extra).unwrap();
            let json = format!(r#"{{"Schema":"{schema}","ID":"{PEER}","x":{extra}}}"#);
            let record = ProviderRecord::parse(&json, UnparsableAddrs::Keep).unwrap().record;
            let record = record.with_addrs(&before);
            for served in [AnswerSchema::Announced, AnswerSchema::Peer] {
                let ready = ReadyRecord::new(record.clone(), served);
                let expected = ReadyRecord::new(record.clone().with_addrs(&after), served);
                let changed = ready.with_addrs(&after).unwrap_or(ready);
                prop_assert_eq!(changed.json(), expected.json());
                prop_assert_eq!(&changed.addrs, &expected.addrs);
                prop_assert_eq!(
                    (changed.digest(), changed.identity()),
                    (expected.digest(), expected.identity())
                );
                prop_assert_eq!((changed.schema(), changed.peer()), (expected.schema(), expected.peer()));
                prop_assert_eq!(changed.protocol_names(), expected.protocol_names());
            }
        }
    }

    #[test]
    fn addresses_are_compared_by_what_they_say() {
        let (one, two) = ("/x/a\\b", "/x/a\\\\b");
        let [one, two] = [one, two].map(Addr::unparsable);
        let first = [one.clone()];
        let record = ready("").with_addrs(&first).unwrap();
        assert!(record.with_addrs(&first).is_none());
        for other in [vec![two], vec![], vec![one.clone(), one]] {
            let changed = record.with_addrs(&other).unwrap();
            assert!(changed.with_addrs(&other).is_none());
            assert!(changed.with_addrs(&first).is_some());
        }
    }

    #[test]
    fn a_peer_has_what_all_its_records_name() {
        let one = ready(
            r#","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.1/tcp/1"],"Protocols":["a","b"]"#,
        );
        let other = ready(
            r#","Addrs":["/ip4/192.0.2.2/tcp/2","/ip4/192.0.2.1/tcp/1"],"Protocols":["b","c"],"c":1"#,
        );
        let bare = ready("");
        let peer = PeerId::parse(PEER).unwrap();
        let merged = ReadyRecord::of_peer(&peer, [&one, &bare, &other].into_iter());
        let expected = format!(
            r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.2/tcp/2"],"Protocols":["a","b","c"]}}"#
        );
        assert_eq!(merged.json(), expected);
        let filter = crate::types::Filter::from_query("filter-protocols=c").unwrap();
        assert_eq!(filter.select(&merged), Some(Selection::Whole));
    }
}
