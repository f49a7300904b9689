//! The reference: an actix-web handler that does nothing but return an answer made beforehand.
//!
//! It reads the answer, head and body, from standard input, says on standard output where it
//! listens, and serves until it is killed. The HTTP settings are the defaults of `fingerpost serve`.

use std::io::{Read, Write};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{KeepAlive, StatusCode};
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use bytes::Bytes;

use super::target::Answer;

/// The argument that makes this program the reference.
pub(crate) const ARGUMENT: &str = "bare-handler";

/// Comes before the URL on standard output.
pub(crate) const LABEL: &str = "public API: ";

/// What goes over the wire is written by actix-http, for both servers.
const WRITTEN_BY_ACTIX: [&str; 3] = ["content-length", "date", "connection"];

#[derive(Clone)]
struct Canned {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Serves; the number of workers is the second argument.
pub(crate) fn run() -> anyhow::Result<()> {
    let workers = std::env::args().nth(2).and_then(|text| text.parse().ok());
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let canned = canned(&Answer::parse(bytes)?)?;
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(canned.clone()))
                .route("/routing/v1/providers/{cid}", web::get().to(answer))
        })
        .workers(workers.context("how many workers?")?)
        .client_request_timeout(Duration::from_secs(10))
        .client_disconnect_timeout(Duration::from_secs(10))
        .keep_alive(KeepAlive::Timeout(Duration::from_secs(30)))
        .h1_allow_half_closed(false)
        .bind(("127.0.0.1", 0))?;
        let addr = server.addrs().first().copied().context("no address")?;
        writeln!(std::io::stdout().lock(), "{LABEL}http://{addr}")?;
        Ok(server.run().await?)
    })
}

async fn answer(canned: web::Data<Canned>) -> HttpResponse {
    let mut response = HttpResponse::build(canned.status);
    for (name, value) in &canned.headers {
        response.insert_header((name.clone(), value.clone()));
    }
    response.body(canned.body.clone())
}

fn canned(answer: &Answer) -> anyhow::Result<Canned> {
    let mut headers = HeaderMap::new();
    for (name, value) in answer.headers() {
        if !WRITTEN_BY_ACTIX.contains(&name.to_ascii_lowercase().as_str()) {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
    }
    let status = StatusCode::from_u16(answer.expected().status)?;
    Ok(Canned { status, headers, body: Bytes::copy_from_slice(answer.body()) })
}
