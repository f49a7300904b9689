//! Messages as JSON.
//!
//! Field names are those of CCP. Unknown fields are ignored, known ones are required. Parsing
//! validates prefixes, names, `auth` values and the number of routes; an invalid message is refused
//! whole, with an error that names the place.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dispatch::{RouteAuth, RouteAuthError};
use crate::types::{RoutePrefix, RoutePrefixError, TargetId, TargetIdError};

use super::{
    LastKnown, NewRoute, RouteControl, RouteUpdate, RoutingTableId, SyncMode, UPDATE_ROUTES_MAX,
};

/// Why a message is refused.
#[derive(Debug, Error)]
pub enum MessageError {
    /// It is not the JSON of one.
    #[error("not the JSON that belongs here")]
    Json(#[from] serde_json::Error),
    /// The identity of a table is no UUID.
    #[error("`{field}` is not a UUID")]
    TableId {
        /// The field.
        field: &'static str,
    },
    /// An update for the nil table.
    #[error("`routingTableId` is all zeros, which stands for no table; draw one at random")]
    NoTable,
    /// Epochs out of order.
    #[error(
        "fromEpochIndex {from} is not at most toEpochIndex {to}, or that not at most \
         currentEpochIndex {current}"
    )]
    Epochs {
        /// The first one included.
        from: u64,
        /// The first one after those included.
        to: u64,
        /// The next one of the table.
        current: u64,
    },
    /// More new routes than an update may have.
    #[error("an update has at most {UPDATE_ROUTES_MAX} new routes, this one has {0}")]
    TooManyRoutes(usize),
    /// An illegal prefix.
    #[error("`{place}` is not a prefix")]
    Prefix {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: RoutePrefixError,
    },
    /// An illegal name of a router.
    #[error("`{place}` is not the name of a router")]
    Router {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: TargetIdError,
    },
    /// A path that lacks even the sender.
    #[error("`{place}` is empty: the router that tells a route stands first in its path")]
    EmptyPath {
        /// Where it stands.
        place: String,
    },
    /// A malformed `auth` value.
    #[error("`{place}` is not an auth")]
    Auth {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: RouteAuthError,
    },
}

/// The JSON fields of [`LastKnown`], in a request for updates and in the reply to an update that
/// leaves a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastKnownFields {
    /// The table, as a UUID.
    pub(crate) last_known_routing_table_id: String,
    /// The first epoch that is not known.
    pub(crate) last_known_epoch: u64,
}

#[derive(Serialize, Deserialize)]
struct ControlFields {
    mode: Mode,
    #[serde(flatten)]
    last_known: LastKnownFields,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Idle,
    Sync,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateFields {
    routing_table_id: String,
    current_epoch_index: u64,
    from_epoch_index: u64,
    to_epoch_index: u64,
    hold_down_time: u64,
    speaker: String,
    new_routes: Vec<RouteFields>,
    withdrawn_routes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct RouteFields {
    prefix: String,
    path: Vec<String>,
    auth: String,
}

impl LastKnownFields {
    /// Reads them.
    pub(crate) fn read(&self) -> Result<LastKnown, MessageError> {
        let table_id = table_id(&self.last_known_routing_table_id, "lastKnownRoutingTableId")?;
        Ok(LastKnown { table_id, epoch: self.last_known_epoch })
    }
}

impl From<LastKnown> for LastKnownFields {
    fn from(known: LastKnown) -> Self {
        Self {
            last_known_routing_table_id: known.table_id.to_string(),
            last_known_epoch: known.epoch,
        }
    }
}

impl RouteControl {
    /// Reads JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, MessageError> {
        let fields: ControlFields = serde_json::from_slice(json)?;
        let mode = match fields.mode {
            Mode::Idle => SyncMode::Idle,
            Mode::Sync => SyncMode::Sync,
        };
        Ok(Self { mode, last_known: fields.last_known.read()? })
    }

    /// The message as JSON.
    pub fn to_json(&self) -> String {
        let mode = match self.mode {
            SyncMode::Idle => Mode::Idle,
            SyncMode::Sync => Mode::Sync,
        };
        written(&ControlFields { mode, last_known: self.last_known.into() })
    }
}

impl RouteUpdate {
    /// Reads JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, MessageError> {
        let fields: UpdateFields = serde_json::from_slice(json)?;
        if fields.new_routes.len() > UPDATE_ROUTES_MAX {
            return Err(MessageError::TooManyRoutes(fields.new_routes.len()));
        }
        let (from, to) = (fields.from_epoch_index, fields.to_epoch_index);
        let current = fields.current_epoch_index;
        if from > to || to > current {
            return Err(MessageError::Epochs { from, to, current });
        }
        let new_routes = fields.new_routes.iter().enumerate().map(new_route);
        let withdrawn = fields.withdrawn_routes.iter().enumerate();
        let withdrawn =
            withdrawn.map(|(index, text)| prefix(text, format!("withdrawnRoutes[{index}]")));
        let table_id = table_id(&fields.routing_table_id, "routingTableId")?;
        if table_id == RoutingTableId::NONE {
            return Err(MessageError::NoTable);
        }
        Ok(Self {
            table_id,
            current_epoch: current,
            from_epoch: from,
            to_epoch: to,
            hold_down_ms: fields.hold_down_time,
            speaker: router(&fields.speaker, "speaker".to_owned())?,
            new_routes: new_routes.collect::<Result<_, _>>()?,
            withdrawn_routes: withdrawn.collect::<Result<_, _>>()?,
        })
    }

