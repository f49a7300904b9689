//! Who is let in: HTTP Basic for everything but the open paths, whatever comes after.
//!
//! It stands around the whole application, so that a path is closed unless it is named here. Beside
//! the password, requests that a browser says another site made are refused: a browser that knows
//! the password would send it along. Wrong credentials are logged with their sender and answered
//! late, which slows a guesser down and nobody else.

use std::time::Duration;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::web;
use multibase::Base;

use super::AdminState;
use super::error::AdminError;

/// How late wrong credentials are answered.
const WRONG_CREDENTIALS_DELAY: Duration = Duration::from_millis(250);

/// What a request says of who makes it.
enum Credentials {
    Right,
    Wrong,
    Missing,
}

/// Passes a request on if it may pass.
pub(super) async fn require_password<B: MessageBody + 'static>(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if is_open(request.path(), state.metrics_auth) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let error = match credentials(request.headers(), &state) {
        Credentials::Right if is_from_another_site(request.headers()) => AdminError::CrossSite,
        Credentials::Right => return Ok(next.call(request).await?.map_into_left_body()),
        Credentials::Missing => AdminError::Unauthorized,
        Credentials::Wrong => {
            let peer = request.peer_addr().map(|addr| addr.to_string()).unwrap_or_default();
            tracing::warn!(peer, "wrong credentials for the admin API");
            actix_web::rt::time::sleep(WRONG_CREDENTIALS_DELAY).await;
            AdminError::Unauthorized
        }
    };
    Ok(request.into_response(error.into_response()).map_into_right_body())
}

fn is_open(path: &str, metrics_auth: bool) -> bool {
    match path {
        "/healthz" | "/readyz" => true,
        "/metrics" => !metrics_auth,
        _ => false,
    }
}

fn credentials(headers: &HeaderMap, state: &AdminState) -> Credentials {
    let Some(value) = headers.get(AUTHORIZATION) else { return Credentials::Missing };
    let decoded = value.to_str().ok().and_then(|text| {
        let (scheme, encoded) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then_some(())?;
        Base::Base64Pad.decode(encoded.trim_start()).ok()
    });
    match decoded {
        Some(decoded) if state.password.accepts(&decoded) => Credentials::Right,
        Some(_) | None => Credentials::Wrong,
    }
}

/// Browsers name the site that made a request in `Origin`; programs send none.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    own.is_none() || authority != own
}
