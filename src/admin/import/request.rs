//! Parses the headers and parameters of an import: kind, compression and options.
//!
//! | header or parameter | meaning |
//! |---|---|
//! | `Content-Type: application/x-ndjson`, or none | NDJSON |
//! | `Content-Type: application/vnd.ipld.car` | CAR |
//! | `Content-Encoding: gzip` or `zstd` | compressed so |
//! | `?strict` | stop at the first entry that cannot be imported |
//! | `?verify` | check the digests of a CAR's blocks |
//! | `?provider=`, `addr=`..., `protocol=`... | who provides the blocks of a CAR |
//! | `?record=` | the same, as the JSON of a whole record |
//!
//! A parameter that is not known is an error: a misspelt `strict` must not import laxly.

use std::path::Path;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};

use crate::admin::error::AdminError;
use crate::ingest::{CarFlags, Compression, ImportKind, ImportOptions, car_record};
use crate::media;
use crate::text::with_causes;

/// The media type of CARs.
pub(super) const CAR: &str = "application/vnd.ipld.car";

/// The media type of NDJSON.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// How to import a body.
pub(super) struct ImportRequest {
    pub(super) kind: ImportKind,
    pub(super) compression: Compression,
    pub(super) options: ImportOptions,
}

impl ImportRequest {
    /// Reads a request. `options` are those that the settings give.
    pub(super) fn read(
        request: &HttpRequest,
        mut options: ImportOptions,
    ) -> Result<Self, AdminError> {
        let kind = kind(request.headers())?;
        let compression = compression(request.headers())?;
        let mut flags = CarFlags::default();
        for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
            match &*name {
                "strict" => options.strict = switch(&name, &value)?,
                "verify" => options.verify = switch(&name, &value)?,
                "provider" if flags.provider.is_none() => flags.provider = Some(value.into()),
                "record" if flags.record_json.is_none() => flags.record_json = Some(value.into()),
                "addr" => flags.addrs.push(value.into()),
                "protocol" => flags.protocols.push(value.into()),
                "provider" | "record" => return Err(query(format!("two of `{name}`"))),
                _ => return Err(query(format!("the parameter {name:?} is not known"))),
            }
        }
        options.car_record = match kind {
            ImportKind::Car if flags == CarFlags::default() => {
                return Err(query(
                    "a CAR says nothing of who provides its blocks: give `provider` with `addr` \
                     and `protocol`, or `record`"
                        .to_owned(),
                ));
            }
            ImportKind::Ndjson if flags != CarFlags::default() => {
                return Err(query(format!(
                    "`provider`, `addr`, `protocol` and `record` say who provides the blocks of a \
                     CAR: send one with Content-Type {CAR}"
                )));
            }
            ImportKind::Ndjson => None,
            ImportKind::Car => car_record(&[Path::new("body.car").to_owned()], &flags)
                .map_err(|error| query(as_parameters(&with_causes(&error))))?,
        };
        Ok(Self { kind, compression, options })
    }
}

/// Rewrites a message about command line flags to name the parameters.
fn as_parameters(message: &str) -> String {
    let flags = ["provider", "addr", "protocol", "record"];
    flags.iter().fold(message.to_owned(), |text, flag| text.replace(&format!("--{flag}"), flag))
}

fn kind(headers: &HeaderMap) -> Result<ImportKind, AdminError> {
    let value = text(headers, CONTENT_TYPE);
    match &*media::essence(value.as_bytes()) {
        "" | NDJSON => Ok(ImportKind::Ndjson),
        CAR => Ok(ImportKind::Car),
        _ => Err(AdminError::MediaType {
            header: "Content-Type",
            value,
            understood: "application/x-ndjson and application/vnd.ipld.car are",
        }),
    }
}

fn compression(headers: &HeaderMap) -> Result<Compression, AdminError> {
    let value = text(headers, CONTENT_ENCODING);
    match value.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Compression::None),
        "gzip" | "x-gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(AdminError::MediaType {
            header: "Content-Encoding",
            value,
            understood: "gzip and zstd are",
        }),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
        .unwrap_or_default()
}

fn switch(name: &str, value: &str) -> Result<bool, AdminError> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(query(format!("`{name}` is true or false, not {value:?}"))),
    }
}

fn query(message: String) -> AdminError {
    AdminError::Query(message)
}
