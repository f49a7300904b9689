//! `GET /routes/static`, and `GET`, `PUT` and `DELETE /routes/static/{prefix}`: the static routes.
//!
//! A PUT creates. Only with `If-Match: *` does it replace, and then only what is there: nobody
//! overwrites by accident what another has just set, and a move of a prefix from one account to
//! another happens at once, with no moment in between at which the prefix has none.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::page::WantedPage;
use super::{answer, ok, respond};
use crate::admin::AdminState;
use crate::admin::accept::JsonType;
use crate::admin::body;
use crate::admin::error::{AdminError, RouteError};
use crate::admin::wire::{StaticRouteList, StaticRouteRequest, StaticRouteView, StaticRoutes};
use crate::body::BodyLimits;
use crate::control::{StaticRoute, StaticsError};
use crate::dispatch::can_match;
use crate::types::{RoutePrefix, TargetId};

/// The longest body of a PUT, in bytes: the longest prefix and account take 1,200, and what clients
/// add of their own is ignored.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// What a PUT may do, by its `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PutMode {
    Create,
    Replace,
}

/// Answers GET and HEAD of `/routes/static`.
pub(super) async fn get(request: HttpRequest, state: web::Data<AdminState>) -> HttpResponse {
    answer(list(&request, &state))
}

/// Answers GET and HEAD of `/routes/static/{prefix}`.
pub(super) async fn get_one(request: HttpRequest, state: web::Data<AdminState>) -> HttpResponse {
    answer(show(&request, &state))
}

/// Answers PUT of `/routes/static/{prefix}`.
pub(super) async fn put(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> HttpResponse {
    answer(set(&request, payload, &state).await)
}

/// Answers DELETE of `/routes/static/{prefix}`.
pub(super) async fn delete(request: HttpRequest, state: web::Data<AdminState>) -> HttpResponse {
    answer(remove(&request, &state).await)
}

fn list(request: &HttpRequest, state: &AdminState) -> Result<HttpResponse, AdminError> {
    let json_type = JsonType::negotiated(request.headers())?;
    let wanted = WantedPage::of(request)?;
    let (routes, page) = wanted.cut(state.control.statics().all());
    let static_routes = routes.iter().map(StaticRouteView::from).collect();
    Ok(ok(json_type, &StaticRouteList { embedded: StaticRoutes { static_routes }, page }))
}

fn show(request: &HttpRequest, state: &AdminState) -> Result<HttpResponse, AdminError> {
    let json_type = JsonType::negotiated(request.headers())?;
    let prefix = prefix_of(request)?;
    let route = state.control.statics().get(&prefix).ok_or(RouteError::Missing(prefix))?;
    Ok(ok(json_type, &StaticRouteView::from(&route)))
}

async fn set(
    request: &HttpRequest,
    payload: web::Payload,
    state: &AdminState,
) -> Result<HttpResponse, AdminError> {
    let json_type = JsonType::negotiated(request.headers())?;
    let url = prefix_of(request)?;
    let limits = BodyLimits { bytes_max: BODY_BYTES_MAX, timeout: state.client_timeout };
    let body = body::read_json(request, payload, limits).await?;
    let (entity, next_hop) = read_body(&body)?;
    if entity != url {
        return Err(RouteError::Mismatch { entity, url }.into());
    }
    let mode = put_mode(request.headers())?;
    let set = match mode {
        PutMode::Create => state.control.create_static(entity, next_hop).await,
        PutMode::Replace => state.control.replace_static(entity, next_hop).await,
    };
    let route = set.map_err(|error| refused(error, mode))?;
    tracing::info!(prefix = %route.prefix, account = %route.next_hop, ?mode, "static route set");
    if !can_match(route.prefix.segments()) {
        tracing::warn!(prefix = %route.prefix, "no lookup can have an address below this prefix");
    }
    Ok(respond_set(json_type, mode, &route))
}

fn respond_set(json_type: JsonType, mode: PutMode, route: &StaticRoute) -> HttpResponse {
    let body = StaticRouteView::from(route);
    match mode {
        PutMode::Replace => ok(json_type, &body),
        PutMode::Create => {
            let mut response = HttpResponse::build(StatusCode::CREATED);
            // A prefix holds nothing that a path would encode.
            response.insert_header((header::LOCATION, format!("/routes/static/{}", route.prefix)));
            respond(response, json_type, &body)
        }
    }
}

async fn remove(request: &HttpRequest, state: &AdminState) -> Result<HttpResponse, AdminError> {
    JsonType::negotiated(request.headers())?;
    let prefix = prefix_of(request)?;
    // Either way what is there goes: `*` asks for no more than that something is there.
    put_mode(request.headers())?;
    state.control.remove_static(prefix.clone()).await.map_err(RouteError::from)?;
    tracing::info!(%prefix, "static route removed");
    Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish())
}

