//! `fingerpost routes pools`: pools of metered endpoints with budgets.
//!
//! A pool is named by its id or by its name: names are no integers, and unique whatever their case.

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::output::{FieldTable, Listing, RouteFormat, write_json};
use super::{LIST_BYTES_MAX, Session};
use crate::admin::{NamedId, PoolAnswer, PoolList, PoolRoute};
use crate::cli::admin_client::parsed;
use crate::dispatch::pool::VOLUME_MAX;

/// Where pools are.
const PATH: [&str; 5] = ["ga", "api", "v3", "eng", "routes"];

#[derive(Debug, Subcommand)]
pub(super) enum PoolsCommand {
    /// List pools, by id
    List(PoolListArgs),
    /// Show one pool
    Show(ShowArgs),
    /// Create a pool out of free endpoints; it is asked when a static route names the id of its rule
    Create(CreateArgs),
    /// Change what is given of a pool, and nothing else
    Update(UpdateArgs),
    /// Delete a pool: its endpoints are free again, and its rule answers "none found"
    Delete(ShowArgs),
}

#[derive(Args, Debug)]
pub(super) struct PoolListArgs {
    /// Only pools with this in their name, whatever its case
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The pool: its id, or its name
    #[arg(value_name = "ROUTE")]
    pool: String,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Its name: letters, digits, spaces, `-`, `_` and `.`, and no integer
    #[arg(value_name = "NAME")]
    name: String,

    /// Lookups a day that it shall be good for
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = parse_volume)]
    volume: u64,

    /// The pool, by id or name, that is asked when the budgets of this one are used up
    #[arg(long, value_name = "ROUTE")]
    overflow: Option<String>,
}

#[derive(Args, Debug)]
#[command(group(
    ArgGroup::new("changes")
        .args(["name", "volume", "overflow", "no_overflow"])
        .required(true)
        .multiple(true)
))]
pub(super) struct UpdateArgs {
    /// The pool: its id, or its name
    #[arg(value_name = "ROUTE")]
    pool: String,

    /// A new name; the name of its rule goes with it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Lookups a day that it shall be good for
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = parse_volume)]
    volume: Option<u64>,

    /// The pool, by id or name, that is asked when the budgets of this one are used up
    #[arg(long, value_name = "ROUTE", conflicts_with = "no_overflow")]
    overflow: Option<String>,

    /// Ask nobody when its budgets are used up
    #[arg(long)]
    no_overflow: bool,
}

pub(super) async fn execute(
    session: &mut Session<'_>,
    command: &PoolsCommand,
) -> anyhow::Result<()> {
    match command {
        PoolsCommand::List(args) => list(session, args).await,
        PoolsCommand::Show(args) => {
            let id = id_of(session, &args.pool).await?;
            let answer = ask(session, Method::GET, Some(&id), None).await?;
            print(session, &answer)
        }
        PoolsCommand::Create(args) => {
            let answer = ask(session, Method::POST, None, Some(args.body())).await?;
            print(session, &answer)
        }
        PoolsCommand::Update(args) => {
            let id = id_of(session, &args.pool).await?;
            let answer = ask(session, Method::PUT, Some(&id), Some(args.body())).await?;
            print(session, &answer)
        }
        PoolsCommand::Delete(args) => {
            let id = id_of(session, &args.pool).await?;
            let answer = ask(session, Method::DELETE, Some(&id), None).await?;
            if session.format == RouteFormat::Json {
                return Ok(write_json(&answer, session.out)?);
            }
            Ok(writeln!(session.out, "deleted pool {id}")?)
        }
    }
}

impl CreateArgs {
    fn body(&self) -> Value {
        let Self { name, volume, overflow } = self;
        let mut pool = Map::new();
        pool.insert("name".to_owned(), json!(name));
        pool.insert("requested_target_daily_volume".to_owned(), json!(volume));
        pool.extend(overflow.as_deref().map(overflow_field));
        json!({ "route": pool })
    }
}

impl UpdateArgs {
    fn body(&self) -> Value {
        let Self { pool: _, name, volume, overflow, no_overflow } = self;
        let mut pool = Map::new();
        pool.extend(name.as_ref().map(|name| ("name".to_owned(), json!(name))));
        let volume = volume.map(|it| ("requested_target_daily_volume".to_owned(), json!(it)));
        pool.extend(volume);
        pool.extend(overflow.as_deref().map(overflow_field));
        pool.extend(no_overflow.then(|| ("overflow_route".to_owned(), Value::Null)));
        json!({ "route": pool })
    }
}

