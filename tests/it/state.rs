//! The battery that every [`ControlStore`] passes. A promise of the trait's documentation is a test here;
//! a new implementation is one more [`Kind`].

use std::collections::BTreeSet;
use std::sync::Arc;

use fingerpost::data_dir::DataDir;
use fingerpost::state::{
    ControlChange, ControlOpenError, ControlStore, ControlTable, Documents, DurableControl,
    MemoryControl,
};
use futures_util::future::join_all;
use proptest::prelude::*;
use rstest::rstest;
use tempfile::TempDir;

const NOW_MS: u64 = 1_767_225_600_000;

/// The stores.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Durable,
}

/// An empty store, and the folder of its file.
struct Built {
    store: Arc<dyn ControlStore>,
    _folder: TempDir,
}

impl Kind {
    fn build(self) -> Built {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn ControlStore> = match self {
            Self::Memory => Arc::new(MemoryControl::new()),
            Self::Durable => Arc::new(open(&folder)),
        };
        Built { store, _folder: folder }
    }
}

fn open(folder: &TempDir) -> DurableControl {
    try_to_open(folder).unwrap()
}

fn try_to_open(folder: &TempDir) -> Result<DurableControl, ControlOpenError> {
    DurableControl::open(&DataDir::lock(folder.path()).unwrap())
}

fn set(table: ControlTable, key: &str, text: &str) -> ControlChange {
    ControlChange { table, key: key.to_owned(), text: Some(text.to_owned()) }
}

fn remove(table: ControlTable, key: &str) -> ControlChange {
    ControlChange { table, key: key.to_owned(), text: None }
}

/// The documents of a table as `key=text`, in the order of the store.
async fn read(store: &Arc<dyn ControlStore>, table: ControlTable) -> Vec<String> {
    let documents = store.read(table).await.unwrap();
    documents.into_iter().map(|(key, text)| format!("{key}={text}")).collect()
}

#[rstest]
#[tokio::test]
async fn a_new_store_has_no_documents_in_any_table(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    for table in ControlTable::ALL {
        assert!(store.read(table).await.unwrap().is_empty());
    }
    store.write(Vec::new(), NOW_MS).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn documents_are_set_replaced_and_removed_each_in_its_table(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    for table in ControlTable::ALL {
        store
            .write(vec![set(table, "b", &format!("{table:?}")), set(table, "a", "")], NOW_MS)
            .await
            .unwrap();
    }
    for table in ControlTable::ALL {
        assert_eq!(read(&store, table).await, ["a=".to_owned(), format!("b={table:?}")]);
    }
    let changes = vec![
        set(ControlTable::Rules, "b", "2"),
        remove(ControlTable::Rules, "a"),
        remove(ControlTable::Rules, "never there"),
        remove(ControlTable::Budgets, "b"),
    ];
    store.write(changes, NOW_MS).await.unwrap();
    assert_eq!(read(&store, ControlTable::Rules).await, ["b=2"]);
    assert_eq!(read(&store, ControlTable::Budgets).await, ["a="]);
    assert_eq!(read(&store, ControlTable::Pools).await, ["a=", "b=Pools"], "others are left alone");
}

#[rstest]
#[tokio::test]
async fn any_text_is_kept_as_it_is(#[values(Kind::Memory, Kind::Durable)] kind: Kind) {
    let Built { store, _folder } = kind.build();
    let long = "ä\0\n\u{10ffff}".repeat(50_000);
    for key in ["", "\0", "g.providers.sha2-256.c", &"k".repeat(1_023)] {
        store.write(vec![set(ControlTable::Single, key, &long)], NOW_MS).await.unwrap();
        assert_eq!(store.read(ControlTable::Single).await.unwrap()[key], long);
    }
}

#[rstest]
#[tokio::test]
async fn within_a_list_the_later_change_of_a_document_holds(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let table = ControlTable::Pools;
    let changes = vec![
        set(table, "a", "1"),
        set(table, "b", "1"),
        remove(table, "a"),
        set(table, "b", "2"),
        remove(table, "c"),
        set(table, "c", "1"),
    ];
    store.write(changes, NOW_MS).await.unwrap();
    assert_eq!(read(&store, table).await, ["b=2", "c=1"]);
}

#[rstest]
#[tokio::test]
async fn lists_are_taken_in_the_order_of_the_calls_however_they_are_waited_for(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let table = ControlTable::Budgets;
    let mut writes: Vec<_> = (0..500)
        .map(|number| store.write(vec![set(table, "a", &number.to_string())], NOW_MS))
        .collect();
    writes.reverse();
    join_all(writes).await.into_iter().for_each(|written| written.unwrap());
    assert_eq!(read(&store, table).await, ["a=499"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_lists_while_others_are_written(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let keys = ["a", "b", "c"];
    let list = |text: &str| keys.map(|key| set(ControlTable::Rules, key, text)).to_vec();
    store.write(list("0"), NOW_MS).await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        let lists: Vec<_> = (1..=200).map(|number| list(&number.to_string())).collect();
        async move {
            for list in lists {
                store.write(list, NOW_MS).await.unwrap();
            }
        }
    });
    let mut last = 0;
    while last < 200 {
        let documents = store.read(ControlTable::Rules).await.unwrap();
        let numbers: Vec<u32> = documents.values().map(|text| text.parse().unwrap()).collect();
        assert!(numbers.len() == 3 && numbers.iter().all(|it| *it == numbers[0]), "{numbers:?}");
        assert!(numbers[0] >= last, "{} after {last}", numbers[0]);
        last = numbers[0];
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

fn change() -> impl Strategy<Value = ControlChange> {
    let table = prop::sample::select(ControlTable::ALL.to_vec());
    (table, "[a-d]", prop::option::of("[a-z]{0,8}")).prop_map(|(table, key, text)| ControlChange {
        table,
        key,
        text,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn both_stores_hold_the_same_after_any_lists_and_so_does_the_file(
        lists in prop::collection::vec(prop::collection::vec(change(), 0..8), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (memory, durable) = (MemoryControl::new(), open(&folder));
        for list in lists {
            runtime.block_on(memory.write(list.clone(), NOW_MS)).unwrap();
            runtime.block_on(durable.write(list, NOW_MS)).unwrap();
        }
        let all = |store: &dyn ControlStore| -> Vec<Documents> {
            let read = |table| runtime.block_on(store.read(table)).unwrap();
            ControlTable::ALL.into_iter().map(read).collect()
        };
        prop_assert_eq!(all(&memory), all(&durable));
        drop(durable);
        prop_assert_eq!(all(&memory), all(&open(&folder)));
    }
}

#[tokio::test]
async fn a_store_that_is_opened_again_holds_what_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.write(vec![set(ControlTable::Single, "router_name", "east")], NOW_MS).await.unwrap();
    assert!(store.file_bytes() > 0 && store.health().is_writable);
    drop(store);
    let store = open(&folder);
    assert_eq!(store.read(ControlTable::Single).await.unwrap()["router_name"], "east");
    let files = std::fs::read_dir(folder.path()).unwrap();
    let names: BTreeSet<_> = files.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["LOCK", "control.redb"].map(Into::into).into());
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.redb");
    for content in [&[7; 5_000][..], b"", b"redb"] {
        std::fs::write(&path, content).unwrap();
        let error = try_to_open(&folder).err().unwrap();
        assert!(matches!(error, ControlOpenError::File { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains(path.to_str().unwrap()) && message.contains("move it away"),
            "{message}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), content, "it is left as it was");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(try_to_open(&folder).is_err());
}
