//! What the benchmarks of the index share: the keys, the index and what it is compared with behind
//! one trait, and what the process takes up.
//!
//! Keys are sha2-256 multihashes with digests that look random; `digest(n)` is the same in every
//! run. Each key has one of [`GROUPS`] groups, whose provider is `n / BATCH % GROUPS`.

use std::sync::Arc;

use dashmap::DashMap;
use fingerpost::index::{GroupSpec, Index};
use fingerpost::types::{
    AnswerSchema, ContentKey, Filter, Origin, PeerId, ProviderRecord, ReadyRecord, UnparsableAddrs,
};
use hashbrown::HashTable;
use multihash::Multihash;
use parking_lot::RwLock;
use smallvec::{SmallVec, smallvec};

/// How many groups there are, each of its own provider.
pub(crate) const GROUPS: u64 = 1_000;

/// How many keys are announced at once.
pub(crate) const BATCH: u64 = 1_000;

const SHA2_256: u64 = 0x12;
const SHARDS: usize = 256;

/// The step of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is measured, and what it is compared with.
pub(crate) trait Subject: Send + Sync {
    /// Its name, in tables and in JSON.
    fn name(&self) -> &'static str;

    /// Adds the entries of keys, a batch at a time, as the subject does best.
    fn put(&self, numbers: std::ops::Range<u64>);

    /// Looks keys up and does something after each; says how many were found.
    fn get(&self, sample: &Sample, after: &mut dyn FnMut()) -> usize;

    /// Makes every entry of the even groups unfindable, of keys below `entries`.
    fn remove_half(&self, entries: u64);

    /// Gives back what those took up.
    fn sweep(&self);
}

/// Keys to look up, in each subject's own form, so that no subject pays for making them.
pub(crate) struct Sample {
    pub(crate) keys: Vec<ContentKey>,
    pub(crate) multihashes: Vec<Multihash<64>>,
    pub(crate) digests: Vec<[u8; 32]>,
}

impl Sample {
    /// The keys with these numbers.
    pub(crate) fn new(numbers: impl Iterator<Item = u64>) -> Self {
        let digests: Vec<_> = numbers.map(digest).collect();
        Self {
            keys: digests.iter().map(key).collect(),
            multihashes: digests.iter().map(multihash).collect(),
            digests,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }
}

/// The index, looked up as a server does: a filter, a cap, and the records as the answer.
pub(crate) struct Fingerpost {
    pub(crate) index: Index,
    specs: Vec<GroupSpec>,
    filter: Filter,
}

impl Fingerpost {
    pub(crate) fn new() -> Self {
        let specs = (0..GROUPS).map(spec).collect();
        Self { index: Index::new(), specs, filter: Filter::default() }
    }

    pub(crate) fn specs(&self) -> &[GroupSpec] {
        &self.specs
    }

    pub(crate) fn find(&self, key: &ContentKey) -> bool {
        let cap = std::num::NonZeroUsize::new(100);
        !self.index.find(key, &self.filter, cap, 1).records.is_empty()
    }
}

impl Subject for Fingerpost {
    fn name(&self) -> &'static str {
        "fingerpost"
    }

    fn put(&self, numbers: std::ops::Range<u64>) {
        for batch in batches(numbers) {
            let keys: Vec<_> = batch.clone().map(|number| key(&digest(number))).collect();
            let spec = self.specs.get(group_of(batch.start) as usize).expect("a group");
            let group = self.index.intern(spec, 1).expect("there is room");
            self.index.link_all(&group, &keys, 1).expect("there is room");
        }
    }

    fn get(&self, sample: &Sample, after: &mut dyn FnMut()) -> usize {
        count(&sample.keys, |key| self.find(key), after)
    }

    fn remove_half(&self, _entries: u64) {
        for spec in self.specs.iter().step_by(2) {
            let peer = spec.record.peer().expect("a provider");
            self.index.remove(peer, None, 2);
        }
    }

    fn sweep(&self) {
        while self.index.stats().groups > GROUPS / 2 {
            self.index.sweep(3);
        }
    }
}

/// `DashMap<Multihash<64>, SmallVec<[u32; 2]>>` with its defaults: SipHash, a shard for each
/// quarter of a core.
#[derive(Default)]
pub(crate) struct Dash(DashMap<Multihash<64>, SmallVec<[u32; 2]>>);

impl Subject for Dash {
    fn name(&self) -> &'static str {
        "dashmap"
    }

    fn put(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.0.insert(multihash(&digest(number)), smallvec![group_of(number)]);
        }
    }

    fn get(&self, sample: &Sample, after: &mut dyn FnMut()) -> usize {
        let find = |key: &_| self.0.get(key).is_some_and(|groups| !groups.is_empty());
        count(&sample.multihashes, find, after)
    }

    fn remove_half(&self, entries: u64) {
        for number in (0..entries).filter(|number| group_of(*number).is_multiple_of(2)) {
            self.0.remove(&multihash(&digest(number)));
        }
    }

    fn sweep(&self) {
        self.0.shrink_to_fit();
    }
}

/// A bare hash table of 36-byte entries: a 32-byte digest and a group, in as many shards as the
/// index has, each behind a lock on a cache line of its own. The digest's own bytes are its hash, which is as fast as it can
/// be and lets whoever chooses digests choose slots.
pub(crate) struct Bare(Box<[BareShard]>);

