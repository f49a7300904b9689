//! `GET /routes/explain`: who would answer a lookup, and why, without asking anybody and without
//! spending any budget.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{answer, destination, ok};
use crate::admin::AdminState;
use crate::admin::accept::JsonType;
use crate::admin::error::{AdminError, RouteError};
use crate::admin::wire::{RouteExplanation, iso_8601};
use crate::control::Account;
use crate::dispatch::{Address, RouteEntry};

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
    let account = state.control.accounts().get(&entry.next_hop);
    let asks = account.map(|account| account.asks.as_slice()).unwrap_or_default();
    RouteExplanation {
        destination_address: address.to_string(),
        route_prefix: entry.prefix.to_string(),
        next_hop_account_id: entry.next_hop.to_string(),
        origin: entry.origin.as_str().to_owned(),
        path: entry.path.clone(),
        expires_at: entry.expires_at_ms.map(iso_8601),
        exists: account.is_some(),
        kind: account.map(kind),
        upstreams: asks.iter().map(ToString::to_string).collect(),
        route: None,
    }
}

fn kind(account: &Account) -> String {
    account.kind.as_str().to_owned()
}
