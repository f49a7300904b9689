//! Any bytes as a request to announce, and any text as a payload that is signed: no panic, every error
//! one line of text, and what is accepted keeps within its limits.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use fingerpost::ingest::{ADDRS_MAX, PutError, PutMoment, PutPolicy, RECORDS_MAX, VerifiedPut};
use fingerpost::types::Origin;
use libfuzzer_sys::fuzz_target;
use libp2p_identity::Keypair;
use multihash_codetable::{Code, MultihashDigest};

/// The time of the draft's test vector, so that its mutations get as far as they can.
const NOW_MS: u64 = 1_725_833_163_372;
const KEYS_MAX: usize = 20;

static KEY: LazyLock<Keypair> =
    LazyLock::new(|| Keypair::ed25519_from_bytes([7; 32]).expect("any 32 bytes are a key"));

fuzz_target!(|bytes: &[u8]| {
    let policy = PutPolicy {
        allowed: None,
        keys_max: KEYS_MAX,
        timestamp_age_max: Duration::from_hours(24),
        timestamp_ahead_max: Duration::from_mins(5),
        ttl_max: Duration::from_hours(48),
        allow_private_addrs: bytes.len() % 2 == 0,
    };
    let moment =
        PutMoment { now_ms: NOW_MS, caller: Some([192, 0, 2, 1].into()), origin: Origin::UNKNOWN };
    check(policy.verify(bytes, moment));
    // A whole payload, and lists of any content in one that is sound otherwise.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let id = KEY.public().to_peer_id();
    let sound = format!(
        r#"{{"Keys":["bafkqabtimvwgy3yk"],"Addrs":{text},"Timestamp":{NOW_MS},"AdvisoryTTL":1,"ID":"{id}"}}"#
    );
    for payload in [text.replace("$ID", &id.to_base58()), sound] {
        let digest = Code::Sha2_256.digest(payload.as_bytes());
        let signature = KEY.sign(digest.digest()).expect("Ed25519 signs anything");
        let signature = multibase::encode(multibase::Base::Base64, signature);
        let body = format!(
            r#"{{"Providers":[{{"Schema":"bitswap","Signature":"{signature}","Payload":{payload}}}]}}"#
        );
        check(policy.verify(body.as_bytes(), moment));
    }
});

fn check(result: Result<VerifiedPut, PutError>) {
    match result {
        Ok(put) => {
            assert!(put.keys() <= KEYS_MAX && put.peers().count() <= RECORDS_MAX);
            let longest = Duration::from_hours(48);
            assert!(put.ttls().iter().all(|ttl| !ttl.is_zero() && *ttl <= longest));
            for update in put.into_updates() {
                let addrs = update.statement.map_or(0, |statement| statement.addrs.len());
                assert!(addrs <= ADDRS_MAX && update.announcements.len() == 1);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.outcome().is_empty()),
    }
}
