//! `fingerpost routes list | explain | set | remove`: the routing table.

use anyhow::Context;
use clap::Args;
use reqwest::header::IF_MATCH;
use reqwest::{Method, RequestBuilder, StatusCode};

use super::output::{FieldTable, Listing, RouteFormat, write_json};
use super::{LIST_BYTES_MAX, Session};
use crate::admin::{
    NotAskedView, PoolEndpointView, PoolView, RouteExplanation, RouteList, StaticRouteList,
    StaticRouteRequest, StaticRouteView,
};
use crate::cli::admin_client::{RefusedRequest, parsed};
use crate::dispatch::{Address, AddressError};
use crate::text::printable;
use crate::types::{RoutePrefix, TargetId, TargetIdError};

/// What `routes list` takes.
#[derive(Args, Debug)]
pub(super) struct RouteListArgs {
    /// Only routes that could carry this lookup, the one that does first: an address such as
    /// g.providers.sha2-256.c, a CID, a peer ID or an IPNS name
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,

    /// Only static routes, with the times when they were set
    #[arg(long = "static", conflicts_with = "address")]
    only_static: bool,
}

/// What `routes explain` takes.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The lookup: an address, a CID, a peer ID or an IPNS name
    #[arg(value_name = "ADDRESS")]
    address: String,
}

/// What `routes set` takes.
#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// The part of the key space: a prefix such as g.providers.sha2-256.c, or a CID, a peer ID or an
    /// IPNS name, which stands for itself alone
    #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
    prefix: RoutePrefix,

    /// Who answers: local, discard, default, the name of an upstream, fan-out or peer, or the id of a
    /// pool's rule
    #[arg(value_name = "ACCOUNT", value_parser = parse_account)]
    account: TargetId,

    /// Replace the static route that may be there
    #[arg(long)]
    replace: bool,
}

/// What `routes remove` takes.
#[derive(Args, Debug)]
pub(super) struct RouteRemoveArgs {
    /// The part of the key space, as it was set
    #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
    prefix: RoutePrefix,
}

pub(super) async fn list(session: &mut Session<'_>, args: &RouteListArgs) -> anyhow::Result<()> {
    if args.only_static {
        return list_static(session).await;
    }
    let mut url = session.client.url(&["routes"]);
    if let Some(address) = &args.address {
        url.query_pairs_mut().append_pair("destinationAddress", address);
    }
    let request = session.client.request(Method::GET, url);
    let answer = session.client.text(request, LIST_BYTES_MAX).await?;
    if session.format == RouteFormat::Json {
        return Ok(write_json(&answer, session.out)?);
    }
    let list: RouteList = parsed(&answer)?;
    let rows = list.embedded.routes.into_iter().map(|route| {
        let path = route.path.join(" ");
        let expires = route.expires_at.unwrap_or_default();
        [route.route_prefix, route.next_hop_account_id, path, expires]
    });
    let header = ["Prefix", "Account", "Path", "Expires"];
    let listing = Listing { header, rows: rows.collect(), empty: "no routes" };
    Ok(listing.write(session.format, session.out)?)
}

async fn list_static(session: &mut Session<'_>) -> anyhow::Result<()> {
    let url = session.client.url(&["routes", "static"]);
    let request = session.client.request(Method::GET, url);
    let answer = session.client.text(request, LIST_BYTES_MAX).await?;
    if session.format == RouteFormat::Json {
        return Ok(write_json(&answer, session.out)?);
    }
    let list: StaticRouteList = parsed(&answer)?;
    let rows = list.embedded.static_routes.into_iter().map(|route| {
        [route.route_prefix, route.next_hop_account_id, route.created_at, route.modified_at]
    });
    let header = ["Prefix", "Account", "Created", "Modified"];
    let listing = Listing { header, rows: rows.collect(), empty: "no static routes" };
    Ok(listing.write(session.format, session.out)?)
}

pub(super) async fn explain(session: &mut Session<'_>, args: &ExplainArgs) -> anyhow::Result<()> {
    let request = explanation_request(session, &args.address);
    let answer = session.client.text(request, LIST_BYTES_MAX).await?;
    if session.format == RouteFormat::Json {
        return Ok(write_json(&answer, session.out)?);
    }
    Ok(explained(&parsed(&answer)?).write(session.format, session.out)?)
}

fn explanation_request(session: &Session<'_>, address: &str) -> RequestBuilder {
    let mut url = session.client.url(&["routes", "explain"]);
    url.query_pairs_mut().append_pair("destinationAddress", address);
    session.client.request(Method::GET, url)
}

/// An explanation for people.
fn explained(explanation: &RouteExplanation) -> FieldTable {
    let RouteExplanation { route_prefix, next_hop_account_id, origin, .. } = explanation;
    let account = match &explanation.kind {
        _ if !explanation.exists => {
            format!("{next_hop_account_id} (there is no such account: lookups fail)")
        }
        // The ids of rules are numbers, and the others' names may be the kind's.
        Some(kind) if kind != next_hop_account_id => format!("{next_hop_account_id} ({kind})"),
        Some(_) | None => next_hop_account_id.clone(),
    };
    let mut fields = FieldTable::default();
    fields.add("address", &explanation.destination_address);
    fields.add("prefix", format!("{route_prefix} ({origin})"));
    fields.add("account", account);
    if !explanation.path.is_empty() {
        fields.add("path", explanation.path.join(" "));
    }
    if let Some(expires_at) = &explanation.expires_at {
        fields.add("expires", expires_at);
    }
    fields.add("asks", explanation.upstreams.join(", "));
    for NotAskedView { name, reason } in &explanation.not_asked {
        fields.add(&format!("not {name}"), reason);
    }
    if let Some(pool) = &explanation.pool {
        add_pool(&mut fields, pool);
    }
    fields
}

