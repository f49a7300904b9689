//! Tests of creating, changing and deleting pools, and of restoring a book.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::budget::BudgetLimits;
use super::super::problem::{ChangeError, Field, PoolDraft, PoolProblem, PoolReference};
use super::*;

fn endpoint(name: &str, daily_volume: u64, tied_to: Option<&str>) -> PoolEndpoint {
    let limits = BudgetLimits { daily_volume, hourly_rate: 10_000 };
    PoolEndpoint { name: name.into(), limits, tied_to: tied_to.map(str::to_owned) }
}

fn book(endpoints: Vec<PoolEndpoint>) -> Book {
    Book::new(Arc::new(Inventory::new(endpoints)))
}

fn plain(volumes: &[u64]) -> Book {
    let endpoints = volumes.iter().enumerate();
    book(endpoints.map(|(at, volume)| endpoint(&format!("e{at}"), *volume, None)).collect())
}

fn nothing() -> PoolDraft {
    PoolDraft {
        name: Field::Absent,
        requested_daily_volume: Field::Absent,
        overflow: Field::Absent,
    }
}

fn named(name: &str, volume: u64) -> PoolDraft {
    let name = Field::Given(name.to_owned());
    PoolDraft { name, requested_daily_volume: Field::Given(volume), ..nothing() }
}

fn volume(volume: u64) -> PoolDraft {
    PoolDraft { requested_daily_volume: Field::Given(volume), ..nothing() }
}

fn into(overflow: Option<u64>) -> PoolDraft {
    let reference = overflow.map(|id| PoolReference::Id(PoolId(id)));
    PoolDraft { overflow: Field::Given(reference), ..nothing() }
}

fn endpoints_of(book: &Book, pool: u64) -> Vec<&str> {
    let mut names: Vec<&str> =
        book.pools()[&PoolId(pool)].endpoints.iter().map(|name| &**name).collect();
    names.sort_unstable();
    names
}

