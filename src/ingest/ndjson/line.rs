//! Parses a line: its key, context, expiry, and the text of each record, unparsed.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::clock::UnixMs;
use crate::ingest::batch::BatchTerms;
use crate::ingest::summary::RejectReason;
use crate::ingest::whole::Whole;
use crate::store::{ContextId, ContextIdError};
use crate::types::{ContentKey, KeyError, Origin};

/// A parsed line.
#[derive(Debug)]
pub(super) struct LineRecords<'a> {
    pub(super) key: ContentKey,
    pub(super) context: ContextId,
    pub(super) expires_at_ms: Option<UnixMs>,
    pub(super) origin: Origin,
    pub(super) records: Vec<&'a RawValue>,
}

/// Why a line cannot be used.
#[derive(Debug, Error)]
pub(super) enum LineError {
    #[error("not UTF-8 at byte {0}")]
    Utf8(usize),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("{message}{place}")]
    Json { message: String, place: String },
    #[error("neither `CID` nor `Multihash`")]
    NoKey,
    #[error("both `CID` and `Multihash`, one is enough")]
    TwoKeys,
    #[error("`{field}` cannot be read")]
    Key { field: &'static str, source: KeyError },
    #[error("`Context` cannot be read")]
    Context(#[from] ContextIdError),
    #[error(
        "`Network` is neither a network as an export names it (192.0.2.0/24, 2001:db8::/36) nor `unknown`"
    )]
    Network,
    #[error("no `Providers`")]
    NoProviders,
}

#[derive(Deserialize)]
struct LineFields<'a> {
    #[serde(rename = "CID")]
    cid: Option<String>,
    #[serde(rename = "Multihash")]
    multihash: Option<String>,
    #[serde(rename = "Providers", borrow, default)]
    providers: Providers<'a>,
    #[serde(rename = "ExpiresAt")]
    expires_at_ms: Option<Whole<UnixMs>>,
    #[serde(rename = "Context")]
    context: Option<String>,
    #[serde(rename = "Network")]
    network: Option<String>,
}

#[derive(Default)]
enum Providers<'a> {
    #[default]
    Missing,
    BoundedList(Vec<&'a RawValue>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Providers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Servers written in Go answer `null` for an empty list.
        let list = Option::<Vec<&'a RawValue>>::deserialize(deserializer)?;
        Ok(Self::BoundedList(list.unwrap_or_default()))
    }
}

impl<'a> LineRecords<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let text =
            std::str::from_utf8(line).map_err(|error| LineError::Utf8(error.valid_up_to() + 1))?;
        // serde would accept an array as the fields in order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(LineError::NotAnObject);
        }
        let fields: LineFields<'a> = serde_json::from_str(text).map_err(LineError::json)?;
        let key = match (&fields.cid, &fields.multihash) {
            (Some(cid), None) => ContentKey::from_cid_text(cid)
                .map_err(|source| LineError::Key { field: "CID", source })?,
            (None, Some(multihash)) => ContentKey::from_multihash_text(multihash)
                .map_err(|source| LineError::Key { field: "Multihash", source })?,
            (None, None) => return Err(LineError::NoKey),
            (Some(_), Some(_)) => return Err(LineError::TwoKeys),
        };
        let context =
            fields.context.as_deref().map(ContextId::from_text).transpose()?.unwrap_or_default();
        let origin = match &fields.network {
            Some(network) => Origin::from_network_text(network).ok_or(LineError::Network)?,
            None => Origin::OPERATOR,
        };
        match fields.providers {
            Providers::Missing => Err(LineError::NoProviders),
            Providers::BoundedList(records) => {
                let expires_at_ms = fields.expires_at_ms.map(|Whole(time)| time);
                Ok(Self { key, context, expires_at_ms, origin, records })
            }
        }
    }

    pub(super) fn terms(&self) -> BatchTerms<'_> {
        let Self { context, expires_at_ms, origin, .. } = self;
        BatchTerms { context, expires_at_ms: *expires_at_ms, origin: *origin }
    }
}

impl LineError {
    /// serde_json counts lines within what it reads, which is only ever one.
    fn json(error: serde_json::Error) -> Self {
        let suffix = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        match text.strip_suffix(&suffix) {
            Some(message) => {
                let place = format!(", at character {}", error.column());
                Self::Json { message: message.to_owned(), place }
            }
            None => Self::Json { message: text, place: String::new() },
        }
    }

    pub(super) fn reason(&self) -> RejectReason {
        match self {
            Self::Utf8(_) => RejectReason::Utf8,
            Self::NotAnObject | Self::Json { .. } | Self::NoProviders | Self::Network => {
                RejectReason::Json
            }
            Self::Context(_) => RejectReason::Context,
            Self::NoKey | Self::TwoKeys | Self::Key { .. } => RejectReason::Key,
        }
    }
}
