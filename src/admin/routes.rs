//! `/routes`: the routing table, as source 000 has it, and `/routes/explain`.
//!
//! What a list shows is of one moment: the table that lookups see. A change that is answered is
//! durable and seen by every lookup that begins after it, and one that was begun is brought to its
//! end even if its client goes away.

mod explain;
mod list;
mod page;
mod statics;

use actix_web::http::{StatusCode, header};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;

use super::accept::JsonType;
use super::error::{AdminError, RouteError};
use super::only;
use crate::dispatch::Address;

/// What is offered where lists are.
const READ: &str = "GET, HEAD";

/// What is offered of one static route.
const CHANGE: &str = "GET, HEAD, PUT, DELETE";

/// Adds the paths of this API.
pub(super) fn configure(config: &mut ServiceConfig) {
    let read = |path, get: actix_web::Route, head| only(path, READ, get).route(head);
    config
        .service(read("/routes", web::get().to(list::get), web::head().to(list::get)))
        .service(read("/routes/explain", web::get().to(explain::get), web::head().to(explain::get)))
        .service(read("/routes/static", web::get().to(statics::get), web::head().to(statics::get)))
        .service(
            // Any text: what is no prefix is told so.
            only("/routes/static/{prefix:.*}", CHANGE, web::put().to(statics::put))
                .route(web::get().to(statics::get_one))
                .route(web::head().to(statics::get_one))
                .route(web::delete().to(statics::delete)),
        );
}

/// An answer with a body.
fn respond(
    mut response: HttpResponseBuilder,
    json_type: JsonType,
    body: &impl Serialize,
) -> HttpResponse {
    response
        .insert_header((header::CONTENT_TYPE, json_type.media_type()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(serde_json::to_string(body).expect("its maps have texts as keys"))
}

/// The address that a request names; `None`: it names none.
fn destination(request: &HttpRequest) -> Result<Option<Address>, AdminError> {
    let text = parameter(request, "destinationAddress");
    let address = text.map(|text| Address::parse(&text).map_err(RouteError::Address));
    Ok(address.transpose()?)
}

/// The first parameter of this name. Unknown ones are ignored: clients of source 000 send some.
fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    let mut parameters = form_urlencoded::parse(request.query_string().as_bytes());
    parameters.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The whole answer, whatever became of the request.
fn answer(result: Result<HttpResponse, AdminError>) -> HttpResponse {
    result.unwrap_or_else(AdminError::into_response)
}

fn ok(json_type: JsonType, body: &impl Serialize) -> HttpResponse {
    respond(HttpResponse::build(StatusCode::OK), json_type, body)
}
