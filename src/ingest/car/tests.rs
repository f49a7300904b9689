//! CAR files built here, cut and damaged in every place, and the samples.

use std::io;
use std::path::Path;

use multihash_codetable::{Code, MultihashDigest};

use crate::ingest::testing::{Imported, PEER, import};
use crate::ingest::{CarFlags, ImportError, ImportOptions, ImportSource, car_record, import_file};

const HEADER_V1: &[u8] = b"\xa2\x65roots\x80\x67version\x01";
const PRAGMA: &[u8] = b"\x0a\xa1\x67version\x02";

fn varint(number: u64) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::u64_buffer();
    unsigned_varint::encode::u64(number, &mut buffer).to_vec()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn cid(data: &[u8]) -> cid::Cid {
    cid::Cid::new_v1(0x55, Code::Sha2_256.digest(data))
}

/// The contents of the blocks of the files built here, one of them empty, one large, one twice.
fn contents() -> Vec<Vec<u8>> {
    vec![b"first".to_vec(), vec![], vec![7; 2_000], b"first".to_vec(), b"last".to_vec()]
}

fn sections() -> Vec<Vec<u8>> {
    let contents = contents();
    contents.iter().map(|data| framed(&[&cid(data).to_bytes()[..], data].concat())).collect()
}

fn car_v1() -> Vec<u8> {
    [framed(HEADER_V1), sections().concat()].concat()
}

fn v2_header(data_offset: u64, data_bytes: u64) -> Vec<u8> {
    let numbers = [data_offset, data_bytes, 0].map(u64::to_le_bytes).concat();
    [PRAGMA, &[0; 16], &numbers].concat()
}

/// With a gap before the data and an index after it.
fn car_v2() -> Vec<u8> {
    let inner = car_v1();
    let header = v2_header(51 + 9, inner.len() as u64);
    [&header[..], &[0xee; 9], &inner, b"an index that nobody reads"].concat()
}

fn options() -> ImportOptions {
    let flags = CarFlags { provider: Some(PEER.to_owned()), ..CarFlags::default() };
    let record = car_record(&["f.car".into()], &flags).unwrap();
    ImportOptions { car_record: record, ..ImportOptions::new(0) }
}

fn verifying() -> ImportOptions {
    ImportOptions { verify: true, ..options() }
}

fn import_car(bytes: &[u8], options: &ImportOptions) -> Imported {
    import(ImportSource::car("f.car", bytes.to_vec()), options)
}

fn cids(imported: &Imported) -> Vec<String> {
    imported.entries().into_iter().map(|(cid, _, _)| cid).collect()
}

fn expected_cids(blocks: usize) -> Vec<String> {
    contents().iter().take(blocks).map(|data| cid(data).to_string()).collect()
}

#[test]
fn both_versions_give_the_key_of_every_block() {
    for bytes in [car_v1(), car_v2()] {
        for options in [options(), verifying()] {
            let imported = import_car(&bytes, &options);
            assert_eq!(cids(&imported), expected_cids(5));
            assert_eq!(
                imported.result.unwrap().to_string(),
                "f.car: 5 blocks, 5 keys, 5 records (4 new, 1 known), 0 rejected"
            );
        }
    }
}

