//! `POST /peer/route/control` and `/peer/route/update`: the messages of peer routers.
//!
//! The sender is identified by its credentials, never by the body. A message is applied whole
//! before it is answered, or not at all; a successful answer is `{}`.

use actix_web::http::header;
use actix_web::web::{Payload, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use super::body;
use super::error::AdminError;
use super::users::AdminUser;
use super::{AdminState, only};
use crate::body::BodyLimits;
use crate::dispatch::{MESSAGE_BYTES_MAX, RouteControl, RouteUpdate};
use crate::metrics::PeerOutcome;
use crate::types::TargetId;

/// Adds the paths of this API.
pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(only("/peer/route/control", "POST", web::post().to(control))).service(only(
        "/peer/route/update",
        "POST",
        web::post().to(update),
    ));
}

/// Answers `POST /peer/route/control`.
async fn control(
    state: web::Data<AdminState>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    let take = |peer: &TargetId, json: &[u8]| {
        let control = RouteControl::from_json(json)?;
        Ok(state.control.peers().control(peer, control)?)
    };
    answer(receive(&state, &request, payload, take).await)
}

/// Answers `POST /peer/route/update`.
async fn update(
    state: web::Data<AdminState>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    let take = |peer: &TargetId, json: &[u8]| {
        let update = RouteUpdate::from_json(json)?;
        Ok(state.control.update_from_peer(peer, update)?)
    };
    answer(receive(&state, &request, payload, take).await)
}

async fn receive(
    state: &AdminState,
    request: &HttpRequest,
    payload: Payload,
    take: impl FnOnce(&TargetId, &[u8]) -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    let peer = match request.extensions().get::<AdminUser>() {
        Some(AdminUser::Peer(peer)) => peer.clone(),
        Some(AdminUser::Admin) | None => return Err(AdminError::NotAPeer),
    };
    let limits = BodyLimits { bytes_max: MESSAGE_BYTES_MAX as u64, timeout: state.client_timeout };
    let json = body::read_json(request, payload, limits).await?;
    take(&peer, &json).inspect_err(|error| {
        if matches!(error, AdminError::PeerMessage(_)) {
            tracing::debug!(%peer, %error, "a message of a peer cannot be read");
            state.metrics.peer(peer.as_str()).received(PeerOutcome::Failed);
        }
    })
}

fn answer(taken: Result<(), AdminError>) -> HttpResponse {
    match taken {
        Ok(()) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body("{}"),
        Err(error) => error.into_response(),
    }
}
