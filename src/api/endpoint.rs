//! The paths of the public API, parsed once: which endpoint a request is for, and the id in it.

use std::borrow::Cow;

use super::state::ApiState;
use crate::metrics::Route;

/// The methods of a resource that can be read.
const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// The methods of a resource that can be read and replaced.
const REPLACE_METHODS: &str = "GET, HEAD, PUT, OPTIONS";

/// What a path names. Ids are as they stand in the path: see [`decode_id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// `/routing/v1/providers/{cid}`.
    Providers(&'a str),
    /// `/routing/v1/providers`, with or without a slash at its end.
    Announce,
    /// `/routing/v1/peers/{peer-id}`.
    Peers(&'a str),
    /// `/routing/v1/ipns/{name}`.
    Ipns(&'a str),
    /// `/routing/v1/dht/closest/peers/{key}`.
    ClosestPeers(&'a str),
    /// None of these.
    Unknown,
}

impl<'a> Endpoint<'a> {
    /// The endpoint of a path whose percent-encoding is undone but for characters that would have
    /// changed the path's shape.
    pub(super) fn of_path(path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/routing/v1/") else { return Self::Unknown };
        let (family, id) = match rest.rsplit_once('/') {
            None if rest == "providers" => return Self::Announce,
            Some(("providers", "")) => return Self::Announce,
            None | Some((_, "")) => return Self::Unknown,
            Some(split) => split,
        };
        match family {
            "providers" => Self::Providers(id),
            "peers" => Self::Peers(id),
            "ipns" => Self::Ipns(id),
            "dht/closest/peers" => Self::ClosestPeers(id),
            _ => Self::Unknown,
        }
    }

    /// What the metrics call it.
    pub(super) fn route(self) -> Route {
        match self {
            Self::Providers(_) => Route::Providers,
            Self::Announce => Route::Announce,
            Self::Peers(_) => Route::Peers,
            Self::Ipns(_) => Route::Ipns,
            Self::ClosestPeers(_) => Route::ClosestPeers,
            Self::Unknown => Route::Unknown,
        }
    }
}

/// The methods of an endpoint, as they stand in `Allow` and in preflights.
pub(super) fn methods(route: Route, state: &ApiState) -> &'static str {
    let can_be_put = match route {
        Route::Ipns => state.ipns,
        Route::Announce => state.announcing.is_some(),
        Route::Providers | Route::Peers | Route::ClosestPeers | Route::Unknown => false,
    };
    if can_be_put { REPLACE_METHODS } else { READ_METHODS }
}

/// An id of a path, percent-decoded.
pub(super) fn decode_id(id: &str) -> Result<Cow<'_, str>, String> {
    if memchr::memchr(b'%', id.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(id));
    }
    percent_encoding::percent_decode_str(id).decode_utf8().map_err(|_| "not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::Endpoint::{self, *};

    #[test]
    fn a_path_is_one_endpoint_and_nothing_beside_its_shape() {
        for (path, expected) in [
            ("providers", Announce),
            ("providers/", Announce),
            ("providers/x", Providers("x")),
            ("peers/x%2Fy", Peers("x%2Fy")),
            ("ipns/x", Ipns("x")),
            ("dht/closest/peers/x", ClosestPeers("x")),
        ] {
            assert_eq!(Endpoint::of_path(&format!("/routing/v1/{path}")), expected);
        }
        for path in [
            "",
            "/",
            "/routing/v1",
            "/routing/v1/",
            "/routing/v1/x",
            "/routing/v1/peers",
            "/routing/v1/peers/",
            "/routing/v1/ipns/",
            "/routing/v1/providers//",
            "/routing/v1/providers/x/",
            "/routing/v1/providers/x/y",
            "/routing/v1//providers/x",
            "/routing/v1/dht/closest/peers",
            "/routing/v1/dht/closest/peers/",
            "/routing/v2/peers/x",
        ] {
            assert_eq!(Endpoint::of_path(path), Unknown, "{path}");
        }
    }
}
