//! Requests to announce, valid and invalid: what each results in, and why.

use std::time::Duration;

use libp2p_identity::{Keypair, ed25519, secp256k1};
use multibase::Base;
use multihash_codetable::{Code, MultihashDigest};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::addrs::ADDR_BYTES_MAX;
use super::*;

/// The test vector of draft IPIP-0526: its seed is sha256("ipip-0526-test-vector").
const VECTOR_PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
const VECTOR_PAYLOAD: &str = r#"{"Keys":["bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e"],"Timestamp":1725833163372,"AdvisoryTTL":86400000000000,"ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/198.51.100.1/tcp/4001","/ip4/198.51.100.1/udp/4001/quic-v1"]}"#;
const VECTOR_SIGNATURE: &str =
    "mlGWqELZSoVjY22w6NxT7TuNUj5BmQRlrv/x27jQHo5pM3CYZRlJ834bi0UazFuXlH2SuMBxdwfELdXXwVkjZBQ";
const VECTOR_DIGEST: &str = "198b43ea6aba9071845059c5e91eba3926df35926da35c61c1b7429fd7ffb3b8";
const VECTOR_MS: u64 = 1_725_833_163_372;

const DAY_NS: u64 = 86_400_000_000_000;
const CID: &str = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";
const CID_V0: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const CID_V1: &str = "bafybeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";

fn policy() -> PutPolicy {
    PutPolicy::new(&Settings::default()).unwrap()
}

fn verify_by(policy: &PutPolicy, body: &str) -> Result<VerifiedPut, PutError> {
    policy.verify(
        body.as_bytes(),
        PutMoment { now_ms: VECTOR_MS, caller: None, origin: Origin::UNKNOWN },
    )
}

fn verify(body: &str) -> Result<VerifiedPut, PutError> {
    verify_by(&policy(), body)
}

fn request(payload: &str, signature: &str) -> String {
    format!(
        r#"{{"Providers":[{{"Schema":"bitswap","Protocol":"transport-bitswap","Signature":"{signature}","Payload":{payload}}}]}}"#
    )
}

fn vector() -> String {
    request(VECTOR_PAYLOAD, VECTOR_SIGNATURE)
}

fn ed25519_key(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).unwrap()
}

fn secp256k1_key(number: u8) -> Keypair {
    secp256k1::Keypair::from(secp256k1::SecretKey::try_from_bytes([number; 32]).unwrap()).into()
}

fn signature(key: &Keypair, payload: &str) -> Vec<u8> {
    key.sign(Code::Sha2_256.digest(payload.as_bytes()).digest()).unwrap()
}

fn payload(key: &Keypair) -> Value {
    json!({
        "Keys": [CID], "Timestamp": VECTOR_MS, "AdvisoryTTL": DAY_NS,
        "ID": key.public().to_peer_id().to_base58(), "Addrs": ["/ip4/192.0.2.1/tcp/4001"],
    })
}

/// A request with one payload, signed by its peer.
fn signed(key: &Keypair, payload: &Value) -> String {
    let payload = payload.to_string();
    request(&payload, &multibase::encode(Base::Base64, signature(key, &payload)))
}

/// The same with some fields changed; `null` takes a field away.
fn signed_with(key: &Keypair, changes: Value) -> String {
    let mut fields = payload(key);
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    signed(key, &fields)
}

fn updates(body: &str) -> Vec<Update> {
    verify(body).unwrap().into_updates()
}

