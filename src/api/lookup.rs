//! Lookups: GET and HEAD of providers and peers, whole or as a stream.
//!
//! JSON answers are whole. NDJSON answers begin when the first record is known, because only then
//! is their status, and go on record by record; one that is complete by then is sent in one piece
//! like JSON. A lookup ends within `lookup_timeout`, and when its client goes away.

use actix_web::HttpResponse;
use actix_web::http::{Method, header};
use futures_util::{FutureExt, StreamExt};

use super::accept;
use super::context::{Context, with_timeout};
use super::endpoint::decode_id;
use super::error::ApiError;
use super::form::{Form, Format, ListName};
use super::stream::{Deadline, RecordsBody};
use crate::resolve::{FoundStream, ResolveError, UpstreamReasons};
use crate::types::{ContentKey, Filter, Found, PeerId, Question, Subject};

/// The media types of lookups, as a 406 names them.
const OFFERED: &str = "application/json, application/x-ndjson";

/// Answers `/routing/v1/providers/{cid}`: who has this CID?
pub(super) async fn providers(context: &Context, cid: &str) -> Result<HttpResponse, ApiError> {
    let malformed = |reason| ApiError::Malformed { parameter: "cid", reason };
    let text = decode_id(cid).map_err(malformed)?;
    let key = ContentKey::from_cid_text(&text).map_err(|error| malformed(error.to_string()))?;
    find(context, (Subject::Content(key), ListName::Providers)).await
}

/// Answers `/routing/v1/peers/{peer-id}`: how is this peer reached?
pub(super) async fn peers(context: &Context, peer: &str) -> Result<HttpResponse, ApiError> {
    let malformed = |reason| ApiError::Malformed { parameter: "peer-id", reason };
    let text = decode_id(peer).map_err(malformed)?;
    let peer = PeerId::parse(&text).map_err(|error| malformed(error.to_string()))?;
    find(context, (Subject::Peer(peer), ListName::Peers)).await
}

/// Answers `/routing/v1/dht/closest/peers/{key}`: which peers of the DHT are closest to this CID or peer?
/// That nobody here can tell is said after the key is read: a client learns of a malformed key whatever
/// server it asks.
pub(super) async fn closest_peers(context: &Context, key: &str) -> Result<HttpResponse, ApiError> {
    let malformed = |reason| ApiError::Malformed { parameter: "key", reason };
    let text = decode_id(key).map_err(malformed)?;
    let subject = PeerId::parse(&text).map(Subject::Peer).or_else(|_| {
        let key = ContentKey::from_cid_text(&text).map(Subject::Content);
        key.map_err(|error| malformed(format!("neither a peer ID nor a CID: {error}")))
    })?;
    let (question, form) = question(context, (subject, ListName::Peers))?;
    let state = context.state();
    let work = state.resolver.closest(&question);
    match with_timeout(state.lookup_timeout, work).await {
        Err(ResolveError::NotOffered) => {
            Err(ApiError::NotOffered { what: "looking up the closest peers" })
        }
        found => Ok(respond(context, found?, form)),
    }
}

/// What is asked, by the path and the query, and how the answer looks.
fn question(
    context: &Context,
    (subject, list): (Subject, ListName),
) -> Result<(Question, Form), ApiError> {
    let filter = Filter::from_query(context.request.query_string())?;
    let format = format(context)?;
    let records_max = context.state().policy.records_max(format);
    let question = Question { subject, filter, records_max, hops: context.hops() };
    Ok((question, Form { format, list }))
}

async fn find(context: &Context, of: (Subject, ListName)) -> Result<HttpResponse, ApiError> {
    let state = context.state();
    let (question, form) = question(context, of)?;
    // HEAD is answered without a body, so there is nothing to begin early.
    if form.format == Format::Ndjson && context.request.method() != Method::HEAD {
        return stream(context, question, form).await;
    }
    let found = with_timeout(state.lookup_timeout, state.resolver.find(&question)).await?;
    Ok(respond(context, found, form))
}

/// The answer that has all that was found.
fn respond(context: &Context, found: Found, form: Form) -> HttpResponse {
    context.records.set(found.records.len() as u64);
    let (request, worker) = (&context.request, &context.worker);
    worker.state.policy.respond(request, found, form, context.now_ms, &worker.counts)
}

