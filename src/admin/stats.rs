//! `GET /admin/stats`: how much the store holds, and what it costs.

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::AdminState;
use super::error::AdminError;
use super::wire::Stats;

/// Answers `GET /admin/stats`.
pub(super) async fn stats(state: web::Data<AdminState>) -> HttpResponse {
    match state.store.stats().await {
        Ok(stats) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(Stats::new(stats, state.names.stats(), Some(state.uptime.elapsed().as_secs()))),
        Err(error) => AdminError::Store(error).into_response(),
    }
}
