//! Authentication: HTTP Basic for everything except the open paths.
//!
//! The middleware wraps the whole application, so that a path is closed unless it is named here,
//! and stores the user in the request's extensions. Cross-site requests from browsers are refused
//! as well: a browser that knows the password would send it along. Wrong credentials are logged
//! with their sender and answered after a delay, which slows only guessing.

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use multibase::Base;

use super::AdminState;
use super::error::AdminError;
use super::users::AdminUser;

/// The delay of the answer to wrong credentials.
const WRONG_CREDENTIALS_DELAY: Duration = Duration::from_millis(250);

/// The credentials of a request.
enum Credentials {
    Right(AdminUser),
    Wrong,
    Missing,
}

/// Passes an authorised request on. `Upgrade` is never granted: actix would echo it and close the
/// connection silently.
pub(super) async fn require_password<B: MessageBody + 'static>(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let wants_upgrade = request.head().connection_type() == ConnectionType::Upgrade;
    let mut response = pass(state, request, next).await?;
    if wants_upgrade {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

async fn pass<B: MessageBody + 'static>(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if is_open(request.path(), &state) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let error = match credentials(request.headers(), &state) {
        Credentials::Right(_) if is_from_another_site(request.headers()) => AdminError::CrossSite,
        // The path as the router sees it, decoded.
        Credentials::Right(user) => match user.barred(request.match_info().as_str()) {
            Some(why) => AdminError::Forbidden(why),
            None => {
                request.extensions_mut().insert(user);
                return Ok(next.call(request).await?.map_into_left_body());
            }
        },
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

fn is_open(path: &str, state: &AdminState) -> bool {
    match path {
        "/healthz" | "/readyz" => true,
        "/metrics" => !state.metrics_auth,
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
    let user = decoded.and_then(|decoded| state.users.identify(&decoded));
    user.map_or(Credentials::Wrong, Credentials::Right)
}

/// Browsers name the site that made a request in `Origin`; programs send none.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    own.is_none() || authority != own
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::http::StatusCode;
    use actix_web::middleware::from_fn;
    use actix_web::test::{self, TestRequest};

    use super::*;
    use crate::admin::{PeerCredentials, testing};
    use crate::types::TargetId;

    async fn who(user: Option<web::ReqData<AdminUser>>) -> String {
        format!("{:?}", user.map(web::ReqData::into_inner))
    }

    async fn asked(path: &str, user: &str) -> (StatusCode, String) {
        let id = TargetId::parse("west").unwrap();
        let peers = vec![PeerCredentials { id, password: "of west".parse().unwrap() }];
        let state = web::Data::new(testing::state("of admin", peers));
        let app = App::new()
            .app_data(state)
            .wrap(from_fn(require_password))
            .default_service(web::to(who));
        let app = test::init_service(app).await;
        let credentials = Base::Base64Pad.encode(format!("{user}:of {user}"));
        let request = TestRequest::with_uri(path)
            .insert_header((AUTHORIZATION, format!("Basic {credentials}")))
            .to_request();
        let response = test::call_service(&app, request).await;
        let status = response.status();
        let body = test::read_body(response).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[actix_web::test]
    async fn handlers_see_who_asks() {
        let (_, admin) = asked("/routes", "admin").await;
        assert_eq!(admin, "Some(Admin)");
        let (_, peer) = asked("/peer/route/update", "west").await;
        assert_eq!(peer, "Some(Peer(TargetId(west)))");
    }

    #[actix_web::test]
    async fn a_user_without_the_right_is_refused() {
        for (path, user, detail) in [
            ("/routes", "west", "a peer router may ask for what is under /peer only"),
            ("/nowhere", "west", "a peer router may ask for what is under /peer only"),
            (
                "/peer/route/update",
                "admin",
                "what is under /peer is for peer routers, each by its name",
            ),
            ("/%70eer/x", "admin", "what is under /peer is for peer routers, each by its name"),
        ] {
            let (status, body) = asked(path, user).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {user}");
            let problem = format!(r#"{{"title":"Forbidden","status":403,"detail":"{detail}"}}"#);
            assert_eq!(body, problem);
        }
        assert_eq!(asked("/healthz", "west").await.0, StatusCode::OK);
    }
}