/// A volume that a pool may have.
fn parse_volume(text: &str) -> Result<u64, String> {
    let volume = text.parse().ok().filter(|volume| (1..=VOLUME_MAX).contains(volume));
    volume.ok_or_else(|| format!("give a whole number from 1 to {VOLUME_MAX}"))
}

/// An overflow by id, or by name: names are no integers.
fn overflow_field(pool: &str) -> (String, Value) {
    let reference = match pool.parse::<u64>() {
        Ok(id) => json!({ "id": id }),
        Err(_) => json!({ "name": pool }),
    };
    ("overflow_route".to_owned(), reference)
}

async fn ask(
    session: &Session<'_>,
    method: Method,
    id: Option<&str>,
    body: Option<Value>,
) -> anyhow::Result<Box<RawValue>> {
    let path: Vec<_> = PATH.into_iter().chain(id).collect();
    let request = session.client.request(method, session.client.url(&path));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    session.client.text(request, LIST_BYTES_MAX).await
}

async fn list(session: &mut Session<'_>, args: &PoolListArgs) -> anyhow::Result<()> {
    let pages = pages(session, args.name.as_deref()).await?;
    if session.format == RouteFormat::Json {
        for (answer, _) in &pages {
            write_json(answer, session.out)?;
        }
        return Ok(());
    }
    let pools = pages.into_iter().flat_map(|(_, page)| page.routes);
    let rows = pools.map(|pool| {
        [
            pool.id.to_string(),
            pool.name,
            pool.requested_target_daily_volume.to_string(),
            pool.recommended_max_daily_volume.to_string(),
            pool.recommended_max_delivery_rate_per_hour.to_string(),
            pool.overflow_route.as_ref().map(reference).unwrap_or_default(),
            pool.routing_rule.id.to_string(),
        ]
    });
    let header = ["Id", "Name", "Wanted a day", "Most a day", "Most an hour", "Overflow", "Rule"];
    let listing = Listing { header, rows: rows.collect(), empty: "no pools" };
    Ok(listing.write(session.format, session.out)?)
}

/// All pages, each as it came and as what it says. They neither repeat nor skip a pool that is there
/// all the time.
async fn pages(
    session: &Session<'_>,
    name: Option<&str>,
) -> anyhow::Result<Vec<(Box<RawValue>, PoolList)>> {
    let mut pages = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut url = session.client.url(&PATH);
        let parameters = [("name", name), ("page_token", token.as_deref())];
        for (key, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(key, value);
            }
        }
        let request = session.client.request(Method::GET, url);
        let answer = session.client.text(request, LIST_BYTES_MAX).await?;
        let page: PoolList = parsed(&answer)?;
        let next = page.pagination.next_page_token.clone();
        let is_last = next.is_none() || page.routes.is_empty();
        pages.push((answer, page));
        if is_last {
            return Ok(pages);
        }
        token = next;
    }
}

/// The id of the pool that is named.
async fn id_of(session: &Session<'_>, pool: &str) -> anyhow::Result<String> {
    if pool.bytes().all(|it| it.is_ascii_digit()) && !pool.is_empty() {
        return Ok(pool.to_owned());
    }
    let pages = pages(session, Some(pool)).await?;
    let mut pools = pages.iter().flat_map(|(_, page)| &page.routes);
    match pools.find(|found| found.name.eq_ignore_ascii_case(pool)) {
        Some(found) => Ok(found.id.to_string()),
        None => bail!("there is no pool called {pool:?}; `routes pools list` lists them"),
    }
}

fn print(session: &mut Session<'_>, answer: &RawValue) -> anyhow::Result<()> {
    if session.format == RouteFormat::Json {
        return Ok(write_json(answer, session.out)?);
    }
    let PoolAnswer { route: pool } = parsed(answer).context("the answer is not about a pool")?;
    Ok(shown(&pool).write(session.format, session.out)?)
}

/// A pool for people.
fn shown(pool: &PoolRoute) -> FieldTable {
    let mut fields = FieldTable::default();
    fields.add("id", pool.id.to_string());
    fields.add("name", &pool.name);
    fields.add("wanted a day", pool.requested_target_daily_volume.to_string());
    fields.add("most a day", pool.recommended_max_daily_volume.to_string());
    fields.add("most an hour", pool.recommended_max_delivery_rate_per_hour.to_string());
    fields.add("overflow", pool.overflow_route.as_ref().map(reference).unwrap_or_default());
    fields.add("rule", reference(&pool.routing_rule));
    fields
}

fn reference(reference: &NamedId) -> String {
    format!("{} ({})", reference.id, reference.name)
}