#[repr(align(64))]
#[derive(Default)]
struct BareShard(RwLock<HashTable<([u8; 32], u32)>>);

impl Bare {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| BareShard::default()).collect())
    }

    pub(crate) fn find(&self, digest: &[u8; 32]) -> bool {
        let shard = self.shard(digest).read();
        shard.find(word(digest, 0), |(other, _)| other == digest).is_some()
    }

    fn shard(&self, digest: &[u8; 32]) -> &RwLock<HashTable<([u8; 32], u32)>> {
        let shard = word(digest, 8) as usize % SHARDS;
        &self.0.get(shard).expect("a shard").0
    }
}

impl Subject for Bare {
    fn name(&self) -> &'static str {
        "hashbrown"
    }

    fn put(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let digest = digest(number);
            let entry = (digest, group_of(number));
            let mut shard = self.shard(&digest).write();
            shard.insert_unique(word(&digest, 0), entry, |(digest, _)| word(digest, 0));
        }
    }

    fn get(&self, sample: &Sample, after: &mut dyn FnMut()) -> usize {
        count(&sample.digests, |digest| self.find(digest), after)
    }

    fn remove_half(&self, entries: u64) {
        for number in (0..entries).filter(|number| group_of(*number).is_multiple_of(2)) {
            let digest = digest(number);
            let mut shard = self.shard(&digest).write();
            if let Ok(entry) = shard.find_entry(word(&digest, 0), |(other, _)| *other == digest) {
                entry.remove();
            }
        }
    }

    fn sweep(&self) {
        for shard in &self.0 {
            shard.0.write().shrink_to_fit(|(digest, _)| word(digest, 0));
        }
    }
}

/// A generator of numbers, the same in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly among the first `below`.
    pub(crate) fn uniform(&mut self, below: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }

    /// Among the first `below`, the n-th as often as 1/n.
    pub(crate) fn zipf(&mut self, below: u64) -> u64 {
        let fraction = self.next() as f64 / u64::MAX as f64;
        (((below as f64).ln() * fraction).exp() as u64).min(below) - 1
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }
}

/// What the process takes up now, and at most since this was last called: bytes resident.
pub(crate) fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let number = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        number.expect("a number of kilobytes") * 1024
    };
    let now_and_peak = (kilobytes("VmRSS:"), kilobytes("VmHWM:"));
    // 5: forget the peak.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    now_and_peak
}

/// The numbers in an environment variable, separated by commas; `M` stands for a million.
pub(crate) fn numbers_in(variable: &str, default: &str) -> Vec<u64> {
    let text = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let number = |text: &str| {
        let (digits, factor) = match text.trim().strip_suffix('M') {
            Some(digits) => (digits, 1_000_000),
            None => (text.trim(), 1),
        };
        digits.parse::<u64>().map(|number| number * factor)
    };
    let numbers = text.split(',').map(number).collect::<Result<_, _>>();
    numbers.unwrap_or_else(|error| panic!("{variable}={text}: {error}"))
}

/// The group of a key.
pub(crate) fn group_of(number: u64) -> u32 {
    (number / BATCH % GROUPS) as u32
}

/// The digest of a key.
pub(crate) fn digest(number: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    for (word, bytes) in digest.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(
            &mix((number * 4 + word as u64 + 1).wrapping_mul(GOLDEN)).to_le_bytes(),
        );
    }
    digest
}

/// How many of the keys are found.
fn count<T>(keys: &[T], find: impl Fn(&T) -> bool, after: &mut dyn FnMut()) -> usize {
    let found = keys.iter().filter(|key| {
        let is_found = find(key);
        after();
        is_found
    });
    found.count()
}

fn batches(numbers: std::ops::Range<u64>) -> impl Iterator<Item = std::ops::Range<u64>> {
    let std::ops::Range { start, end } = numbers;
    (start..end).step_by(BATCH as usize).map(move |start| start..(start + BATCH).min(end))
}

/// The bytes of a key's multihash.
pub(crate) fn multihash_bytes(digest: &[u8; 32]) -> [u8; 34] {
    let mut bytes = [0; 34];
    let (prefix, rest) = bytes.split_at_mut(2);
    prefix.copy_from_slice(&[SHA2_256 as u8, 32]);
    rest.copy_from_slice(digest);
    bytes
}

fn key(digest: &[u8; 32]) -> ContentKey {
    ContentKey::from_multihash(&multihash_bytes(digest)).expect("a multihash")
}

fn multihash(digest: &[u8; 32]) -> Multihash<64> {
    Multihash::wrap(SHA2_256, digest).expect("it fits")
}

fn word(digest: &[u8; 32], at: usize) -> u64 {
    let bytes = digest.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(bytes.expect("a digest has four words"))
}

fn spec(number: u64) -> GroupSpec {
    let id = [&[0, 36, 8, 1, 18, 32][..], &number.to_be_bytes(), &[9; 24]].concat();
    let id = PeerId::parse(&multibase::Base::Base58Btc.encode(id)).expect("a peer ID");
    let json = format!(
        r#"{{"Schema":"peer","ID":"{id}","Addrs":["/ip4/192.0.2.1/tcp/4001"],"Protocols":["transport-bitswap"]}}"#
    );
    let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).expect("a record");
    let record = Arc::new(ReadyRecord::new(parsed.record, AnswerSchema::Announced));
    GroupSpec { record, context: Arc::default(), expires_at_ms: None, origin: Origin::OPERATOR }
}

/// The finisher of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
