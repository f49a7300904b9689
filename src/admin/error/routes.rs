//! The errors of the routing table's API. Those named by source 000 have its fields and wording,
//! and no `detail`; the `detail` of the others says what to do.

use thiserror::Error;

use crate::admin::wire::Problem;
use crate::control::StaticsError;
use crate::dispatch::{Address, AddressError};
use crate::state::ControlStoreError;
use crate::types::{RoutePrefix, RoutePrefixError, TargetIdError};

/// The URI prefix of the problem types of source 000.
const KINDS: &str = "https://errors.interledger.org/routes/static/";

/// The type of problems that are described by their status alone.
const NO_KIND: &str = "about:blank";

/// Why the routing table's API refuses.
#[derive(Debug, Error)]
pub(in crate::admin) enum RouteError {
    #[error("{0}; write it as in `/routes/static/g.providers.sha2-256.c`")]
    Prefix(RoutePrefixError),
    #[error("the path's prefix is not UTF-8")]
    PrefixEncoding,
    #[error("the path's percent-encoding is broken: two hex digits stand after each `%`")]
    PrefixPercent,
    #[error(
        "{reason}; send a JSON object like {}",
        r#"{"routePrefix":"g.foo","nextHopAccountId":"local"}"#
    )]
    Body { reason: String },
    #[error("the body's routePrefix: {0}")]
    BodyPrefix(RoutePrefixError),
    #[error("the body's nextHopAccountId: {0}")]
    BodyAccount(TargetIdError),
    #[error("{parameter} is {value:?}; give a whole number from {min} to {max}")]
    Page { parameter: &'static str, value: String, min: u32, max: u32 },
    #[error("destinationAddress: {0}")]
    Address(AddressError),
    #[error("name a destinationAddress: an address, a CID, a peer ID or an IPNS name")]
    NoAddress,
    #[error("no route leads to {0}; every lookup has an address that begins with `g`")]
    NoRoute(Address),
    #[error("there is no static route for {0} to replace; without If-Match one is created")]
    NothingToReplace(RoutePrefix),
    #[error("static routes have no entity tags; If-Match takes `*` only")]
    EntityTag,
    #[error("there is a static route for {0} already")]
    Exists(RoutePrefix),
    #[error("there is no static route for {0}")]
    Missing(RoutePrefix),
    #[error("the body is about another prefix than the path")]
    Mismatch { entity: RoutePrefix, url: RoutePrefix },
    #[error(transparent)]
    State(#[from] ControlStoreError),
}

impl From<StaticsError> for RouteError {
    fn from(error: StaticsError) -> Self {
        match error {
            StaticsError::Exists(prefix) => Self::Exists(prefix),
            StaticsError::Missing(prefix) => Self::Missing(prefix),
            StaticsError::State(error) => Self::State(error),
        }
    }
}

impl RouteError {
    /// Sets the problem type of source 000.
    pub(super) fn name(self, problem: Problem) -> Problem {
        let (prefix, kind, title) = match self {
            Self::Exists(prefix) => {
                let title = format!("Static Route Already Exists (`{prefix}`)");
                (prefix, "static-route-already-exists", title)
            }
            Self::Missing(prefix) => {
                let title = format!("Static Route Does Not Exist (`{prefix}`)");
                (prefix, "static-route-not-found", title)
            }
            Self::Mismatch { entity, url } => {
                let title = format!(
                    "Static Route Unprocessable [entityPrefix: `{entity}`, urlPrefix: `{url}`]"
                );
                (url, "static-route-unprocessable", title)
            }
            Self::State(error) if error.is_uncertain() => {
                let detail = format!(
                    "{}; whether the change is kept is not certain: look, and try again",
                    problem.detail
                );
                return Problem { kind: Some(NO_KIND.to_owned()), detail, ..problem };
            }
            Self::Prefix(_)
            | Self::PrefixEncoding
            | Self::PrefixPercent
            | Self::Body { .. }
            | Self::BodyPrefix(_)
            | Self::BodyAccount(_)
            | Self::Page { .. }
            | Self::Address(_)
            | Self::NoAddress
            | Self::NoRoute(_)
            | Self::NothingToReplace(_)
            | Self::EntityTag
            | Self::State(_) => return Problem { kind: Some(NO_KIND.to_owned()), ..problem },
        };
        Problem {
            prefix: Some(prefix.to_string()),
            kind: Some(format!("{KINDS}{kind}")),
            title,
            detail: String::new(),
            ..problem
        }
    }
}
