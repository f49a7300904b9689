//! Any bytes as the query and the bodies of requests about pools: no panic; tokens go through the whole
//! list, each pool once; and a book that was asked for anything is still one.
#![no_main]

use std::sync::{Arc, LazyLock};

use fingerpost::admin::{PoolList, pool_draft, pool_list};
use fingerpost::dispatch::pool::{Book, PoolEndpoint, Field, Inventory, BudgetLimits, PoolDraft, PoolId};
use fingerpost::dispatch::pool::{POOL_NAME_CHARS_MAX, VOLUME_MAX};
use libfuzzer_sys::fuzz_target;

static LONG: LazyLock<Book> = LazyLock::new(|| book(250, 250));
static SHORT: LazyLock<Book> = LazyLock::new(|| book(5, 9));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(page) = pool_list(text, &LONG) {
            check_page(&page);
        }
        walk(text);
    }
    let mut book = SHORT.clone();
    for body in bytes.split(|byte| *byte == b'\n') {
        ask(&mut book, body);
    }
    check_book(&book);
});

fn check_page(page: &PoolList) {
    assert!(page.routes.len() <= 100 && page.pagination.num_records <= 250);
    assert!(page.routes.is_sorted_by(|one, other| one.id < other.id));
}

/// Goes through all pools whose name contains a text.
fn walk(name: &str) {
    let name: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut query = format!("name={name}");
    let mut ids: Vec<u64> = Vec::new();
    loop {
        let page = pool_list(&query, &LONG).expect("any text may be looked for");
        check_page(&page);
        ids.extend(page.routes.iter().map(|pool| pool.id));
        let Some(token) = page.pagination.next_page_token else {
            assert_eq!(ids.len() as u64, page.pagination.num_records);
            break;
        };
        query = format!("name={name}&page_token={token}");
    }
    assert!(ids.is_sorted_by(|one, other| one < other));
}

/// The first byte says what is done, and with which pool.
fn ask(book: &mut Book, body: &[u8]) {
    if let Some(draft) = pool_draft(body) {
        let _ = book.create(draft);
    }
    let Some((place, body)) = body.split_first() else { return };
    let id = PoolId(u64::from(place % 9));
    if *place >= 200 {
        let _ = book.remove(id);
    }
    // What stands between the braces, too.
    let wrapped = [br#"{"route":{"#.as_slice(), body, b"}}"].concat();
    for draft in [pool_draft(body), pool_draft(&wrapped)].into_iter().flatten() {
        let _ = book.change(id, draft);
    }
}

fn check_book(book: &Book) {
    for pool in book.pools().values() {
        assert!((1..=VOLUME_MAX).contains(&pool.requested_daily_volume));
        assert!((1..=POOL_NAME_CHARS_MAX).contains(&pool.name.as_str().len()));
        assert_eq!(book.pool_named(pool.name.as_str()).map(|it| it.id), Some(pool.id));
        assert!(book.chain(pool.id).take(book.pools().len() + 1).count() <= book.pools().len());
        assert!(!pool.endpoints.is_empty());
        let owns = |other: &&fingerpost::dispatch::pool::Pool| {
            other.endpoints.iter().any(|endpoint| pool.endpoints.contains(endpoint))
        };
        assert_eq!(book.pools().values().filter(owns).count(), 1);
        assert!(pool.id < book.next_ids().0 && pool.rule < book.next_ids().1);
    }
}

fn book(pools: usize, endpoints: usize) -> Book {
    let limits = BudgetLimits { daily_volume: 10, hourly_rate: 1 };
    let endpoint = |at| PoolEndpoint { name: format!("e{at}").into(), limits, tied_to: None };
    let mut book = Book::new(Arc::new(Inventory::new((0..endpoints).map(endpoint).collect())));
    for at in 0..pools {
        let draft = PoolDraft {
            name: Field::Given(format!("pool {at}")),
            requested_daily_volume: Field::Given(1),
            overflow: Field::Absent,
        };
        book.create(draft).expect("there is an endpoint for it");
    }
    book
}
