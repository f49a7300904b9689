//! Real records, whole and broken, and many thousand mutations of the whole ones.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The folder of real records; its README says where they are from.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/ipns/", $name, ".ipns-record"))
    };
}

const V1_V2: (&str, &[u8]) = (
    "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w",
    fixture!("k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w_v1-v2"),
);
const V2: (&str, &[u8]) = (
    "k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f",
    fixture!("k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f_v2"),
);
const BROKEN_V1_SIGNATURE: (&str, &[u8]) = (
    "k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y",
    fixture!(
        "k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y_v1-v2-broken-signature-v1"
    ),
);
/// RSA; its name in base 58 is that of the file.
const RSA: (&str, &[u8]) = (
    "k2k4r8m7xvggw5pxxk3abrkwyer625hg01hfyggrai7lk1m63fuihi7w",
    fixture!("QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3"),
);
const V1: (&str, &[u8]) = (
    "k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku",
    fixture!("k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku_v1"),
);
const BROKEN_V1_VALUE: (&str, &[u8]) = (
    "k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw",
    fixture!(
        "k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw_v1-v2-broken-v1-value"
    ),
);
const BROKEN_V2_SIGNATURE: (&str, &[u8]) = (
    "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c",
    fixture!(
        "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c_v1-v2-broken-signature-v2"
    ),
);

const RSA_1024: (&str, &[u8]) =
    ("k2k4r8nmd7o2a1gkva27qm6cw33wflyi543jswxp44y2yqhiakgynps6", fixture!("rsa-1024-made-here"));
const RSA_2048: (&str, &[u8]) =
    ("k2k4r8m0v0ctyhoa81qlwblsrkngse7pbwqqf05h89x3lkbu7z3uw2om", fixture!("rsa-2048-made-here"));

const WHOLE: [(&str, &[u8]); 4] = [V1_V2, V2, BROKEN_V1_SIGNATURE, RSA];

fn verify((name, bytes): (&str, &[u8])) -> Result<IpnsRecord, IpnsError> {
    IpnsRecord::verify(bytes, &IpnsName::parse(name).unwrap())
}

#[test]
fn real_records_verify_and_say_what_was_signed() {
    for (fixture, value, ttl_s) in [
        (V1_V2, "/ipfs/bafkqaddwgevxmmraojswg33smq", 1_800),
        (V2, "/ipfs/bafkqadtwgiww63tmpeqhezldn5zgi", 1_800),
        (
            BROKEN_V1_SIGNATURE,
            "/ipfs/bafkqahtwgevxmmrao5uxi2bamjzg623fnyqhg2lhnzqxi5lsmuqhmmi",
            1_800,
        ),
        (RSA, "/ipfs/bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am", 3_155_760_000),
    ] {
        let record = verify(fixture).unwrap();
        assert_eq!(record.value(), value.as_bytes());
        assert_eq!(record.ttl(), Some(Duration::from_secs(ttl_s)));
        assert_eq!(record.sequence(), 0);
        assert_eq!(record.bytes(), fixture.1);
        assert_eq!(record.name().to_string(), fixture.0);
        assert_eq!(IpnsRecord::restore(fixture.1, record.name()).unwrap(), record);
    }
    let end = verify(V2).unwrap().end_of_validity();
    assert_eq!(end.to_string(), "2123-08-14T12:17:03.694052000Z");
}

#[test]
fn broken_records_and_those_of_version_1_alone_are_refused() {
    assert_eq!(verify(V1), Err(IpnsError::VersionOneOnly));
    assert_eq!(verify(BROKEN_V2_SIGNATURE), Err(IpnsError::Signature));
    assert_eq!(verify(BROKEN_V1_VALUE), Err(IpnsError::Disagrees { field: "value" }));
}

#[test]
fn an_rsa_key_has_2048_bits_at_least() {
    assert!(verify(RSA_2048).is_ok());
    assert_eq!(verify(RSA_1024), Err(IpnsError::Signature));
}