fn refusal(body: &str) -> PutRefusal {
    match verify(body) {
        Err(PutError::Refused { record: 1, refusal }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_malformed(body: &str, reason: &str) {
    let error = verify(body).unwrap_err();
    assert!(matches!(error, PutError::Malformed { .. }), "{body}: {error:?}");
    assert!(error.to_string().starts_with(reason), "{body}: {error}");
}

#[test]
fn the_vector_of_the_draft_verifies() {
    let digest = Code::Sha2_256.digest(VECTOR_PAYLOAD.as_bytes());
    assert_eq!(Base::Base16Lower.encode(digest.digest()), VECTOR_DIGEST);
    let seed = Code::Sha2_256.digest(b"ipip-0526-test-vector");
    let key = ed25519::SecretKey::try_from_bytes(seed.digest().to_vec()).unwrap();
    let key = Keypair::from(ed25519::Keypair::from(key));
    assert_eq!(key.public().to_peer_id().to_base58(), VECTOR_PEER);
    let signature = multibase::encode(Base::Base64, signature(&key, VECTOR_PAYLOAD));
    assert_eq!(signature, VECTOR_SIGNATURE);

    let put = verify(&vector()).unwrap();
    assert_eq!(put.keys(), 1);
    let ttl = put.ttls()[0];
    let day = Duration::from_hours(24);
    assert!(ttl <= day && ttl > day - day / 64, "{ttl:?}");
    let update = &put.into_updates()[0];
    let statement = update.statement.as_ref().unwrap();
    assert_eq!((statement.provider.as_str(), statement.stated_at_ms), (VECTOR_PEER, VECTOR_MS));
    let announcement = &update.announcements[0];
    assert_eq!(announcement.keys, [ContentKey::from_cid_text(CID).unwrap()]);
    let expiry = VECTOR_MS + u64::try_from(ttl.as_millis()).unwrap();
    assert_eq!(announcement.expires_at_ms, Some(expiry));
    let expected = format!(
        r#"{{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"{VECTOR_PEER}","Addrs":["/ip4/198.51.100.1/tcp/4001","/ip4/198.51.100.1/udp/4001/quic-v1"]}}"#
    );
    assert_eq!(announcement.record.to_json(), expected);
}

#[test]
fn what_is_signed_are_the_bytes_as_they_arrived() {
    let value: Value = serde_json::from_str(VECTOR_PAYLOAD).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let refused = refusal(&request(&pretty, VECTOR_SIGNATURE));
    assert!(matches!(refused, PutRefusal::Signature { .. }), "{refused}");
    // The fields around the payload are not signed.
    let body: Value = serde_json::from_str(&vector()).unwrap();
    let record = &body["Providers"][0];
    let spaced = format!(
        " {{ \"Providers\" :\n[ {{\"Schema\":{},\"Signature\":{},\n \"Payload\" :\t {VECTOR_PAYLOAD} }} ] }} ",
        record["Schema"], record["Signature"]
    );
    assert!(verify(&spaced).is_ok());
    // Signed as pretty as it is sent.
    let key = ed25519_key(1);
    let pretty = serde_json::to_string_pretty(&payload(&key)).unwrap();
    let signature = multibase::encode(Base::Base64, signature(&key, &pretty));
    assert!(verify(&request(&pretty, &signature)).is_ok());
}

#[test]
fn a_signature_may_be_in_any_base() {
    let (_, bytes) = multibase::decode(VECTOR_SIGNATURE).unwrap();
    for base in
        [Base::Base2, Base::Base16Upper, Base::Base32Lower, Base::Base58Btc, Base::Base64Pad]
    {
        let signature = multibase::encode(base, &bytes);
        assert!(verify(&request(VECTOR_PAYLOAD, &signature)).is_ok(), "{base:?}");
    }
    for broken in ["mlGW", "?abc", "m*", "z0", &format!("m{}", "A".repeat(100_000))] {
        let refused = refusal(&request(VECTOR_PAYLOAD, broken));
        assert!(matches!(refused, PutRefusal::Signature { .. }), "{broken}: {refused}");
    }
}

#[test]
fn ed25519_and_secp256k1_keys_are_taken_from_the_peer_id() {
    for key in [ed25519_key(7), secp256k1_key(7)] {
        assert!(verify(&signed(&key, &payload(&key))).is_ok(), "{:?}", key.key_type());
        let others = [ed25519_key(8), secp256k1_key(8)];
        for other in others {
            let refused = refusal(&signed(&other, &payload(&key)));
            assert!(matches!(refused, PutRefusal::Signature { .. }), "{refused}");
        }
    }
}

#[test]
fn a_peer_id_without_a_key_is_refused() {
    let key = ed25519_key(1);
    let bytes = key.public().encode_protobuf();
    let identity = |bytes: &[u8]| {
        Base::Base58Btc.encode([&[0, u8::try_from(bytes.len()).unwrap()][..], bytes].concat())
    };
    // The same key, and a field that protobuf ignores: another peer, which has no key of its own.
    let padded = identity(&[&bytes[..], &[0x18, 0x01]].concat());
    let hashed = Code::Sha2_256.digest(&bytes).to_bytes();
    for id in [
        "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3".to_owned(),
        Base::Base58Btc.encode(hashed),
        padded,
        identity(b"no key"),
    ] {
        let refused = refusal(&signed_with(&key, json!({ "ID": id })));
        assert!(matches!(refused, PutRefusal::NoKey { .. }), "{id}: {refused}");
    }
}

#[test]
fn what_is_not_signed_is_refused() {
    for signature in [json!(null), json!("")] {
        let mut body: Value = serde_json::from_str(&vector()).unwrap();
        body["Providers"][0]["Signature"] = signature;
        assert_eq!(refusal(&body.to_string()), PutRefusal::Unsigned);
        body["Providers"][0].as_object_mut().unwrap().remove("Signature");
        assert_eq!(refusal(&body.to_string()), PutRefusal::Unsigned);
    }
}

#[test]
fn requests_of_another_shape_are_malformed() {
    let key = ed25519_key(1);
    assert_malformed("", "the body is not a JSON object");
    assert_malformed("[]", "the body is not a JSON object");
    assert_malformed("{", "the body: ");
    assert_malformed("{}", "the body has no `Providers`");
    assert_malformed(r#"{"Providers":null}"#, "the body has no `Providers`");
    assert_malformed(r#"{"Providers":{}}"#, "`Providers`: ");
    assert_malformed(r#"{"Providers":[]}"#, "`Providers` is empty");
    assert_malformed(r#"{"Providers":[[]]}"#, "record 1 is not a JSON object");
    assert_malformed(r#"{"Providers":[{}]}"#, "record 1 has no `Schema`");
    assert_malformed(r#"{"Providers":[{"Schema":"peer"}]}"#, "record 1: `Schema` is not");
    assert_malformed(r#"{"Providers":[{"Schema":"bitswap"}]}"#, "record 1 has no `Payload`");
    assert_malformed(&vector().replace("transport-bitswap", "x"), "record 1: `Protocol` is not");
    assert_malformed(&format!("{} x", vector()), "the body: ");
    assert_malformed(&vector().replace("\"Schema\"", "\"Payload\":1,\"Schema\""), "record 1: dup");
    assert_malformed(&request("\"x\"", VECTOR_SIGNATURE), "record 1: Payload is not a JSON object");
    for field in ["ID", "Timestamp", "AdvisoryTTL", "Keys"] {
        let reason = format!("record 1: Payload has no `{field}`");
        assert_malformed(&signed_with(&key, json!({ field: null })), &reason);
        let mut fields = payload(&key);
        fields.as_object_mut().unwrap().remove(field);
        assert_malformed(&signed(&key, &fields), &reason);
    }
    for changes in [
        json!({"Timestamp": "1725833163372"}),
        json!({"Timestamp": 1.5}),
        json!({"AdvisoryTTL": "24h"}),
        json!({"AdvisoryTTL": u64::MAX}),
        json!({"ID": CID}),
        json!({"ID": 1}),
        json!({"Keys": []}),
        json!({"Keys": [1]}),
        json!({"Keys": CID}),
        json!({"Addrs": "/ip4/192.0.2.1"}),
        json!({"Addrs": [1]}),
    ] {
        assert_malformed(&signed_with(&key, changes), "record 1: Payload");
    }
    let not_utf8 =
        policy().verify(b"{\xff}", PutMoment { now_ms: 0, caller: None, origin: Origin::UNKNOWN });
    assert_eq!(not_utf8.unwrap_err().to_string(), "not UTF-8 at byte 2");
    assert_malformed(&"[".repeat(100_000), "the body is not");
    assert_malformed(&format!("{{\"Providers\":{}", "[".repeat(100_000)), "the body: ");
}

#[test]
fn a_key_that_is_no_cid_is_named_once_the_signature_holds() {
    let key = ed25519_key(1);
    let changes = json!({"Keys": [CID, "hello"]});
    let error = verify(&signed_with(&key, changes.clone())).unwrap_err();
    assert!(matches!(error, PutError::Key { record: 1, key: 2, .. }), "{error:?}");
    let long = json!({"Keys": [format!("f01{}", "5".repeat(KEY_TEXT_BYTES_MAX))]});
    let error = verify(&signed_with(&key, long)).unwrap_err();
    assert!(matches!(error, PutError::Key { record: 1, key: 1, .. }), "{error:?}");
    let unsigned = signed_with(&key, changes).replace("\"Signature\":\"m", "\"Signature\":\"mAA");
    assert!(matches!(refusal(&unsigned), PutRefusal::Signature { .. }));
}

#[test]
fn keys_are_multihashes_each_once_and_none_that_is_its_own_content() {
    let key = ed25519_key(1);
    let keys = json!({"Keys": [CID_V0, CID_V1, CID, "bafkqaaa"]});
    let updates = updates(&signed_with(&key, keys));
    let mut expected = [CID_V0, CID].map(|text| ContentKey::from_cid_text(text).unwrap()).to_vec();
    expected.sort();
    assert_eq!(updates[0].announcements[0].keys, expected);
}

#[test]
fn at_most_so_many_keys_and_records_are_taken() {
    let key = ed25519_key(1);
    let record = |keys: usize| {
        let body: Value =
            serde_json::from_str(&signed_with(&key, json!({"Keys": vec![CID; keys]}))).unwrap();
        body["Providers"][0].clone()
    };
    let small = PutPolicy { keys_max: 5, ..policy() };
    let body = |records: &[Value]| json!({ "Providers": records }).to_string();
    assert!(matches!(
        verify_by(&small, &body(&[record(3), record(3)])),
        Err(PutError::TooMany { what: "keys", count: 6, most: 5 })
    ));
    assert!(verify_by(&small, &body(&[record(3), record(2)])).is_ok());
    assert_eq!(verify(&body(&vec![record(1); RECORDS_MAX])).unwrap().ttls().len(), RECORDS_MAX);
    let many = verify(&body(&vec![record(1); RECORDS_MAX + 1]));
    assert!(matches!(many, Err(PutError::TooMany { what: "records", count: 17, most: 16 })));
}

#[test]
fn addresses_may_be_missing_or_null_and_are_dropped_by_the_policy() {
    let key = ed25519_key(1);
    let mut without = payload(&key);
    without.as_object_mut().unwrap().remove("Addrs");
    let bodies = [
        signed(&key, &without),
        signed_with(&key, json!({"Addrs": null})),
        signed_with(&key, json!({"Addrs": []})),
    ];
    for body in bodies {
        assert_eq!(updates(&body)[0].statement.as_ref().unwrap().addrs, []);
    }
    let private = ["/ip4/10.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1"];
    let one_stays = json!({"Addrs": [null, private[0], private[1], "/ip4/192.0.2.1/tcp/1"]});
    let put = verify(&signed_with(&key, one_stays)).unwrap();
    let dropped: Vec<_> = put.addrs_dropped().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(dropped, [("not_multiaddr", 1), ("private", 1), ("unspecified", 1)]);
    let body = signed_with(&key, json!({"Addrs": private}));
    let open = PutPolicy { allow_private_addrs: true, ..policy() };
    let caller = Some("192.0.2.7".parse().unwrap());
    let moment = PutMoment { now_ms: VECTOR_MS, caller, origin: Origin::UNKNOWN };
    let update = open.verify(body.as_bytes(), moment).unwrap().into_updates().remove(0);
    let addrs = update.statement.unwrap().addrs;
    let texts: Vec<_> = addrs.iter().map(crate::types::Addr::as_str).collect();
    assert_eq!(texts, ["/ip4/10.0.0.1/tcp/1", "/ip4/192.0.2.7/tcp/1"]);
}

#[test]
fn addresses_of_which_none_can_be_used_are_refused_one_by_one_once_the_signature_holds() {
    let key = ed25519_key(1);
    let none = json!({"Addrs": ["/ip4/10.0.0.1/tcp/1", null, "/ip4/0.0.0.0/tcp/1", "x\u{1b}"]});
    let error = verify(&signed_with(&key, none.clone())).unwrap_err();
    let expected = "record 1: none of its addresses can be used: \"/ip4/10.0.0.1/tcp/1\" is out of the \
                    public's reach; null is no multiaddr that all clients read; \"/ip4/0.0.0.0/tcp/1\" is \
                    unspecified, and the sender's own is not certain; \"x\\u{1b}\" is no multiaddr that \
                    all clients read";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.outcome(), "bad_addrs");
    let unsigned = signed_with(&key, none).replace("\"Signature\":\"m", "\"Signature\":\"mAA");
    assert!(matches!(refusal(&unsigned), PutRefusal::Signature { .. }));
    let many = json!({"Addrs": vec!["x".repeat(ADDR_BYTES_MAX); 300]});
    let text = verify(&signed_with(&key, many)).unwrap_err().to_string();
    assert!(text.len() < 8 << 10 && text.ends_with("; and 268 more"), "{text}");
}

#[test]
fn names_in_another_case_say_nothing() {
    let key = ed25519_key(1);
    let other = ed25519_key(2).public().to_peer_id().to_base58();
    let odd =
        json!({"id": other, "addrs": ["/ip4/127.0.0.1/tcp/1"], "\u{212a}eys": [], "timestamp": 1});
    let [odd, plain] =
        [odd, json!({})].map(|changes| format!("{:?}", updates(&signed_with(&key, changes))));
    assert_eq!(odd, plain);
}

#[test]
fn whole_numbers_are_read_however_they_are_written() {
    let key = ed25519_key(1);
    let exact = payload(&key);
    let body = signed(&key, &exact);
    let odd = json!({"Timestamp": exact["Timestamp"].as_f64(), "AdvisoryTTL": 8.64e13});
    assert_eq!(verify(&signed_with(&key, odd)).unwrap().ttls(), verify(&body).unwrap().ttls());
}

#[test]
fn only_listed_peers_may_announce_where_there_is_a_list() {
    let listed = PutPolicy {
        allowed: Some(HashSet::from([PeerId::parse(VECTOR_PEER).unwrap()])),
        ..policy()
    };
    assert!(verify_by(&listed, &vector()).is_ok());
    let key = ed25519_key(1);
    let refused = verify_by(&listed, &signed(&key, &payload(&key))).unwrap_err();
    assert_eq!(refused.outcome(), "not_listed");
}

#[test]
fn the_settings_say_who_may_announce() {
    let mut settings = Settings::default();
    assert_eq!(policy().allowed, None);
    settings.announce = AnnounceMode::Allowlist;
    settings.announce_allowlist = VECTOR_PEER.parse().unwrap();
    assert_eq!(PutPolicy::new(&settings).unwrap().allowed.unwrap().len(), 1);
    settings.announce = AnnounceMode::Off;
    assert!(PutPolicy::new(&settings).is_none());
}

#[test]
fn one_bad_record_refuses_all() {
    let good = vector();
    let record = good.strip_prefix(r#"{"Providers":["#).unwrap().strip_suffix("]}").unwrap();
    let two = format!(r#"{{"Providers":[{record},{record}]}}"#);
    assert_eq!(updates(&two).len(), 2);
    let bad = record.replace("AdvisoryTTL\":8", "AdvisoryTTL\":9");
    let error = verify(&format!(r#"{{"Providers":[{record},{bad}]}}"#)).unwrap_err();
    assert!(matches!(error, PutError::Refused { record: 2, .. }), "{error:?}");
}

/// One change to a text.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
    Double(prop::sample::Index, usize),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let byte = || prop_oneof![3 => b' '..=b'~', 1 => any::<u8>(), 1 => b'0'..=b'9'];
        let index = any::<prop::sample::Index>;
        prop_oneof![
            4 => (index(), byte()).prop_map(|(at, byte)| Self::Replace(at, byte)),
            2 => (index(), byte()).prop_map(|(at, byte)| Self::Insert(at, byte)),
            2 => index().prop_map(Self::Remove),
            1 => (index(), index()).prop_map(|(one, other)| Self::Swap(one, other)),
            1 => index().prop_map(Self::Cut),
            1 => (index(), 1..80_usize).prop_map(|(at, bytes)| Self::Double(at, bytes)),
        ]
    }

    fn apply(&self, body: &mut Vec<u8>) {
        let length = body.len();
        match self {
            Self::Replace(at, byte) => body[at.index(length)] = *byte,
            Self::Insert(at, byte) => body.insert(at.index(length), *byte),
            Self::Remove(at) => drop(body.remove(at.index(length))),
            Self::Swap(one, other) => body.swap(one.index(length), other.index(length)),
            Self::Cut(at) => body.truncate(at.index(length)),
            Self::Double(at, bytes) => {
                let at = at.index(length);
                let piece = body[at..(at + bytes).min(length)].to_vec();
                body.splice(at..at, piece);
            }
        }
    }
}

/// The possible results of a mutated vector: 400 if it is no JSON or of another shape, 403 if it is
/// a request whose payload or signature differs. Never 413 or 422: it does not grow that much, and
/// keys are checked only after the signature. If it is accepted, then the mutation hit an unsigned
/// field, and the store gets the same as from the vector.
fn check_mutated(body: &[u8]) -> Result<(), TestCaseError> {
    let is_json = serde_json::from_slice::<Value>(body).is_ok();
    match policy()
        .verify(body, PutMoment { now_ms: VECTOR_MS, caller: None, origin: Origin::UNKNOWN })
    {
        Ok(put) => {
            let text = String::from_utf8_lossy(body);
            prop_assert!(text.contains(VECTOR_PAYLOAD), "{}", text);
            let told = |updates: Vec<Update>| format!("{updates:?}");
            prop_assert_eq!(told(put.into_updates()), told(updates(&vector())));
        }
        Err(PutError::Malformed { .. }) => {}
        Err(PutError::Refused { refusal, .. }) => {
            prop_assert!(is_json);
            let is_expected = matches!(
                refusal,
                PutRefusal::Signature { .. } | PutRefusal::Unsigned | PutRefusal::NoKey { .. }
            );
            prop_assert!(is_expected, "{}", refusal);
        }
        Err(other) => prop_assert!(false, "{}", other),
    }
    Ok(())
}

proptest! {
    #[test]
    fn mutations_of_the_vector_are_refused_with_the_right_error(
        bodies in prop::collection::vec(prop::collection::vec(Mutation::any(), 1..4), 10),
    ) {
        for mutations in &bodies {
            let mut body = vector().into_bytes();
            for mutation in mutations {
                mutation.apply(&mut body);
                // There is nothing left to mutate in an empty body.
                body.extend(body.is_empty().then_some(b' '));
            }
            check_mutated(&body)?;
        }
    }
}

#[test]
fn a_payload_with_any_byte_changed_is_refused() {
    for at in 0..VECTOR_PAYLOAD.len() {
        for byte in [b' ', b'"', b'7'] {
            let mut payload = VECTOR_PAYLOAD.as_bytes().to_vec();
            if std::mem::replace(&mut payload[at], byte) == byte {
                continue;
            }
            let body = request(std::str::from_utf8(&payload).unwrap(), VECTOR_SIGNATURE);
            let outcome = verify(&body).map_err(|error| error.outcome());
            let is_refused = matches!(outcome, Err("malformed" | "bad_signature" | "no_key"));
            assert!(is_refused, "{body}: {outcome:?}");
        }
    }
}
