//! What is printed, in every form, and what never is.

use proptest::prelude::*;

use super::*;
use crate::types::UnparsableAddrs;

const ED25519: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
const RSA: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";

fn records(jsons: &[&str]) -> Vec<ReceivedRecord> {
    let record = |json: &&str| ReceivedRecord {
        record: ProviderRecord::parse(json, UnparsableAddrs::Keep).unwrap().record,
        json: (*json).into(),
    };
    jsons.iter().map(record).collect()
}

fn sample() -> Vec<ReceivedRecord> {
    let peer = format!(
        r#"{{"Schema":"peer","ID":"{ED25519}","Addrs":["/ip4/192.0.2.1/tcp/4001","/dns4/a-rather-long-name.example.org/tcp/443/tls/ws"],"Protocols":["transport-bitswap","transport-ipfs-gateway-http"]}}"#
    );
    let bitswap = format!(
        r#"{{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"{RSA}","Addrs":["/nonsense"]}}"#
    );
    let bare = format!(r#"{{"Schema":"peer","ID":"{RSA}"}}"#);
    records(&[&peer, &bitswap, &bare, r#"{"Schema":"new thing","X":1}"#])
}

fn print(records: &[ReceivedRecord], format: RecordFormat) -> String {
    let mut out = Vec::new();
    write_records(records, format, "http://router.test", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_wide_table_has_a_column_for_each() {
    insta::assert_snapshot!(print(&sample(), RecordFormat::Table { width: 140 }), @r"
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     Peer                                                   Protocols                     Addresses
    ══════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════
     12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z   transport-bitswap             /ip4/192.0.2.1/tcp/4001
                                                            transport-ipfs-gateway-http   /dns4/a-rather-long-name.example.org/tcp/443/tls/ws
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3         transport-bitswap             /nonsense
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3         -                             -
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     -                                                      schema=new�thing              -
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    3 providers in 4 records from http://router.test (1 address is no multiaddr: clients cannot use such)
    ");
}

#[test]
fn a_narrow_table_puts_protocols_and_addresses_under_the_peer() {
    insta::assert_snapshot!(print(&sample(), RecordFormat::Table { width: 80 }), @r"
    ──────────────────────────────────────────────────────
     Peer
     Protocols
     Addresses
    ══════════════════════════════════════════════════════
     12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z
     transport-bitswap
     transport-ipfs-gateway-http
     /ip4/192.0.2.1/tcp/4001
     /dns4/a-rather-long-name.example.org/tcp/443/tls/ws
    ──────────────────────────────────────────────────────
     QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3
     transport-bitswap
     /nonsense
    ──────────────────────────────────────────────────────
     QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3
     -
     -
    ──────────────────────────────────────────────────────
     -
     schema=new�thing
     -
    ──────────────────────────────────────────────────────
    3 providers in 4 records from http://router.test (1 address is no multiaddr: clients cannot use such)
    ");
}

#[test]
fn a_table_is_no_wider_than_the_terminal_unless_a_peer_id_is() {
    for width in [1, 20, 54, 60, 80, 123, 124, 130, 200] {
        let text = print(&sample(), RecordFormat::Table { width });
        let widest = text.lines().rev().skip(1).map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width.max(54)), "{widest} at {width}");
        assert!(text.contains(ED25519) && text.contains(RSA), "{text}");
    }
}

#[test]
fn lines_have_three_fields() {
    insta::assert_snapshot!(print(&sample(), RecordFormat::Lines).replace('\t', "<tab>"), @r"
    12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z<tab>transport-bitswap,transport-ipfs-gateway-http<tab>/ip4/192.0.2.1/tcp/4001 /dns4/a-rather-long-name.example.org/tcp/443/tls/ws
    QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3<tab>transport-bitswap<tab>/nonsense
    QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3<tab>-<tab>-
    -<tab>schema=new�thing<tab>-
    ");
}

#[test]
fn json_lines_are_the_records_as_they_came() {
    let json = format!(r#"{{ "ID":"{RSA}", "Schema":"peer","New":[1, 2]}}"#);
    assert_eq!(print(&records(&[&json]), RecordFormat::Json), format!("{json}\n"));
}

#[test]
fn the_summary_counts_peers_and_records() {
    let bare = format!(r#"{{"Schema":"peer","ID":"{RSA}"}}"#);
    let rows = |jsons: &[&str]| -> Vec<Row> {
        records(jsons).iter().map(|record| Row::of(&record.record)).collect()
    };
    assert_eq!(summary(&rows(&[&bare]), "x"), "1 provider from x");
    assert_eq!(summary(&rows(&[&bare, &bare]), "x"), "1 provider in 2 records from x");
}

#[test]
fn a_huge_address_is_shortened_in_a_table_only() {
    let huge = "/dns4/".to_owned() + &"x".repeat(500_000);
    let json = format!(r#"{{"Schema":"peer","ID":"{RSA}","Addrs":["{huge}"]}}"#);
    let records = records(&[&json]);
    assert!(print(&records, RecordFormat::Lines).contains(&huge));
    let table = print(&records, RecordFormat::Table { width: 80 });
    assert!(table.contains('\u{2026}') && table.len() < 2000, "{} bytes", table.len());
}

proptest! {
    #[test]
    fn nothing_that_a_router_sends_controls_the_terminal_or_breaks_a_peer_id(
        protocol in any::<String>(),
        addr in any::<String>(),
        schema in any::<String>(),
        width in any::<u16>(),
    ) {
        let nasty = "\u{1b}[2J\u{9b}31m\u{7}\r\t\u{202e}";
        let peer = serde_json::json!({
            "Schema": "peer", "ID": ED25519, "Addrs": [addr.clone() + nasty], "Protocols": [protocol, nasty],
        });
        let unknown = serde_json::json!({ "Schema": schema + nasty, "ID": RSA, "Addrs": [nasty, addr] });
        let records = records(&[&peer.to_string(), &unknown.to_string()]);
        for format in [RecordFormat::Table { width }, RecordFormat::Lines, RecordFormat::Json] {
            let text = print(&records, format);
            let is_allowed = |character: char| {
                character == '\n' || (format == RecordFormat::Lines && character == '\t')
            };
            prop_assert!(text.chars().all(|c| is_allowed(c) || !c.is_control()), "{:?}", text);
            prop_assert_eq!(text.find('\u{202e}'), None);
            prop_assert!(text.contains(ED25519) && text.contains(RSA), "{}", text);
        }
    }
}