    /// The message as JSON.
    pub fn to_json(&self) -> String {
        let new_routes = self.new_routes.iter().map(|route| RouteFields {
            prefix: route.prefix.to_string(),
            path: route.path.iter().map(ToString::to_string).collect(),
            auth: route.auth.to_base64(),
        });
        written(&UpdateFields {
            routing_table_id: self.table_id.to_string(),
            current_epoch_index: self.current_epoch,
            from_epoch_index: self.from_epoch,
            to_epoch_index: self.to_epoch,
            hold_down_time: self.hold_down_ms,
            speaker: self.speaker.to_string(),
            new_routes: new_routes.collect(),
            withdrawn_routes: self.withdrawn_routes.iter().map(ToString::to_string).collect(),
        })
    }
}

fn written(fields: &impl Serialize) -> String {
    serde_json::to_string(fields).expect("texts, numbers and lists of them are always JSON")
}

fn table_id(text: &str, field: &'static str) -> Result<RoutingTableId, MessageError> {
    RoutingTableId::parse(text).ok_or(MessageError::TableId { field })
}

fn new_route((index, fields): (usize, &RouteFields)) -> Result<NewRoute, MessageError> {
    let place = |field: &str| format!("newRoutes[{index}].{field}");
    if fields.path.is_empty() {
        return Err(MessageError::EmptyPath { place: place("path") });
    }
    let path = fields.path.iter().enumerate();
    let path = path.map(|(at, name)| router(name, format!("newRoutes[{index}].path[{at}]")));
    let auth = RouteAuth::from_base64(&fields.auth)
        .map_err(|source| MessageError::Auth { place: place("auth"), source })?;
    Ok(NewRoute {
        prefix: prefix(&fields.prefix, place("prefix"))?,
        path: path.collect::<Result<_, _>>()?,
        auth,
    })
}

fn prefix(text: &str, place: String) -> Result<RoutePrefix, MessageError> {
    RoutePrefix::parse(text).map_err(|source| MessageError::Prefix { place, source })
}

