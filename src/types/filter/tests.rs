//! The filters' truth tables, and the laws that hold for every record.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::types::{AnswerSchema, ProviderRecord, UnparsableAddrs};

const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

/// The addresses of the examples: one of each kind.
const ADDRS: [(&str, &str); 8] = [
    ("tcp", "/ip4/192.0.2.1/tcp/4001"),
    ("quic", "/ip4/192.0.2.1/udp/4001/quic-v1"),
    ("ws", "/ip4/192.0.2.1/tcp/4002/ws"),
    (
        "relay-tcp",
        "/ip4/192.0.2.2/tcp/4001/p2p/12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z/p2p-circuit",
    ),
    (
        "relay-quic",
        "/ip4/192.0.2.2/udp/4001/quic-v1/p2p/12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z/p2p-circuit",
    ),
    (
        "relay-wt",
        "/ip4/192.0.2.2/udp/4001/quic-v1/webtransport/p2p/12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z/p2p-circuit",
    ),
    ("wss", "/dns4/example.org/tcp/443/wss"),
    ("wt", "/ip4/192.0.2.1/udp/4003/quic-v1/webtransport"),
];

fn record(json: &str) -> ReadyRecord {
    let parsed = ProviderRecord::parse(json, UnparsableAddrs::Keep).unwrap();
    ReadyRecord::new(parsed.record, AnswerSchema::Announced)
}

