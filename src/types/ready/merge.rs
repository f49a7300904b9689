//! The one notion of "the same provider": which records of an answer are merged, and the merged record.
//!
//! Sources describe one provider in records that differ in addresses and transfer protocols. Such
//! records have one *merge key*, whether they are of schema `peer` or of its predecessor `bitswap`;
//! of both, the merged record is of schema `peer`. The key does not depend on which source is asked
//! first, so an answer is the same in whatever order its parts come. The index merges announcements
//! by it, and resolvers merge records of upstreams.
//!
//! Records that differ in any other field (two graphsync deals are two offers) have different keys,
//! and so have records of unknown schemas, unless they are equal byte by byte.

use std::sync::Arc;

use super::AnswerSchema;
use super::{MERGED_BYTES_MAX, Protocols, ReadyRecord, identity, short_hash, shorten};
use crate::types::peer::PeerId;
use crate::types::record::{
    BitswapRecord, ExtraFields, GraphsyncRecord, PeerRecord, ProviderRecord, Schema,
    UnparsableAddrs,
};

/// Precedes the list of protocols in a record of schema `peer`.
const BEFORE_PROTOCOLS: &str = r#","Protocols":["#;

/// Equal for records that can be merged, and, being collision-resistant, for no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MergeKey([u8; 16]);

impl MergeKey {
    /// The key of a record whose JSON has the hash `digest`.
    pub(super) fn new(record: &ProviderRecord, digest: [u8; 16]) -> Self {
        match record {
            ProviderRecord::Bitswap(BitswapRecord { id, extra, .. })
            | ProviderRecord::Peer(PeerRecord { id, extra, .. }) => Self::of_peer(id, extra),
            ProviderRecord::Graphsync(record) => {
                let record = GraphsyncRecord { addrs: None, ..record.clone() };
                let (json, _) = ProviderRecord::Graphsync(record).write().into_parts();
                Self(short_hash(json.as_bytes()))
            }
            ProviderRecord::Unknown(_) => Self(digest),
        }
    }

    fn of_peer(id: &PeerId, extra: &ExtraFields) -> Self {
        let mut hasher = blake3::Hasher::new();
        let parts = extra.iter().flat_map(|(name, value)| [name, value]);
        for part in [id.as_str()].into_iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Self(shorten(&hasher.finalize()))
    }
}

impl ReadyRecord {
    /// Identifies the records that this one can be merged with.
    pub fn merge_key(&self) -> MergeKey {
        self.merge_key
    }

    /// Merges records of one merge key into one: the union of their addresses and of their
    /// protocols, in order, as many as a record may have. `None`: there are no records.
    pub fn merged(records: &[Arc<Self>]) -> Option<Arc<Self>> {
        let first = records.first()?;
        debug_assert!(records.iter().all(|record| record.merge_key == first.merge_key));
        let is_one_form = records.iter().all(|it| it.schema == first.schema)
            && (first.schema != Schema::Bitswap
                || records.iter().all(|it| it.protocol_names() == first.protocol_names()));
        if !is_one_form {
            let as_peers =
                records.iter().map(|record| record.as_peer().map_or(record.clone(), Arc::new));
            return Self::merged(&as_peers.collect::<Vec<_>>());
        }
        // Records with a list and records without one differ in nothing else.
        let base = records.iter().find(|record| record.has_addr_list()).unwrap_or(first);
        if records.len() == 1 || first.schema == Schema::Unknown {
            return Some(base.clone());
        }
        let with_protocols = base.with_protocols_of(records);
        let base = with_protocols.as_ref().unwrap_or(base);
        let mut bytes = 0;
        let items = records.iter().flat_map(|record| {
            let items = record.addrs.iter().flat_map(|addrs| addrs.items.iter());
            items.map(|item| (record.item(item), item.2))
        });
        let bounded = items.take_while(|(item, _)| {
            bytes += item.len();
            bytes <= MERGED_BYTES_MAX
        });
        Some(base.with_more_addrs(bounded).map_or_else(|| base.clone(), Arc::new))
    }

    /// A record of schema `bitswap` in the schema `peer`; `None`: it is of another.
    fn as_peer(&self) -> Option<Self> {
        if self.schema != Schema::Bitswap {
            return None;
        }
        let record = ProviderRecord::parse(&self.json, UnparsableAddrs::Keep).ok()?.record;
        Some(Self::new(record, AnswerSchema::Peer))
    }

    /// The same record with the protocols of all; `None` when that makes no difference, or more
    /// text than a record may have.
    fn with_protocols_of(&self, records: &[Arc<Self>]) -> Option<Arc<Self>> {
        let ours = self.protocol_names().unwrap_or_default();
        let is_same = |record: &Arc<Self>| record.protocol_names().unwrap_or_default() == ours;
        if self.schema != Schema::Peer || records.iter().all(is_same) {
            return None;
        }
        let mut names: Vec<&String> = Vec::new();
        for name in records.iter().filter_map(|record| record.protocol_names()).flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let list = list_text(&names);
        if names.iter().copied().eq(ours) || self.json.len() + list.len() > MERGED_BYTES_MAX {
            return None;
        }
        let rest = self.after_addrs();
        let tail = after_protocols(rest, ours);
        let (head, _) = self.json.split_at(self.json.len() - rest.len());
        let json = [head, &list, tail].concat();
        Some(Arc::new(Self {
            identity: identity(&json, self.schema, self.addrs.as_ref()),
            digest: short_hash(json.as_bytes()),
            protocols: Protocols::Named(names.into_iter().cloned().collect()),
            json: json.into(),
            schema: self.schema,
            peer: self.peer.clone(),
            // They precede the protocols.
            addrs: self.addrs.clone(),
            merge_key: self.merge_key,
        }))
    }

