//! `/ga/api/v3/eng/routes`: Pools, the pools of endpoints with budgets.
//!
//! Paths, fields, their order and statuses are those of source 001: a client that was written for it
//! works here. Creating answers 200. Everything that is wrong with a request is told at once, in the
//! envelope that the source has for errors, whatever the error. Fields that are only read,
//! and those that are not known, are ignored.

mod draft;
mod list;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::AdminState;
use super::body::{self, compression};
use super::error::PoolError;
use super::wire::{PoolAnswer, PoolList, PoolRemoved};
use crate::body::BodyLimits;
use crate::control::Pools;
use crate::dispatch::pool::{Book, PoolDraft, PoolId};
use list::ListQuery;

/// Where pools are.
const ROUTES: &str = "/ga/api/v3/eng/routes";

/// Bytes of a body at most: a name, a number and a reference take less than one of these kilobytes.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// A body with its request.
type PoolBody = (HttpRequest, web::Payload);

/// Registers the routes.
pub(super) fn services(config: &mut web::ServiceConfig) {
    let all = web::resource(ROUTES)
        .route(web::get().to(list))
        .route(web::head().to(list))
        .route(web::post().to(create))
        .default_service(web::to(|| refuse("GET, HEAD, POST")));
    let one = web::resource(format!("{ROUTES}/{{id}}"))
        .route(web::get().to(get))
        .route(web::head().to(get))
        .route(web::put().to(change))
        .route(web::delete().to(remove))
        .default_service(web::to(|| refuse("GET, HEAD, PUT, DELETE")));
    config.service(all).service(one);
}

async fn list(state: web::Data<AdminState>, request: HttpRequest) -> HttpResponse {
    let query = ListQuery::parse(request.query_string());
    respond(query.map(|query| query.answer(&state.control.pools().book())))
}

async fn get(state: web::Data<AdminState>, path: web::Path<String>) -> HttpResponse {
    respond(pool(state.control.pools(), &path))
}

async fn create(state: web::Data<AdminState>, body: PoolBody) -> HttpResponse {
    respond(created(&state, body).await)
}

async fn change(
    state: web::Data<AdminState>,
    path: web::Path<String>,
    body: PoolBody,
) -> HttpResponse {
    respond(changed(&state, &path, body).await)
}

/// What a request asks for.
async fn draft(state: &AdminState, (request, payload): PoolBody) -> Result<PoolDraft, PoolError> {
    if let Some(value) = compression(request.headers()) {
        return Err(PoolError::Compressed { value });
    }
    let limits = BodyLimits { bytes_max: BODY_BYTES_MAX, timeout: state.client_timeout };
    draft::parse(&body::read(&request, payload, limits).await.map_err(PoolError::Body)?)
}

async fn remove(state: web::Data<AdminState>, path: web::Path<String>) -> HttpResponse {
    respond(removed(&state, &path).await)
}

async fn refuse(allow: &'static str) -> HttpResponse {
    PoolError::Method { allow }.into_response()
}

fn pool(pools: &Pools, id: &str) -> Result<PoolAnswer, PoolError> {
    let id = pool_id(id)?;
    let summary = pools.pool(id).ok_or_else(|| PoolError::not_found(id))?;
    Ok(PoolAnswer::from(summary))
}

async fn created(state: &AdminState, body: PoolBody) -> Result<PoolAnswer, PoolError> {
    let draft = draft(state, body).await?;
    let summary = state.control.create_pool(draft).await?;
    tracing::info!(id = summary.id.0, name = summary.name, "created a pool");
    Ok(PoolAnswer::from(summary))
}

async fn changed(state: &AdminState, id: &str, body: PoolBody) -> Result<PoolAnswer, PoolError> {
    let id = pool_id(id)?;
    let draft = draft(state, body).await?;
    let summary = state.control.change_pool(id, draft).await?;
    tracing::info!(id = summary.id.0, name = summary.name, "changed a pool");
    Ok(PoolAnswer::from(summary))
}

async fn removed(state: &AdminState, id: &str) -> Result<PoolRemoved, PoolError> {
    let id = pool_id(id)?;
    state.control.remove_pool(id).await?;
    tracing::info!(id = id.0, "deleted a pool");
    Ok(PoolRemoved { success: true })
}

/// An id in a path: any whole number; most are unknown.
fn pool_id(text: &str) -> Result<PoolId, PoolError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return Err(PoolError::request(format!(
            "{text:?} is not the id of a pool: give a whole number"
        )));
    }
    text.parse().map(PoolId).map_err(|_| PoolError::NotFound { id: text.to_owned() })
}

/// The page that the part of a URL after `?` asks for, of the pools of a book; `None`: 400.
pub fn pool_list(query: &str, book: &Book) -> Option<PoolList> {
    ListQuery::parse(query).ok().map(|query| query.answer(book))
}

/// The draft in the body of a request; `None`: 400.
pub fn pool_draft(body: &[u8]) -> Option<PoolDraft> {
    draft::parse(body).ok()
}

fn respond<T: Serialize>(answer: Result<T, PoolError>) -> HttpResponse {
    match answer {
        Ok(answer) => {
            HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer)
        }
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_ids_even_if_nobodys() {
        assert_eq!(pool_id("7").unwrap(), PoolId(7));
        for text in ["-1", "99999999999999999999"] {
            assert!(matches!(pool_id(text), Err(PoolError::NotFound { .. })), "{text}");
        }
        for text in ["", "-", "+1", "1.0", "one", "1 ", "--1"] {
            assert!(matches!(pool_id(text), Err(PoolError::Request(_))), "{text}");
        }
    }
}