#[test]
fn every_cut_keeps_the_whole_blocks_before_it_and_names_its_place() {
    let lengths: Vec<usize> = sections().iter().map(Vec::len).collect();
    let header_bytes = framed(HEADER_V1).len();
    for (bytes, start) in [(car_v1(), 0), (car_v2(), 60)] {
        let data_bytes = car_v1().len();
        for cut in 0..bytes.len() {
            let in_data = cut.saturating_sub(start);
            let mut ends = lengths.iter().scan(header_bytes, |end, length| {
                *end += length;
                Some(*end)
            });
            let whole = ends.clone().filter(|end| *end <= in_data).count();
            // Version 1 does not say how long it is.
            let is_invisible =
                start == 0 && (in_data == header_bytes || ends.any(|end| end == cut));
            let is_after_data = in_data >= data_bytes;
            for options in [options(), verifying()] {
                let imported = import_car(&bytes[..cut], &options);
                assert_eq!(cids(&imported), expected_cids(whole), "cut at {cut}");
                match &imported.result {
                    Ok(_) => assert!(is_invisible || is_after_data, "cut at {cut}"),
                    Err(failure) => {
                        let ImportError::Truncated { offset, .. } = failure.error else {
                            panic!("cut at {cut}: {failure}")
                        };
                        assert_eq!(offset, cut as u64);
                        assert!(!is_invisible && !is_after_data, "cut at {cut}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_car_that_was_never_finalized_gives_its_whole_blocks_and_a_warning() {
    let header = [PRAGMA, &[0; 40]].concat();
    let (inner_header, sections) = (framed(HEADER_V1), sections());
    let whole = [&header[..], &inner_header, &sections.concat()].concat();
    let ends = sections.iter().scan(header.len() + inner_header.len(), |end, section| {
        *end += section.len();
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    for cut in header.len() + inner_header.len()..=whole.len() {
        let blocks = ends.iter().filter(|end| **end <= cut).count();
        for zeros in [0, 7] {
            // Room that was reserved and not written stays zero.
            let bytes = [&whole[..cut], &vec![0; zeros]].concat();
            if zeros > 0 && !ends.contains(&cut) {
                continue;
            }
            let imported = import_car(&bytes, &verifying());
            assert_eq!(cids(&imported), expected_cids(blocks), "cut at {cut}");
            let summary = imported.result.unwrap();
            assert!(summary.counts.is_unfinalized);
            assert!(summary.to_string().contains("; warning: this CAR was never finalized"));
        }
    }
    // One that was finalized says nothing of the kind.
    assert!(!import_car(&car_v2(), &options()).summary().counts.is_unfinalized);
}

#[test]
fn a_cut_says_where_and_inside_of_what() {
    let bytes = car_v1();
    let header = framed(HEADER_V1).len();
    let inside_of_block = import_car(&bytes[..header + 3], &options());
    assert_eq!(
        inside_of_block.error().to_string(),
        "f.car: cut short at byte 21 of its content, inside the section that begins at byte 18"
    );
    let empty = import_car(b"", &options());
    assert_eq!(
        empty.error().to_string(),
        "f.car: cut short at byte 0 of its content, inside the header"
    );
}

#[test]
fn what_is_no_car_is_refused_with_the_place() {
    let data = framed(HEADER_V1);
    let with_length = |length: u64| [&data[..], &varint(length), b"x"].concat();
    let v2 = |offset: u64, bytes: u64| [&v2_header(offset, bytes)[..], &car_v1()].concat();
    let inner_v2 = [v2_header(51, 60), PRAGMA.to_vec(), vec![0; 49]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (with_length(1 << 60), "byte 18: a section of 1152921504606846976 bytes, at most 33554432"),
        (with_length(u64::MAX / 2), "byte 18: a section of 9223372036854775807 bytes, at most"),
        (
            [&data[..], &[0xff; 11]].concat(),
            "byte 18: a length that is no varint of at most 63 bits",
        ),
        (
            [&data[..], &[0x81, 0x00]].concat(),
            "byte 18: a length that is no varint of at most 63 bits",
        ),
        (varint(1 << 60), "byte 0: a header of 1152921504606846976 bytes, at most 1048576"),
        (vec![0; 100], "byte 0: no map where the header should be: this is no CAR file"),
        (framed(b"\xa1\x65roots\x80"), "byte 0: a header without a version: this is no CAR file"),
        (framed(b"\xa1\x67version"), "byte 0: a header without a version: this is no CAR file"),
        (framed(b"\xa1\x67version\x03"), "byte 0: a CAR of version 3, only 1 and 2 are read"),
        (framed(b"\xa2\x65roots\x80\x67version\x02"), "byte 0: a CAR of version 2, only 1"),
        (inner_v2, "byte 51: version 2 inside of a CAR of version 2"),
        (v2(50, 10), "byte 11: data at byte 50, inside of the header"),
        (v2(51, 0), "byte 11: data of no bytes"),
        (v2(51, u64::MAX), "byte 11: data of 18446744073709551615 bytes"),
        (v2(51, 10), "byte 51: a header of 17 bytes, but the data ends at byte 61"),
        (v2(51, 20), "byte 69: a section of 41 bytes, but the data ends at byte 71"),
    ];
    for (bytes, message) in cases {
        let imported = import_car(&bytes, &options());
        let ImportError::Format { reason, .. } = imported.error() else {
            panic!("{message}: {}", imported.error())
        };
        assert!(reason.starts_with(message), "{reason}");
        assert!(imported.entries().is_empty());
    }
}

#[test]
fn data_of_version_2_that_ends_within_a_length_is_refused() {
    let long = framed(&[&cid(&[1; 200]).to_bytes()[..], &[1; 200]].concat());
    let inner = [framed(HEADER_V1), long].concat();
    let bytes = [v2_header(51, framed(HEADER_V1).len() as u64 + 1), inner].concat();
    let imported = import_car(&bytes, &options());
    assert_eq!(imported.error().to_string(), "f.car: byte 69: the data ends within a length");
}

#[test]
fn padding_ends_the_blocks_and_anything_else_after_it_is_an_error() {
    let padded = [car_v1(), vec![0; 100_000]].concat();
    let imported = import_car(&padded, &options());
    assert_eq!(cids(&imported), expected_cids(5));
    assert!(imported.result.is_ok());

    let inner = [car_v1(), vec![0; 1_000]].concat();
    let v2 = [v2_header(51, inner.len() as u64), inner, b"index".to_vec()].concat();
    assert!(import_car(&v2, &options()).result.is_ok());

    let more = [padded, sections()[0].clone()].concat();
    let imported = import_car(&more, &options());
    assert_eq!(cids(&imported), expected_cids(5));
    let message = "a section of no bytes, and more than padding after it";
    assert!(imported.error().to_string().ends_with(message));
}

#[test]
fn a_block_with_an_unreadable_cid_costs_only_itself() {
    let bad = framed(&[2; 5_000]);
    let bytes = [framed(HEADER_V1), bad.clone(), sections().concat(), bad].concat();
    let imported = import_car(&bytes, &options());
    assert_eq!(cids(&imported), expected_cids(5));
    assert_eq!(
        imported.observed.rejections[0],
        "f.car: byte 18: the block's CID cannot be read: CID version 2 does not exist, only 0 \
         and 1"
    );
    assert_eq!(imported.summary().counts.rejected_total(), 2);
}

#[test]
fn verifying_rejects_wrong_blocks_and_counts_unknown_hashes() {
    let section = |cid: &[u8], data: &[u8]| framed(&[cid, data].concat());
    let unknown = [&[0x01, 0x55, 0x99, 0x01, 32][..], &[9; 32]].concat();
    let bytes = [
        framed(HEADER_V1),
        section(&cid(b"good").to_bytes(), b"good"),
        section(&cid(b"good").to_bytes(), b"bad!"),
        section(&unknown, b"?"),
        section(&[0x01, 0x55, 0x00, 0x02, b'h', b'i'], b"hi"),
        section(&[0x01, 0x55, 0x00, 0x02, b'h', b'i'], b"ho"),
    ]
    .concat();
    let imported = import_car(&bytes, &verifying());
    assert_eq!(cids(&imported).len(), 3);
    let cid = cid(b"good");
    let greeting = multibase::encode(multibase::Base::Base32Lower, b"\x01\x55\x00\x02hi");
    assert_eq!(
        imported.observed.rejections,
        [
            format!("f.car: byte 59: the block is not what its CID says ({cid})"),
            format!("f.car: byte 148: the block is not what its CID says ({greeting})"),
        ]
    );
    assert!(imported.summary().to_string().ends_with(", 1 block not verifiable"));
    assert_eq!(import_car(&bytes, &options()).summary().counts.keys, 5);
}

#[test]
fn a_car_without_a_record_is_refused() {
    let imported = import_car(&car_v1(), &ImportOptions::new(0));
    assert!(matches!(imported.error(), ImportError::NoCarRecord { .. }));
}

#[test]
fn batches_are_bounded() {
    let one = framed(&cid(b"").to_bytes());
    let bytes = [framed(HEADER_V1), one.repeat(10_000)].concat();
    let imported = import_car(&bytes, &options());
    let sizes: Vec<usize> = imported.batches.iter().map(|batch| batch[0].keys.len()).collect();
    assert_eq!(sizes, [4_096, 4_096, 1_808]);
    assert!(imported.observed.position_bytes > 0);
}

#[test]
fn a_car_that_stops_counts_the_blocks_after_which_it_can_go_on() {
    let one = framed(&cid(b"").to_bytes());
    let bytes = [framed(HEADER_V1), one.repeat(10_000)].concat();
    let mut calls = 0;
    let mut sink = |_| {
        calls += 1;
        match calls {
            1 => Ok(crate::store::Applied::default()),
            _ => Err(crate::store::StoreError::Full { limit: crate::types::Limit::Groups }),
        }
    };
    let source = ImportSource::car("f.car", bytes);
    let failure = crate::ingest::import_source(source, &options(), &mut sink, &mut ()).unwrap_err();
    let counts = failure.summary.unwrap().counts;
    assert_eq!((counts.blocks, counts.keys, counts.lines), (4_096, 4_096, 0));

    let good = framed(&[&cid(b"good").to_bytes()[..], b"good"].concat());
    let bad = framed(&[&cid(b"good").to_bytes()[..], b"bad!"].concat());
    let strict = ImportOptions { strict: true, ..verifying() };
    let imported = import_car(&[&framed(HEADER_V1)[..], &good, &bad, &good].concat(), &strict);
    let counts = &imported.summary().counts;
    assert_eq!((counts.blocks, counts.keys, counts.rejected_total()), (1, 1, 1));
}

#[test]
fn random_damage_never_panics() {
    let whole = car_v2();
    for position in 0..whole.len().min(400) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[position] ^= flip;
            let imported = import_car(&bytes, &verifying());
            assert!(imported.summary().counts.blocks <= 2_000);
        }
    }
}

/// The sample CARs are no part of the repository: they stand beside it where they are at hand.
#[test]
fn the_samples_give_their_known_numbers_of_keys() {
    const SAMPLES: [(&str, u64); 8] = [
        ("sample-v1.car", 1_049),
        ("sample-wrapped-v2.car", 1_049),
        ("dir_listing-fixtures.car", 10),
        ("path_gateway_dag-dag-cbor-traversal.car", 3),
        ("path_gateway_unixfs-dir-with-files.car", 9),
        ("trustless_gateway_car-dir-with-duplicate-files.car", 9),
        ("trustless_gateway_car-file-3k-and-3-blocks-missing-block.car", 3),
        ("trustless_gateway_car-single-layer-hamt-with-multi-block-files.car", 243),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/car");
    if !folder.is_dir() {
        let notice = format!("SKIPPED: no sample CARs in {}\n", folder.display());
        io::Write::write_all(&mut io::stderr(), notice.as_bytes()).unwrap();
        return;
    }
    for (name, blocks) in SAMPLES {
        let mut keys = std::collections::HashSet::new();
        let mut sink = |batch: Vec<crate::store::Update>| {
            let announced = batch.into_iter().flat_map(|update| update.announcements);
            keys.extend(announced.flat_map(|announced| announced.keys));
            Ok(crate::store::Applied::default())
        };
        let summary = import_file(&folder.join(name), &verifying(), &mut sink, &mut ()).unwrap();
        assert_eq!((summary.counts.keys, keys.len() as u64), (blocks, blocks), "{name}");
        assert_eq!((summary.counts.rejected_total(), summary.counts.unverifiable), (0, 0));
    }
}
