//! Tests of choosing endpoints, spending, and the reported times.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{BudgetLimits, Field, Inventory, PoolDraft, PoolEndpoint, PoolReference};
use super::*;

const HOUR_MS: u64 = 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const NOON: UnixMs = 20_000 * DAY_MS + DAY_MS / 2;

/// Pools of one endpoint each, with these limits, each overflowing into the one before it.
fn chain(limits: &[(u64, u64)]) -> (Book, BudgetLedger) {
    let endpoints =
        limits.iter().enumerate().map(|(at, (daily_volume, hourly_rate))| PoolEndpoint {
            name: format!("e{at}").into(),
            limits: BudgetLimits { daily_volume: *daily_volume, hourly_rate: *hourly_rate },
            tied_to: Some(format!("r{at}")),
        });
    let mut book = Book::new(Arc::new(Inventory::new(endpoints.collect())));
    for at in 0..limits.len() {
        let overflow = at.checked_sub(1).map(|at| PoolReference::Name(format!("r{at}")));
        book.create(PoolDraft {
            name: Field::Given(format!("r{at}")),
            requested_daily_volume: Field::Given(1),
            overflow: Field::Given(overflow),
        })
        .unwrap();
    }
    (book, BudgetLedger::new(limits.iter().map(|_| Spent::default())))
}

/// One pool of endpoints with these limits.
fn pool(limits: &[(u64, u64)]) -> (Book, BudgetLedger) {
    let endpoints =
        limits.iter().enumerate().map(|(at, (daily_volume, hourly_rate))| PoolEndpoint {
            name: format!("e{at}").into(),
            limits: BudgetLimits { daily_volume: *daily_volume, hourly_rate: *hourly_rate },
            tied_to: None,
        });
    let mut book = Book::new(Arc::new(Inventory::new(endpoints.collect())));
    book.create(PoolDraft {
        name: Field::Given("r".to_owned()),
        requested_daily_volume: Field::Given(1 << 50),
        overflow: Field::Absent,
    })
    .unwrap();
    (book, BudgetLedger::new(limits.iter().map(|_| Spent::default())))
}

fn ready(_: usize) -> Availability {
    Availability::Ready
}

fn choice(book: &Book, pool: u64, now_ms: UnixMs) -> Choice<'_> {
    let pool = PoolId(pool);
    Choice { book, pool, key: b"key", tried: &[], availability: &ready, now_ms }
}

#[test]
fn a_key_keeps_its_endpoint_until_it_has_no_more() {
    let (book, mut ledger) = pool(&[(2, 10), (2, 10)]);
    let choice = choice(&book, 1, NOON);
    let places: Vec<usize> =
        (0..4).map(|_| ledger.take(&choice).expect("four are left").place).collect();
    assert_eq!(places[0], places[1]);
    assert_eq!(places[2], places[3]);
    assert_ne!(places[0], places[2]);
    assert_eq!(ledger.take(&choice), Err(NoneLeft::Until(20_001 * DAY_MS)));
}

#[test]
fn a_route_that_is_spent_overflows_and_a_chain_ends() {
    let (book, mut ledger) = chain(&[(1, 10), (1, 10), (1, 10)]);
    let choice = choice(&book, 3, NOON);
    let pools: Vec<PoolId> =
        (0..3).map(|_| ledger.take(&choice).expect("three are left").pool).collect();
    assert_eq!(pools, [PoolId(3), PoolId(2), PoolId(1)]);
    assert!(ledger.take(&choice).is_err());
}

