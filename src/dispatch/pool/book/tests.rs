//! Tests of creating, changing and deleting Routes, and of reading a book back.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::budget::Limits;
use super::super::problem::{ChangeError, Field, RouteDraft, RouteProblem, RouteReference};
use super::*;

fn endpoint(name: &str, daily_volume: u64, tied_to: Option<&str>) -> Endpoint {
    let limits = Limits { daily_volume, hourly_rate: 10_000 };
    Endpoint { name: name.into(), limits, tied_to: tied_to.map(str::to_owned) }
}

fn book(endpoints: Vec<Endpoint>) -> Book {
    Book::new(Arc::new(Inventory::new(endpoints)))
}

fn plain(volumes: &[u64]) -> Book {
    let endpoints = volumes.iter().enumerate();
    book(endpoints.map(|(at, volume)| endpoint(&format!("e{at}"), *volume, None)).collect())
}

fn nothing() -> RouteDraft {
    RouteDraft {
        name: Field::Absent,
        requested_daily_volume: Field::Absent,
        overflow: Field::Absent,
    }
}

fn named(name: &str, volume: u64) -> RouteDraft {
    let name = Field::Given(name.to_owned());
    RouteDraft { name, requested_daily_volume: Field::Given(volume), ..nothing() }
}

fn volume(volume: u64) -> RouteDraft {
    RouteDraft { requested_daily_volume: Field::Given(volume), ..nothing() }
}

fn into(overflow: Option<u64>) -> RouteDraft {
    let reference = overflow.map(|id| RouteReference::Id(RouteId(id)));
    RouteDraft { overflow: Field::Given(reference), ..nothing() }
}

fn endpoints_of(book: &Book, route: u64) -> Vec<&str> {
    let mut names: Vec<&str> =
        book.routes()[&RouteId(route)].endpoints.iter().map(|name| &**name).collect();
    names.sort_unstable();
    names
}

fn problems<T: std::fmt::Debug>(refused: Result<T, ChangeError>) -> Vec<RouteProblem> {
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
    assert_eq!(book.create(named("my-route", 50_000)), Ok(RouteId(1)));
    assert_eq!(book.create(named("new-route", 50_000)), Ok(RouteId(2)));
    assert_eq!((endpoints_of(&book, 1), endpoints_of(&book, 2)), (vec!["one"], vec!["two"]));
    assert_eq!(book.rules()[&RuleId(42)].name, "my-route R1");
    book.change(RouteId(1), named("renamed-route", 75_000)).unwrap();
    let route = &book.routes()[&RouteId(1)];
    assert_eq!(route.requested_daily_volume, 75_000);
    assert_eq!((book.daily_volume(route), book.hourly_rate(route)), (25_000, 10_000));
    assert_eq!(book.rules()[&RuleId(42)].name, "renamed-route R1");
}