    /// What stands in a record of schema `peer` after the list of addresses or, where there is none,
    /// after the place where it would stand.
    fn after_addrs(&self) -> &str {
        let start = match &self.addrs {
            Some(addrs) => addrs.end as usize + 1,
            None => {
                let peer = self.peer.as_ref().map_or("", PeerId::as_str);
                let before = [r#"{"Schema":"peer","ID":""#, peer, "\""];
                before.iter().map(|text| text.len()).sum()
            }
        };
        self.json.get(start..).expect("a record has an end after its addresses")
    }
}

/// What follows the list of these protocols, if the text begins with it, or else all of it.
fn after_protocols<'a>(text: &'a str, names: &[String]) -> &'a str {
    text.strip_prefix(&list_text(names)).unwrap_or(text)
}

/// A list of protocols with its name, as a record has it.
fn list_text<T: serde::Serialize>(names: &[T]) -> String {
    let names = serde_json::to_string(names).expect("strings always have a JSON form");
    let inner = names.strip_prefix('[').expect("a list begins with a bracket");
    [BEFORE_PROTOCOLS, inner].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

    fn ready(json: &str) -> Arc<ReadyRecord> {
        ready_as(json, AnswerSchema::Announced)
    }

    fn ready_as(json: &str, schema: AnswerSchema) -> Arc<ReadyRecord> {
        let json = json.replace("PEER", PEER);
        let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap();
        Arc::new(ReadyRecord::new(parsed.record, schema))
    }

    #[test]
    fn records_of_one_merge_key_differ_in_addresses_and_peers_also_in_protocols() {
        for (one, other, can_merge) in [
            (r#""Schema":"bitswap""#, r#""Schema":"bitswap","Addrs":[]"#, true),
            (r#""Schema":"bitswap","Addrs":["/ip4/1.2.3.4"]"#, r#""Schema":"bitswap""#, true),
            (
                r#""Schema":"bitswap","Addrs":["/ip4/1.2.3.4"]"#,
                r#""Schema":"bitswap","x":1"#,
                false,
            ),
            (r#""Schema":"bitswap","Protocol":"a""#, r#""Schema":"bitswap","Protocol":"b""#, true),
            (r#""Schema":"bitswap""#, r#""Schema":"peer""#, true),
            (r#""Schema":"bitswap","x":1"#, r#""Schema":"peer""#, false),
            (r#""Schema":"peer","Protocols":["a"]"#, r#""Schema":"peer","Protocols":["b"]"#, true),
            (r#""Schema":"peer","Protocols":["a"]"#, r#""Schema":"peer","Addrs":[]"#, true),
            (r#""Schema":"peer","Protocols":[]"#, r#""Schema":"peer""#, true),
            (r#""Schema":"peer","Protocols":["a"],"a":1"#, r#""Schema":"peer"   ,"a":1"#, true),
            (r#""Schema":"peer","Protocols":["a"],"a":1"#, r#""Schema":"peer","a":2"#, false),
            (
                r#""Schema":"graphsync-filecoinv1","PieceCID":"a""#,
                r#""Schema":"graphsync-filecoinv1","Addrs":[],"PieceCID":"a""#,
                true,
            ),
            (
                r#""Schema":"graphsync-filecoinv1","PieceCID":"a""#,
                r#""Schema":"graphsync-filecoinv1","PieceCID":"b""#,
                false,
            ),
            (r#""Schema":"x","Addrs":[]"#, r#""Schema":"x","Addrs":[]"#, true),
            (r#""Schema":"x","Addrs":[]"#, r#""Schema":"x","Addrs":["/ip4/1.2.3.4"]"#, false),
        ] {
            let [one, other] = [one, other].map(|fields| format!(r#"{{"ID":"PEER",{fields}}}"#));
            assert_eq!(
                ready(&one).merge_key() == ready(&other).merge_key(),
                can_merge,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn schemas_that_are_served_as_peers_merge_unless_they_say_more() {
        let bitswap = r#"{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"PEER"}"#;
        let peer = r#"{"Schema":"peer","ID":"PEER","Protocols":["other"]}"#;
        let graphsync =
            r#"{"Schema":"graphsync-filecoinv1","Protocol":"g","ID":"PEER","PieceCID":"c"}"#;
        let [bitswap, peer, graphsync] =
            [bitswap, peer, graphsync].map(|json| ready_as(json, AnswerSchema::Peer));
        assert_eq!(bitswap.merge_key(), peer.merge_key());
        assert_ne!(bitswap.merge_key(), graphsync.merge_key());
        let merged = ReadyRecord::merged(&[bitswap, peer]).unwrap();
        let expected = r#"{"Schema":"peer","ID":"PEER","Protocols":["transport-bitswap","other"]}"#;
        assert_eq!(merged.json(), expected.replace("PEER", PEER));
    }

    #[test]
    fn the_two_schemas_of_bitswap_merge_as_peer_and_one_stays_what_it_is() {
        let old = r#"{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1"]}"#;
        let more = r#"{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"PEER","Addrs":["/ip4/192.0.2.2/tcp/2"]}"#;
        let new = r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.2/tcp/2"],"Protocols":["other"]}"#;
        let [old, more, new] = [old, more, new].map(ready);
        let both = ReadyRecord::merged(&[old.clone(), more]).unwrap();
        assert_eq!(both.schema(), Schema::Bitswap);
        assert_eq!(both.addr_count(), 2);
        let expected = r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.2/tcp/2"],"Protocols":["transport-bitswap","other"]}"#;
        let merged = ReadyRecord::merged(&[old, new]).unwrap();
        assert_eq!(merged.json(), expected.replace("PEER", PEER));
    }

    #[test]
    fn what_is_merged_is_as_if_it_had_come_in_one_piece() {
        let parts = [
            r#"{"Schema":"peer","ID":"PEER","Protocols":["a"],"x":{"y":[1, 2]}}"#,
            r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1"],"x":{"y":[1, 2]}}"#,
            r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.2/tcp/2/ws","/ip4/192.0.2.1/tcp/1"],"Protocols":["b\"","a"],"x":{"y":[1, 2]}}"#,
        ];
        let whole = ready(
            r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.2/tcp/2/ws"],"Protocols":["a","b\""],"x":{"y":[1, 2]}}"#,
        );
        let parts = parts.map(ready);
        let merged = ReadyRecord::merged(&parts).unwrap();
        assert_eq!(merged.json(), whole.json());
        assert_eq!(merged.digest(), whole.digest());
        assert_eq!(
            (merged.identity(), merged.merge_key()),
            (whole.identity(), parts[0].merge_key())
        );
        let filter =
            crate::types::Filter::from_query("transport=ws&filter-protocols=b%22").unwrap();
        assert_eq!(filter.select(&merged), filter.select(&whole));
        assert!(filter.select(&merged).is_some());
        assert!(ReadyRecord::merged(&[]).is_none());
    }

    #[test]
    fn what_is_merged_stays_bounded() {
        let json = |number: usize| {
            let addrs: Vec<String> = (0..1_000)
                .map(|port| format!(r#""/dns4/{number}.example.org/tcp/{port}""#))
                .collect();
            let addrs = addrs.join(",");
            let name = "p".repeat(5_000);
            format!(
                r#"{{"Schema":"peer","ID":"PEER","Addrs":[{addrs}],"Protocols":["{name}{number}"]}}"#
            )
        };
        let parts: Vec<_> = (0..60).map(|number| ready(&json(number))).collect();
        let merged = ReadyRecord::merged(&parts).unwrap();
        assert!(merged.addr_count() > 2_000, "{}", merged.addr_count());
        assert!(merged.len_bytes() <= 4 * MERGED_BYTES_MAX, "{}", merged.len_bytes());
    }

    proptest! {
        #[test]
        fn each_protocol_and_address_stands_once_whatever_the_order(
            parts in prop::collection::vec(
                (prop::option::of(prop::collection::btree_set(0_u8..6, 0..4)), prop::option::of(prop::collection::btree_set(0_u8..4, 0..3))),
                1..6,
            ),
        ) {
            let records: Vec<_> = parts.iter().map(|(addrs, protocols)| {
                let addrs = addrs.as_ref().map(|ports| {
                    let texts: Vec<_> = ports.iter().map(|port| format!(r#""/ip4/192.0.2.1/tcp/{port}""#)).collect();
                    format!(r#","Addrs":[{}]"#, texts.join(","))
                });
                let protocols = protocols.as_ref().map(|names| {
                    let texts: Vec<_> = names.iter().map(|name| format!(r#""p{name}""#)).collect();
                    format!(r#","Protocols":[{}]"#, texts.join(","))
                });
                let (addrs, protocols) = (addrs.unwrap_or_default(), protocols.unwrap_or_default());
                ready(&format!(r#"{{"Schema":"peer","ID":"PEER"{addrs}{protocols},"z":0}}"#))
            }).collect();
            let merged = ReadyRecord::merged(&records).unwrap();
            // What was merged reads as a record with the same layout.
            prop_assert_eq!(merged.merge_key(), records[0].merge_key());
            let again = ready(merged.json());
            prop_assert_eq!((again.digest(), again.identity()), (merged.digest(), merged.identity()));
            prop_assert_eq!(again.addr_count(), merged.addr_count());
            for record in &records {
                let pair = [merged.clone(), record.clone()];
                let more = ReadyRecord::merged(&pair).unwrap();
                let added = (more.addr_count(), more.protocol_names());
                prop_assert_eq!(added, (merged.addr_count(), merged.protocol_names()));
            }
        }
    }
}
