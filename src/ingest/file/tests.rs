//! Names, compression, and files that are not what their names say.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::ingest::testing::{Imported, import};
use crate::ingest::{
    Compression, ImportError, ImportKind, ImportOptions, ImportSource, import_file,
};
use crate::types::Schema;

const LINE: &[u8] = b"{\"CID\":\"bafkqaaa\",\"Providers\":[{\"Schema\":\"x\"}]}\n";
const CAR: &[u8] = b"\x11\xa2\x65roots\x80\x67version\x01\x04\x01\x55\x00\x00";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn options() -> ImportOptions {
    let record = crate::types::ProviderRecord::parse(
        r#"{"Schema":"x"}"#,
        crate::types::UnparsableAddrs::Drop,
    );
    ImportOptions { car_record: Some(record.unwrap().record), ..ImportOptions::new(0) }
}

/// Imports a file of this name and content.
fn import_named(name: &str, bytes: &[u8]) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut source = ImportSource::open(&path).unwrap();
    assert_eq!(source.size_bytes, Some(bytes.len() as u64));
    source.name = name.into();
    import(source, &options())
}

#[test]
fn the_ending_says_what_a_file_is() {
    use Compression::{Gzip, None, Zstd};
    use ImportKind::{Car, Ndjson};
    let cases = [
        ("a.ndjson", (Ndjson, None)),
        ("a.jsonl.gz", (Ndjson, Gzip)),
        ("a", (Ndjson, None)),
        ("-", (Ndjson, None)),
        ("dir.car/a.zst", (Ndjson, Zstd)),
        ("a.car", (Car, None)),
        ("A.CAR.GZ", (Car, Gzip)),
        ("a.car.zst", (Car, Zstd)),
        ("acar", (Ndjson, None)),
    ];
    for (path, kind) in cases {
        assert_eq!(ImportKind::of_path(Path::new(path)), kind, "{path}");
    }
}

#[test]
fn every_kind_is_read_plain_and_compressed_in_one_piece_or_several() {
    let three = LINE.repeat(3);
    let car = [CAR, &[4, 1, 0x55, 0, 0]].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd(&three)].concat();
    let cases = [
        ("a.ndjson", three.clone(), 3),
        ("a.ndjson", vec![], 0),
        ("a.ndjson.gz", gzip(&three), 3),
        ("a.ndjson.gz", [gzip(&three), gzip(&three)].concat(), 6),
        ("a.ndjson.zst", zstd(&three), 3),
        ("a.ndjson.zst", [zstd(&three), zstd(&three)].concat(), 6),
        ("a.ndjson.zst", skippable, 3),
        ("a.car", car.clone(), 2),
        ("a.car.gz", gzip(&car), 2),
        ("a.car.zst", zstd(&car), 2),
    ];
    for (name, bytes, entries) in cases {
        let imported = import_named(name, &bytes);
        assert!(imported.result.is_ok(), "{name}: {:?}", imported.result);
        assert_eq!(imported.entries().len(), entries, "{name}");
        let observed = &imported.observed;
        assert_eq!((observed.begun, observed.ended), (1, 1));
        let read = if entries == 0 { 0 } else { bytes.len() as u64 };
        assert_eq!(observed.position_bytes, read, "{name}");
    }
}

#[test]
fn a_file_that_contradicts_its_name_is_refused_with_advice() {
    let car_v2 = b"\x0a\xa1\x67version\x02";
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("a.ndjson", CAR.to_vec(), "it is a CAR file, but its name does not end in `.car`"),
        ("a.ndjson", car_v2.to_vec(), "it is a CAR file, but its name does not end in `.car`"),
        ("a.ndjson.gz", gzip(CAR), "it is a CAR file, but its name does not end in `.car`"),
        ("a.car", LINE.to_vec(), "its name ends in `.car`, but it holds JSON"),
        ("a.car.zst", zstd(b"\xef\xbb\xbf \n{ }"), "its name ends in `.car`, but it holds JSON"),
        ("a.ndjson", gzip(LINE), "it is compressed with gzip, but its name does not end in `.gz`"),
        ("a.car", zstd(CAR), "it is compressed with zstd, but its name does not end in `.zst`"),
        ("a.car.gz", zstd(CAR), "it is compressed with zstd, but its name does not end in `.zst`"),
        (
            "a.ndjson.gz",
            LINE.to_vec(),
            "its name ends in `.gz`, but it is not compressed with gzip",
        ),
        ("a.zst", vec![], "its name ends in `.zst`, but it is not compressed with zstd"),
    ];
    for (name, bytes, message) in cases {
        let imported = import_named(name, &bytes);
        let ImportError::Format { reason, .. } = imported.error() else {
            panic!("{name}: {}", imported.error())
        };
        assert!(reason.starts_with(message), "{name}: {reason}");
        assert!(imported.entries().is_empty());
        assert_eq!(imported.observed.ended, 1);
    }
}

