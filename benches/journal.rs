//! What durability costs: taking announcements in, starting again, and compaction beside lookups.
//!
//! `cargo bench --bench journal`; `ENTRIES` says how many entries (default 5,000,000) and
//! `JOURNAL_FOLDER` where on disk (default: the system's folder for temporary files, which should
//! not be one in memory). References are measured in the same run: a bare file that gets the same
//! bytes with the same number of syncs, the same file read from beginning to end, and lookups while
//! nothing else happens. Prints a table for people and one line of JSON for scripts.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and what fails in it ends it"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fingerpost::clock::Clock;
use fingerpost::data_dir::DataDir;
use fingerpost::store::{
    Announcement, ContextId, DurableOptions, DurableStore, IndexLimits, Recovery, Store,
};
use fingerpost::types::{
    AnswerSchema, ContentKey, PeerId, ProviderRecord, Question, Subject, UnparsableAddrs,
};
use futures_util::FutureExt;
use hdrhistogram::Histogram;

/// Groups, each of a provider of its own: a tenth of them is ten.
const GROUPS: u64 = 100;

/// Keys in an announcement.
const BATCH_KEYS: u64 = 4096;

/// Tasks that announce at the same time.
const TASKS: u64 = 16;

/// How long the journal may take to come to rest.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// How often a tenth of the groups dies and comes again with other keys.
const ROUNDS: u64 = 5;

/// A digest of 32 bytes and the two bytes before it.
const MULTIHASH_BYTES: u64 = 34;