#[test]
fn a_record_under_another_name_is_refused() {
    assert_eq!(verify((V2.0, V1_V2.1)), Err(IpnsError::Signature));
    assert_eq!(verify((V2.0, RSA.1)), Err(IpnsError::KeyOfAnother));
    assert_eq!(verify((RSA.0, V2.1)), Err(IpnsError::KeyMissing));
}

#[test]
fn a_name_that_holds_no_key_has_no_record() {
    let name = IpnsName::from_multihash(&[0, 3, 8, 9, 9]).unwrap();
    assert!(matches!(IpnsRecord::verify(V2.1, &name), Err(IpnsError::Key { .. })));
}

#[test]
fn too_many_bytes_are_not_read() {
    let padded = [V2.1, &vec![0; IPNS_RECORD_BYTES_MAX]].concat();
    assert_eq!(verify((V2.0, &padded)), Err(IpnsError::TooLarge(padded.len())));
}

/// A record with these parts, with the signature that it has in the fixture.
fn with_entry(fixture: (&str, &[u8]), change: impl FnOnce(&mut Entry)) -> Vec<u8> {
    let mut entry = Entry::parse(fixture.1).unwrap();
    change(&mut entry);
    entry.encode_to_vec()
}

#[test]
fn each_field_of_version_1_must_say_what_the_data_says() {
    type Change = fn(&mut Entry);
    let changes: [(&str, Change); 10] = [
        ("value", |entry| entry.value = Some(b"/ipfs/x".to_vec())),
        ("validity", |entry| entry.validity = Some(b"2123-08-14T12:17:04Z".to_vec())),
        ("validityType", |entry| entry.validity_type = Some(1)),
        ("sequence", |entry| entry.sequence = Some(1)),
        ("ttl", |entry| entry.ttl = Some(1)),
        // Missing ones of a record of both versions say 0.
        ("value", |entry| entry.value = None),
        ("validity", |entry| entry.validity = None),
        ("ttl", |entry| entry.ttl = None),
        // In a record of version 2 alone, a stray one must agree all the same.
        ("ttl", |entry| *entry = Entry { ttl: Some(1), ..version_2(entry) }),
        ("validityType", |entry| *entry = Entry { validity_type: Some(2), ..version_2(entry) }),
    ];
    for (field, change) in changes {
        let bytes = with_entry(V1_V2, change);
        assert_eq!(verify((V1_V2.0, &bytes)), Err(IpnsError::Disagrees { field }), "{field}");
    }
    let sequence_missing = with_entry(V1_V2, |entry| entry.sequence = None);
    assert!(verify((V1_V2.0, &sequence_missing)).is_ok(), "0 is what the data says");
    let version_2_alone = with_entry(V1_V2, |entry| *entry = version_2(entry));
    assert!(verify((V1_V2.0, &version_2_alone)).is_ok());
}

fn version_2(entry: &Entry) -> Entry {
    Entry { signature_v2: entry.signature_v2.clone(), data: entry.data.clone(), ..Entry::default() }
}

#[test]
fn deep_and_boastful_cbor_is_refused() {
    for data in [vec![0x81; 9_000], vec![0x9a, 0xff, 0xff, 0xff, 0xff], vec![0xbf; 3], vec![0xa0]] {
        assert!(SignedData::parse(&data).is_err());
    }
}

