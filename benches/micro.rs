//! Criterion benchmarks of the parts that every lookup or every record passes.
//!
//! Run with `cargo bench --bench micro`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fingerpost::clock::Clock;
use fingerpost::dispatch::{LookupAddress, RouteEntry, RouteOrigin, RoutingTable};
use fingerpost::store::{Announcement, ContextId, MemoryStore, Store};
use fingerpost::types::{
    self, AnswerSchema, ContentKey, Filter, ProviderRecord, Question, ReadyRecord, RoutePrefix,
    TargetId, UnparsableAddrs,
};
use futures_util::FutureExt;

const CID_V1: &str = "bafybeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
const CID_V0: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const RECORD: &str = r#"{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/192.0.2.1/tcp/4001","/ip4/192.0.2.1/udp/4001/quic-v1","/ip4/192.0.2.1/udp/4001/quic-v1/webtransport"]}"#;

/// Routes in the table while it is asked.
const ROUTES: usize = 1_000;

/// Keys in the index while it is asked.
const INDEX_KEYS: u64 = 1_000_000;

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    for (name, text) in [("base32 v1", CID_V1), ("base58 v0", CID_V0)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| ContentKey::from_cid_text(black_box(text)));
        });
    }
    group.finish();
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Bytes(RECORD.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| ProviderRecord::parse(black_box(RECORD), UnparsableAddrs::Drop));
    });
    let parsed = ProviderRecord::parse(RECORD, UnparsableAddrs::Drop).expect("a sound record");
    group.bench_function("render", |bencher| {
        bencher
            .iter(|| ReadyRecord::new(black_box(parsed.record.clone()), AnswerSchema::Announced));
    });
    let ready = ReadyRecord::new(parsed.record, AnswerSchema::Announced);
    let query = "filter-addrs=webtransport,wss&filter-protocols=unknown,transport-bitswap";
    group.bench_function("filter: read the query", |bencher| {
        bencher.iter(|| Filter::from_query(black_box(query)));
    });
    let filter = Filter::from_query(query).expect("a sound filter");
    group.bench_function("filter: select and write", |bencher| {
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            if let Some(selection) = filter.select(black_box(&ready)) {
                ready.write_to(&selection, &mut out);
            }
            out.len()
        });
    });
    group.finish();
}

fn routes(criterion: &mut Criterion) {
    let text = |number: u64| LookupAddress::of_content(&key(number)).to_string();
    // Three digits: a quarter of the key space. Whole digests: single CIDs.
    let short = (0..4096).step_by(4).map(|digits: u32| {
        let [first, second, third] = [digits >> 8, digits >> 4 & 15, digits & 15];
        format!("g.providers.sha2-256.{first:x}.{second:x}.{third:x}")
    });
    let tables = [
        ("1,000 routes of three digits", table(short.take(ROUTES))),
        ("1,000 routes of one CID", table((0..).map(text).take(ROUTES))),
    ];
    let mut group = criterion.benchmark_group("routing_table");
    for (name, table) in &tables {
        for (hit, first) in [("a key with a route", 0), ("any key", 1_000_000)] {
            let keys: Vec<ContentKey> = (first..first + ROUTES as u64).map(key).collect();
            let mut next = keys.iter().cycle();
            group.bench_function(format!("find among {name}: {hit}"), |bencher| {
                bencher.iter(|| {
                    let key = next.next().expect("a cycle does not end");
                    let address = LookupAddress::of_content(black_box(key));
                    table.find(address.segments(), 0).map(|(_, target)| *target)
                });
            });
        }
    }
    group.finish();
}

fn table(prefixes: impl Iterator<Item = String>) -> RoutingTable<usize> {
    let prefixes = std::iter::once("g".to_owned()).chain(prefixes);
    RoutingTable::new(prefixes.enumerate().map(|(number, prefix)| {
        let prefix = RoutePrefix::parse(&prefix).expect("a legal prefix");
        let entry = RouteEntry {
            auth: None,
            prefix,
            next_hop: TargetId::parse("local").expect("a name"),
            origin: RouteOrigin::Static,
            path: Vec::new(),
            expires_at_ms: None,
        };
        (entry, number)
    }))
}

fn index(criterion: &mut Criterion) {
    let store = MemoryStore::new(AnswerSchema::Announced);
    for start in (0..INDEX_KEYS).step_by(4096) {
        put(&store, start..(start + 4096).min(INDEX_KEYS));
    }
    let now_ms = Clock::System.now_ms();
    let find = |question: &Question| {
        let found = store.find(question, now_ms).now_or_never().expect("memory answers at once");
        found.expect("memory does not fail").records.len()
    };
    let mut group = criterion.benchmark_group("index of 1M keys");
    for (name, first) in [("get: hit", 0), ("get: miss", INDEX_KEYS)] {
        // Keys are made beforehand, and met in an order that no cache foresees.
        let keys = (0..65_536).map(|i: u64| key(first + i.wrapping_mul(7_919) % INDEX_KEYS));
        let questions: Vec<_> =
            keys.map(|key| Question::all(types::Subject::Content(key))).collect();
        let mut next = questions.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| find(next.next().expect("a cycle does not end")));
        });
    }
    let mut start = INDEX_KEYS;
    group.throughput(Throughput::Elements(1024));
    group.bench_function("put 1,024 new keys", |bencher| {
        bencher.iter(|| {
            start += 1024;
            put(&store, start..start + 1024);
        });
    });
    group.finish();
}

fn put(store: &MemoryStore, numbers: std::ops::Range<u64>) {
    let announcement = Announcement {
        keys: numbers.map(key).collect(),
        record: ProviderRecord::parse(RECORD, UnparsableAddrs::Drop).expect("a record").record,
        context: ContextId::default(),
        expires_at_ms: None,
    };
    let applied = store
        .apply(vec![announcement], Clock::System.now_ms())
        .now_or_never()
        .expect("memory answers at once");
    applied.expect("memory has room");
}

/// The `number`th of any number of different keys.
fn key(number: u64) -> ContentKey {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend_from_slice(blake3::hash(&number.to_le_bytes()).as_bytes());
    ContentKey::from_multihash(&multihash).expect("a multihash")
}

criterion_group!(benches, keys, records, routes, index);
criterion_main!(benches);