/// Answers with NDJSON.
async fn stream(
    context: &Context,
    question: Question,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    let state = context.state();
    let mut source = state.resolver.stream(question);
    let mut found = Found::default();
    let mut deadline = None;
    let rest = loop {
        match source.next().now_or_never() {
            Some(None) => break None,
            Some(Some(Ok(more))) => found.append(more),
            Some(Some(Err(error))) if found.records.is_empty() => return Err(error.into()),
            // What was found stands, and there may be more.
            Some(Some(Err(_))) => {
                found.is_partial = true;
                break None;
            }
            None if !found.records.is_empty() => break Some(source),
            // Nobody knows yet whether there is anything to begin with.
            None => {
                let until = deadline.get_or_insert_with(|| Deadline::after(state.lookup_timeout));
                match first_of(&mut source, until).await? {
                    Some(first) => found.append(first),
                    None => break None,
                }
            }
        }
    };
    let Some(source) = rest else {
        return Ok(respond(context, found, form));
    };
    let deadline = deadline.unwrap_or_else(|| Deadline::after(state.lookup_timeout));
    let body = RecordsBody::growing(found, form, source, deadline, context.worker.counts.clone());
    Ok(state.policy.respond_growing(body))
}

/// The next records of a stream that has none at hand; an error when there are none in time.
async fn first_of(
    source: &mut FoundStream,
    deadline: &mut Deadline,
) -> Result<Option<Found>, ResolveError> {
    tokio::select! {
        biased;
        next = source.next() => next.transpose(),
        () = deadline => Err(ResolveError::TimedOut(UpstreamReasons::unfinished())),
    }
}

fn format(context: &Context) -> Result<Format, ApiError> {
    let lines = context.request.headers().get_all(header::ACCEPT).map(|line| line.as_bytes());
    let format = accept::negotiate(lines).ok_or(ApiError::NotAcceptable { offered: OFFERED })?;
    context.format.set(format.body_format());
    Ok(format)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::test::{self, TestRequest};

    use crate::api::{ApiParts, ApiState, app};
    use crate::clock::Clock;
    use crate::config::Settings;
    use crate::metrics::Metrics;
    use crate::resolve::testing::{Bench, FakeUpstream, HasLocal, peer, record};

    const PATH: &str = "/routing/v1/dht/closest/peers";
    const CID: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";

    #[actix_web::test]
    async fn closest_peers_are_answered_where_somebody_offers_them() {
        let settings = Settings::default();
        let upstream = FakeUpstream::new([]);
        let parts = ApiParts {
            resolver: Arc::new(Bench::new(HasLocal::Yes, std::slice::from_ref(&upstream)).fanout),
            announcer: None,
            metrics: Arc::new(Metrics::new()),
            clock: Clock::System,
        };
        let app = app(Arc::new(ApiState::new(&settings, parts)));
        let app = test::init_service(app).await;
        let ask = async |key: &str, accept: &'static str| {
            let request = TestRequest::get().uri(&format!("{PATH}/{key}"));
            let request = request.insert_header(("Accept", accept)).to_request();
            let response = test::call_service(&app, request).await;
            let status = response.status().as_u16();
            (status, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
        };
        assert_eq!(ask(CID, "*/*").await.0, 501);
        *upstream.closest.lock() = Some(Vec::new());
        assert_eq!(ask(CID, "*/*").await, (404, r#"{"Peers":[]}"#.to_owned()));
        let one = record(1, &[1]);
        *upstream.closest.lock() = Some(vec![one.clone()]);
        let json = one.json().replace('}', r#","Protocols":[]}"#);
        for key in [CID.to_owned(), peer(1).to_string()] {
            assert_eq!(ask(&key, "*/*").await, (200, format!(r#"{{"Peers":[{json}]}}"#)));
            assert_eq!(ask(&key, "application/x-ndjson").await, (200, format!("{json}\n")));
        }
        assert_eq!(ask("x", "*/*").await.0, 422);
        assert_eq!(ask(CID, "text/html").await.0, 406);
    }
}
