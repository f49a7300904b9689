//! IPNS records of an upstream: asked for, and given to it.
//!
//! A record counts if the name's key has signed it and it is valid now. One that does not is a failure
//! to the caller, as "there is none" would be wrong.

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::Shared;
use super::failure::Failure;
use super::flight::Flight;
use super::reply::{self, Reply};
use crate::metrics::UpstreamOutcome;
use crate::resolve::{AskError, Hops};
use crate::types::{IPNS_RECORD_BYTES_MAX, IpnsName, IpnsRecord};
use crate::upstream::client;
use crate::upstream::error::UpstreamError;

/// The media type of records.
const MEDIA_TYPE: &str = "application/vnd.ipfs.ipns-record";

/// Finds the record of a name.
pub(super) async fn get(
    shared: &Shared,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<IpnsRecord>, AskError> {
    let mut flight = shared.start(shared.offers.ipns).await?;
    match find(shared, &flight, name, hops).await {
        Ok(Some(record)) => {
            flight.received(1, 0);
            flight.succeed(UpstreamOutcome::Found);
            Ok(Some(record))
        }
        Ok(None) => {
            flight.succeed(UpstreamOutcome::Empty);
            Ok(None)
        }
        Err(failure) => {
            if matches!(failure, Failure::Contents(_)) {
                flight.received(0, 1);
            }
            Err(flight.fail(&failure))
        }
    }
}

/// Has it store a record. Sent once only.
pub(super) async fn put(shared: &Shared, record: &IpnsRecord, hops: Hops) -> Result<(), AskError> {
    let flight = shared.start(shared.offers.ipns).await?;
    match store(shared, &flight, record, hops).await {
        Ok(()) => {
            flight.succeed(UpstreamOutcome::Stored);
            Ok(())
        }
        Err(failure) => Err(flight.fail(&failure)),
    }
}

async fn find(
    shared: &Shared,
    flight: &Flight,
    name: &IpnsName,
    hops: Hops,
) -> Result<Option<IpnsRecord>, Failure> {
    let url = shared.url.endpoint(&["ipns", &name.to_string()]);
    let request = shared.http.get(url).header(ACCEPT, MEDIA_TYPE);
    let request = shared.line().request(request, hops)?;
    let response = flight.send(&shared.line(), request).await?;
    let response = match reply::read(response, &shared.url, shared.clock.now_ms()).await? {
        Reply::Body(response) => response,
        Reply::None => return Ok(None),
    };
    match client::content_type(&response) {
        Some(it) if client::is_media_type(it, MEDIA_TYPE) => {
            let bytes = read_body(shared, response).await?;
            verify(shared, &bytes, name).map(Some)
        }
        // "There is none", where that is said with 200.
        Some(it) if client::is_media_type(it, "text/plain") => Ok(None),
        other => Err(client::odd_content_type(other, &shared.url).into()),
    }
}

async fn read_body(shared: &Shared, mut response: Response) -> Result<Vec<u8>, UpstreamError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| shared.line().failed(error))? {
        if body.len() + bytes.len() > IPNS_RECORD_BYTES_MAX {
            let (url, limit) = (shared.url.to_string(), IPNS_RECORD_BYTES_MAX);
            return Err(UpstreamError::TooLarge { url, what: "bytes", limit });
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

fn verify(shared: &Shared, bytes: &[u8], name: &IpnsName) -> Result<IpnsRecord, Failure> {
    let record = IpnsRecord::verify(bytes, name).map_err(|error| {
        Failure::Contents(format!("its record of {name} does not count: {error}"))
    })?;
    let end = record.end_of_validity();
    if end.is_over(shared.clock.now_ms()) {
        return Err(Failure::Contents(format!("its record of {name} was valid until {end}")));
    }
    Ok(record)
}

async fn store(
    shared: &Shared,
    flight: &Flight,
    record: &IpnsRecord,
    hops: Hops,
) -> Result<(), Failure> {
    let url = shared.url.endpoint(&["ipns", &record.name().to_string()]);
    let body: Bytes = record.bytes().clone();
    let request = shared.http.put(url).header(CONTENT_TYPE, MEDIA_TYPE).body(body);
    let request = shared.line().request(request, hops)?;
    let response = flight.send(&shared.line(), request).await?;
    if response.status().is_success() {
        return Ok(());
    }
    match reply::read(response, &shared.url, shared.clock.now_ms()).await? {
        Reply::Body(_) => Ok(()),
        // A server that knows no such path; there is nothing that a router would look for.
        Reply::None => Err(Failure::NotOffered),
    }
}
