//! What a line of NDJSON may be, what is refused and why, and that reading is bounded.

use std::io::{self, Read};

use proptest::prelude::*;

use crate::ingest::testing::{Imported, Observed, PEER, import};
use crate::ingest::{
    Compression, DeclaredBy, ImportError, ImportKind, ImportOptions, ImportSource,
    REJECTIONS_SHOWN_MAX, import_source,
};
use crate::store::{Applied, StoreError, Update};
use crate::types::{Limit, Origin, ProviderRecord, UnparsableAddrs};

const CID: &str = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";
const NOW_MS: u64 = 1_700_000_000_000;

fn options() -> ImportOptions {
    ImportOptions::new(NOW_MS)
}

fn import_text(text: impl AsRef<[u8]>, options: &ImportOptions) -> Imported {
    import(ImportSource::ndjson("f", text.as_ref().to_vec()), options)
}

fn peer_record(extra: &str) -> String {
    format!(r#"{{"Schema":"peer","ID":"{PEER}"{extra}}}"#)
}

fn line(record: &str) -> String {
    format!(r#"{{"CID":"{CID}","Providers":[{record}]}}"#)
}

#[test]
fn a_line_is_imported_with_all_that_it_says() {
    let known = peer_record(r#","Addrs":["/ip4/192.0.2.1/tcp/4001"]"#);
    let unknown = r#"{"Schema":"mine","a":{"b":[1, 2]}}"#;
    let text = format!(
        r#"{{"x":[[1]],"ExpiresAt":{},"CID":"{CID}","Providers":[{known}, {unknown}]}}"#,
        NOW_MS + 1
    );
    let imported = import_text(text, &options());
    let cid = CID.to_owned();
    assert_eq!(
        imported.entries(),
        [(cid.clone(), known, Some(NOW_MS + 1)), (cid, unknown.to_owned(), Some(NOW_MS + 1))]
    );
    assert_eq!(
        imported.result.unwrap().to_string(),
        "f: 1 line, 1 key, 2 records (2 new, 0 known), 0 rejected"
    );
}

#[test]
fn a_multihash_stands_for_a_cid_in_base58_and_multibase() {
    let multihash = crate::types::ContentKey::from_cid_text(CID).unwrap();
    let bare = multibase::Base::Base58Btc.encode(multihash.as_bytes());
    let record = peer_record("");
    for text in [
        bare,
        multibase::encode(multibase::Base::Base32Lower, multihash.as_bytes()),
        multibase::encode(multibase::Base::Base16Lower, multihash.as_bytes()),
    ] {
        let line = format!(r#"{{"Multihash":"{text}","Providers":[{record}]}}"#);
        assert_eq!(import_text(line, &options()).entries(), [(CID.into(), record.clone(), None)]);
    }
}

#[test]
fn line_ends_blank_lines_and_a_byte_order_mark_do_not_matter() {
    let line = line(&peer_record(""));
    let text = format!("\u{feff}{line}\r\n\r\n  \t\n{line}\n\nnot JSON\r\n{line}");
    let imported = import_text(text, &options());
    assert_eq!(imported.entries().len(), 3);
    assert_eq!(imported.observed.rejections, ["f:6: not a JSON object"]);
    assert_eq!(imported.summary().counts.lines, 4);
}

#[test]
fn every_bad_line_is_reported_and_the_others_go_in() {
    let cid = format!(r#""CID":"{CID}""#);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"[]".to_vec(), "not a JSON object"),
        (format!(r#"["{CID}",null,[],5]"#).into(), "not a JSON object"),
        (b"{".to_vec(), "EOF while parsing an object, at character 1"),
        (b"{} x".to_vec(), "trailing characters, at character 4"),
        (b"{}".to_vec(), "neither `CID` nor `Multihash`"),
        (br#"{"CID":null,"Providers":[]}"#.to_vec(), "neither `CID` nor `Multihash`"),
        (
            format!(r#"{{{cid},"Multihash":"Qm","Providers":[]}}"#).into(),
            "both `CID` and `Multihash`, one is enough",
        ),
        (format!("{{{cid}}}").into(), "no `Providers`"),
        (format!(r#"{{{cid},"providers":[]}}"#).into(), "no `Providers`"),
        (
            format!(r#"{{{cid},"Providers":{{}}}}"#).into(),
            "invalid type: map, expected a sequence, at character 81",
        ),
        (
            format!(r#"{{{cid},"Providers":[],"ExpiresAt":-1}}"#).into(),
            "invalid value: integer `-1`, expected a whole number that fits, at character 98",
        ),
        (
            format!(r#"{{{cid},{cid},"Providers":[]}}"#).into(),
            "duplicate field `CID`, at character 74",
        ),
        (
            br#"{"CID":7,"Providers":[]}"#.to_vec(),
            "invalid type: integer `7`, expected a string, at character 8",
        ),
        (
            br#"{"CID":"bajkqaaa","Providers":[]}"#.to_vec(),
            "`CID` cannot be read: CID version 2 does not exist, only 0 and 1",
        ),
        (br#"{"Multihash":"","Providers":[]}"#.to_vec(), "`Multihash` cannot be read: empty"),
        (
            format!(r#"{{{cid},"Providers":[],"Context":"?"}}"#).into(),
            "`Context` cannot be read: not multibase",
        ),
        (
            format!(r#"{{{cid},"Providers":[],"Context":"f{}"}}"#, "00".repeat(65)).into(),
            "`Context` cannot be read: a context ID of 65 bytes",
        ),
        (
            format!(r#"{{{cid},"Providers":[],"Network":"192.0.2.1"}}"#).into(),
            "`Network` is neither a network as an export names it (192.0.2.0/24, 2001:db8::/36) nor `unknown`",
        ),
        (b"{\"CID\":\"\xff\"}".to_vec(), "not UTF-8 at byte 9"),
        (
            line(r#""x""#).into(),
            "record 1: not a JSON object: invalid type: string \"x\", expected an object at line 1 column 3",
        ),
        (line("{}").into(), "record 1: the record has no `Schema`"),
        (line(r#"{"Schema":"peer"}"#).into(), "record 1: the record has no `ID`"),
        (
            line(r#"{"Schema":"peer","ID":"12D3"}"#).into(),
            "record 1: `ID` is not a peer ID: neither a base58 peer ID nor a CID of codec \
             libp2p-key: ",
        ),
    ];
    let good = line(&peer_record(""));
    for (bad, message) in cases {
        let text = [good.as_bytes(), &bad, good.as_bytes()].join(&b'\n');
        let imported = import_text(&text, &options());
        assert_eq!(imported.entries().len(), 2, "{message}");
        let [rejection] = &imported.observed.rejections[..] else { panic!("{message}") };
        assert!(rejection.starts_with(&format!("f:2: {message}")), "{rejection}\n{message}");
        assert_eq!(imported.summary().counts.rejected_total(), 1);
        assert!(imported.result.is_ok());
    }
}

#[test]
fn a_bad_record_costs_only_itself() {
    let good = peer_record("");
    let text = line(&format!(r#"{good},{{"Schema":"peer"}},{{"Schema":"mine"}}"#));
    let imported = import_text(text, &options());
    let records: Vec<String> =
        imported.entries().into_iter().map(|(_, record, _)| record).collect();
    assert_eq!(records, [good, r#"{"Schema":"mine"}"#.to_owned()]);
    assert_eq!(imported.observed.rejections, ["f:1: record 2: the record has no `ID`"]);
    assert_eq!(
        imported.summary().to_string(),
        "f: 1 line, 1 key, 2 records (2 new, 0 known), 1 rejected (bad record: 1)"
    );
}

#[test]
fn servers_that_answer_null_for_no_providers_are_understood() {
    let imported = import_text(format!(r#"{{"CID":"{CID}","Providers":null}}"#), &options());
    assert_eq!(
        imported.result.unwrap().to_string(),
        "f: 1 line, 0 keys, 0 records (0 new, 0 known), 0 rejected"
    );
}

#[test]
fn what_has_expired_is_counted_and_left_out() {
    let record = peer_record("");
    let at = |time: u64| format!(r#"{{"CID":"{CID}","Providers":[{record}],"ExpiresAt":{time}}}"#);
    let text = [at(NOW_MS - 1), at(NOW_MS), at(NOW_MS + 1)].join("\n");
    let imported = import_text(text, &options());
    assert_eq!(imported.entries(), [(CID.to_owned(), record.clone(), Some(NOW_MS + 1))]);
    let written_otherwise = at(NOW_MS).replace(&NOW_MS.to_string(), "1.8e12");
    let imported_again = import_text(written_otherwise, &options());
    assert_eq!(imported_again.entries(), [(CID.to_owned(), record, Some(1_800_000_000_000))]);
    assert!(imported.summary().to_string().ends_with(", 2 lines expired and skipped"));
}

#[test]
fn a_record_named_again_is_one_announcement_for_each_expiry() {
    let record = peer_record(r#","Addrs":["/nonsense","/ip4/192.0.2.1/tcp/1"]"#);
    let expiring =
        format!(r#"{{"CID":"bafkqaaa","Providers":[{record}],"ExpiresAt":{}}}"#, NOW_MS + 9);
    let text = [line(&record), expiring.clone(), line(&record), expiring].join("\n");
    let imported = import_text(text, &options());
    let [batch] = &imported.batches[..] else { panic!("one batch is expected") };
    let shape: Vec<_> =
        batch.iter().map(|announced| (announced.keys.len(), announced.expires_at_ms)).collect();
    assert_eq!(shape, [(1, None), (1, Some(NOW_MS + 9)), (1, None), (1, Some(NOW_MS + 9))]);
    assert_eq!(imported.summary().counts.addrs_dropped, 4);

    let repeated = import_text([line(&record), line(&record)].join("\n"), &options());
    let [batch] = &repeated.batches[..] else { panic!("one batch is expected") };
    assert_eq!((batch.len(), batch[0].keys.len()), (1, 2));
    assert_eq!(
        repeated.summary().to_string(),
        "f: 2 lines, 2 keys, 2 records (1 new, 1 known), 0 rejected, 2 addresses left out: no \
         multiaddr"
    );
}

#[test]
fn addresses_that_do_not_parse_stay_where_that_is_wanted() {
    let record = peer_record(r#","Addrs":["/nonsense"]"#);
    let keeping = ImportOptions { unparsable_addrs: UnparsableAddrs::Keep, ..options() };
    let imported = import_text(line(&record), &keeping);
    assert_eq!(imported.entries(), [(CID.to_owned(), record, None)]);
    assert_eq!(imported.summary().counts.addrs_dropped, 0);
}

#[test]
fn batches_are_bounded_by_entries_and_by_bytes() {
    let many = vec![line(&peer_record("")); 10_000].join("\n");
    let imported = import_text(many, &options());
    let sizes: Vec<usize> = imported
        .batches
        .iter()
        .map(|batch| batch.iter().map(|announced| announced.keys.len()).sum())
        .collect();
    assert_eq!(sizes, [4_096, 4_096, 10_000 - 2 * 4_096]);

    let padding = "x".repeat(200_000);
    let large: Vec<String> =
        (0..50).map(|n| line(&peer_record(&format!(r#","n":{n},"x":"{padding}""#)))).collect();
    let roomy = ImportOptions { record_bytes_max: 256 << 10, ..options() };
    let imported = import_text(large.join("\n"), &roomy);
    assert_eq!(imported.batches.iter().map(Vec::len).collect::<Vec<_>>(), [21, 21, 8]);

    let records = vec![peer_record(""); 10_000].join(",");
    let imported = import_text(line(&records), &options());
    assert_eq!((imported.batches.len(), imported.entries().len()), (3, 10_000));
    assert_eq!(imported.summary().counts.keys, 1);
}

#[test]
fn a_line_may_name_the_context_that_it_belongs_to() {
    let record = peer_record("");
    let under =
        |context: &str| format!(r#"{{"CID":"{CID}","Providers":[{record}],"Context":{context}}}"#);
    let lines = [under(r#""uY3R4""#), under(r#""f637478""#), under(r#""u""#), under("null")];
    let imported = import_text([&lines[..], &[line(&record)]].concat().join("\n"), &options());
    let [batch] = &imported.batches[..] else { panic!("{:?}", imported.batches) };
    let found: Vec<_> = batch.iter().map(|one| (one.context.as_bytes(), one.keys.len())).collect();
    assert_eq!(found, [(&b"ctx"[..], 2), (b"", 3)]);
}

#[test]
fn what_strangers_have_no_room_for_is_rejected_alone() {
    let of = |network: &str| {
        format!(r#"{{"CID":"{CID}","Providers":[{}],"Network":{network}}}"#, peer_record(""))
    };
    let (crowd, other) = (r#""192.0.2.0/24""#, r#""unknown""#);
    let lines = [of("null"), of(crowd), of(crowd), of(other), of("null")].join("\n");
    let no_room = Origin::from_network_text("192.0.2.0/24").unwrap();
    let mut taken_in = Vec::new();
    let mut sink = |updates: Vec<Update>| {
        if updates.iter().any(|update| update.origin == no_room) {
            return Err(StoreError::Full { limit: Limit::NetworkKeys });
        }
        taken_in.extend(updates.iter().map(|update| update.origin));
        Ok(Applied::default())
    };
    let source = || ImportSource::ndjson("f", lines.as_bytes().to_vec());
    let mut observed = Observed::default();
    let summary = import_source(source(), &options(), &mut sink, &mut observed).unwrap();
    let counts = &summary.counts;
    assert_eq!((counts.keys, counts.records, counts.rejected_total()), (3, 3, 2));
    let [rejection] = &observed.rejections[..] else { panic!("{:?}", observed.rejections) };
    let expected = "f:5: up to this line, 2 records of 192.0.2.0/24: ";
    assert!(rejection.starts_with(expected), "{rejection}");
    // A strict import stops there: the rest of what it has read is in, and read again on resuming.
    let strict = ImportOptions { strict: true, ..options() };
    let failure = import_source(source(), &strict, &mut sink, &mut ()).unwrap_err();
    assert!(matches!(failure.error, ImportError::Strict { .. }), "{failure}");
    let counts = &failure.summary.as_ref().unwrap().counts;
    assert_eq!((counts.lines, counts.records), (0, 3));
    assert_eq!(taken_in, [Origin::OPERATOR, Origin::UNKNOWN, Origin::OPERATOR].repeat(2));
}

#[test]
fn what_is_acknowledged_is_with_the_store_to_the_last_line() {
    // Lines of 1,000 records end within batches of 4,096; a bad one stands after each.
    let many = line(&vec![peer_record(""); 1_000].join(","));
    let text = vec![format!("{many}\n-"); 10].join("\n");
    let imported = import_text(&text, &options());
    let acknowledged: Vec<_> = imported
        .observed
        .acknowledged
        .iter()
        .map(|one| (one.lines, one.keys, one.records, one.rejected))
        .collect();
    assert_eq!(acknowledged, [(8, 5, 4_096, 4), (16, 9, 8_192, 8)]);
    assert_eq!(imported.summary().counts.lines, 20);
}

#[test]
fn too_long_records_and_lines_are_left_out() {
    let small = ImportOptions { record_bytes_max: 120, line_bytes_max: 300, ..options() };
    let exact = peer_record(&format!(r#","x":"{}""#, "y".repeat(120 - peer_record("").len() - 7)));
    assert_eq!(exact.len(), 120);
    let longer = exact.replacen('y', "yy", 1);
    let text = [line(&exact), line(&longer), "z".repeat(301), line(&exact)].join("\n");
    let imported = import_text(text, &small);
    assert_eq!(imported.entries().len(), 2);
    assert_eq!(
        imported.observed.rejections,
        [
            format!("f:2: record 1: {} bytes, at most 120 are taken in", longer.len()),
            "f:3: a line of 301 bytes, at most 300 are read".to_owned(),
        ]
    );
}

#[test]
fn a_line_of_100_megabytes_costs_only_itself() {
    let good = line(&peer_record(""));
    let start = format!("{good}\n{{\"CID\":\"");
    let end = format!("\n{good}\n");
    let reader = io::Cursor::new(start)
        .chain(io::repeat(b'x').take(100_000_000))
        .chain(io::Cursor::new(end));
    let source = ImportSource {
        name: "f".into(),
        kind: ImportKind::Ndjson,
        compression: Compression::None,
        declared_by: DeclaredBy::Name,
        size_bytes: None,
        reader: Box::new(reader),
    };
    let imported = import(source, &options());
    assert_eq!(imported.entries().len(), 2);
    assert_eq!(
        imported.observed.rejections,
        ["f:2: a line of 100000008 bytes, at most 4194304 are read"]
    );
}

#[test]
fn deep_nesting_is_an_error_or_is_kept_and_never_overflows_the_stack() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let open = "[".repeat(1_000_000);
    let cases = [
        (deep.clone(), 0),
        (open.clone(), 0),
        (format!(r#"{{"CID":{deep}}}"#), 0),
        (format!(r#"{{"CID":"{CID}","Providers":{open}"#), 0),
        (format!(r#"{{"x":{deep},"CID":"{CID}","Providers":[{}]}}"#, peer_record("")), 1),
        (line(&format!(r#"{{"Schema":{deep}}}"#)), 0),
        (line(&peer_record(&format!(r#","Addrs":{deep}"#))), 0),
        (line(&peer_record(&format!(r#","x":{deep}"#))), 0),
        (line(&format!(r#"{{"Schema":"mine","Addrs":{deep}}}"#)), 0),
        (line(&peer_record(&format!(r#","x":{}{}"#, "[".repeat(99), "]".repeat(99)))), 1),
    ];
    let wide = ImportOptions { record_bytes_max: 3 << 20, ..options() };
    for (text, entries) in cases {
        let imported = import_text(&text, &wide);
        assert_eq!(imported.summary().counts.records, entries, "{:.80}", text);
        assert_eq!(imported.summary().counts.rejected_total(), 1 - entries, "{:.80}", text);
    }
}

#[test]
fn a_strict_import_stops_at_the_first_rejection_and_keeps_what_came_before() {
    let good = line(&peer_record(""));
    let strict = ImportOptions { strict: true, ..options() };
    let imported = import_text(format!("{good}\n{good}\n{{}}\n{good}"), &strict);
    assert_eq!(imported.entries().len(), 2);
    assert_eq!(
        imported.error().to_string(),
        "f:3: neither `CID` nor `Multihash` (strict: stopped here)"
    );
    assert_eq!(
        imported.summary().to_string(),
        "f: 2 lines, 2 keys, 2 records (1 new, 1 known), 1 rejected (bad key: 1)"
    );
}

#[test]
fn many_rejections_are_counted_and_only_the_first_are_shown() {
    let imported = import_text("{}\n[]\n".repeat(500), &options());
    assert_eq!(imported.observed.rejections.len() as u64, REJECTIONS_SHOWN_MAX);
    assert_eq!(
        imported.summary().to_string(),
        "f: 1,000 lines, 0 keys, 0 records (0 new, 0 known), 1,000 rejected (not the expected \
         JSON: 500, bad key: 500)"
    );
}

#[test]
fn a_store_that_refuses_ends_the_import() {
    let text = vec![line(&peer_record("")); 10_000].join("\n");
    let mut calls = 0;
    let mut sink = |_| {
        calls += 1;
        match calls {
            1 => Ok(crate::store::Applied { taken_in: 4_096, added: Some(1) }),
            _ => Err(crate::store::StoreError::Full { limit: Limit::Groups }),
        }
    };
    let source = ImportSource::ndjson("f", text.into());
    let failure = crate::ingest::import_source(source, &options(), &mut sink, &mut ()).unwrap_err();
    assert_eq!(calls, 2);
    assert!(matches!(failure.error, ImportError::Store { .. }));
    let counts = failure.summary.unwrap().counts;
    assert_eq!((counts.lines, counts.keys), (4_096, 4_096), "what was read ahead is not done with");
}

/// The lines that are done with when the store refuses the batch after `taken` ones.
fn lines_done(text: &str, options: &ImportOptions, taken: usize) -> (ImportError, u64) {
    let mut calls = 0;
    let mut sink = |_| {
        calls += 1;
        if calls > taken {
            return Err(crate::store::StoreError::Full { limit: Limit::Groups });
        }
        Ok(crate::store::Applied::default())
    };
    let source = ImportSource::ndjson("f", text.into());
    let failure = crate::ingest::import_source(source, options, &mut sink, &mut ()).unwrap_err();
    (failure.error, failure.summary.unwrap().counts.lines)
}

#[test]
fn an_import_that_stops_counts_the_lines_after_which_it_can_go_on() {
    let good = line(&peer_record(""));
    let batch = format!("{good}\n").repeat(4_096);
    // A line that is in two batches is done with when the second is with the store.
    let record = peer_record("");
    let wide = line(&vec![record; 4_097].join(","));
    let strict = ImportOptions { strict: true, ..options() };
    for (text, options, taken, done) in [
        (good.clone(), options(), 0, 0),
        (format!("{good}\n{{}}\n{good}"), options(), 0, 0),
        (format!("{batch}{{}}\n{good}"), options(), 1, 4_096),
        (wide.clone(), options(), 1, 0),
        (format!("{good}\n{wide}\n{good}"), options(), 1, 1),
        (format!("{good}\n{wide}\n{batch}{good}"), options(), 2, 2 + 4_094),
        (format!("{batch}{good}\n{{}}\n"), strict, 1, 4_096),
    ] {
        let (error, lines) = lines_done(&text, &options, taken);
        assert!(matches!(error, ImportError::Store { .. }), "{error}");
        assert_eq!(lines, done, "after {taken} batches of {} bytes", text.len());
    }
}

prop_compose! {
    fn any_record()(
        schema in prop_oneof![Just("peer"), Just("bitswap"), Just("graphsync-filecoinv1"), Just("mine")],
        ports in proptest::option::of(proptest::collection::vec(any::<u16>(), 0..4)),
        extra in proptest::option::of("\\PC{0,20}"),
    ) -> String {
        let mut record = serde_json::Map::new();
        record.insert("Schema".into(), schema.into());
        record.insert("ID".into(), PEER.into());
        if let Some(ports) = ports {
            let addrs = ports.iter().map(|port| format!("/ip4/192.0.2.1/tcp/{port}"));
            record.insert("Addrs".into(), addrs.collect::<Vec<_>>().into());
        }
        if let Some(extra) = extra {
            record.insert("Extra".into(), extra.into());
        }
        serde_json::Value::Object(record).to_string()
    }
}

proptest! {
    #[test]
    fn a_line_of_records_gives_these_records(
        records in proptest::collection::vec(any_record(), 0..6),
        expires_at_ms in proptest::option::of(NOW_MS + 1..),
    ) {
        let expiry = expires_at_ms.map_or(String::new(), |time| format!(r#","ExpiresAt":{time}"#));
        let text = format!(r#"{{"CID":"{CID}","Providers":[{}]{expiry}}}"#, records.join(","));
        let imported = import_text(text, &options());
        let mut found = imported.entries();
        let mut expected: Vec<_> = records
            .iter()
            .map(|record| {
                let parsed = ProviderRecord::parse(record, UnparsableAddrs::Drop).unwrap();
                (CID.to_owned(), parsed.record.to_json(), expires_at_ms)
            })
            .collect();
        // Equal records are gathered into one announcement.
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_bytes_panic_and_every_line_is_accounted_for(
        bytes in proptest::collection::vec(
            prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                Just(b"\n".to_vec()),
                Just(br#"{"CID":"bafkqaaa","Providers":[{"Schema":"x"}]}"#.to_vec()),
            ],
            0..60,
        ),
    ) {
        let text = bytes.concat();
        prop_assume!(!text.starts_with(&[0x1f, 0x8b]));
        let imported = import_text(&text, &options());
        let counts = &imported.summary().counts;
        prop_assert!(imported.result.is_ok());
        prop_assert_eq!(counts.lines, counts.keys + counts.rejected_total());
    }
}
