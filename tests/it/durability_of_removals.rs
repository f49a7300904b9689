//! Removals that the disk refuses to take: a restart brings back all of what was removed, or none of it.

use std::path::Path;
use std::time::{Duration, Instant};

use fingerpost::clock::ManualClock;
use fingerpost::store::{Announcement, DurableStore, Store};
use fingerpost::types::PeerId;

use super::durability::{TCP, UDP, announce, announcement, answer, copy_folder, open, state};
use super::harness::{NOW_MS, peer_id};

/// What stands where the third segment is to be made, so that it cannot be.
const BLOCKED: &str = "journal/0000000003-000000.journal";

/// Keys of the provider that is removed: by their numbers in two segments.
const SAMPLES: [u32; 5] = [0, 7_001, 19_999, 20_000, 20_099];

#[tokio::test]
async fn what_compaction_meets_before_the_end_is_on_the_disk_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    // The first segment: what is to be removed, a statement about it, and what will have expired.
    announce(&store, 1, 0..20_000, TCP).await;
    state(&store, 1, 1, &[UDP], Vec::new()).await;
    let expires_at_ms = Some(NOW_MS + 1_000);
    let expiring = Announcement { expires_at_ms, ..announcement(2, 100_000..140_000, TCP) };
    store.apply(vec![expiring], NOW_MS).await.unwrap();
    // The second one: too little garbage to be compacted, whatever is removed.
    let mixed = vec![announcement(1, 20_000..20_100, UDP), announcement(3, 200_000..240_000, TCP)];
    store.apply(mixed, NOW_MS).await.unwrap();

    std::fs::create_dir(folder.path().join(BLOCKED)).unwrap();
    let peer = PeerId::parse(&peer_id(1)).unwrap();
    store.remove(&peer, None, NOW_MS).await.unwrap_err();
    assert!(answer(&store, SAMPLES[0]).await.is_empty(), "it holds until a restart");
    clock.advance(1_000);
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.journal_stats().compactions == 0 {
        assert!(Instant::now() < deadline, "{:?}", store.journal_stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = after_a_crash(folder.path(), &clock);
    for number in SAMPLES {
        let found = answer(&again, number).await;
        assert!(found.len() == 1 && found[0].contains(UDP), "{number}: {found:?}");
    }
    assert_eq!(again.stats().await.unwrap().entries, Some(20_100 + 40_000));
    drop(again);

    std::fs::remove_dir(folder.path().join(BLOCKED)).unwrap();
    store.sweep(NOW_MS + 1_000).await.unwrap();
    assert!(store.journal_stats().garbage_bytes > 20_000 * 32, "{:?}", store.journal_stats());
    let again = after_a_crash(folder.path(), &clock);
    assert_eq!(again.stats().await.unwrap().entries, Some(40_000));
}

/// The store that another process would find after a crash.
fn after_a_crash(folder: &Path, clock: &ManualClock) -> DurableStore {
    let copy = tempfile::tempdir().unwrap().keep();
    copy_folder(folder, &copy);
    // It stands for a disk without room, which leaves nothing either.
    let _ = std::fs::remove_dir(copy.join(BLOCKED));
    let store = open(&copy, clock);
    std::fs::remove_dir_all(&copy).unwrap();
    store
}
