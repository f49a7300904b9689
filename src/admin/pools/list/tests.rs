//! Tests of lists and of going through them.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dispatch::pool::{BudgetLimits, Field, Inventory, PoolDraft, PoolEndpoint};

/// A book with room for many pools.
fn book() -> Book {
    let limits = BudgetLimits { daily_volume: 1, hourly_rate: 1 };
    let endpoint = |at| PoolEndpoint { name: format!("e{at}").into(), limits, tied_to: None };
    Book::new(Arc::new(Inventory::new((0..600).map(endpoint).collect())))
}

fn create(book: &mut Book, name: String) -> PoolId {
    book.create(PoolDraft {
        name: Field::Given(name),
        requested_daily_volume: Field::Given(1),
        overflow: Field::Absent,
    })
    .unwrap()
}

fn list(book: &Book, query: &str) -> PoolList {
    ListQuery::parse(query).unwrap().answer(book)
}

fn problems(query: &str) -> Vec<String> {
    match ListQuery::parse(query) {
        Err(PoolError::Request(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

fn ids(list: &PoolList) -> Vec<u64> {
    list.routes.iter().map(|pool| pool.id).collect()
}

#[test]
fn pages_have_a_hundred_and_count_all() {
    let mut book = book();
    for at in 0..250 {
        create(&mut book, format!("route-{at}"));
    }
    let first = list(&book, "");
    assert_eq!(ids(&first), (1..=100).collect::<Vec<_>>());
    let PoolPagination { page, per_page, num_pages, num_records, .. } = first.pagination;
    assert_eq!((page, per_page, num_pages, num_records), (0, 100, 3, 250));
    let last = list(&book, "page=2");
    assert_eq!(ids(&last), (201..=250).collect::<Vec<_>>());
    assert_eq!(last.pagination.next_page_token, None);
    let beyond = list(&book, "page=9007199254740992");
    assert_eq!((beyond.routes.len(), beyond.pagination.next_page_token), (0, None));
    // A token goes on where a page by number ended.
    let token = list(&book, "page=1").pagination.next_page_token.unwrap();
    assert_eq!(list(&book, &format!("page_token={token}")), last);
    for _ in 0..50 {
        let id = *book.pools().last_key_value().unwrap().0;
        book.remove(id).unwrap();
    }
    assert_eq!(list(&book, "page=1").pagination.next_page_token, None, "nothing follows");
}

#[test]
fn an_empty_list_has_no_pages() {
    let empty = list(&book(), "");
    let pagination = PoolPagination {
        page: 0,
        per_page: 100,
        num_pages: 0,
        num_records: 0,
        next_page_token: None,
    };
    assert_eq!(empty, PoolList { routes: Vec::new(), pagination });
}

#[test]
fn a_name_filters_whatever_the_case() {
    let mut book = book();
    for name in ["Alpha", "alphabet", "beta.1", "ga mma"] {
        create(&mut book, name.to_owned());
    }
    assert_eq!(ids(&list(&book, "name=ALPHA")), [1, 2]);
    assert_eq!(ids(&list(&book, "name=a+m&else=1")), [4]);
    assert_eq!(ids(&list(&book, "name=a%20M")), [4]);
    assert_eq!(ids(&list(&book, "name=.")), [3]);
    assert_eq!(list(&book, "name=none").pagination.num_records, 0);
    assert_eq!(ids(&list(&book, "name=")).len(), 4);
}

#[test]
fn a_token_is_for_its_list_only() {
    let position = PagePosition { id: PoolId(7), page: 3 };
    let token = position.to_token("Some Name");
    assert_eq!(PagePosition::from_token(&token, "sOME nAME"), Some(position));
    for (token, name) in [
        (token.as_str(), "some"),
        (token.as_str(), ""),
        (&token[..token.len() - 1], "Some Name"),
        (&token.to_uppercase(), "Some Name"),
        ("", "Some Name"),
        ("AQ", "Some Name"),
    ] {
        assert_eq!(PagePosition::from_token(token, name), None, "{token} {name}");
    }
}

#[test]
fn all_faults_of_a_query_are_reported() {
    let token = PagePosition { id: PoolId(7), page: 3 }.to_token("");
    assert_eq!(problems(&format!("page=0&page_token={token}")).len(), 1);
    assert_eq!(problems("page=-1&page_token=x").len(), 3);
    assert_eq!(problems("page=0&page=1&name=a&name=b").len(), 2);
    for page in ["", "-1", "1.0", "one", "+1", " 1", "9007199254740993", "99999999999999999999"] {
        let problems = problems(&format!("page={page}"));
        assert!(problems[0].starts_with("page is "), "{problems:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is created and deleted between pages: a pool that is there all the time comes
    /// exactly once, none comes twice, and none that is deleted comes after that.
    #[test]
    fn token_pages_neither_repeat_nor_skip_survivors(
        start in 150_usize..350,
        between in proptest::collection::vec(
            (0_usize..60, proptest::collection::vec(1_u64..500, 0..60)), 0..8,
        ),
    ) {
        let mut book = book();
        for at in 0..start {
            create(&mut book, format!("a{at}"));
        }
        let mut survivors: BTreeSet<u64> = book.pools().keys().map(|id| id.0).collect();
        let mut seen = BTreeSet::new();
        let mut between = between.into_iter();
        let mut query = "name=A".to_owned();
        let mut pages = 0;
        loop {
            let page = list(&book, &query);
            prop_assert_eq!(page.pagination.page, pages);
            for id in ids(&page) {
                prop_assert!(book.pools().contains_key(&PoolId(id)));
                prop_assert!(seen.insert(id), "pool {} comes twice", id);
            }
            let Some(token) = page.pagination.next_page_token else { break };
            query = format!("name=A&page_token={token}");
            pages += 1;
            let (created, deleted) = between.next().unwrap_or_default();
            for at in 0..created {
                create(&mut book, format!("a{start} {pages} {at}"));
            }
            for id in deleted {
                if book.remove(PoolId(id)).is_ok() {
                    survivors.remove(&id);
                }
            }
        }
        prop_assert!(survivors.is_subset(&seen));
    }

    #[test]
    fn no_token_panics(token in "\\PC{0,60}") {
        let _ = PagePosition::from_token(&token, "");
    }
}
