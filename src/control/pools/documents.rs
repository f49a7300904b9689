//! The stored form of pools, rules and budgets: JSON documents.
//!
//! ```text
//! Pools    1         {"name":"a","requestedDailyVolume":50000,"overflow":null,"rule":42,"endpoints":["one"]}
//! Rules    42         {"name":"a R1","route":1}                  null: it leads nowhere
//! Budgets  one        {"day":20000,"spent":7,"bucket":{"missingParts":25200000,"atMs":1728000000000}}
//! Single   route_ids  {"nextRoute":2,"nextRule":43}
//! ```
//!
//! A document that cannot be read is an error at startup: a forgotten budget would be spent twice,
//! a forgotten id assigned twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ControlError;
use crate::clock::UnixMs;
use crate::dispatch::pool::{
    Book, Inventory, Pool, PoolId, PoolName, Rule, RuleId, RuleTarget, Spent,
};
use crate::state::{ControlChange, ControlStore, ControlTable};

/// The key of the document of the next ids.
const NEXT_IDS: &str = "route_ids";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolDocument {
    name: String,
    requested_daily_volume: u64,
    overflow: Option<u64>,
    rule: u64,
    endpoints: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct RuleDocument {
    name: String,
    #[serde(rename = "route")]
    pool: Option<u64>,
}

#[derive(Deserialize, Serialize)]
struct BudgetDocument {
    day: u64,
    spent: u64,
    bucket: BucketDocument,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketDocument {
    missing_parts: u64,
    at_ms: UnixMs,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct NextIdsDocument {
    #[serde(rename = "nextRoute")]
    next_pool: u64,
    next_rule: u64,
}

/// The spent budgets of all endpoints by name, including endpoints that are no longer configured.
pub(super) async fn read_budgets(
    state: &dyn ControlStore,
) -> Result<HashMap<String, Spent>, ControlError> {
    let spent = |(name, text): (String, String)| {
        let document: BudgetDocument = read("budget", &name, &text)?;
        let BudgetDocument { day, spent, bucket } = document;
        let BucketDocument { missing_parts, at_ms } = bucket;
        Ok((name, Spent { day, of_day: spent, missing_parts, at_ms }))
    };
    state.read(ControlTable::Budgets).await?.into_iter().map(spent).collect()
}

/// All pools and rules.
pub(super) async fn read_book(
    state: &dyn ControlStore,
    inventory: Arc<Inventory>,
) -> Result<Book, ControlError> {
    let pools = state.read(ControlTable::Pools).await?;
    let pools = pools.iter().map(|(key, text)| read_pool(key, text));
    let rules = state.read(ControlTable::Rules).await?;
    let rules = rules.iter().map(|(key, text)| read_rule(key, text));
    let next_ids = match state.read(ControlTable::Single).await?.get(NEXT_IDS) {
        Some(text) => {
            let NextIdsDocument { next_pool, next_rule } = read("document", NEXT_IDS, text)?;
            Some((PoolId(next_pool), RuleId(next_rule)))
        }
        None => None,
    };
    let (pools, rules) = (pools.collect::<Result<_, _>>()?, rules.collect::<Result<_, _>>()?);
    Ok(Book::restore(inventory, pools, rules, next_ids)?)
}

fn read_pool(key: &str, text: &str) -> Result<Pool, ControlError> {
    let document: PoolDocument = read("pool", key, text)?;
    let name = PoolName::parse(&document.name);
    Ok(Pool {
        id: PoolId(read_id("pool", key)?),
        name: name.map_err(|error| broken("pool", key, &error))?,
        requested_daily_volume: document.requested_daily_volume,
        overflow: document.overflow.map(PoolId),
        rule: RuleId(document.rule),
        endpoints: document.endpoints.into_iter().map(Arc::from).collect(),
    })
}

fn read_rule(key: &str, text: &str) -> Result<Rule, ControlError> {
    let RuleDocument { name, pool } = read("rule", key, text)?;
    let target = pool.map_or(RuleTarget::Discard, |pool| RuleTarget::Pool(PoolId(pool)));
    Ok(Rule { id: RuleId(read_id("rule", key)?), name, target })
}

fn read<T: DeserializeOwned>(what: &'static str, key: &str, text: &str) -> Result<T, ControlError> {
    serde_json::from_str(text).map_err(|error| broken(what, key, &error))
}

fn read_id(what: &'static str, key: &str) -> Result<u64, ControlError> {
    key.parse().map_err(|error: std::num::ParseIntError| broken(what, key, &error))
}

fn broken(what: &'static str, key: &str, reason: &dyn ToString) -> ControlError {
    ControlError::Document { what, key: key.to_owned(), reason: reason.to_string() }
}

/// The writes that turn the stored form of one book into that of another.
pub(super) fn changes(before: &Book, after: &Book) -> Vec<ControlChange> {
    let mut changes = differences(ControlTable::Pools, before.pools(), after.pools(), |pool| {
        write(&PoolDocument {
            name: pool.name.to_string(),
            requested_daily_volume: pool.requested_daily_volume,
            overflow: pool.overflow.map(|id| id.0),
            rule: pool.rule.0,
            endpoints: pool.endpoints.iter().map(ToString::to_string).collect(),
        })
    });
    changes.extend(differences(ControlTable::Rules, before.rules(), after.rules(), |rule| {
        let pool = match rule.target {
            RuleTarget::Pool(id) => Some(id.0),
            RuleTarget::Discard => None,
        };
        write(&RuleDocument { name: rule.name.clone(), pool })
    }));
    if before.next_ids() != after.next_ids() {
        let (PoolId(next_pool), RuleId(next_rule)) = after.next_ids();
        let text = write(&NextIdsDocument { next_pool, next_rule });
        let (table, key) = (ControlTable::Single, NEXT_IDS.to_owned());
        changes.push(ControlChange { table, key, text: Some(text) });
    }
    changes
}

/// The write of an endpoint's spent budget.
pub(super) fn budget(endpoint: &str, spent: Spent) -> ControlChange {
    let Spent { day, of_day, missing_parts, at_ms } = spent;
    let bucket = BucketDocument { missing_parts, at_ms };
    let text = write(&BudgetDocument { day, spent: of_day, bucket });
    ControlChange { table: ControlTable::Budgets, key: endpoint.to_owned(), text: Some(text) }
}

fn differences<K: Ord + ToString, V: PartialEq>(
    table: ControlTable,
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    text: impl Fn(&V) -> String,
) -> Vec<ControlChange> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let gone = gone.map(|key| ControlChange { table, key: key.to_string(), text: None });
    let other = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    let other = other.map(|(key, value)| {
        let text = Some(text(value));
        ControlChange { table, key: key.to_string(), text }
    });
    gone.chain(other).collect()
}

fn write(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("it is texts, numbers and lists of them")
}
