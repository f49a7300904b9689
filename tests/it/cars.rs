//! CAR files: every block is found, by every form of its CID.

use std::io::Cursor;
use std::path::Path;

use cid::Cid;
use fingerpost::clock::Clock;
use fingerpost::ingest::{ImportOptions, import_file};
use fingerpost::types::{ProviderRecord, UnparsableAddrs};
use futures_util::{StreamExt, stream};
use multihash_codetable::{Code, MultihashDigest};

use super::harness::{PEER, TestServer, server};

const CODEC_RAW: u64 = 0x55;
const CODEC_DAG_PB: u64 = 0x70;

async fn import(server: &TestServer, path: &Path) {
    let record = format!(
        r#"{{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"{PEER}","Addrs":["/ip4/192.0.2.1/tcp/4001"]}}"#
    );
    let mut options = ImportOptions::new(Clock::System.now_ms());
    options.verify = true;
    let parsed = ProviderRecord::parse(&record, UnparsableAddrs::Drop).unwrap();
    options.car_record = Some(parsed.record);
    let (store, path) = (server.server().store().clone(), path.to_owned());
    let runtime = tokio::runtime::Handle::current();
    let summary = tokio::task::spawn_blocking(move || {
        let mut sink = |updates| runtime.block_on(store.update(updates, Clock::System.now_ms()));
        import_file(&path, &options, &mut sink, &mut ()).unwrap()
    });
    assert_eq!(summary.await.unwrap().counts.rejected_total(), 0);
}

/// The CIDs of a CAR's sections, read with the cid crate alone.
fn cids(car: &[u8]) -> Vec<Cid> {
    const V2_HEADER: usize = 11 + 40;
    let v1 = if car.starts_with(b"\x0a\xa1gversion\x02") {
        let number = |at: usize| u64::from_le_bytes(car[at..at + 8].try_into().unwrap()) as usize;
        let (offset, size) = (number(V2_HEADER - 24), number(V2_HEADER - 16));
        &car[offset..offset + size]
    } else {
        car
    };
    let split = |bytes: &[u8]| {
        let (length, rest) = unsigned_varint::decode::usize(bytes).unwrap();
        (bytes.len() - rest.len(), length)
    };
    let (prefix, header) = split(v1);
    let mut rest = &v1[prefix + header..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (prefix, length) = split(rest);
        found.push(Cid::read_bytes(Cursor::new(&rest[prefix..])).unwrap());
        rest = &rest[prefix + length..];
    }
    found
}

/// Every form in which a client may name the content of `cid`.
fn forms(cid: &Cid) -> Vec<String> {
    let mut forms = vec![
        cid.to_string(),
        Cid::new_v1(CODEC_RAW, *cid.hash()).to_string(),
        Cid::new_v1(CODEC_DAG_PB, *cid.hash()).to_string(),
    ];
    forms.extend(Cid::new_v0(*cid.hash()).map(|v0| v0.to_string()));
    forms
}

async fn every_block_is_found(path: &Path) -> usize {
    let server = server().start().await;
    import(&server, path).await;
    let cids = cids(&std::fs::read(path).unwrap());
    let questions: Vec<String> = cids.iter().flat_map(forms).collect();
    let server = &server;
    let answers: Vec<(String, u16)> = stream::iter(questions)
        .map(async |cid| (cid.clone(), server.providers(&cid).await.status().as_u16()))
        .buffer_unordered(16)
        .collect()
        .await;
    let missed: Vec<_> = answers.iter().filter(|(_, status)| *status != 200).collect();
    assert!(missed.is_empty(), "{missed:?}");
    cids.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_a_car_is_found_by_every_form_of_its_cid() {
    let mut car = b"\x11\xa2eroots\x80gversion\x01".to_vec();
    for number in 0..50_u8 {
        let block = vec![number; usize::from(number)];
        let cid = if number % 2 == 0 {
            Cid::new_v0(Code::Sha2_256.digest(&block)).unwrap()
        } else {
            Cid::new_v1(CODEC_RAW, Code::Blake2b256.digest(&block))
        };
        let section = [cid.to_bytes(), block].concat();
        car.extend(unsigned_varint::encode::usize(section.len(), &mut Default::default()));
        car.extend(section);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blocks.car");
    std::fs::write(&path, car).unwrap();
    assert_eq!(every_block_is_found(&path).await, 50);
}

/// Uses ../shared/data, which a fresh clone does not have: then it says so and passes.
#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_the_real_samples_is_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/car");
    if !folder.exists() {
        eprintln!("SKIPPED: {} is missing, so real CAR files are not read", folder.display());
        return;
    }
    for name in ["sample-v1.car", "sample-wrapped-v2.car"] {
        assert_eq!(every_block_is_found(&folder.join(name)).await, 1_049, "{name}");
    }
}