fn problems<T: std::fmt::Debug>(refused: Result<T, ChangeError>) -> Vec<PoolProblem> {
    match refused {
        Err(ChangeError::Invalid(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_of_the_source_comes_out() {
    let mut book = book(vec![
        endpoint("one", 25_000, Some("my-route")),
        endpoint("two", 25_000, Some("NEW-route")),
    ]);
    assert_eq!(book.create(named("my-route", 50_000)), Ok(PoolId(1)));
    assert_eq!(book.create(named("new-route", 50_000)), Ok(PoolId(2)));
    assert_eq!((endpoints_of(&book, 1), endpoints_of(&book, 2)), (vec!["one"], vec!["two"]));
    assert_eq!(book.rules()[&RuleId(42)].name, "my-route R1");
    book.change(PoolId(1), named("renamed-route", 75_000)).unwrap();
    let pool = &book.pools()[&PoolId(1)];
    assert_eq!(pool.requested_daily_volume, 75_000);
    assert_eq!((book.daily_volume(pool), book.hourly_rate(pool)), (25_000, 10_000));
    assert_eq!(book.rules()[&RuleId(42)].name, "renamed-route R1");
}

#[test]
fn a_larger_volume_adds_endpoints_and_a_smaller_one_gives_them_back() {
    let mut book = plain(&[30, 20, 10, 10]);
    book.create(named("a", 25)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e0"]);
    book.change(PoolId(1), volume(45)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e0", "e1"]);
    book.change(PoolId(1), volume(1_000)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e0", "e1", "e2", "e3"], "all that there are");
    book.change(PoolId(1), volume(15)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e1"], "the fewest, then the least surplus");
    book.change(PoolId(1), volume(1)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e1"], "never the last");
    assert_eq!(book.create(named("b", 40)), Ok(PoolId(2)));
    assert_eq!(endpoints_of(&book, 2), ["e0", "e2"], "what was given back is free");
}

#[test]
fn a_rename_keeps_the_endpoints_and_the_rule() {
    let mut book = book(vec![endpoint("one", 5, Some("a")), endpoint("two", 5, None)]);
    book.create(named("A", 5)).unwrap();
    let rename = PoolDraft { name: Field::Given("b".to_owned()), ..nothing() };
    book.change(PoolId(1), rename).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["one"]);
    assert_eq!(book.pools()[&PoolId(1)].rule, RuleId(42));
    assert_eq!(problems(book.create(named("B", 5)))[0].to_string(), {
        r#"name "B" is taken by pool 1: choose another"#
    });
}

#[test]
fn tied_endpoints_are_for_their_routes_only() {
    let mut book = book(vec![endpoint("one", 5, Some("a")), endpoint("two", 9, None)]);
    book.create(named("b", 50)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["two"]);
    assert_eq!(problems(book.create(named("c", 50))), [PoolProblem::NoEndpoints]);
    book.create(named("a", 50)).unwrap();
    assert_eq!(endpoints_of(&book, 2), ["one"]);
}

#[test]
fn what_is_deleted_frees_its_endpoints_and_leaves_its_rule() {
    let mut book = plain(&[5]);
    book.create(named("a", 5)).unwrap();
    book.remove(PoolId(1)).unwrap();
    assert_eq!(book.remove(PoolId(1)), Err(ChangeError::NotFound(PoolId(1))));
    let rule = &book.rules()[&RuleId(42)];
    assert_eq!((rule.target, &*rule.name), (RuleTarget::Discard, "a R1"));
    assert_eq!(book.create(named("a", 5)), Ok(PoolId(2)), "its name and endpoint are free");
    assert_eq!(book.pools()[&PoolId(2)].rule, RuleId(43));
}

#[test]
fn overflowing_never_leads_back() {
    let mut book = plain(&[1, 1, 1]);
    for name in ["a", "b", "c"] {
        book.create(named(name, 1)).unwrap();
    }
    book.change(PoolId(1), into(Some(2))).unwrap();
    book.change(PoolId(2), into(Some(3))).unwrap();
    assert_eq!(problems(book.change(PoolId(3), into(Some(3)))), [PoolProblem::OverflowSelf]);
    let cycle = problems(book.change(PoolId(3), into(Some(1))));
    assert_eq!(cycle, [PoolProblem::OverflowCycle("3 -> 1 -> 2 -> 3".to_owned())]);
    let unknown = problems(book.change(PoolId(3), into(Some(4))));
    assert!(unknown[0].to_string().contains("none has the id 4"), "{unknown:?}");
    let of = problems(book.remove(PoolId(3)));
    assert!(of[0].to_string().starts_with(r#"pool 2 "b" overflows into this one"#), "{of:?}");
    book.change(PoolId(2), into(None)).unwrap();
    book.remove(PoolId(3)).unwrap();
    let by_name = Field::Given(Some(PoolReference::Name("A".to_owned())));
    let back = PoolDraft { overflow: by_name, ..nothing() };
    assert_eq!(problems(book.change(PoolId(2), back)).len(), 1);
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut book = plain(&[]);
    let draft = PoolDraft {
        name: Field::Given("7".to_owned()),
        requested_daily_volume: Field::Given(0),
        overflow: Field::Invalid("overflow_route is wrong"),
    };
    assert_eq!(problems(book.create(draft)).len(), 3);
    assert_eq!(
        problems(book.create(nothing())),
        [PoolProblem::NameMissing, PoolProblem::VolumeMissing]
    );
    let no_endpoint = problems(book.create(named("a", VOLUME_MAX_PLUS_ONE)));
    assert_eq!(no_endpoint.len(), 2, "{no_endpoint:?}");
}

const VOLUME_MAX_PLUS_ONE: u64 = super::super::problem::VOLUME_MAX + 1;

#[test]
fn endpoints_that_vanish_come_back_with_the_configuration() {
    let mut before = plain(&[30, 20]);
    before.create(named("a", 50)).unwrap();
    let smaller = Arc::new(Inventory::new(vec![endpoint("e1", 20, None)]));
    let mut without = restored(&before, smaller).unwrap();
    let pool = &without.pools()[&PoolId(1)];
    assert_eq!((without.daily_volume(pool), without.places(pool)), (20, vec![0]));
    without.change(PoolId(1), volume(10)).unwrap();
    let all = Arc::new(Inventory::new(before.inventory().endpoints().to_vec()));
    let after = restored(&without, all).unwrap();
    assert_eq!(after.daily_volume(&after.pools()[&PoolId(1)]), 50);
    let mut after = after;
    assert_eq!(problems(after.create(named("b", 1))), [PoolProblem::NoEndpoints]);
}

#[test]
fn what_is_no_book_is_refused() {
    let mut book = plain(&[1, 1]);
    book.create(named("a", 1)).unwrap();
    book.create(named("b", 1)).unwrap();
    let broken = |change: &dyn Fn(&mut Book)| {
        let mut book = book.clone();
        change(&mut book);
        restored(&book, Arc::new(Inventory::default())).unwrap_err()
    };
    let pool = |book: &mut Book, id, change: &dyn Fn(&mut Pool)| {
        change(book.pools.get_mut(&PoolId(id)).unwrap());
    };
    let one = PoolId(1);
    assert_eq!(broken(&|it| pool(it, 1, &|it| it.rule = RuleId(43))), BookError::Rule(one));
    assert_eq!(broken(&|it| it.rules.clear()), BookError::Rule(one));
    let to_itself = broken(&|it| pool(it, 1, &|it| it.overflow = Some(one)));
    assert_eq!(to_itself, BookError::Overflow(one));
    let to_nothing = broken(&|it| pool(it, 1, &|it| it.overflow = Some(PoolId(9))));
    assert_eq!(to_nothing, BookError::Overflow(one));
    let of_one_name = broken(&|it| pool(it, 2, &|it| it.name = PoolName::parse("A").unwrap()));
    assert_eq!(of_one_name, BookError::Name(PoolId(2)));
    let shared = broken(&|it| pool(it, 2, &|it| it.endpoints = vec!["e0".into()]));
    assert_eq!(shared, BookError::Endpoint(PoolId(2)));
    let astray = broken(&|it| drop(it.pools.remove(&one)));
    assert_eq!(astray, BookError::Target(RuleId(42)));
}

fn restored(book: &Book, inventory: Arc<Inventory>) -> Result<Book, BookError> {
    let pools = book.pools().values().cloned().collect();
    let rules = book.rules().values().cloned().collect();
    Book::restore(inventory, pools, rules, Some(book.next_ids()))
}

#[derive(Clone, Debug)]
enum Operation {
    Create(String, u64, Option<u64>),
    Change(u64, Option<String>, Option<u64>, Option<Option<u64>>),
    Remove(u64),
    Restart,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let name = || "[a-dA-D]{1,2}";
    let volume = 1_u64..120;
    let id = || 1_u64..12;
    let overflow = || proptest::option::of(id());
    let operation = prop_oneof![
        4 => (name(), volume.clone(), overflow()).prop_map(|(a, b, c)| Operation::Create(a, b, c)),
        6 => (
            id(),
            proptest::option::of(name()),
            proptest::option::of(volume),
            proptest::option::of(overflow()),
        )
            .prop_map(|(a, b, c, d)| Operation::Change(a, b, c, d)),
        2 => id().prop_map(Operation::Remove),
        1 => Just(Operation::Restart),
    ];
    proptest::collection::vec(operation, 0..60)
}

fn draft(name: Option<String>, volume: Option<u64>, overflow: Option<Option<u64>>) -> PoolDraft {
    PoolDraft {
        name: name.map_or(Field::Absent, Field::Given),
        requested_daily_volume: volume.map_or(Field::Absent, Field::Given),
        overflow: overflow
            .map_or(Field::Absent, |id| Field::Given(id.map(|id| PoolReference::Id(PoolId(id))))),
    }
}

proptest! {
    /// Any sequence of changes keeps the invariants (no cycle, no endpoint or name twice), a
    /// refused change changes nothing, and ids never repeat.
    #[test]
    fn a_book_stays_one_whatever_is_asked_of_it(
        volumes in proptest::collection::vec(1_u64..50, 0..8),
        operations in operations(),
    ) {
        let mut book = plain(&volumes);
        let inventory = book.inventory.clone();
        let mut ids = BTreeSet::new();
        for operation in operations {
            let before = book.clone();
            let is_made = match operation {
                Operation::Create(name, volume, overflow) => {
                    let made = book.create(draft(Some(name), Some(volume), Some(overflow)));
                    if let Ok(id) = &made {
                        let rule = book.pools()[id].rule;
                        prop_assert!(ids.insert(*id), "a new id");
                        prop_assert!(!before.rules().contains_key(&rule), "a new rule");
                        prop_assert!(!book.places(&book.pools()[id]).is_empty());
                    }
                    made.is_ok()
                }
                Operation::Change(id, name, volume, overflow) => {
                    book.change(PoolId(id), draft(name, volume, overflow)).is_ok()
                }
                Operation::Remove(id) => book.remove(PoolId(id)).is_ok(),
                Operation::Restart => {
                    book = restored(&book, inventory.clone()).unwrap();
                    false
                }
            };
            if !is_made {
                prop_assert_eq!(book.pools(), before.pools());
                prop_assert_eq!(book.rules(), before.rules());
                prop_assert_eq!(book.next_ids(), before.next_ids());
            }
            prop_assert_eq!(book.check(), Ok(()));
            for pool in book.pools().values() {
                prop_assert!(!pool.endpoints.is_empty());
                prop_assert_eq!(book.chain(pool.id).last().unwrap().overflow, None);
            }
        }
    }
}
