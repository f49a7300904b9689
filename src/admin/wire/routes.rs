//! The JSON of the routing table's API, field for field as source 000 has it. Numbers of a page are
//! texts; times are ISO 8601, UTC, to the millisecond.

use std::time::{Duration, UNIX_EPOCH};

use super::explain::PoolView;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::control::StaticRoute;
use crate::dispatch::{RouteAuth, RouteEntry};

/// 9999-12-31T23:59:59.999Z, the last time that the form can say.
const LAST_MS: UnixMs = 253_402_300_799_999;

/// What `GET /routes` answers.
pub(crate) type RouteList = ListPage<Routes>;

/// What `GET /routes/static` answers.
pub(crate) type StaticRouteList = ListPage<StaticRoutes>;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListPage<T> {
    /// What it lists.
    #[serde(rename = "_embedded")]
    pub(crate) embedded: T,
    /// Which part of the whole it is.
    pub(crate) page: Page,
}

/// Routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routes {
    /// One for each prefix.
    pub(crate) routes: Vec<RouteView>,
}

/// Static routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StaticRoutes {
    /// One for each prefix.
    pub(crate) static_routes: Vec<StaticRouteView>,
}

/// Which part of a list an answer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// How many a page has.
    pub(crate) size: String,
    /// How many the list has.
    pub(crate) total_elements: String,
    /// How many pages that makes.
    pub(crate) total_pages: String,
    /// Which page it is, from 0.
    pub(crate) number: String,
}

/// A route that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteView {
    /// The part of the key space.
    pub(crate) route_prefix: String,
    /// The account that answers.
    pub(crate) next_hop_account_id: String,
    /// The routers that it came through, the nearest first.
    pub(crate) path: Vec<String>,
    /// When it ends; `null`: not by itself.
    pub(crate) expires_at: Option<String>,
    /// What proves it, as base64.
    pub(crate) auth: String,
}

/// A route that an operator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StaticRouteView {
    /// When it was created.
    pub(crate) created_at: String,
    /// When it was last replaced, or created.
    pub(crate) modified_at: String,
    /// The part of the key space.
    pub(crate) route_prefix: String,
    /// The account that answers.
    pub(crate) next_hop_account_id: String,
}

/// The body of `PUT /routes/static/{prefix}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StaticRouteRequest {
    /// The part of the key space: what the path says too.
    pub(crate) route_prefix: String,
    /// The account that is to answer.
    pub(crate) next_hop_account_id: String,
}

/// The answer to `GET /routes/explain`: which target would answer a lookup, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteExplanation {
    /// The address of the lookup.
    pub(crate) destination_address: String,
    /// Whether no lookup can have this address, or one below it.
    #[serde(default)]
    pub(crate) never_matches: bool,
    /// The prefix of the route that it takes.
    pub(crate) route_prefix: String,
    /// The account that answers.
    pub(crate) next_hop_account_id: String,
    /// Where the route comes from: `static`, `default` or `dynamic`.
    pub(crate) origin: String,
    /// The routers that it came through, the nearest first.
    pub(crate) path: Vec<String>,
    /// When it ends; `null`: not by itself.
    pub(crate) expires_at: Option<String>,
    /// Whether there is such an account. If not, the lookup fails.
    pub(crate) exists: bool,
    /// What the account is: `local`, `discard`, `default`, `dht`, `upstream`, `fanout`, `peer` or `pool`;
    /// `null` where there is none.
    pub(crate) kind: Option<String>,
    /// All that are asked, `local` among them.
    pub(crate) upstreams: Vec<String>,
    /// Those of them that would not be asked now.
    #[serde(default)]
    pub(crate) not_asked: Vec<NotAskedView>,
    /// How the pool would choose, where the account is one.
    pub(crate) pool: Option<PoolView>,
}

/// An upstream that would not be asked now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotAskedView {
    /// Its name.
    pub(crate) name: String,
    /// Why.
    pub(crate) reason: String,
}

impl RouteView {
    /// A route, and its proof.
    pub(in crate::admin) fn new(entry: &RouteEntry, auth: RouteAuth) -> Self {
        Self {
            route_prefix: entry.prefix.to_string(),
            next_hop_account_id: entry.next_hop.to_string(),
            path: entry.path.clone(),
            expires_at: entry.expires_at_ms.map(iso_8601),
            auth: auth.to_base64(),
        }
    }
}

impl From<&StaticRoute> for StaticRouteView {
    fn from(route: &StaticRoute) -> Self {
        Self {
            created_at: iso_8601(route.created_at_ms),
            modified_at: iso_8601(route.modified_at_ms),
            route_prefix: route.prefix.to_string(),
            next_hop_account_id: route.next_hop.to_string(),
        }
    }
}

/// A time as the API writes it.
pub(in crate::admin) fn iso_8601(unix_ms: UnixMs) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::RouteOrigin;
    use crate::types::{RoutePrefix, TargetId};

    #[test]
    fn times_are_written_to_the_millisecond() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_573_770_668_963, "2019-11-14T22:31:08.963Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso_8601(unix_ms), text);
        }
    }

    #[test]
    fn a_dynamic_route_shows_its_way_its_end_and_its_own_auth() {
        let prefix = RoutePrefix::parse("g.ipns").unwrap();
        let auth = RouteAuth::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let entry = RouteEntry {
            prefix,
            next_hop: TargetId::parse("east").unwrap(),
            origin: RouteOrigin::Dynamic,
            path: vec!["east".to_owned(), "north".to_owned()],
            expires_at_ms: Some(1_573_770_668_963),
            auth: None,
        };
        assert_eq!(
            serde_json::to_string(&RouteView::new(&entry, auth)).unwrap(),
            concat!(
                r#"{"routePrefix":"g.ipns","nextHopAccountId":"east","path":["east","north"],"#,
                r#""expiresAt":"2019-11-14T22:31:08.963Z","#,
                r#""auth":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#
            )
        );
    }
}
