//! `GET /routes/explain`: which target would answer a lookup, and why, without querying anything or
//! spending budget.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{answer, destination, ok};
use crate::admin::AdminState;
use crate::admin::accept::JsonType;
use crate::admin::error::{AdminError, RouteError};
use crate::admin::wire::{NotAskedView, PoolView, RouteExplanation, iso_8601};
use crate::control::TargetKind;
use crate::dispatch::pool::RuleId;
use crate::dispatch::{Address, RouteEntry, can_match};
use crate::resolve::Upstream;
use crate::types::ContentKey;

/// Answers GET and HEAD.
pub(super) async fn get(request: HttpRequest, state: web::Data<AdminState>) -> HttpResponse {
    answer(explain(&request, &state))
}

fn explain(request: &HttpRequest, state: &AdminState) -> Result<HttpResponse, AdminError> {
    let json_type = JsonType::negotiated(request.headers())?;
    let address = destination(request)?.ok_or(RouteError::NoAddress)?;
    let table = state.control.table();
    match table.find(address.segments(), state.clock.now_ms()) {
        Some((entry, _)) => Ok(ok(json_type, &explanation(&address, entry, state))),
        None => Err(RouteError::NoRoute(address).into()),
    }
}

fn explanation(address: &Address, entry: &RouteEntry, state: &AdminState) -> RouteExplanation {
    let control = &state.control;
    let target = control.targets().get(&entry.next_hop);
    // An address of many keys stands for itself.
    let key = address.multihash().map_or(address.as_str().as_bytes(), ContentKey::as_bytes);
    let rule = entry.next_hop.rule().map(RuleId).filter(|_| target.is_none());
    let pool = rule.and_then(|rule| control.pools().explain(rule, key));
    let asks = target.map(|target| target.asks.as_slice()).unwrap_or_default();
    let kind_of_rule = pool.as_ref().map(|_| TargetKind::Pool);
    let chain = pool.iter().flat_map(|pool| &pool.chain);
    let endpoints: Vec<_> = chain
        .flat_map(|pool| pool.endpoints.iter().map(|endpoint| endpoint.name.to_string()))
        .collect();
    RouteExplanation {
        destination_address: address.to_string(),
        never_matches: !can_match(address.segments()),
        route_prefix: entry.prefix.to_string(),
        next_hop_account_id: entry.next_hop.to_string(),
        origin: entry.origin.as_str().to_owned(),
        path: entry.path.clone(),
        expires_at: entry.expires_at_ms.map(iso_8601),
        exists: target.is_some() || pool.is_some(),
        kind: target.map(|target| target.kind).or(kind_of_rule).map(kind),
        upstreams: asks.iter().map(ToString::to_string).chain(endpoints).collect(),
        not_asked: target.map(|target| not_asked(&target.upstreams)).unwrap_or_default(),
        pool: pool.map(PoolView::from),
    }
}

/// The upstreams that a lookup would skip now: they back off, their breaker is open, or they are at
/// their concurrency limit.
fn not_asked(upstreams: &[Arc<dyn Upstream>]) -> Vec<NotAskedView> {
    let view = |upstream: &Arc<dyn Upstream>| {
        let reason = upstream.is_ready().err()?.to_string();
        Some(NotAskedView { name: upstream.id().to_string(), reason })
    };
    upstreams.iter().filter_map(view).collect()
}

fn kind(kind: TargetKind) -> String {
    kind.as_str().to_owned()
}
