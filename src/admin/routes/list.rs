//! `GET /routes`: the route that decides at each prefix, or those that could carry one address.

use actix_web::{HttpRequest, HttpResponse, web};

use super::page::WantedPage;
use super::{answer, destination, ok};
use crate::admin::AdminState;
use crate::admin::accept::JsonType;
use crate::admin::error::AdminError;
use crate::admin::wire::{RouteList, RouteView, Routes};

/// Answers GET and HEAD.
pub(super) async fn get(request: HttpRequest, state: web::Data<AdminState>) -> HttpResponse {
    answer(list(&request, &state))
}

fn list(request: &HttpRequest, state: &AdminState) -> Result<HttpResponse, AdminError> {
    let json_type = JsonType::negotiated(request.headers())?;
    let wanted = WantedPage::of(request)?;
    let table = state.control.table();
    let now_ms = state.clock.now_ms();
    let entries = match destination(request)? {
        None => table.winners(now_ms),
        Some(address) => {
            let matching = table.matching(address.segments(), now_ms);
            matching.into_iter().map(|(entry, _)| entry).collect()
        }
    };
    let (entries, page) = wanted.cut(entries);
    let view = |entry| RouteView::new(entry, state.control.auth(entry));
    let routes = entries.into_iter().map(view).collect();
    Ok(ok(json_type, &RouteList { embedded: Routes { routes }, page }))
}
