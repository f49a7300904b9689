//! What strangers hold makes room when memory is needed, and stays gone after a restart; what they
//! announce stops before the disk is full.

use std::path::Path;

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::data_dir::DataDir;
use fingerpost::store::{
    Announcement, DurableOptions, DurableStore, IndexLimits, Store, StoreError, Update,
};
use fingerpost::types::{AnswerSchema, Limit, Origin, PeerId};

use super::durability::{TCP, announce, announcement, answer, open};
use super::harness::{NOW_MS, peer_id};

const MIB: u64 = 1 << 20;

fn open_with(folder: &Path, clock: &ManualClock, bytes_max: u64) -> DurableStore {
    let limits = IndexLimits { bytes_max, ..IndexLimits::default() };
    open_as(folder, clock, DiskAndMemory { disk_reserve_bytes: 1, limits })
}

/// A store that keeps so many bytes of the disk from strangers.
fn open_on_disk(folder: &Path, clock: &ManualClock, disk_reserve_bytes: u64) -> DurableStore {
    open_as(folder, clock, DiskAndMemory { disk_reserve_bytes, limits: IndexLimits::default() })
}

struct DiskAndMemory {
    disk_reserve_bytes: u64,
    limits: IndexLimits,
}

fn open_as(folder: &Path, clock: &ManualClock, of: DiskAndMemory) -> DurableStore {
    let options = DurableOptions {
        data_dir: DataDir::lock(folder).unwrap(),
        clock: Clock::Manual(clock.clone()),
        schema: AnswerSchema::Announced,
        threads: 2,
        segment_bytes: 1 << 20,
        disk_reserve_bytes: of.disk_reserve_bytes,
        limits: of.limits,
    };
    DurableStore::open(options).unwrap().0
}

/// Announces a thousand keys of a peer from a network; the later the number, the sooner they lapse.
async fn offer(store: &DurableStore, network: u8, number: u32) -> bool {
    let expires_at_ms = Some(NOW_MS + 100_000 - u64::from(number));
    let keys = number * 1_000..(number + 1) * 1_000;
    let announcements = vec![Announcement { expires_at_ms, ..announcement(number, keys, TCP) }];
    let origin = Origin::of_client([192, 0, network, 1].into());
    store.update(vec![Update { statement: None, origin, announcements }], NOW_MS).await.is_ok()
}

async fn bytes(store: &DurableStore) -> u64 {
    store.stats().await.unwrap().bytes.unwrap()
}

async fn has(store: &DurableStore, number: u32) -> bool {
    !answer(store, number * 1_000 + 999).await.is_empty()
}

#[tokio::test]
async fn what_is_evicted_stays_gone_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let empty = bytes(&open_with(&folder.path().join("empty"), &clock, u64::MAX)).await;
    let bytes_max = empty + 2 * MIB;
    let store = open_with(folder.path(), &clock, bytes_max);
    assert!(offer(&store, 9, 90).await);
    let mut flooded = 0;
    while offer(&store, (flooded % 3) as u8, flooded).await {
        flooded += 1;
    }
    assert!(flooded > 20, "{flooded}");
    for number in 100..160 {
        announce(&store, number, number * 1_000..(number + 1) * 1_000, TCP).await;
        assert!(bytes(&store).await <= bytes_max);
    }
    assert!(store.sweep(NOW_MS).await.unwrap().evicted > 10);
    let mut left = Vec::new();
    for number in 0..flooded {
        left.push(has(&store, number).await);
    }
    assert!(left.first() == Some(&true) && left.last() == Some(&false));
    drop(store);
    // Without a limit, so that nothing is evicted again.
    let store = open(folder.path(), &clock);
    for (number, is_left) in (0..).zip(left) {
        assert_eq!(has(&store, number).await, is_left, "{number}");
    }
    assert!(has(&store, 90).await && has(&store, 159).await);
}

#[tokio::test]
async fn a_restart_with_less_memory_brings_back_what_fits_and_the_rest_is_gone_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    let empty = bytes(&store).await;
    assert!(offer(&store, 9, 90).await);
    for number in 0..80 {
        assert!(offer(&store, (number % 4) as u8, number).await);
    }
    announce(&store, 100, 100_000..120_000, TCP).await;
    assert!(bytes(&store).await > empty + 2 * MIB);
    drop(store);
    let store = open_with(folder.path(), &clock, empty + MIB);
    assert!(bytes(&store).await <= empty + MIB);
    assert!(store.sweep(NOW_MS).await.unwrap().evicted > 0);
    assert!(has(&store, 90).await && has(&store, 100).await && has(&store, 119).await);
    let mut left = Vec::new();
    for number in 0..80 {
        left.push(has(&store, number).await);
    }
    assert!(left.is_sorted_by(|one, next| one >= next), "what lapses last is left: {left:?}");
    assert!(left.contains(&true) && left.contains(&false));
    drop(store);
    let store = open(folder.path(), &clock);
    for (number, is_left) in (0..).zip(left) {
        assert_eq!(has(&store, number).await, is_left, "{number}");
    }
}

#[tokio::test]
async fn strangers_stop_at_the_reserve_of_the_disk_and_refreshes_imports_and_removals_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let stranger = Origin::of_client([192, 0, 2, 1].into());
    let put = async |store: &DurableStore, keys: std::ops::Range<u32>, ttl_ms: u64| {
        let expires_at_ms = Some(NOW_MS + ttl_ms);
        let announcements = vec![Announcement { expires_at_ms, ..announcement(1, keys, TCP) }];
        let update = Update { statement: None, origin: stranger, announcements };
        store.update(vec![update], NOW_MS).await.map(|applied| applied.taken_in)
    };
    let store = open(folder.path(), &clock);
    assert_eq!(put(&store, 0..10, 1_000).await.unwrap(), 10);
    let free = store.stats().await.unwrap().journal.unwrap().disk_free_bytes.unwrap();
    drop(store);
    // Half of what is kept is free, and more; other programs may write meanwhile.
    let store = open_on_disk(folder.path(), &clock, free / 10 * 15);
    let refused = put(&store, 0..11, 2_000).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full { limit: Limit::JournalDisk }), "{refused:?}");
    assert_eq!(put(&store, 0..10, 2_000).await.unwrap(), 10);
    assert_eq!(announce(&store, 2, 0..20, TCP).await.taken_in, 20);
    assert!(store.health().is_writable, "the disk takes writes");
    drop(store);
    let store = open_on_disk(folder.path(), &clock, u64::MAX);
    let refused = put(&store, 0..10, 3_000).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full { limit: Limit::JournalDisk }), "{refused:?}");
    assert_eq!(announce(&store, 2, 20..30, TCP).await.taken_in, 10);
    assert_eq!(store.remove(&peer(1), None, NOW_MS).await.unwrap().groups, 1);
    assert_eq!(store.remove(&peer(2), None, NOW_MS).await.unwrap().groups, 1);
    drop(store);
    let store = open(folder.path(), &clock);
    assert_eq!(store.stats().await.unwrap().entries, Some(0));
    assert_eq!(put(&store, 0..11, 3_000).await.unwrap(), 11);
}

fn peer(number: u32) -> PeerId {
    PeerId::parse(&peer_id(number)).unwrap()
}