#[test]
fn a_larger_volume_adds_endpoints_and_a_smaller_one_gives_them_back() {
    let mut book = plain(&[30, 20, 10, 10]);
    book.create(named("a", 25)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e0"]);
    book.change(RouteId(1), volume(45)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e0", "e1"]);
    book.change(RouteId(1), volume(1_000)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e0", "e1", "e2", "e3"], "all that there are");
    book.change(RouteId(1), volume(15)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e1"], "the fewest, then the least surplus");
    book.change(RouteId(1), volume(1)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["e1"], "never the last");
    assert_eq!(book.create(named("b", 40)), Ok(RouteId(2)));
    assert_eq!(endpoints_of(&book, 2), ["e0", "e2"], "what was given back is free");
}

#[test]
fn a_rename_keeps_the_endpoints_and_the_rule() {
    let mut book = book(vec![endpoint("one", 5, Some("a")), endpoint("two", 5, None)]);
    book.create(named("A", 5)).unwrap();
    let rename = RouteDraft { name: Field::Given("b".to_owned()), ..nothing() };
    book.change(RouteId(1), rename).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["one"]);
    assert_eq!(book.routes()[&RouteId(1)].rule, RuleId(42));
    assert_eq!(problems(book.create(named("B", 5)))[0].to_string(), {
        r#"name "B" is taken by Route 1: choose another"#
    });
}

#[test]
fn tied_endpoints_are_for_their_routes_only() {
    let mut book = book(vec![endpoint("one", 5, Some("a")), endpoint("two", 9, None)]);
    book.create(named("b", 50)).unwrap();
    assert_eq!(endpoints_of(&book, 1), ["two"]);
    assert_eq!(problems(book.create(named("c", 50))), [RouteProblem::NoEndpoints]);
    book.create(named("a", 50)).unwrap();
    assert_eq!(endpoints_of(&book, 2), ["one"]);
}

#[test]
fn what_is_deleted_frees_its_endpoints_and_leaves_its_rule() {
    let mut book = plain(&[5]);
    book.create(named("a", 5)).unwrap();
    book.remove(RouteId(1)).unwrap();
    assert_eq!(book.remove(RouteId(1)), Err(ChangeError::NotFound(RouteId(1))));
    let rule = &book.rules()[&RuleId(42)];
    assert_eq!((rule.target, &*rule.name), (RuleTarget::Discard, "a R1"));
    assert_eq!(book.create(named("a", 5)), Ok(RouteId(2)), "its name and endpoint are free");
    assert_eq!(book.routes()[&RouteId(2)].rule, RuleId(43));
}

#[test]
fn overflowing_never_leads_back() {
    let mut book = plain(&[1, 1, 1]);
    for name in ["a", "b", "c"] {
        book.create(named(name, 1)).unwrap();
    }
    book.change(RouteId(1), into(Some(2))).unwrap();
    book.change(RouteId(2), into(Some(3))).unwrap();
    assert_eq!(problems(book.change(RouteId(3), into(Some(3)))), [RouteProblem::OverflowSelf]);
    let circle = problems(book.change(RouteId(3), into(Some(1))));
    assert_eq!(circle, [RouteProblem::OverflowCircle("3 -> 1 -> 2 -> 3".to_owned())]);
    let unknown = problems(book.change(RouteId(3), into(Some(4))));
    assert!(unknown[0].to_string().contains("none has the id 4"), "{unknown:?}");
    let of = problems(book.remove(RouteId(3)));
    assert!(of[0].to_string().starts_with(r#"Route 2 "b" overflows into this one"#), "{of:?}");
    book.change(RouteId(2), into(None)).unwrap();
    book.remove(RouteId(3)).unwrap();
    let by_name = Field::Given(Some(RouteReference::Name("A".to_owned())));
    let back = RouteDraft { overflow: by_name, ..nothing() };
    assert_eq!(problems(book.change(RouteId(2), back)).len(), 1);
}

#[test]
fn all_problems_are_told_at_once() {
    let mut book = plain(&[]);
    let draft = RouteDraft {
        name: Field::Given("7".to_owned()),
        requested_daily_volume: Field::Given(0),
        overflow: Field::Invalid("overflow_route is wrong"),
    };
    assert_eq!(problems(book.create(draft)).len(), 3);
    assert_eq!(
        problems(book.create(nothing())),
        [RouteProblem::NameMissing, RouteProblem::VolumeMissing]
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
    let route = &without.routes()[&RouteId(1)];
    assert_eq!((without.daily_volume(route), without.places(route)), (20, vec![0]));
    without.change(RouteId(1), volume(10)).unwrap();
    let all = Arc::new(Inventory::new(before.inventory().endpoints().to_vec()));
    let after = restored(&without, all).unwrap();
    assert_eq!(after.daily_volume(&after.routes()[&RouteId(1)]), 50);
    let mut after = after;
    assert_eq!(problems(after.create(named("b", 1))), [RouteProblem::NoEndpoints]);
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
    let route = |book: &mut Book, id, change: &dyn Fn(&mut Route)| {
        change(book.routes.get_mut(&RouteId(id)).unwrap());
    };
    let one = RouteId(1);
    assert_eq!(broken(&|it| route(it, 1, &|it| it.rule = RuleId(43))), BookError::Rule(one));
    assert_eq!(broken(&|it| it.rules.clear()), BookError::Rule(one));
    let to_itself = broken(&|it| route(it, 1, &|it| it.overflow = Some(one)));
    assert_eq!(to_itself, BookError::Overflow(one));
    let to_nothing = broken(&|it| route(it, 1, &|it| it.overflow = Some(RouteId(9))));
    assert_eq!(to_nothing, BookError::Overflow(one));
    let of_one_name = broken(&|it| route(it, 2, &|it| it.name = RouteName::parse("A").unwrap()));
    assert_eq!(of_one_name, BookError::Name(RouteId(2)));
    let shared = broken(&|it| route(it, 2, &|it| it.endpoints = vec!["e0".into()]));
    assert_eq!(shared, BookError::Endpoint(RouteId(2)));
    let astray = broken(&|it| drop(it.routes.remove(&one)));
    assert_eq!(astray, BookError::Target(RuleId(42)));
}

fn restored(book: &Book, inventory: Arc<Inventory>) -> Result<Book, BookError> {
    let routes = book.routes().values().cloned().collect();
    let rules = book.rules().values().cloned().collect();
    Book::restore(inventory, routes, rules, Some(book.next_ids()))
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

fn draft(name: Option<String>, volume: Option<u64>, overflow: Option<Option<u64>>) -> RouteDraft {
    RouteDraft {
        name: name.map_or(Field::Absent, Field::Given),
        requested_daily_volume: volume.map_or(Field::Absent, Field::Given),
        overflow: overflow
            .map_or(Field::Absent, |id| Field::Given(id.map(|id| RouteReference::Id(RouteId(id))))),
    }
}

proptest! {
    /// Whatever is asked for, in whatever order: a book is a book (no circle, no endpoint twice, no
    /// name twice), a refused change changes nothing, and ids never repeat.
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
                        let rule = book.routes()[id].rule;
                        prop_assert!(ids.insert(*id), "a new id");
                        prop_assert!(!before.rules().contains_key(&rule), "a new rule");
                        prop_assert!(!book.places(&book.routes()[id]).is_empty());
                    }
                    made.is_ok()
                }
                Operation::Change(id, name, volume, overflow) => {
                    book.change(RouteId(id), draft(name, volume, overflow)).is_ok()
                }
                Operation::Remove(id) => book.remove(RouteId(id)).is_ok(),
                Operation::Restart => {
                    book = restored(&book, inventory.clone()).unwrap();
                    false
                }
            };
            if !is_made {
                prop_assert_eq!(book.routes(), before.routes());
                prop_assert_eq!(book.rules(), before.rules());
                prop_assert_eq!(book.next_ids(), before.next_ids());
            }
            prop_assert_eq!(book.check(), Ok(()));
            for route in book.routes().values() {
                prop_assert!(!route.endpoints.is_empty());
                prop_assert_eq!(book.chain(route.id).last().unwrap().overflow, None);
            }
        }
    }
}
