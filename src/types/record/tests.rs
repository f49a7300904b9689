//! What every schema keeps, refuses and gives back.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

fn parse(json: &str) -> ProviderRecord {
    ProviderRecord::parse(json, UnparsableAddrs::Drop).unwrap().record
}

fn error(json: &str) -> String {
    ProviderRecord::parse(json, UnparsableAddrs::Drop).unwrap_err().to_string()
}

#[test]
fn the_schema_decides_not_the_protocol() {
    let record = parse(&format!(
        r#"{{"Protocol":"transport-graphsync-filecoinv1","Schema":"bitswap","ID":"{PEER}"}}"#
    ));
    assert_eq!(record.schema(), Schema::Bitswap);
    assert_eq!(record.protocols(), ["transport-graphsync-filecoinv1"]);
}

#[test]
fn a_record_is_rendered_in_the_order_of_the_source_document() {
    let text = format!(
        r#"{{"Addrs":["/ip4/192.0.2.1/tcp/1"],"x":1e400,"ID":"{PEER}","FastRetrieval":true,"Schema":"graphsync-filecoinv1","PieceCID":"b","VerifiedDeal":false,"Protocol":"p"}}"#
    );
    let rendered = format!(
        r#"{{"Protocol":"p","Schema":"graphsync-filecoinv1","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/1"],"PieceCID":"b","VerifiedDeal":false,"FastRetrieval":true,"x":1e400}}"#
    );
    assert_eq!(parse(&text).to_json(), rendered);
}