fn router(text: &str, place: String) -> Result<TargetId, MessageError> {
    TargetId::parse(text).map_err(|source| MessageError::Router { place, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dispatch::advertise::MESSAGE_BYTES_MAX;

    const ID: &str = "00010203-0405-4607-8809-0a0b0c0d0e0f";
    const AUTH: &str = "WhzFqWj0eyDDoq4ynPU3hi6jkon4rwqbpvbFsj+uerw=";

    fn update() -> Value {
        json!({
            "routingTableId": ID, "currentEpochIndex": 7, "fromEpochIndex": 2, "toEpochIndex": 5,
            "holdDownTime": 45000, "speaker": "Alpha.One",
            "newRoutes": [{"prefix": "g.a", "path": ["alpha", "Beta"], "auth": AUTH}],
            "withdrawnRoutes": ["g.b", "g.c"], "extra": {"ignored": true},
        })
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut json = update();
        change(&mut json);
        let error = RouteUpdate::from_json(json.to_string().as_bytes()).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    #[test]
    fn an_update_is_read_field_by_field_and_written_so_again() {
        let read = RouteUpdate::from_json(update().to_string().as_bytes()).unwrap();
        let target = |text| TargetId::parse(text).unwrap();
        let prefix = |text| RoutePrefix::parse(text).unwrap();
        let expected = RouteUpdate {
            table_id: RoutingTableId::parse(ID).unwrap(),
            current_epoch: 7,
            from_epoch: 2,
            to_epoch: 5,
            hold_down_ms: 45_000,
            speaker: target("alphaone"),
            new_routes: vec![NewRoute {
                prefix: prefix("g.a"),
                path: vec![target("alpha"), target("beta")],
                auth: RouteAuth::from_base64(AUTH).unwrap(),
            }],
            withdrawn_routes: vec![prefix("g.b"), prefix("g.c")],
        };
        assert_eq!(read, expected);
        assert_eq!(RouteUpdate::from_json(read.to_json().as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_control_is_read_and_written() {
        let json = json!({"mode": "SYNC", "lastKnownRoutingTableId": ID, "lastKnownEpoch": 3});
        let read = RouteControl::from_json(json.to_string().as_bytes()).unwrap();
        let table_id = RoutingTableId::parse(ID).unwrap();
        let last_known = LastKnown { table_id, epoch: 3 };
        assert_eq!(read, RouteControl { mode: SyncMode::Sync, last_known });
        assert_eq!(serde_json::from_str::<Value>(&read.to_json()).unwrap(), json);
        let idle = RouteControl { mode: SyncMode::Idle, last_known: LastKnown::NOTHING };
        assert_eq!(RouteControl::from_json(idle.to_json().as_bytes()).unwrap(), idle);
        for (field, value) in [("mode", json!("sync")), ("lastKnownEpoch", json!(-1))] {
            let mut json = json.clone();
            json[field] = value;
            assert!(RouteControl::from_json(json.to_string().as_bytes()).is_err(), "{field}");
        }
    }

    #[test]
    fn every_field_must_be_there() {
        let fields = update().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for field in fields.iter().filter(|field| *field != "extra") {
            let error = refused(|json| drop(json.as_object_mut().unwrap().remove(field)));
            assert!(error.contains(&format!("missing field `{field}`")), "{error}");
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let update = update().to_string();
        let (control, epoch) = (
            json!({"mode": "SYNC", "lastKnownRoutingTableId": ID}).to_string(),
            "\"lastKnownEpoch\":3,",
        );
        let twice = |json: &str, field: &str| json.replacen('{', &format!("{{{field}"), 1);
        assert!(
            RouteUpdate::from_json(twice(&update, "\"speaker\":\"beta\",").as_bytes()).is_err()
        );
        let once = twice(&control, epoch);
        assert!(RouteControl::from_json(once.as_bytes()).is_ok());
        assert!(RouteControl::from_json(twice(&once, epoch).as_bytes()).is_err());
        assert!(RouteControl::from_json(twice(&once, "\"mode\":\"IDLE\",").as_bytes()).is_err());
    }

    #[test]
    fn what_is_illegal_is_refused_with_its_place() {
        let route = |field: &'static str, value: Value| {
            refused(move |json| json["newRoutes"][0][field] = value)
        };
        for (error, place) in [
            (route("prefix", json!("h")), "`newRoutes[0].prefix`"),
            (route("path", json!(["a", "b c"])), "`newRoutes[0].path[1]`"),
            (route("path", json!([])), "`newRoutes[0].path` is empty"),
            (route("auth", json!("AAAA")), "`newRoutes[0].auth`"),
            (refused(|json| json["withdrawnRoutes"][1] = json!("g.")), "`withdrawnRoutes[1]`"),
            (refused(|json| json["speaker"] = json!("")), "`speaker`"),
            (refused(|json| json["routingTableId"] = json!("1")), "`routingTableId`"),
            (
                refused(|json| json["routingTableId"] = json!(RoutingTableId::NONE.to_string())),
                "`routingTableId` is all zeros",
            ),
            (refused(|json| json["toEpochIndex"] = json!(8)), "toEpochIndex 8"),
            (refused(|json| json["fromEpochIndex"] = json!(6)), "fromEpochIndex 6"),
            (refused(|json| *json = json!([])), "not the JSON"),
        ] {
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn more_than_fifty_new_routes_are_refused() {
        let of = |count: usize| {
            move |json: &mut Value| {
                let route = json["newRoutes"][0].clone();
                json["newRoutes"] = vec![route; count].into();
            }
        };
        assert!(refused(of(51)).contains("at most 50 new routes, this one has 51"));
        let mut json = update();
        of(50)(&mut json);
        assert_eq!(
            RouteUpdate::from_json(json.to_string().as_bytes()).unwrap().new_routes.len(),
            50
        );
    }

    #[test]
    fn the_longest_update_of_ours_may_be_sent() {
        let router = TargetId::parse(&"a".repeat(64)).unwrap();
        let prefix = RoutePrefix::parse(&format!("g.{}", "a".repeat(1_021))).unwrap();
        let mut update = RouteUpdate::from_json(update().to_string().as_bytes()).unwrap();
        let auth = RouteAuth::from_base64(AUTH).unwrap();
        let route = NewRoute { prefix, path: vec![router; super::super::PATH_ROUTERS_MAX], auth };
        update.new_routes = vec![route; UPDATE_ROUTES_MAX];
        assert!(update.to_json().len() <= MESSAGE_BYTES_MAX / 2);
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in ".{0,200}", field in 0_usize..8) {
            let mut json = update();
            let name = json.as_object().unwrap().keys().nth(field).unwrap().clone();
            json[&name] = json!(text);
            // It must only return: whether the field is required decides the result.
            let _ = RouteUpdate::from_json(json.to_string().as_bytes());
            prop_assert!(RouteUpdate::from_json(text.as_bytes()).is_err());
            prop_assert!(RouteControl::from_json(text.as_bytes()).is_err());
        }
    }
}
