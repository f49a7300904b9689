//! Any bytes as the body of an upstream's answer, in any pieces: no panic; however it is cut into pieces
//! the records are the same; and what is handed on is within the limits, about the right peer, one line
//! of JSON each that reads as itself, without private addresses.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use fingerpost::types::{
    ContentKey, MergeKey, PeerId, ProviderRecord, ReadyRecord, Subject, UnparsableAddrs,
};
use fingerpost::upstream::{AnswerLimits, received};
use libfuzzer_sys::fuzz_target;

const LIMITS: AnswerLimits =
    AnswerLimits { body_bytes_max: 8_192, record_bytes_max: 512, records_max: 20 };

const CONTENT_TYPES: [&str; 2] = ["application/json", "application/x-ndjson"];

const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

static SUBJECTS: LazyLock<[Subject; 2]> = LazyLock::new(|| {
    let key = ContentKey::from_cid_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
    let peer = PeerId::parse(PEER);
    [Subject::Content(key.expect("a CID")), Subject::Peer(peer.expect("a peer ID"))]
});

fuzz_target!(|bytes: &[u8]| {
    let Some((piece_bytes, body)) = bytes.split_first() else { return };
    let piece_bytes = usize::from(*piece_bytes).max(1);
    for subject in &*SUBJECTS {
        for content_type in CONTENT_TYPES {
            check(content_type, body, piece_bytes, subject);
        }
        // Fields of any content in records that are sound otherwise.
        let Ok(text) = std::str::from_utf8(body) else { continue };
        let record =
            format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":[{text}],"Protocols":[]}}"#);
        let unknown = format!(r#"{{"Schema":"new","ID":"{PEER}",{text}}}"#);
        let lines = format!("{record}\n{unknown}\n{record}");
        check("application/x-ndjson", lines.as_bytes(), piece_bytes, subject);
        let list = format!("[{record},{unknown},{record}]");
        let object = format!(r#"{{"Providers":{list},"Peers":{list}}}"#);
        check("application/json", object.as_bytes(), piece_bytes, subject);
    }
});

fn check(content_type: &str, body: &[u8], piece_bytes: usize, subject: &Subject) {
    let records = received(content_type, body.chunks(piece_bytes), subject, LIMITS);
    // Of a body that is too long, what is read depends on where the last whole piece ends.
    if body.len() <= LIMITS.body_bytes_max {
        let whole = received(content_type, [body], subject, LIMITS);
        assert_eq!(texts(&whole), texts(&records));
    }
    assert!(records.len() <= LIMITS.records_max);
    check_merged(&records);
    for record in &records {
        assert!(record.json().len() <= LIMITS.record_bytes_max && !record.json().contains('\n'));
        if let Subject::Peer(peer) = subject {
            assert_eq!(record.peer(), Some(peer));
        }
        let again = ProviderRecord::parse(record.json(), UnparsableAddrs::Keep);
        let again = again.expect("what is handed on is a record").record;
        assert_eq!(again.to_json(), record.json());
        let addrs = again.addrs().unwrap_or_default();
        assert!(!addrs.iter().any(|addr| addr.is_private()), "{}", record.json());
    }
}

/// Records that say the same of one provider are merged whatever stands in them, and it does not matter
/// in which order.
fn check_merged(records: &[Arc<ReadyRecord>]) {
    let mut by_key: BTreeMap<MergeKey, Vec<Arc<ReadyRecord>>> = BTreeMap::new();
    for record in records {
        by_key.entry(record.merge_key()).or_default().push(record.clone());
    }
    for mut records in by_key.into_values() {
        let merged = ReadyRecord::merged(&records).expect("there is one at least");
        records.reverse();
        let again = ReadyRecord::merged(&records).expect("there is one at least");
        assert_eq!(again.merge_key(), merged.merge_key());
        assert_eq!(addrs(&again), addrs(&merged));
    }
}

fn addrs(record: &ReadyRecord) -> BTreeSet<String> {
    let read =
        ProviderRecord::parse(record.json(), UnparsableAddrs::Keep).expect("a record").record;
    assert_eq!(read.to_json(), record.json());
    read.addrs().unwrap_or_default().iter().map(|addr| addr.as_str().to_owned()).collect()
}

fn texts(records: &[Arc<ReadyRecord>]) -> Vec<&str> {
    records.iter().map(|record| record.json()).collect()
}