#[test]
fn unknown_fields_of_known_schemas_survive_to_the_letter() {
    let extra = r#""a":  {"b" : [1.0, 2e+05, "\u00e9\/"]},"c":12345678901234567890123,"d":null"#;
    let text = format!(r#"{{"Schema":"peer","ID":"{PEER}",{extra}}}"#);
    let expected = format!(
        r#"{{"Schema":"peer","ID":"{PEER}","a":{},"c":12345678901234567890123,"d":null}}"#,
        r#"{"b" : [1.0, 2e+05, "\u00e9\/"]}"#
    );
    assert_eq!(parse(&text).to_json(), expected);
}

#[test]
fn a_record_of_an_unknown_schema_survives_byte_for_byte() {
    let text =
        r#"{ "Schema" : "new-thing","ID":7, "Addrs":["/x", "/ip4/192.0.2.1/tcp/1"] ,"z":{} }"#;
    let record = parse(text);
    assert_eq!(record.schema(), Schema::Unknown);
    assert_eq!(record.to_json(), text);
    assert_eq!(record.peer(), None);
    assert_eq!(record.addrs().unwrap().len(), 2);
}

#[test]
fn line_breaks_between_tokens_go_so_that_a_record_is_one_line() {
    let known = format!("{{\"Schema\":\"peer\",\n\"ID\":\"{PEER}\",\"x\":[1,\r\n 2]}}\n");
    let expected = format!(r#"{{"Schema":"peer","ID":"{PEER}","x":[1, 2]}}"#);
    assert_eq!(parse(&known).to_json(), expected);
    assert_eq!(
        parse("{\"Schema\":\"new\",\n\"a\":\"\\n\"}").to_json(),
        r#"{"Schema":"new","a":"\n"}"#
    );
}

#[test]
fn a_missing_list_and_an_empty_one_are_different_and_both_survive() {
    let missing = format!(r#"{{"Schema":"peer","ID":"{PEER}"}}"#);
    let empty = format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":[],"Protocols":[]}}"#);
    let null = format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":null,"Protocols":null}}"#);
    assert_eq!(parse(&missing).to_json(), missing);
    assert_eq!(parse(&empty).to_json(), empty);
    assert_eq!(parse(&null).to_json(), missing);
}

#[test]
fn addresses_that_do_not_parse_are_left_out_unless_they_are_wanted() {
    let text = format!(
        r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/1","/nonsense/1","x"]}}"#
    );
    let parsed = ProviderRecord::parse(&text, UnparsableAddrs::Drop).unwrap();
    assert_eq!((parsed.record.addrs().unwrap().len(), parsed.left_out.addrs), (1, 2));
    let parsed = ProviderRecord::parse(&text, UnparsableAddrs::Keep).unwrap();
    assert_eq!((parsed.record.to_json(), parsed.left_out.addrs), (text, 0));
}

#[test]
fn a_peer_id_in_cid_form_becomes_base58() {
    let bytes = PEER.parse::<libp2p_identity::PeerId>().unwrap().to_bytes();
    let cid = multibase::encode(multibase::Base::Base36Lower, [&[1, 0x72][..], &bytes].concat());
    let record = parse(&format!(r#"{{"Schema":"bitswap","ID":"{cid}"}}"#));
    assert_eq!(record.peer().unwrap().as_str(), PEER);
    assert!(record.to_json().contains(PEER));
}

#[test]
fn legacy_schemas_turn_into_peer_and_lose_nothing() {
    let graphsync = format!(
        r#"{{"Protocol":"g","Schema":"graphsync-filecoinv1","ID":"{PEER}","Addrs":[],"PieceCID":"b","VerifiedDeal":true,"FastRetrieval":false,"x":1}}"#
    );
    let peer = format!(
        r#"{{"Schema":"peer","ID":"{PEER}","Addrs":[],"Protocols":["g"],"PieceCID":"b","VerifiedDeal":true,"FastRetrieval":false,"x":1}}"#
    );
    assert_eq!(parse(&graphsync).into_peer().to_json(), peer);
    let unknown = r#"{"Schema":"new"}"#;
    assert_eq!(parse(unknown).into_peer().to_json(), unknown);
}

#[test]
fn what_is_no_record_says_why() {
    let cases = [
        ("".to_owned(), "not a JSON object"),
        ("[]".to_owned(), "not a JSON object"),
        ("{".to_owned(), "not a JSON object"),
        ("{} {}".to_owned(), "not a JSON object"),
        ("{}".to_owned(), "the record has no `Schema`"),
        (r#"{"Schema":""}"#.to_owned(), "the record has no `Schema`"),
        (r#"{"Schema":1}"#.to_owned(), "`Schema` must be a string"),
        (r#"{"Schema":"peer"}"#.to_owned(), "the record has no `ID`"),
        (r#"{"Schema":"peer","ID":""}"#.to_owned(), "`ID` is not a peer ID"),
        (r#"{"Schema":"peer","ID":"12D3K..."}"#.to_owned(), "`ID` is not a peer ID"),
        (
            format!(
                r#"{{"Schema":"peer","ID":"{PEER}","x":{}{}}}"#,
                "[".repeat(100),
                "]".repeat(100)
            ),
            "nested more than 100 levels deep",
        ),
        (
            format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":"/ip4/192.0.2.1"}}"#),
            "`Addrs` must be a list of strings",
        ),
        (
            format!(r#"{{"Schema":"peer","ID":"{PEER}","Protocols":1}}"#),
            "`Protocols` must be a list of strings",
        ),
        (
            format!(r#"{{"Schema":"graphsync-filecoinv1","ID":"{PEER}","VerifiedDeal":"yes"}}"#),
            "`VerifiedDeal` must be true or false",
        ),
        (
            format!(
                r#"{{"Schema":"peer","ID":"{PEER}","Addrs":[{}]}}"#,
                vec![r#""/ip4/192.0.2.1/tcp/1""#; ADDRS_MAX + 1].join(",")
            ),
            "4097 addresses, at most 4096 are accepted",
        ),
    ];
    for (text, expected) in cases {
        let found = error(&text);
        assert!(found.starts_with(expected), "{text:.80}: {found}");
    }
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = format!(r#"{{"Schema":"new","x":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    // Read or refused: either is fine, as long as the stack holds.
    if let Ok(parsed) = ProviderRecord::parse(&deep, UnparsableAddrs::Drop) {
        assert_eq!(parsed.record.to_json(), deep);
    }
}

#[test]
fn what_was_taken_in_under_other_rules_is_still_read() {
    let deep =
        format!(r#"{{"Schema":"peer","ID":"{PEER}","x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    assert_eq!(ProviderRecord::restore(&deep).unwrap().to_json(), deep);
    let odd = format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/+1"]}}"#);
    assert_eq!(ProviderRecord::restore(&odd).unwrap().to_json(), odd);
}

#[test]
fn of_fields_with_one_name_the_last_counts_as_it_does_to_clients() {
    let twice = format!(
        r#"{{"Schema":"new","ID":"Qm","x":1,"Addrs":["/ip4/192.0.2.1/tcp/1"],"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.2/tcp/2"],"x":2}}"#
    );
    let parsed = ProviderRecord::parse(&twice, UnparsableAddrs::Drop).unwrap();
    let once =
        format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.2/tcp/2"],"x":2}}"#);
    assert_eq!((parsed.record.to_json(), parsed.left_out.fields), (once, 4));
    assert_eq!(error(r#"{"Schema":"peer","Schema":null}"#), "the record has no `Schema`");
    let nobody = format!(r#"{{"Schema":"peer","ID":"{PEER}","ID":null}}"#);
    assert_eq!(error(&nobody), "the record has no `ID`");
    let unknown =
        r#"{ "Schema":"new", "Addrs":["/ip4/192.0.2.1/tcp/1"],"é\n" : [1,  2],"Addrs":[]}"#;
    let kept = r#"{"Schema":"new","é\n":[1,  2],"Addrs":[]}"#;
    assert_eq!(parse(unknown).to_json(), kept);
}

#[test]
fn what_crashes_a_client_or_misleads_it_comes_in_harmless() {
    let harmless = format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/1"]}}"#);
    let with = |field: &str| harmless.replace('}', &format!(",{field}}}"));
    for field in [
        r#""id":null"#,
        r#""Id":"QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3""#,
        r#""addrs":["/ip4/127.0.0.1/tcp/5001"]"#,
        r#""addrs":"none""#,
        r#""addr\u017f":["/ip4/127.0.0.1/tcp/5001"]"#,
        r#""\u017fchema":"bitswap""#,
        r#""PROTOCOLS":7"#,
        r#""protocol":{}"#,
        r#""Protocol":["transport-bitswap"]"#,
    ] {
        let parsed = ProviderRecord::parse(&with(field), UnparsableAddrs::Drop).unwrap();
        assert_eq!(
            (parsed.record.to_json(), parsed.left_out.fields),
            (harmless.clone(), 1),
            "{field}"
        );
    }
    assert_eq!(
        parse(r#"{"Schema":"zzz","schema":"peer","a":1}"#).to_json(),
        r#"{"Schema":"zzz","a":1}"#
    );
    let bitswap = format!(r#"{{"Protocol":"b","Schema":"bitswap","ID":"{PEER}"}}"#);
    let both = bitswap.replace('}', r#","Protocols":["c"]}"#);
    assert_eq!(parse(&both).to_json(), bitswap);
    let as_peer = format!(r#"{{"Schema":"peer","ID":"{PEER}","Protocols":["b"]}}"#);
    assert_eq!(parse(&both).into_peer().to_json(), as_peer);
    for other in ["IDs", "xID", "Address", "SchemaS", "protocol-s", "ı\u{307}d"] {
        assert!(parse(&with(&format!(r#""{other}":1"#))).to_json().contains(other), "{other}");
    }
}

#[test]
fn what_is_no_text_in_a_list_costs_itself() {
    let text = format!(
        r#"{{"Schema":"peer","ID":"{PEER}","Addrs":[null,"/ip4/192.0.2.1/tcp/1",7,{{}}],"Protocols":[null,"b",["c"]]}}"#
    );
    for unparsable in [UnparsableAddrs::Drop, UnparsableAddrs::Keep] {
        let parsed = ProviderRecord::parse(&text, unparsable).unwrap();
        let kept = format!(
            r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/1"],"Protocols":["b"]}}"#
        );
        assert_eq!(parsed.record.to_json(), kept);
        assert_eq!(parsed.left_out, LeftOut { addrs: 3, fields: 2 });
    }
    let unknown = r#"{"Schema":"new","Addrs":[null,"/ip4/192.0.2.1/tcp/1"]}"#;
    assert_eq!(parse(unknown).to_json(), unknown);
    assert_eq!(parse(unknown).addrs().unwrap().len(), 1);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn any_known_record() -> impl Strategy<Value = Value> {
    let schema = prop_oneof![Just("bitswap"), Just("graphsync-filecoinv1"), Just("peer")];
    let addr = prop_oneof![
        (any::<std::net::Ipv4Addr>(), any::<u16>())
            .prop_map(|(ip, port)| format!("/ip4/{ip}/tcp/{port}")),
        (any::<std::net::Ipv6Addr>(), any::<u16>())
            .prop_map(|(ip, port)| format!("/ip6/{ip}/udp/{port}/quic-v1/webtransport")),
    ];
    let addrs = proptest::option::of(proptest::collection::vec(addr, 0..4));
    let names = proptest::option::of(proptest::collection::vec("[ -~]{0,10}", 0..3));
    let extra = proptest::collection::btree_map("x-[a-z]{1,6}", any_json(), 0..3);
    (schema, addrs, names, proptest::option::of(any::<bool>()), extra).prop_map(
        |(schema, addrs, names, deal, extra)| {
            let mut record = Map::new();
            record.insert("Schema".into(), json!(schema));
            record.insert("ID".into(), json!(PEER));
            if let Some(addrs) = addrs {
                record.insert("Addrs".into(), json!(addrs));
            }
            match (schema, names) {
                ("peer", Some(names)) => drop(record.insert("Protocols".into(), json!(names))),
                (_, Some(names)) => drop(record.insert("Protocol".into(), json!(names.concat()))),
                _ => {}
            }
            if let ("graphsync-filecoinv1", Some(deal)) = (schema, deal) {
                record.insert("VerifiedDeal".into(), json!(deal));
            }
            record.extend(extra);
            Value::Object(record)
        },
    )
}

proptest! {
    #[test]
    fn a_record_reads_back_as_itself_and_means_what_it_meant(record in any_known_record()) {
        let text = record.to_string();
        let parsed = parse(&text);
        let rendered = parsed.to_json();
        prop_assert_eq!(parse(&rendered), parsed);
        prop_assert_eq!(serde_json::from_str::<Value>(&rendered).unwrap(), record);
    }

    #[test]
    fn an_unknown_schema_is_given_back_to_the_letter(extra in any_json(), schema in "[a-z]{9,12}") {
        let text = json!({ "Schema": schema, "Addrs": extra, "a": 1 }).to_string();
        prop_assert_eq!(parse(&text).to_json(), text);
    }

    #[test]
    fn every_case_variant_of_a_field_that_clients_read_goes_and_nothing_else(
        name in "Schema|ID|Addrs|Protocols|Protocol",
        flips in proptest::collection::vec(0..3_u8, 9),
        record in any_known_record(),
        value in any_json(),
        escapes in any::<bool>(),
        at in any::<proptest::sample::Index>(),
    ) {
        let variant: String = name.chars().zip(flips).map(|(letter, flip)| match (flip, letter) {
            (0, letter) => letter,
            (1, letter) if letter.is_ascii_lowercase() => letter.to_ascii_uppercase(),
            (1, letter) => letter.to_ascii_lowercase(),
            (_, 's' | 'S') => '\u{17f}',
            (_, letter) => letter,
        }).collect();
        prop_assume!(variant != name);
        let key = if escapes {
            variant.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect()
        } else {
            variant
        };
        let mut fields: Vec<String> = record.as_object().unwrap().iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
        fields.insert(at.index(fields.len() + 1), format!(r#""{key}":{value}"#));
        let parsed = ProviderRecord::parse(&format!("{{{}}}", fields.join(",")), UnparsableAddrs::Drop).unwrap();
        prop_assert_eq!(parsed.left_out.fields, 1);
        prop_assert_eq!(parsed.record.to_json(), parse(&record.to_string()).to_json());
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = ProviderRecord::parse(&text, UnparsableAddrs::Keep);
    }

    #[test]
    fn no_record_with_a_wrong_field_panics(field in "Schema|ID|Addrs|Protocol|Protocols", value in any_json()) {
        let mut record = json!({ "Schema": "peer", "ID": PEER, "Addrs": [], "Protocols": [] });
        record[field] = value;
        let _ = ProviderRecord::parse(&record.to_string(), UnparsableAddrs::Keep);
    }
}