/// What a pool would do, and what is left of its budgets.
fn add_pool(fields: &mut FieldTable, explained: &PoolView) {
    fields.add("rule", format!("{} ({})", explained.rule_id, explained.rule_name));
    let would = match (&explained.endpoint, &explained.reason) {
        (Some(endpoint), _) => format!("ask {endpoint}"),
        (None, Some(reason)) => format!("ask nobody: {reason}"),
        (None, None) => "find nothing: the pool was deleted".to_owned(),
    };
    fields.add("would", would);
    for pool in &explained.chain {
        for endpoint in &pool.endpoints {
            let PoolEndpointView { name, daily_volume, daily_left, .. } = endpoint;
            let PoolEndpointView { hourly_rate, hourly_left, held_back, .. } = endpoint;
            let held_back = held_back.iter().map(|reason| format!("; {reason}"));
            let left = format!(
                "{daily_left} of {daily_volume} left today, {hourly_left} of {hourly_rate} this hour{}",
                held_back.collect::<String>()
            );
            fields.add(&format!("{}: {name}", pool.name), left);
        }
    }
}

pub(super) async fn set(session: &mut Session<'_>, args: &SetArgs) -> anyhow::Result<()> {
    let SetArgs { prefix, account, replace } = args;
    let mut is_new = true;
    let mut answer = put(session, args, None).await;
    if *replace && has_status(&answer, StatusCode::CONFLICT) {
        is_new = false;
        answer = put(session, args, Some("*")).await;
    }
    let is_there = has_status(&answer, StatusCode::CONFLICT);
    let answer = match answer {
        Err(error) if is_there => {
            return Err(error.context(format!(
                "{prefix} has a static route; --replace has it replaced at once"
            )));
        }
        other => other?,
    };
    if session.format == RouteFormat::Json {
        write_json(&answer, session.out)?;
    } else {
        let route: StaticRouteView = parsed(&answer)?;
        let done = if is_new { "created" } else { "replaced" };
        let [prefix, account] =
            [&route.route_prefix, &route.next_hop_account_id].map(|text| printable(text));
        writeln!(session.out, "{done} {prefix} -> {account}")?;
    }
    warn(session, prefix, account).await
}

async fn put(
    session: &Session<'_>,
    args: &SetArgs,
    if_match: Option<&str>,
) -> anyhow::Result<Box<serde_json::value::RawValue>> {
    let url = session.client.url(&["routes", "static", args.prefix.as_str()]);
    let body = StaticRouteRequest {
        route_prefix: args.prefix.to_string(),
        next_hop_account_id: args.account.to_string(),
    };
    let request = session.client.request(Method::PUT, url).json(&body);
    let request = match if_match {
        Some(value) => request.header(IF_MATCH, value),
        None => request,
    };
    session.client.text(request, LIST_BYTES_MAX).await
}

fn has_status<T>(answer: &anyhow::Result<T>, status: StatusCode) -> bool {
    let refused = answer.as_ref().err().and_then(|error| error.downcast_ref::<RefusedRequest>());
    refused.is_some_and(|refused| refused.status == status)
}

/// Warns of two accepted inputs that are most likely typos: a route to an account that does not
/// exist, whose lookups fail, and a prefix that matches no possible lookup.
async fn warn(
    session: &mut Session<'_>,
    prefix: &RoutePrefix,
    account: &TargetId,
) -> anyhow::Result<()> {
    let request = explanation_request(session, prefix.as_str());
    // The route is set, so a failure here is no failure of the command.
    let Ok(answer) = session.client.text(request, LIST_BYTES_MAX).await else { return Ok(()) };
    let Ok(explanation) = parsed::<RouteExplanation>(&answer) else { return Ok(()) };
    if explanation.never_matches {
        writeln!(session.err, "warning: no lookup can have an address below {prefix}")?;
    }
    if !explanation.exists && explanation.next_hop_account_id == account.as_str() {
        writeln!(
            session.err,
            "warning: there is no account {account}: lookups below {prefix} fail until there is"
        )?;
    }
    Ok(())
}

pub(super) async fn remove(
    session: &mut Session<'_>,
    args: &RouteRemoveArgs,
) -> anyhow::Result<()> {
    let url = session.client.url(&["routes", "static", args.prefix.as_str()]);
    session.client.send(session.client.request(Method::DELETE, url)).await?;
    if session.format != RouteFormat::Json {
        writeln!(session.out, "removed the static route of {}", args.prefix)?;
    }
    Ok(())
}

/// A prefix, or what stands for itself alone.
fn parse_prefix(text: &str) -> anyhow::Result<RoutePrefix> {
    let address = match Address::parse(text) {
        // It was most likely meant as a prefix, so that error helps.
        Err(AddressError::Illegal(error)) => return Err(error.into()),
        address => address?,
    };
    RoutePrefix::parse(address.as_str()).context("its address is too long for a prefix")
}

fn parse_account(text: &str) -> Result<TargetId, TargetIdError> {
    TargetId::parse(text)
}