/// Lines that do not compress away, so that a cut in the middle leaves whole lines before it.
fn varied_lines() -> Vec<u8> {
    let line = |n: u64| {
        let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{{\"CID\":\"bafkqaaa\",\"Providers\":[{{\"Schema\":\"x\",\"n\":{noise}}}]}}\n")
    };
    (0..20_000).map(line).collect::<String>().into_bytes()
}

#[test]
fn a_compressed_file_that_is_cut_keeps_its_whole_lines_and_names_the_place() {
    let lines = varied_lines();
    for (name, bytes) in [("a.ndjson.gz", gzip(&lines)), ("a.ndjson.zst", zstd(&lines))] {
        let imported = import_named(name, &bytes[..bytes.len() / 2]);
        let ImportError::Truncated { offset, inside, .. } = imported.error() else {
            panic!("{name}: {}", imported.error())
        };
        let whole = imported.entries().len();
        assert!(whole > 1_000 && whole < 20_000, "{name}: {whole}");
        assert!(*offset > 0 && *offset < lines.len() as u64);
        assert_eq!(*inside, format!("line {}", whole + 1));
        assert_eq!(imported.summary().counts.rejected_total(), 0);
    }
}

#[test]
fn damaged_compression_is_an_error_and_not_an_end() {
    let mut gz = gzip(&varied_lines());
    let middle = gz.len() / 2;
    gz[middle..middle + 64].fill(0xff);
    let mut zst = zstd(&varied_lines());
    let middle = zst.len() / 2;
    zst[middle..middle + 64].fill(0xff);
    for (name, bytes) in [("a.gz", gz), ("a.zst", zst)] {
        let imported = import_named(name, &bytes);
        assert!(
            matches!(imported.error(), ImportError::Read { .. }),
            "{name}: {}",
            imported.error()
        );
    }
}

#[test]
fn a_zstd_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(LINE).unwrap();
    let imported = import_named("a.zst", &encoder.finish().unwrap());
    assert!(matches!(imported.error(), ImportError::Read { .. }), "{}", imported.error());
    assert!(imported.entries().is_empty());
}

#[test]
fn a_file_that_cannot_be_opened_or_read_is_named() {
    let mut sink = |_| Ok(crate::store::Applied::default());
    let missing = PathBuf::from("no/such/file.ndjson");
    let failure = import_file(&missing, &options(), &mut sink, &mut ()).unwrap_err();
    assert_eq!(failure.to_string(), "cannot open no/such/file.ndjson");
    assert!(failure.summary.is_none());
    let folder = tempfile::tempdir().unwrap();
    let failure = import_file(folder.path(), &options(), &mut sink, &mut ()).unwrap_err();
    assert!(matches!(failure.error, ImportError::Read { .. }), "{failure}");
}

#[test]
fn the_example_is_whole_and_shows_every_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers.ndjson");
    let imported = import(ImportSource::open(&path).unwrap(), &options());
    let counts = &imported.summary().counts;
    assert_eq!(imported.observed.rejections, [""; 0]);
    assert_eq!((counts.lines, counts.keys, counts.records), (36, 36, 51));
    assert_eq!((counts.expired, counts.addrs_dropped), (0, 0));
    let announcements = imported.batches.iter().flatten();
    let schemas: HashSet<Schema> = announcements.map(|one| one.record.schema()).collect();
    let all = [Schema::Bitswap, Schema::Graphsync, Schema::Peer, Schema::Unknown];
    assert_eq!(schemas, HashSet::from(all));
}
