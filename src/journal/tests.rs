//! Tests of the journal as a whole, and what they share: keys and groups by number, a journal with
//! small segments, and what it holds after it is opened again.

mod basics;
mod changes;
mod compaction;
mod corruption;
mod crash;
mod disk;
mod faults;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::change::ChangeKey;
use super::{
    AddrsChange, Change, CompanionChange, CompanionsChange, GroupDefinition, Journal, JournalEntry,
    JournalError, JournalOptions, Opened, Receipt, RecordChange, VisibilityChange,
};
use crate::clock::{Clock, ManualClock};
use crate::data_dir::DataDir;
use crate::types::{ContentKey, Origin};

/// What a journal holds: the bytes of keys, by serial.
type HeldKeys = BTreeSet<(u64, Vec<u8>)>;

/// A key by number: sha2-256 mostly, now and then another hash or length.
fn key(number: u64) -> ContentKey {
    let (code, length): (&[u8], usize) = match number % 11 {
        9 => (&[0x1b], 20),
        10 => (&[0x13], 64),
        _ => (&[0x12], 32),
    };
    let mut bytes = code.to_vec();
    bytes.push(u8::try_from(length).unwrap());
    let digest = number.to_le_bytes().into_iter().cycle().take(length);
    bytes.extend(digest);
    ContentKey::from_multihash(&bytes).unwrap()
}

/// The number of such a key.
fn number_of(multihash: &[u8]) -> u64 {
    let (&[_, length], digest) = multihash.split_first_chunk().unwrap();
    let number = u64::from_le_bytes(*digest.first_chunk().unwrap());
    let is_whole = digest.chunks(8).all(|part| number.to_le_bytes().starts_with(part));
    assert!(
        is_whole && digest.len() == usize::from(length),
        "no key of these tests: {multihash:?}"
    );
    number
}

fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<ContentKey> {
    numbers.into_iter().map(key).collect()
}

fn group(serial: u64) -> Arc<GroupDefinition> {
    Arc::new(GroupDefinition {
        serial,
        context: format!("context {serial}").into_bytes().into(),
        record_json: format!(r#"{{"Schema":"peer","ID":"{serial}"}}"#).into(),
        expires_at_ms: None,
        origin: Origin::of_client([192, 0, 2, serial as u8].into()),
        since_ms: serial,
    })
}

fn keys_entry(serial: u64, numbers: impl IntoIterator<Item = u64>) -> JournalEntry {
    JournalEntry::Keys { group: group(serial), keys: keys(numbers) }
}

/// Small segments, no compaction by itself, a clock at 1,000 ms.
fn options(directory: &Path) -> JournalOptions {
    options_in(DataDir::lock(directory).unwrap())
}

fn options_in(data_dir: DataDir) -> JournalOptions {
    let mut options = JournalOptions::new(data_dir);
    options.threads = 2;
    options.segment_bytes = 4096;
    options.compaction_garbage_bytes_min = 1;
    options.clock = Clock::Manual(ManualClock::new(1_000));
    options
}

/// The same on a disk in memory.
fn options_on(disk: &disk::MemoryDisk) -> JournalOptions {
    let mut options = options_in(DataDir::in_memory("/data"));
    options.disk = Arc::new(disk.clone());
    options
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn append(journal: &Journal, entries: Vec<JournalEntry>) -> Result<(), JournalError> {
    wait(journal.append(entries)).map(|receipt: Receipt| drop(receipt))
}

fn append_whole(journal: &Journal, entries: Vec<JournalEntry>) -> Result<(), JournalError> {
    wait(journal.append_whole(entries)).map(|receipt: Receipt| drop(receipt))
}

/// Addresses of a provider, by number.
fn stated(stamp: u64, provider: u64) -> Change {
    Change::Addrs(AddrsChange {
        stamp,
        provider: format!("provider {provider}").into(),
        stated_at_ms: stamp * 1_000,
        addrs: (0..stamp % 4).map(|it| format!("/ip4/192.0.2.{it}/tcp/{stamp}").into()).collect(),
    })
}

/// Another record for a provider's context, by number.
fn recorded(stamp: u64, provider: u64) -> Change {
    Change::Record(RecordChange {
        stamp,
        provider: format!("provider {provider}").into(),
        context: vec![7; provider as usize].into(),
        record_json: format!(r#"{{"Schema":"peer","ID":"{provider}","Stamp":{stamp}}}"#).into(),
    })
}

/// Hides a provider, or shows it, by number.
fn hidden(stamp: u64, provider: u64) -> Change {
    let provider = format!("provider {provider}").into();
    Change::Visibility(VisibilityChange { stamp, provider, is_hidden: stamp.is_multiple_of(2) })
}

/// Companions of a provider, or of one of its contexts, by number.
fn accompanied(stamp: u64, provider: u64) -> Change {
    let companion = |it: u64| CompanionChange {
        record_json: format!(r#"{{"Schema":"peer","ID":"{it}","Stamp":{stamp}}}"#).into(),
        has_providers_protocols: it.is_multiple_of(2),
    };
    Change::Companions(CompanionsChange {
        stamp,
        provider: format!("provider {provider}").into(),
        context: (provider > 0).then(|| vec![7; provider as usize].into()),
        overrides: provider > 1,
        companions: (0..stamp % 3).map(companion).collect(),
    })
}

/// The newest changes of a journal, by what they change.
fn changes(opened: &Opened) -> BTreeMap<ChangeKey, Change> {
    by_key(opened.changes.iter().cloned())
}

fn by_key(changes: impl IntoIterator<Item = Change>) -> BTreeMap<ChangeKey, Change> {
    changes.into_iter().map(|change| (change.key(), change)).collect()
}

fn held(opened: &Opened) -> HeldKeys {
    let held = Mutex::new(HeldKeys::new());
    let replayed = opened.replay(2, |serial, keys| {
        held.lock().extend(keys.iter().map(|multihash| (serial, multihash.to_vec())));
    });
    replayed.unwrap();
    held.into_inner()
}

fn expected(pairs: impl IntoIterator<Item = (u64, u64)>) -> HeldKeys {
    pairs.into_iter().map(|(serial, number)| (serial, key(number).as_bytes().to_vec())).collect()
}