#[test]
fn fields_of_the_data_must_be_there_and_of_their_kind() {
    let sound = |end: &str| {
        Ipld::Map(BTreeMap::from([
            ("Value".to_owned(), Ipld::Bytes(b"/ipfs/x".to_vec())),
            ("Validity".to_owned(), Ipld::Bytes(end.as_bytes().to_vec())),
            ("ValidityType".to_owned(), Ipld::Integer(0)),
            ("Sequence".to_owned(), Ipld::Integer(u64::MAX.into())),
            ("TTL".to_owned(), Ipld::Integer(0)),
            ("more".to_owned(), Ipld::Bool(true)),
        ]))
    };
    let parse = |ipld: &Ipld| SignedData::parse(&serde_ipld_dagcbor::to_vec(ipld).unwrap());
    let good = sound("2030-01-01T00:00:00Z");
    assert_eq!(parse(&good).unwrap().sequence, u64::MAX);
    assert!(parse(&sound("tomorrow")).is_err());
    let Ipld::Map(fields) = good else { panic!("it is a map") };
    for (field, wrong) in [
        ("Value", Ipld::String("/ipfs/x".to_owned())),
        ("Validity", Ipld::Null),
        ("ValidityType", Ipld::Integer(1)),
        ("Sequence", Ipld::Integer(-1)),
        ("TTL", Ipld::Integer(-1)),
        ("TTL", Ipld::Float(1.5)),
    ] {
        let mut changed = fields.clone();
        changed.insert(field.to_owned(), wrong);
        let error = parse(&Ipld::Map(changed)).unwrap_err();
        assert!(matches!(error, IpnsError::DataField { field: named, .. } if named == field));
    }
    for field in ["Value", "Validity", "ValidityType", "Sequence"] {
        let mut changed = fields.clone();
        changed.remove(field);
        let expected = IpnsError::DataField { field, reason: "missing" };
        assert_eq!(parse(&Ipld::Map(changed)).unwrap_err(), expected);
    }
    let mut without_ttl = fields;
    without_ttl.remove("TTL");
    assert_eq!(parse(&Ipld::Map(without_ttl)).unwrap().ttl_ns, None);
}

#[test]
fn a_higher_sequence_counts_then_a_later_end_then_the_data() {
    let record = |sequence: u64, end: &str, value: &str| IpnsRecord {
        name: IpnsName::parse(V2.0).unwrap(),
        bytes: Bytes::new(),
        signed: SignedData {
            value: value.as_bytes().to_vec(),
            validity: end.as_bytes().to_vec(),
            end: EndOfValidity::parse(end.as_bytes()).unwrap(),
            sequence,
            ttl_ns: None,
        },
    };
    let ascending = [
        record(1, "2030-01-01T00:00:00Z", "b"),
        record(1, "2030-01-01T00:00:00.000000001Z", "a"),
        record(1, "2031-01-01T00:00:00Z", "a"),
        record(1, "2031-01-01T00:00:00Z", "b"),
        record(2, "2029-01-01T00:00:00Z", "a"),
    ];
    for (left, one) in ascending.iter().enumerate() {
        for (right, other) in ascending.iter().enumerate() {
            assert_eq!(one.cmp_precedence(other), left.cmp(&right), "{left} {right}");
        }
    }
}

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Drop(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Damage::Drop(at, count)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..12))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        match damage {
            Damage::Flip(at, bits) => *at.get_mut(&mut bytes) ^= bits,
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Drop(at, count) => {
                let start = at.index(bytes.len());
                bytes.drain(start..bytes.len().min(start + count));
            }
            Damage::Insert(at, inserted) => {
                let start = at.index(bytes.len());
                bytes.splice(start..start, inserted.iter().copied());
            }
            Damage::Repeat(at, count) => {
                let start = at.index(bytes.len());
                let repeated = bytes[start..bytes.len().min(start + count)].to_vec();
                bytes.splice(start..start, repeated);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn a_mutation_of_a_good_record_is_refused_or_means_the_same(
        which in 0..WHOLE.len(),
        mutations in prop::collection::vec(prop::collection::vec(damage(), 1..4), 12),
    ) {
        let (name, bytes) = WHOLE[which];
        let name = IpnsName::parse(name).unwrap();
        let original = IpnsRecord::restore(bytes, &name).unwrap();
        for damages in &mutations {
            if let Ok(record) = IpnsRecord::verify(&damaged(bytes, damages), &name) {
                prop_assert_eq!(&record.signed, &original.signed);
            }
        }
    }

    #[test]
    fn no_bytes_panic_as_a_record(bytes: Vec<u8>) {
        let _ = verify((V2.0, &bytes));
        let _ = SignedData::parse(&bytes);
    }
}