fn peer_record(fields: &str) -> ReadyRecord {
    record(&format!(r#"{{"Schema":"peer","ID":"{PEER}"{fields}}}"#))
}

fn example() -> ReadyRecord {
    let addrs: Vec<String> = ADDRS.iter().map(|(_, addr)| format!("{addr:?}")).collect();
    peer_record(&format!(r#","Addrs":[{}]"#, addrs.join(",")))
}

/// The kinds of the addresses that are left of the example; `None` if the record is dropped.
fn kept(query: &str) -> Option<Vec<&'static str>> {
    let record = example();
    let mut json = Vec::new();
    record.write_to(&Filter::from_query(query).unwrap().select(&record)?, &mut json);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let left = json["Addrs"].as_array().unwrap();
    let kind = |addr: &serde_json::Value| ADDRS.iter().find(|(_, text)| addr == text).unwrap().0;
    Some(left.iter().map(kind).collect())
}

#[rstest]
#[case::tcp("filter-addrs=tcp", Some(vec!["tcp", "ws", "relay-tcp", "wss"]))]
#[case::udp("filter-addrs=udp", Some(vec!["quic", "relay-quic", "relay-wt", "wt"]))]
#[case::ws_is_not_wss("filter-addrs=ws", Some(vec!["ws"]))]
#[case::negative("filter-addrs=!tcp", Some(vec!["quic", "relay-quic", "relay-wt", "wt"]))]
#[case::plain_tcp("filter-addrs=tcp,!ws,!wss,!p2p-circuit", Some(vec!["tcp"]))]
#[case::direct_webtransport("filter-addrs=webtransport,!p2p-circuit", Some(vec!["wt"]))]
#[case::unknown_name("filter-addrs=fakeproto", None)]
#[case::unknown_name_beside("filter-addrs=webtransport,fakeproto", Some(vec!["relay-wt", "wt"]))]
#[case::unknown_negative("filter-addrs=!fakeproto,wss", Some(vec!["wss"]))]
#[case::only_unknown("filter-addrs=unknown", None)]
#[case::unknown_beside_negative("filter-addrs=!tcp,unknown", Some(vec!["quic", "relay-quic", "relay-wt", "wt"]))]
#[case::unknown_beside_positive("filter-addrs=unknown,wss", Some(vec!["wss"]))]
#[case::percent_encoded("filter-addrs=wss%2Cws", Some(vec!["ws", "wss"]))]
#[case::case_and_blanks("filter-addrs=%20WSS%20,%20wS", Some(vec!["ws", "wss"]))]
#[case::repeated("filter-addrs=wss&filter-addrs=ws", Some(vec!["ws", "wss"]))]
#[case::transport("transport=ws,wss", Some(vec!["ws", "wss"]))]
#[case::transport_unknown_name("transport=fakeproto", None)]
#[case::both_hold("transport=tcp&filter-addrs=!ws,!wss", Some(vec!["tcp", "relay-tcp"]))]
#[case::empty_value("filter-addrs=&transport=&filter-protocols=", Some(vec!["tcp", "quic", "ws", "relay-tcp", "relay-quic", "relay-wt", "wss", "wt"]))]
#[case::only_commas("filter-addrs=,,", Some(vec!["tcp", "quic", "ws", "relay-tcp", "relay-quic", "relay-wt", "wss", "wt"]))]
#[case::lone_negation("filter-addrs=!,wss,!", Some(vec!["wss"]))]
#[case::helia_in_browsers("filter-addrs=https%2Cwebtransport%2Cwebrtc%2Cwebrtc-direct%2Cwss%2Ctls", Some(vec!["relay-wt", "wss", "wt"]))]
fn the_examples_hold(#[case] query: &str, #[case] expected: Option<Vec<&str>>) {
    assert_eq!(kept(query), expected);
}

#[rstest]
#[case::helia_in_browsers("filter-addrs=https,webtransport,webrtc,webrtc-direct,wss,tls", false)]
#[case::by_its_own_name("filter-addrs=dnsaddr", true)]
#[case::negative("filter-addrs=!tcp", true)]
fn a_dnsaddr_address_is_filtered_as_it_stands(#[case] query: &str, #[case] passes: bool) {
    let record = peer_record(r#","Addrs":["/dnsaddr/example.org"]"#);
    assert_eq!(Filter::from_query(query).unwrap().select(&record).is_some(), passes, "{query}");
}

#[rstest]
#[case("filter-addrs=unknown", true)]
#[case("filter-addrs=tcp,unknown", true)]
#[case("filter-addrs=!tcp,unknown", true)]
#[case("filter-addrs=!tcp", false)]
#[case("filter-addrs=tcp", false)]
#[case("transport=tcp", false)]
#[case("transport=tcp&filter-addrs=unknown", false)]
#[case("", true)]
fn records_without_addresses_pass_only_unknown(#[case] query: &str, #[case] passes: bool) {
    let filter = Filter::from_query(query).unwrap();
    for fields in ["", r#","Addrs":[]"#] {
        assert_eq!(filter.select(&peer_record(fields)).is_some(), passes, "{query} {fields}");
    }
}

#[rstest]
#[case("transport-bitswap", true, false, false)]
#[case("TRANSPORT-bitswap", true, false, false)]
#[case("unknown", false, true, true)]
#[case("transport-bitswap,unknown", true, true, true)]
#[case("transport-ipfs-gateway-http", false, false, false)]
fn protocol_filters_name_protocols(
    #[case] value: &str,
    #[case] bitswap: bool,
    #[case] empty: bool,
    #[case] missing: bool,
) {
    let filter = Filter::from_query(&format!("filter-protocols={value}")).unwrap();
    let legacy = format!(r#"{{"Schema":"bitswap","Protocol":"Transport-Bitswap","ID":"{PEER}"}}"#);
    let cases = [
        (peer_record(r#","Protocols":["other","transport-bitswap"]"#), bitswap),
        (record(&legacy), bitswap),
        (peer_record(r#","Protocols":[]"#), empty),
        (peer_record(""), missing),
    ];
    for (record, passes) in cases {
        let expected = passes.then_some(Selection::Whole);
        assert_eq!(filter.select(&record), expected, "{}", record.json());
    }
}

#[rstest]
#[case(r#"{"Schema":"new"}"#, "filter-addrs=tcp&filter-protocols=a&transport=udp", true)]
#[case(
    r#"{"Schema":"new","Addrs":"x","Protocols":7}"#,
    "filter-addrs=tcp&filter-protocols=a",
    true
)]
#[case(r#"{"Schema":"new","Addrs":["/ip4/192.0.2.1/tcp/1"]}"#, "filter-addrs=udp", false)]
#[case(r#"{"Schema":"new","Addrs":["/ip4/192.0.2.1/tcp/1"]}"#, "filter-addrs=tcp", true)]
#[case(r#"{"Schema":"new","Protocols":["b"]}"#, "filter-protocols=a", false)]
#[case(r#"{"Schema":"new","Protocols":["A"]}"#, "filter-protocols=a", true)]
#[case(r#"{"Schema":"new","Protocol":"b"}"#, "filter-protocols=a", true)]
fn unknown_schemas_pass_unless_they_have_the_usual_lists(
    #[case] json: &str,
    #[case] query: &str,
    #[case] passes: bool,
) {
    let filter = Filter::from_query(query).unwrap();
    assert_eq!(filter.select(&record(json)).is_some(), passes);
}

#[test]
fn an_unknown_record_loses_addresses_and_nothing_else() {
    let record = record(
        r#"{ "Schema":"new", "Addrs" : [ "/ip4/192.0.2.1/tcp/1" , "/ip4/192.0.2.1/udp/1" ], "x":[ ] }"#,
    );
    let selection = Filter::from_query("transport=udp").unwrap().select(&record).unwrap();
    let mut json = Vec::new();
    record.write_to(&selection, &mut json);
    let expected = r#"{ "Schema":"new", "Addrs" : ["/ip4/192.0.2.1/udp/1"], "x":[ ] }"#;
    assert_eq!(String::from_utf8(json).unwrap(), expected);
}

#[test]
fn too_many_and_too_long_terms_are_refused_by_name() {
    let many = format!("filter-addrs={}", vec!["tcp"; TERMS_MAX + 1].join(","));
    let expected = FilterError::TooManyTerms { parameter: "filter-addrs", terms: TERMS_MAX + 1 };
    assert_eq!(Filter::from_query(&many), Err(expected));
    let split = format!("transport={0}&transport={0}", vec!["tcp"; TERMS_MAX / 2 + 1].join(","));
    assert!(Filter::from_query(&split).is_err());
    let most = format!("filter-addrs={}", vec!["tcp"; TERMS_MAX].join(","));
    assert!(Filter::from_query(&most).is_ok());
    let long = format!("filter-protocols={}", "é".repeat(TERM_CHARS_MAX + 1));
    let expected =
        FilterError::TermTooLong { parameter: "filter-protocols", chars: TERM_CHARS_MAX + 1 };
    assert_eq!(Filter::from_query(&long), Err(expected));
    let longest = format!("filter-protocols={}", "é".repeat(TERM_CHARS_MAX));
    assert!(Filter::from_query(&longest).is_ok());
}

fn any_terms() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        Just("tcp"),
        Just("udp"),
        Just("ws"),
        Just("wss"),
        Just("quic-v1"),
        Just("webtransport"),
        Just("p2p-circuit"),
        Just("fakeproto"),
        Just("unknown"),
    ];
    proptest::collection::vec((any::<bool>(), name), 1..5).prop_map(|terms| {
        terms.iter().map(|(not, name)| format!("{}{name}", if *not { "!" } else { "" })).collect()
    })
}

/// The same question asked of the text, as slowly and plainly as can be.
fn naive(terms: &[String], addr: &str) -> bool {
    let has = |name: &str| addr.split('/').any(|segment| segment == name);
    let negatives: Vec<&str> = terms.iter().filter_map(|term| term.strip_prefix('!')).collect();
    let positives: Vec<&str> = terms
        .iter()
        .map(String::as_str)
        .filter(|term| !term.starts_with('!') && *term != "unknown")
        .collect();
    let only_unknown = negatives.is_empty() && positives.is_empty();
    !only_unknown
        && !negatives.iter().any(|name| has(name))
        && (positives.is_empty() || positives.iter().any(|name| has(name)))
}

proptest! {
    #[test]
    fn the_addresses_kept_are_those_that_a_plain_reading_keeps(terms in any_terms()) {
        let expected: Vec<&str> = ADDRS
            .iter()
            .filter(|(_, addr)| naive(&terms, addr))
            .map(|(kind, _)| *kind)
            .collect();
        let found = kept(&format!("filter-addrs={}", terms.join(",")));
        prop_assert_eq!(found, (!expected.is_empty()).then_some(expected));
    }

    #[test]
    fn order_repetition_and_case_of_terms_do_not_matter(terms in any_terms()) {
        let forward = kept(&format!("filter-addrs={}", terms.join(",")));
        let mut reversed = terms.clone();
        reversed.reverse();
        reversed.extend(terms.iter().map(|term| term.to_uppercase()));
        let backward = kept(&format!("filter-addrs={}", reversed.join("&filter-addrs=")));
        prop_assert_eq!(forward, backward);
    }

    #[test]
    fn two_parameters_keep_what_both_keep(terms in any_terms()) {
        let list = terms.join(",");
        let addrs = kept(&format!("filter-addrs={list}")).unwrap_or_default();
        let tcp = kept("transport=tcp").unwrap();
        let both = kept(&format!("filter-addrs={list}&transport=tcp")).unwrap_or_default();
        let expected: Vec<&str> = addrs.into_iter().filter(|kind| tcp.contains(kind)).collect();
        prop_assert_eq!(both, expected);
    }

    #[test]
    fn no_query_panics(query in ".{0,120}") {
        let _ = Filter::from_query(&query);
    }
}
