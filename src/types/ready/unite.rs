//! Which records say the same of one provider, and one record of all that they say.
//!
//! Routers that know the same provider tell of it in records that differ in what they happen to
//! know: in addresses and in transfer protocols. Such records are kin, whether they are of schema `peer`
//! or of its forerunner `bitswap`; where both are, the united record is of schema `peer`. Being kin does not depend on who is asked first, so that an answer is the same in whatever order
//! its parts come.
//!
//! Not kin are records with different fields besides (two graphsync deals are two offers), and records
//! of unknown schemas, unless they are equal byte by byte.

use std::sync::Arc;

use super::AnswerSchema;
use super::{JSON_UNITED_BYTES_MAX, Protocols, ReadyRecord, identity, short_hash, shorten};
use crate::types::record::{ProviderRecord, Schema, UnparsableAddrs};

/// What comes before the addresses in a record that has a list of them.
const BEFORE_ADDRS: &str = r#","Addrs":["#;

/// What comes before the protocols in a record of schema `peer` that has a list of them.
const BEFORE_PROTOCOLS: &str = r#","Protocols":["#;

/// Records that can be united have the same. Nobody can make two records that share one and are not
/// kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kin([u8; 16]);

impl ReadyRecord {
    /// With which records this one can be united. Worked out once.
    pub fn kin(&self) -> Kin {
        *self.kin.get_or_init(|| self.find_kin())
    }

    fn find_kin(&self) -> Kin {
        if self.schema == Schema::Unknown {
            return Kin(self.identity);
        }
        let as_peer = self.as_peer();
        as_peer.as_ref().unwrap_or(self).kin_in_schema()
    }

    fn kin_in_schema(&self) -> Kin {
        let mut hasher = blake3::Hasher::new();
        let (head, tail) = self.around_lists();
        hasher.update(head.as_bytes()).update(tail.as_bytes());
        Kin(shorten(&hasher.finalize()))
    }