/// The prefix in the path. Before this the router has decoded all but what would have changed the
/// path's shape.
fn prefix_of(request: &HttpRequest) -> Result<RoutePrefix, RouteError> {
    let segment = request.match_info().get("prefix").unwrap_or_default();
    if has_broken_encoding(segment) {
        return Err(RouteError::PrefixPercent);
    }
    let text = percent_encoding::percent_decode_str(segment).decode_utf8();
    let text = text.map_err(|_| RouteError::PrefixEncoding)?;
    RoutePrefix::parse(&text).map_err(RouteError::Prefix)
}

/// Whether there is a `%` without two hex digits after it, which decoding would leave as it is.
fn has_broken_encoding(text: &str) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    text.split('%').skip(1).map(str::as_bytes).any(|it| !is_hex(it.first()) || !is_hex(it.get(1)))
}

/// What a body asks for.
fn read_body(json: &[u8]) -> Result<(RoutePrefix, TargetId), RouteError> {
    let wrong = |error: serde_json::Error| RouteError::Body { reason: error.to_string() };
    // By way of a map, because the fields' values in a list would be taken too.
    let fields: Map<String, Value> =
        body::parse(json).and_then(serde_json::from_value).map_err(wrong)?;
    let StaticRouteRequest { route_prefix, next_hop_account_id } =
        serde_json::from_value(Value::Object(fields)).map_err(wrong)?;
    Ok((
        RoutePrefix::parse(&route_prefix).map_err(RouteError::BodyPrefix)?,
        TargetId::parse(&next_hop_account_id).map_err(RouteError::BodyAccount)?,
    ))
}

fn put_mode(headers: &HeaderMap) -> Result<PutMode, RouteError> {
    let mut values = headers.get_all(header::IF_MATCH);
    match (values.next(), values.next()) {
        (None, _) => Ok(PutMode::Create),
        (Some(value), None) if value.as_bytes().trim_ascii() == b"*" => Ok(PutMode::Replace),
        (Some(_), _) => Err(RouteError::EntityTag),
    }
}

fn refused(error: StaticsError, mode: PutMode) -> RouteError {
    match (error, mode) {
        (StaticsError::Missing(prefix), PutMode::Replace) => RouteError::NothingToReplace(prefix),
        (error, _) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> String {
        read_body(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_body_has_a_prefix_and_an_account_and_whatever_else() {
        let body = r#" {"nextHopAccountId":"Alice.Account","x":[{}],"routePrefix":"g.foo"}"#;
        let (prefix, account) = read_body(body.as_bytes()).unwrap();
        assert_eq!((prefix.as_str(), account.as_str()), ("g.foo", "aliceaccount"));
    }

    #[test]
    fn a_body_that_asks_for_nothing_says_what_to_send() {
        for (body, start) in [
            ("", "EOF while parsing"),
            ("{", "EOF while parsing"),
            ("null", "invalid type: null, expected a map"),
            (r#"["g.foo","alice"]"#, "invalid type: sequence, expected a map"),
            ("{}", "missing field `routePrefix`"),
            (r#"{"routePrefix":"g"}"#, "missing field `nextHopAccountId`"),
            (r#"{"routePrefix":"g","nextHopAccountId":42}"#, "invalid type: integer `42`"),
            (r#"{"routePrefix":null,"nextHopAccountId":"a"}"#, "invalid type: null"),
            (
                r#"{"routePrefix":"g","routePrefix":"g","nextHopAccountId":"a"}"#,
                "duplicate field `routePrefix`",
            ),
        ] {
            let reason = reason(body);
            assert!(reason.starts_with(start), "{body}: {reason}");
            let hint =
                r#"; send a JSON object like {"routePrefix":"g.foo","nextHopAccountId":"local"}"#;
            assert!(reason.ends_with(hint), "{body}: {reason}");
        }
        let illegal = |prefix: &str, account: &str| {
            reason(&format!(r#"{{"routePrefix":"{prefix}","nextHopAccountId":"{account}"}}"#))
        };
        assert!(illegal("g..a", "local").starts_with("the body's routePrefix: "));
        assert!(illegal("g", "a b").starts_with("the body's nextHopAccountId: "));
    }
}
