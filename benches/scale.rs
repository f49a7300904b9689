//! The life of a large data directory, checked from end to end: filled, started again, half of it
//! removed, started again, written out and read in elsewhere.
//!
//! `cargo bench --bench scale`; `ENTRIES` says how many entries (default 2,000,000; 50,000,000 takes
//! some minutes, 4 GB on disk and 1.5 GB of memory) and `SCALE_FOLDER` where. Every step asserts
//! what must hold, and says how long it took. Comparing the two data directories costs 16 bytes an
//! entry.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a check prints, and what fails in it ends it"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use fingerpost::clock::Clock;
use fingerpost::data_dir::DataDir;
use fingerpost::store::{
    Announcement, ContextId, DurableOptions, DurableStore, IndexLimits, Recovery, Store,
};
use fingerpost::types::{
    AnswerSchema, ContentKey, PeerId, ProviderRecord, Question, Subject, UnparsableAddrs,
};
use futures_util::{FutureExt, StreamExt};

/// One provider has half of the entries, the others share the other half.
const OTHERS: u64 = 49;
const BATCH_KEYS: u64 = 4096;
const TASKS: u64 = 8;

fn main() {
    let entries: u64 =
        std::env::var("ENTRIES").map_or(2_000_000, |text| text.parse().expect("a number"));
    let folder = std::env::var_os("SCALE_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(life(entries, folder.path()));
}

async fn life(entries: u64, folder: &Path) {
    let first = folder.join("first");
    let (store, _) = open(&first);
    timed("filled", entries, fill(&store, entries)).await;
    check(&store, entries, true);
    drop(store);
    let (store, recovery) = open(&first);
    assert_eq!(recovery.entries, entries);
    report("started again", entries, recovery.duration.as_secs_f64());
    check(&store, entries, true);
    let half = PeerId::parse(&peer_id(0)).unwrap();
    timed("removed half", entries / 2, async {
        assert_eq!(store.remove(&half, None, Clock::System.now_ms()).await.unwrap().groups, 1);
    })
    .await;
    check(&store, entries, false);
    drop(store);
    let (store, recovery) = open(&first);
    assert_eq!(recovery.entries, entries / 2);
    report("started again", entries / 2, recovery.duration.as_secs_f64());
    check(&store, entries, false);
    let (other, _) = open(&folder.join("other"));
    timed("copied elsewhere by export", entries / 2, copy(&store, &other)).await;
    let (ours, theirs) = (everything(&store).await, everything(&other).await);
    assert!(ours == theirs, "the two data directories differ");
    assert_eq!(ours.len() as u64, entries / 2);
    println!("equal: {} entries of both data directories, compared one by one", ours.len());
}

async fn timed(what: &str, entries: u64, work: impl Future<Output = ()>) {
    let start = Instant::now();
    work.await;
    report(what, entries, start.elapsed().as_secs_f64());
}

fn report(what: &str, entries: u64, seconds: f64) {
    let rate = entries as f64 / seconds.max(1e-9);
    println!("{what:<28} {entries:>12} entries {seconds:>9.2} s {rate:>14.0} entries/s");
}

fn open(directory: &Path) -> (Arc<DurableStore>, Recovery) {
    let (store, recovery) = DurableStore::open(DurableOptions {
        data_dir: DataDir::lock(directory).expect("nobody else has it"),
        clock: Clock::System,
        schema: AnswerSchema::Announced,
        threads: 2,
        segment_bytes: 128 << 20,
        disk_reserve_bytes: 1,
        limits: IndexLimits::default(),
    })
    .unwrap();
    (Arc::new(store), recovery)
}

async fn fill(store: &Arc<DurableStore>, entries: u64) {
    let tasks = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let starts = (0..entries).step_by(BATCH_KEYS as usize);
            for start in starts.skip(task as usize).step_by(TASKS as usize) {
                let numbers = start..(start + BATCH_KEYS).min(entries);
                let of_provider = |provider: u64| Announcement {
                    keys: numbers.clone().filter(|n| owner(*n) == provider).map(key).collect(),
                    record: record(provider),
                    context: ContextId::default(),
                    expires_at_ms: None,
                };
                let announcements = (0..=OTHERS).map(of_provider).collect();
                store.apply(announcements, Clock::System.now_ms()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Looks up a few hundred thousand of the keys, and keys that nobody has.
fn check(store: &DurableStore, entries: u64, has_half: bool) {
    let now_ms = Clock::System.now_ms();
    let step = (entries / 300_000).max(1) | 1;
    for number in (0..entries).step_by(step as usize) {
        let found = |key: ContentKey| {
            let question = Question::all(Subject::Content(key));
            let found = store.find(&question, now_ms).now_or_never().unwrap().unwrap();
            found.records.iter().map(|(record, _)| record.json().to_owned()).collect::<Vec<_>>()
        };
        let provider = owner(number);
        let answer = found(key(number));
        if provider == 0 && !has_half {
            assert!(answer.is_empty(), "{number} was removed");
        } else {
            assert!(answer.len() == 1 && answer[0].contains(&peer_id(provider)), "{number}");
        }
        assert!(found(key(u64::MAX - number)).is_empty(), "nobody has {number}");
    }
}

async fn copy(from: &DurableStore, to: &DurableStore) {
    let mut export = from.export(Clock::System.now_ms());
    while let Some(batch) = export.next().await {
        let announcements = batch.unwrap().into_iter().map(|entry| Announcement {
            keys: vec![entry.key],
            record: ProviderRecord::parse(&entry.record_json, UnparsableAddrs::Keep)
                .unwrap()
                .record,
            context: entry.context,
            expires_at_ms: entry.expires_at_ms,
        });
        to.apply(announcements.collect(), Clock::System.now_ms()).await.unwrap();
    }
}

/// A hash of every entry, in order.
async fn everything(store: &DurableStore) -> Vec<u128> {
    let mut all = Vec::new();
    let mut export = store.export(Clock::System.now_ms());
    while let Some(batch) = export.next().await {
        all.extend(batch.unwrap().iter().map(|entry| {
            let whole = [entry.key.as_bytes(), entry.record_json.as_bytes()].concat();
            xxhash_rust::xxh3::xxh3_128(&whole)
        }));
    }
    all.sort_unstable();
    all
}

/// Every second key is of one provider.
fn owner(number: u64) -> u64 {
    if number.is_multiple_of(2) { 0 } else { 1 + number / 2 % OTHERS }
}

fn record(provider: u64) -> ProviderRecord {
    let json = format!(r#"{{"Schema":"peer","ID":"{}"}}"#, peer_id(provider));
    ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record
}

fn peer_id(number: u64) -> String {
    let bytes = [&[0x12, 0x20][..], &[0; 24], &number.to_be_bytes()].concat();
    multibase::Base::Base58Btc.encode(bytes)
}

fn key(number: u64) -> ContentKey {
    let digest = blake3::hash(&number.to_le_bytes());
    let multihash = [&[0x12, 0x20][..], digest.as_bytes()].concat();
    ContentKey::from_multihash(&multihash).unwrap()
}