fn main() {
    let entries: u64 =
        std::env::var("ENTRIES").map_or(5_000_000, |text| text.parse().expect("a number"));
    let folder = std::env::var_os("JOURNAL_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = Bench { entries, folder: folder.path().to_owned(), runtime };
    let report = bench.run();
    println!("{report}");
    println!("{}", report.json());
}

struct Bench {
    entries: u64,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Report {
    entries: u64,
    ingest_per_s: f64,
    ingest_syncs: u64,
    bare_file_per_s: f64,
    disk_bytes_per_entry: f64,
    restart_s: f64,
    bare_read_s: f64,
    write_amplification: f64,
    compactions: u64,
    garbage_share: f64,
    idle: Latencies,
    beside_compaction: Latencies,
}

#[derive(Clone, Copy, Default)]
struct Latencies {
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl Bench {
    fn run(&self) -> Report {
        let mut report = Report { entries: self.entries, ..Report::default() };
        let (store, _) = self.open();
        let took = self.ingest(&store, 0, GROUPS, 0);
        let stats = store.journal_stats();
        report.ingest_per_s = self.entries as f64 / took.as_secs_f64();
        report.ingest_syncs = stats.syncs;
        report.disk_bytes_per_entry = stats.bytes as f64 / self.entries as f64;
        let (written, read) = self.bare_file(stats.bytes, stats.syncs);
        report.bare_file_per_s = self.entries as f64 / written.as_secs_f64();
        report.bare_read_s = read.as_secs_f64();
        drop(store);
        let (store, recovery) = self.open();
        assert_eq!(recovery.entries, self.entries);
        report.restart_s = recovery.duration.as_secs_f64();
        report.idle = self.look_up_while(&store, || {
            std::thread::sleep(Duration::from_secs(3));
        });
        let before = store.journal_stats();
        report.beside_compaction = self.look_up_while(&store, || self.churn(&store));
        let after = store.journal_stats();
        let logical = ROUNDS * self.entries / 10 * MULTIHASH_BYTES;
        let written = after.bytes_appended - before.bytes_appended + after.bytes_compacted
            - before.bytes_compacted;
        report.write_amplification = written as f64 / logical as f64;
        report.compactions = after.compactions;
        report.garbage_share = after.garbage_bytes as f64 / after.bytes as f64;
        report
    }

    fn open(&self) -> (Arc<DurableStore>, Recovery) {
        let (store, recovery) = DurableStore::open(DurableOptions {
            data_dir: DataDir::lock(self.folder.join("data")).expect("nobody else has it"),
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

    /// Announces the keys of some groups, from several tasks at once.
    fn ingest(&self, store: &Arc<DurableStore>, first: u64, groups: u64, round: u64) -> Duration {
        let keys_each = self.entries / GROUPS;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = store.clone();
                async move {
                    for group in (first..first + groups).skip(task as usize).step_by(TASKS as usize)
                    {
                        for start in (0..keys_each).step_by(BATCH_KEYS as usize) {
                            let end = (start + BATCH_KEYS).min(keys_each);
                            let keys = (start..end).map(|n| key(round, group, n)).collect();
                            store
                                .apply(vec![announcement(group, keys)], Clock::System.now_ms())
                                .await
                                .unwrap();
                        }
                    }
                }
            })
            .collect();
        let start = Instant::now();
        let handles: Vec<_> = tasks.into_iter().map(|task| self.runtime.spawn(task)).collect();
        for handle in handles {
            self.runtime.block_on(handle).unwrap();
        }
        start.elapsed()
    }

    /// A tenth of the groups dies and comes again with other keys, round after round, and the
    /// journal comes to rest.
    fn churn(&self, store: &Arc<DurableStore>) {
        for round in 1..=ROUNDS {
            let first = (round - 1) * GROUPS / 10;
            for group in first..first + GROUPS / 10 {
                let peer = PeerId::parse(&peer_id(group)).unwrap();
                self.runtime.block_on(store.remove(&peer, None, Clock::System.now_ms())).unwrap();
            }
            self.ingest(store, first, GROUPS / 10, round);
        }
        let start = Instant::now();
        while start.elapsed() < SETTLES_WITHIN {
            std::thread::sleep(Duration::from_millis(200));
            let stats = store.journal_stats();
            if stats.garbage_bytes * 4 < stats.bytes {
                return;
            }
        }
    }

    /// Looks keys up, one every 100 microseconds, while something goes on.
    fn look_up_while(&self, store: &Arc<DurableStore>, work: impl FnOnce()) -> Latencies {
        let done = Arc::new(AtomicBool::new(false));
        let (stop, asked, keys_each) = (done.clone(), store.clone(), self.entries / GROUPS);
        let asking = std::thread::spawn(move || {
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            let (mut number, now_ms) = (0_u64, Clock::System.now_ms());
            while !stop.load(Ordering::Relaxed) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = key(0, (number >> 33) % GROUPS, (number >> 13) % keys_each);
                let question = Question::all(Subject::Content(key));
                let start = Instant::now();
                let found = asked.find(&question, now_ms).now_or_never().unwrap().unwrap();
                let took = start.elapsed();
                std::hint::black_box(found);
                histogram.record(u64::try_from(took.as_nanos()).unwrap()).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
            Latencies {
                p50_ns: histogram.value_at_quantile(0.5),
                p99_ns: histogram.value_at_quantile(0.99),
                max_ns: histogram.max(),
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    }

    /// Writes and syncs as many bytes, as often, and reads them.
    fn bare_file(&self, bytes: u64, syncs: u64) -> (Duration, Duration) {
        let path = self.folder.join("bare");
        let chunk = vec![0xa5; usize::try_from(bytes / syncs.max(1)).unwrap()];
        let start = Instant::now();
        let mut file = File::create(&path).unwrap();
        for _ in 0..syncs {
            file.write_all(&chunk).unwrap();
            file.sync_data().unwrap();
        }
        let written = start.elapsed();
        let start = Instant::now();
        read_through(&path);
        let read = start.elapsed();
        std::fs::remove_file(path).unwrap();
        (written, read)
    }
}

fn read_through(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 4 << 20];
    let total = AtomicU64::new(0);
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        total.fetch_add(read as u64, Ordering::Relaxed);
    }
    std::hint::black_box(total);
}

fn announcement(group: u64, keys: Vec<ContentKey>) -> Announcement {
    let json = format!(
        r#"{{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"{}","Addrs":["/ip4/192.0.2.1/tcp/4001"]}}"#,
        peer_id(group)
    );
    let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
    Announcement { keys, record, context: ContextId::default(), expires_at_ms: None }
}

fn peer_id(number: u64) -> String {
    let bytes = [&[0x12, 0x20][..], &[0; 24], &number.to_be_bytes()].concat();
    multibase::Base::Base58Btc.encode(bytes)
}

fn key(round: u64, group: u64, number: u64) -> ContentKey {
    let mut multihash = Vec::with_capacity(MULTIHASH_BYTES as usize);
    multihash.extend_from_slice(&[0x12, 0x20]);
    // Spread over all bytes; the index hashes the whole again.
    for part in [round, group, number, number.rotate_left(17)] {
        let mixed =
            part.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd);
        multihash.extend_from_slice(&mixed.to_le_bytes());
    }
    ContentKey::from_multihash(&multihash).unwrap()
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ratio = self.ingest_per_s / self.bare_file_per_s;
        writeln!(f, "journal, {} entries in {GROUPS} groups", self.entries)?;
        writeln!(
            f,
            "  durable ingest          {:>12.0} entries/s ({} syncs)",
            self.ingest_per_s, self.ingest_syncs
        )?;
        writeln!(
            f,
            "  a bare file             {:>12.0} entries/s (ours: {ratio:.2} of it)",
            self.bare_file_per_s
        )?;
        writeln!(
            f,
            "  disk                    {:>12.1} bytes an entry",
            self.disk_bytes_per_entry
        )?;
        writeln!(
            f,
            "  ready after a restart   {:>12.2} s (reading alone: {:.2} s)",
            self.restart_s, self.bare_read_s
        )?;
        writeln!(
            f,
            "  write amplification     {:>12.2} while a tenth dies, {ROUNDS} times ({} compactions)",
            self.write_amplification, self.compactions
        )?;
        writeln!(f, "  garbage when settled    {:>11.1} %", self.garbage_share * 100.0)?;
        for (name, it) in [("idle", self.idle), ("beside all that", self.beside_compaction)] {
            writeln!(
                f,
                "  lookup, {name:<15} p50 {:>8} ns  p99 {:>8} ns  max {:>10} ns",
                it.p50_ns, it.p99_ns, it.max_ns
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn json(&self) -> String {
        serde_json::json!({
            "bench": "journal",
            "entries": self.entries,
            "ingest_per_s": self.ingest_per_s,
            "bare_file_per_s": self.bare_file_per_s,
            "disk_bytes_per_entry": self.disk_bytes_per_entry,
            "restart_s": self.restart_s,
            "bare_read_s": self.bare_read_s,
            "write_amplification": self.write_amplification,
            "compactions": self.compactions,
            "garbage_share": self.garbage_share,
            "lookup_p99_ns": { "idle": self.idle.p99_ns, "busy": self.beside_compaction.p99_ns },
            "lookup_max_ns": { "idle": self.idle.max_ns, "busy": self.beside_compaction.max_ns },
        })
        .to_string()
    }
}
