//! IPNS records of an upstream: asked for, and given to it.
//!
//! A record counts if the name's key signed it and it is valid now. Any other is an error, since
//! "not found" would be wrong.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::exchange::Exchange;
use super::failure::ExchangeFailure;
use super::reply::{self, Reply};
use super::{Resource, Shared};
use crate::http_client::HttpAnswer;
use crate::media;
use crate::metrics::UpstreamOutcome;
use crate::resolve::AskError;
use crate::types::Hops;
use crate::types::{IPNS_RECORD_BYTES_MAX, IpnsName, IpnsRecord};

/// The media type of records.
const MEDIA_TYPE: &str = "application/vnd.ipfs.ipns-record";

/// Finds the record of a name.
pub(super) async fn get(
    shared: &Shared,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<IpnsRecord>, AskError> {
    let mut exchange = shared.begin(Resource::Ipns).await?;
    match find(shared, &exchange, name, hops).await {
        Ok(Some(record)) => {
            exchange.received(1, 0);
            exchange.succeed(UpstreamOutcome::Found);
            Ok(Some(record))
        }
        Ok(None) => {
            exchange.succeed(UpstreamOutcome::Empty);
            Ok(None)
        }
        Err(failure) => {
            if matches!(failure, ExchangeFailure::Contents(_)) {
                exchange.received(0, 1);
            }
            Err(exchange.fail(&failure))
        }
    }
}

/// Stores a record at the upstream; never retried.
pub(super) async fn put(shared: &Shared, record: &IpnsRecord, hops: Hops) -> Result<(), AskError> {
    let exchange = shared.begin(Resource::Ipns).await?;
    match store(shared, &exchange, record, hops).await {
        Ok(()) => {
            exchange.succeed(UpstreamOutcome::Stored);
            Ok(())
        }
        Err(failure) => Err(exchange.fail(&failure)),
    }
}

async fn find(
    shared: &Shared,
    exchange: &Exchange,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<IpnsRecord>, ExchangeFailure> {
    let url = shared.url.endpoint(["ipns", &name.to_string()]);
    let request = shared.request(Method::GET, url, hops).header(ACCEPT, MEDIA_TYPE);
    let request = shared.http.build(request)?;
    let answer = exchange.send(shared, request).await?;
    match reply::read(shared, answer).await? {
        Reply::Body(answer) if is_record(&answer) => {
            let bytes = shared.http.read(answer, IPNS_RECORD_BYTES_MAX).await?;
            verify(shared, &bytes, name).map(Some)
        }
        // A body of any other type means not found.
        Reply::Body(_) | Reply::None => Ok(None),
    }
}

fn is_record(answer: &HttpAnswer) -> bool {
    answer.content_type().is_some_and(|it| media::essence(it.as_bytes()) == MEDIA_TYPE)
}

fn verify(shared: &Shared, bytes: &[u8], name: &IpnsName) -> Result<IpnsRecord, ExchangeFailure> {
    let record = IpnsRecord::verify(bytes, name).map_err(|error| {
        ExchangeFailure::Contents(format!("its record of {name} does not count: {error}"))
    })?;
    let end = record.end_of_validity();
    if end.is_over(shared.clock.now_ms()) {
        return Err(ExchangeFailure::Contents(format!(
            "its record of {name} was valid until {end}"
        )));
    }
    Ok(record)
}

async fn store(
    shared: &Shared,
    exchange: &Exchange,
    record: &IpnsRecord,
    hops: Hops,
) -> Result<(), ExchangeFailure> {
    let url = shared.url.endpoint(["ipns", &record.name().to_string()]);
    let body: Bytes = record.bytes().clone();
    let request = shared.request(Method::PUT, url, hops);
    let request = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body);
    let request = shared.http.build(request)?;
    let answer = exchange.send(shared, request).await?;
    if answer.status().is_success() {
        return Ok(());
    }
    match reply::read(shared, answer).await? {
        Reply::Body(_) => Ok(()),
        // The server does not know the path.
        Reply::None => Err(ExchangeFailure::NotOffered),
    }
}
