//! `GET /admin/stats`: how much the store holds, and what it costs.

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::AdminState;
use super::error::AdminError;
use super::wire::Stats;
use crate::store::StoreError;
use crate::text::with_causes;

/// Answers `GET /admin/stats`.
pub(super) async fn stats(state: web::Data<AdminState>) -> HttpResponse {
    let stats = match state.store.stats().await {
        Ok(stats) => stats,
        Err(error) => return AdminError::Store(error).into_response(),
    };
    let ipns = match state.ipns.stats().await {
        Ok(ipns) => ipns,
        Err(error) => {
            let reason = with_causes(&error);
            return AdminError::Store(StoreError::Unavailable { reason }).into_response();
        }
    };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Stats::new(
        stats,
        ipns,
        Some(state.uptime.elapsed().as_secs()),
    ))
}