    /// One record of several kin: with the addresses and the protocols that any of them names, each
    /// once and in their order, as many as a record may have. `None`: there are none.
    pub fn united(kin: &[Arc<Self>]) -> Option<Arc<Self>> {
        let first = kin.first()?;
        let is_one_form = kin.iter().all(|it| it.schema == first.schema)
            && (first.schema != Schema::Bitswap
                || kin.iter().all(|it| it.protocol_names() == first.protocol_names()));
        if !is_one_form {
            let as_peers =
                kin.iter().map(|record| record.as_peer().map_or(record.clone(), Arc::new));
            return Self::united(&as_peers.collect::<Vec<_>>());
        }
        // Records that have a list and records that have none differ in nothing else.
        let base = kin.iter().find(|record| record.has_addr_list()).unwrap_or(first);
        if kin.len() == 1 || first.schema == Schema::Unknown {
            return Some(base.clone());
        }
        debug_assert!(kin.iter().all(|record| record.kin() == first.kin()));
        let with_protocols = base.with_protocols_of(kin);
        let base = with_protocols.as_ref().unwrap_or(base);
        let mut bytes = 0;
        let items = kin.iter().flat_map(|record| {
            let items = record.addrs.iter().flat_map(|addrs| addrs.items.iter());
            items.map(|item| (record.item(item), item.2))
        });
        let bounded = items.take_while(|(item, _)| {
            bytes += item.len();
            bytes <= JSON_UNITED_BYTES_MAX
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
    fn with_protocols_of(&self, kin: &[Arc<Self>]) -> Option<Arc<Self>> {
        if self.schema != Schema::Peer {
            return None;
        }
        let mut names: Vec<&String> = Vec::new();
        for name in kin.iter().filter_map(|record| record.protocol_names()).flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let ours = self.protocol_names().unwrap_or_default();
        let list = list_text(&names);
        if names.iter().copied().eq(ours) || self.json.len() + list.len() > JSON_UNITED_BYTES_MAX {
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
            // They stand before the protocols.
            addrs: self.addrs.clone(),
            // Kin may differ in protocols.
            kin: self.kin.clone(),
        }))
    }

    /// The text without the lists that kin may differ in, as what stands before and after them.
    fn around_lists(&self) -> (&str, &str) {
        let rest = self.after_addrs();
        let (before, _) = self.json.split_at(self.json.len() - rest.len());
        let head = match &self.addrs {
            None => before,
            Some(addrs) => before
                .split_at(addrs.start as usize)
                .0
                .strip_suffix(BEFORE_ADDRS)
                .expect("a list of addresses is the value of the field of that name"),
        };
        match self.schema {
            Schema::Peer => {
                (head, after_protocols(rest, self.protocol_names().unwrap_or_default()))
            }
            Schema::Bitswap | Schema::Graphsync | Schema::Unknown => (head, rest),
        }
    }

    /// What stands after the list of addresses or, where there is none in a record of schema `peer`,
    /// after the place where it would stand; elsewhere nothing, since there it does not matter.
    fn after_addrs(&self) -> &str {
        let start = match (&self.addrs, self.schema, &self.peer) {
            (Some(addrs), ..) => addrs.end as usize + 1,
            (None, Schema::Peer, Some(peer)) => {
                let before = [r#"{"Schema":"peer","ID":""#, peer.as_str(), "\""];
                before.iter().map(|text| text.len()).sum()
            }
            (None, ..) => self.json.len(),
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
    fn what_a_record_is_kin_to_is_worked_out_once_and_only_if_asked_for() {
        let record = ready(r#"{"Schema":"bitswap","ID":"PEER"}"#);
        assert!(record.kin.get().is_none());
        let kin = record.kin();
        assert_eq!(record.kin.get(), Some(&kin));
    }

    #[test]
    fn kin_differ_in_addresses_and_peers_also_in_protocols() {
        for (one, other, are_kin) in [
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
            assert_eq!(ready(&one).kin() == ready(&other).kin(), are_kin, "{one} {other}");
        }
    }

    #[test]
    fn schemas_that_are_served_as_peers_are_kin_unless_they_say_more() {
        let bitswap = r#"{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"PEER"}"#;
        let peer = r#"{"Schema":"peer","ID":"PEER","Protocols":["other"]}"#;
        let graphsync =
            r#"{"Schema":"graphsync-filecoinv1","Protocol":"g","ID":"PEER","PieceCID":"c"}"#;
        let [bitswap, peer, graphsync] =
            [bitswap, peer, graphsync].map(|json| ready_as(json, AnswerSchema::Peer));
        assert_eq!(bitswap.kin(), peer.kin());
        assert_ne!(bitswap.kin(), graphsync.kin());
        let united = ReadyRecord::united(&[bitswap, peer]).unwrap();
        let expected = r#"{"Schema":"peer","ID":"PEER","Protocols":["transport-bitswap","other"]}"#;
        assert_eq!(united.json(), expected.replace("PEER", PEER));
    }

    #[test]
    fn the_two_schemas_of_bitswap_unite_as_peer_and_one_stays_what_it_is() {
        let old = r#"{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1"]}"#;
        let more = r#"{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"PEER","Addrs":["/ip4/192.0.2.2/tcp/2"]}"#;
        let new = r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.2/tcp/2"],"Protocols":["other"]}"#;
        let [old, more, new] = [old, more, new].map(ready);
        let both = ReadyRecord::united(&[old.clone(), more]).unwrap();
        assert_eq!(both.schema(), Schema::Bitswap);
        assert_eq!(both.addr_count(), 2);
        let expected = r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.2/tcp/2"],"Protocols":["transport-bitswap","other"]}"#;
        let united = ReadyRecord::united(&[old, new]).unwrap();
        assert_eq!(united.json(), expected.replace("PEER", PEER));
    }

    #[test]
    fn what_is_united_is_as_if_it_had_come_in_one_piece() {
        let parts = [
            r#"{"Schema":"peer","ID":"PEER","Protocols":["a"],"x":{"y":[1, 2]}}"#,
            r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1"],"x":{"y":[1, 2]}}"#,
            r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.2/tcp/2/ws","/ip4/192.0.2.1/tcp/1"],"Protocols":["b\"","a"],"x":{"y":[1, 2]}}"#,
        ];
        let whole = ready(
            r#"{"Schema":"peer","ID":"PEER","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.2/tcp/2/ws"],"Protocols":["a","b\""],"x":{"y":[1, 2]}}"#,
        );
        let parts = parts.map(ready);
        let united = ReadyRecord::united(&parts).unwrap();
        assert_eq!(united.json(), whole.json());
        assert_eq!(united.digest(), whole.digest());
        assert_eq!((united.identity(), united.kin()), (whole.identity(), parts[0].kin()));
        let filter =
            crate::types::Filter::from_query("transport=ws&filter-protocols=b%22").unwrap();
        assert_eq!(filter.select(&united), filter.select(&whole));
        assert!(filter.select(&united).is_some());
        assert!(ReadyRecord::united(&[]).is_none());
    }

    #[test]
    fn what_is_united_stays_bounded() {
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
        let united = ReadyRecord::united(&parts).unwrap();
        assert!(united.addr_count() > 2_000, "{}", united.addr_count());
        assert!(united.len_bytes() <= 4 * JSON_UNITED_BYTES_MAX, "{}", united.len_bytes());
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
            let united = ReadyRecord::united(&records).unwrap();
            // What was united reads as a record with the same layout.
            prop_assert_eq!(united.kin(), records[0].kin());
            let again = ready(united.json());
            prop_assert_eq!((again.digest(), again.identity()), (united.digest(), united.identity()));
            prop_assert_eq!(again.addr_count(), united.addr_count());
            for record in &records {
                let pair = [united.clone(), record.clone()];
                let more = ReadyRecord::united(&pair).unwrap();
                let added = (more.addr_count(), more.protocol_names());
                prop_assert_eq!(added, (united.addr_count(), united.protocol_names()));
            }
        }
    }
}