#[test]
fn endpoints_that_back_off_were_tried_or_are_gone_are_skipped_unspent() {
    let (book, mut ledger) = pool(&[(9, 9), (9, 9), (9, 9)]);
    let first = choice(&book, 1, NOON);
    let (_, preferred) = ledger.choose(&first).unwrap();
    ledger.back_off(preferred, NOON, Duration::from_millis(10));
    ledger.back_off(preferred, NOON, Duration::from_millis(5));
    let (_, second) = ledger.choose(&first).unwrap();
    let (_, third) = ledger.choose(&Choice { tried: &[second], ..first }).unwrap();
    assert_eq!(preferred + second + third, 3);
    let unavailable =
        |place: usize| if place == third { Availability::Unavailable } else { Availability::Ready };
    let none = Choice { tried: &[second], availability: &unavailable, ..choice(&book, 1, NOON) };
    assert_eq!(ledger.take(&none), Err(NoneLeft::Unavailable(third)));
    let later =
        Choice { tried: &[second], availability: &unavailable, ..choice(&book, 1, NOON + 10) };
    assert_eq!(ledger.take(&later).unwrap().place, preferred);
    assert_eq!(ledger.state(second).spent, Spent::default());
}

#[test]
fn retry_after_is_the_soonest_of_the_chain_by_budget_and_backoff() {
    // Spent for the day, spent for the hour, and resting for ten minutes.
    let (book, mut ledger) = chain(&[(1, 100), (100, 1), (100, 100)]);
    let choice = choice(&book, 3, NOON);
    ledger.back_off(2, NOON, Duration::from_mins(10));
    for _ in 0..2 {
        ledger.take(&choice).unwrap();
    }
    assert_eq!(ledger.take(&choice), Err(NoneLeft::Until(NOON + HOUR_MS / 6)));
    ledger.back_off(2, NOON, Duration::from_hours(2));
    assert_eq!(ledger.take(&choice), Err(NoneLeft::Until(NOON + HOUR_MS)));
    ledger.back_off(1, NOON, Duration::from_hours(3));
    assert_eq!(ledger.take(&choice), Err(NoneLeft::Until(NOON + 2 * HOUR_MS)));
    // The upstream's own report counts too.
    let availability = |place: usize| match place {
        2 => Availability::Until(NOON + 5 * HOUR_MS),
        0 => Availability::Unavailable,
        _ => Availability::Ready,
    };
    let choice = Choice { availability: &availability, ..choice };
    assert_eq!(ledger.take(&choice), Err(NoneLeft::Until(NOON + 3 * HOUR_MS)));
}

#[test]
fn a_route_whose_endpoints_have_vanished_has_none() {
    let (book, _) = chain(&[(1, 1)]);
    let pools = book.pools().values().cloned().collect();
    let rules = book.rules().values().cloned().collect();
    let empty = Book::restore(Arc::new(Inventory::default()), pools, rules, None).unwrap();
    let mut ledger = BudgetLedger::new([]);
    assert_eq!(ledger.take(&choice(&empty, 1, NOON)), Err(NoneLeft::NoEndpoints));
}

#[test]
fn parts_of_a_millisecond_count_as_one() {
    assert_eq!(after(5, Duration::ZERO), 5);
    assert_eq!(after(5, Duration::from_nanos(1)), 6);
    assert_eq!(after(5, Duration::MAX), u64::MAX);
}

proptest! {
    /// Lookups at random times through a random chain: a refused lookup would be refused until the
    /// reported time, and not at it.
    #[test]
    fn retry_after_is_true(
        limits in proptest::collection::vec((1_u64..6, 1_u64..6), 1..5),
        lookups in proptest::collection::vec((0_u64..5, 0..DAY_MS / 8, 0_u64..20), 1..60),
    ) {
        let (book, mut ledger) = chain(&limits);
        let mut now_ms = NOON;
        for (pool, gap, rest_s) in lookups {
            now_ms += gap;
            let pool = 1 + pool % limits.len() as u64;
            match ledger.take(&choice(&book, pool, now_ms)) {
                Ok(taken) if rest_s > 15 => {
                    ledger.back_off(taken.place, now_ms, Duration::from_secs(rest_s));
                }
                Ok(taken) => prop_assert!(taken.pool.0 <= pool),
                Err(NoneLeft::Until(until_ms)) => {
                    prop_assert!(until_ms > now_ms);
                    let sooner = ledger.choose(&choice(&book, pool, until_ms - 1));
                    prop_assert_eq!(sooner, Err(NoneLeft::Until(until_ms)));
                    prop_assert!(ledger.choose(&choice(&book, pool, until_ms)).is_ok());
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
