//! Static routes: prefixes that the operator assigned to targets.
//!
//! Changes are made one at a time; each is durable before it is visible here. Lookups see it once
//! [`Control`](super::Control), which alone may change routes, has published it. A change that could not be
//! written is an error, and may have been made all the same: then the store is read again, and what it
//! has is visible. Where that fails too, the next change begins with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::MutexGuard;

use super::ControlError;
use crate::clock::{Clock, UnixMs};
use crate::state::{ControlChange, ControlStore, ControlStoreError, ControlTable};
use crate::types::{RoutePrefix, TargetId};

/// A route set by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticRoute {
    /// The prefix.
    pub(crate) prefix: RoutePrefix,
    /// The target that answers lookups.
    pub(crate) next_hop: TargetId,
    /// When it was created, in milliseconds since the Unix epoch.
    pub(crate) created_at_ms: UnixMs,
    /// When it was last replaced, or created, in milliseconds since the Unix epoch.
    pub(crate) modified_at_ms: UnixMs,
}

/// Why a change of static routes failed.
#[derive(Debug, Error)]
pub(crate) enum StaticsError {
    /// The prefix has a static route already.
    #[error("there is a static route for {0} already")]
    Exists(RoutePrefix),
    /// The prefix has no static route.
    #[error("there is no static route for {0}")]
    Missing(RoutePrefix),
    /// The change could not be written.
    #[error(transparent)]
    State(#[from] ControlStoreError),
}

/// All static routes.
pub(crate) struct Statics {
    state: Arc<dyn ControlStore>,
    clock: Clock,
    routes: RwLock<BTreeMap<RoutePrefix, StaticRoute>>,
    /// Serialises changes; whether what is stored may be another than what is known.
    changing: tokio::sync::Mutex<bool>,
}

/// The stored form of a route; its key is the prefix.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct StaticRouteDocument {
    next_hop_account_id: String,
    created_at_ms: UnixMs,
    modified_at_ms: UnixMs,
}

impl Statics {
    /// Reads the stored routes.
    pub(super) async fn open(
        state: Arc<dyn ControlStore>,
        clock: Clock,
    ) -> Result<Self, ControlError> {
        let routes = stored(&*state).await?;
        let changing = tokio::sync::Mutex::new(false);
        Ok(Self { state, clock, routes: RwLock::new(routes), changing })
    }

    /// All routes, sorted by prefix.
    pub(crate) fn all(&self) -> Vec<StaticRoute> {
        self.routes.read().values().cloned().collect()
    }

    /// The route of a prefix.
    pub(crate) fn get(&self, prefix: &RoutePrefix) -> Option<StaticRoute> {
        self.routes.read().get(prefix).cloned()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.routes.read().len()
    }

    /// Creates a route; an existing one for the prefix is an error.
    pub(super) async fn create(
        &self,
        prefix: RoutePrefix,
        next_hop: TargetId,
    ) -> Result<StaticRoute, StaticsError> {
        let mut is_unsure = self.begin().await?;
        if self.routes.read().contains_key(&prefix) {
            return Err(StaticsError::Exists(prefix));
        }
        let now_ms = self.clock.now_ms();
        let route = StaticRoute { prefix, next_hop, created_at_ms: now_ms, modified_at_ms: now_ms };
        self.put(route, &mut is_unsure).await
    }

    /// Replaces the next hop of a route.
    pub(super) async fn replace(
        &self,
        prefix: RoutePrefix,
        next_hop: TargetId,
    ) -> Result<StaticRoute, StaticsError> {
        let mut is_unsure = self.begin().await?;
        let current = self.routes.read().get(&prefix).cloned();
        let current = current.ok_or(StaticsError::Missing(prefix))?;
        // Times of one route never go backwards, whatever the clock does.
        let modified_at_ms = self.clock.now_ms().max(current.created_at_ms);
        self.put(StaticRoute { next_hop, modified_at_ms, ..current }, &mut is_unsure).await
    }

    /// Removes the route of a prefix.
    pub(super) async fn remove(&self, prefix: RoutePrefix) -> Result<(), StaticsError> {
        let mut is_unsure = self.begin().await?;
        if !self.routes.read().contains_key(&prefix) {
            return Err(StaticsError::Missing(prefix));
        }
        self.write(&prefix, None, &mut is_unsure).await?;
        self.routes.write().remove(&prefix);
        Ok(())
    }

    /// Waits for other changes to end, and reads the store where it is not certain what it has.
    async fn begin(&self) -> Result<MutexGuard<'_, bool>, StaticsError> {
        let mut is_unsure = self.changing.lock().await;
        if *is_unsure {
            self.read_again().await?;
            *is_unsure = false;
        }
        Ok(is_unsure)
    }

    async fn read_again(&self) -> Result<(), ControlStoreError> {
        let routes = stored(&*self.state).await.map_err(ControlError::into_store_error)?;
        *self.routes.write() = routes;
        Ok(())
    }

    async fn put(
        &self,
        route: StaticRoute,
        is_unsure: &mut bool,
    ) -> Result<StaticRoute, StaticsError> {
        let document = StaticRouteDocument {
            next_hop_account_id: route.next_hop.to_string(),
            created_at_ms: route.created_at_ms,
            modified_at_ms: route.modified_at_ms,
        };
        let text = serde_json::to_string(&document).expect("it is texts and numbers");
        self.write(&route.prefix, Some(text), is_unsure).await?;
        self.routes.write().insert(route.prefix.clone(), route.clone());
        Ok(route)
    }

    async fn write(
        &self,
        prefix: &RoutePrefix,
        text: Option<String>,
        is_unsure: &mut bool,
    ) -> Result<(), ControlStoreError> {
        let key = prefix.to_string();
        let change = ControlChange { table: ControlTable::StaticRoutes, key, text };
        let written = self.state.write(vec![change], self.clock.now_ms()).await;
        if written.as_ref().is_err_and(ControlStoreError::is_uncertain) {
            *is_unsure = self.read_again().await.is_err();
        }
        written
    }
}

/// The stored routes.
async fn stored(
    state: &dyn ControlStore,
) -> Result<BTreeMap<RoutePrefix, StaticRoute>, ControlError> {
    let documents = state.read(ControlTable::StaticRoutes).await?;
    let route = |(key, text): (String, String)| {
        let route = read(&key, &text)?;
        Ok((route.prefix.clone(), route))
    };
    documents.into_iter().map(route).collect()
}

fn read(key: &str, text: &str) -> Result<StaticRoute, ControlError> {
    let broken = |reason: String| ControlError::Document {
        what: "static route",
        key: key.to_owned(),
        reason,
    };
    let document: StaticRouteDocument =
        serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
    Ok(StaticRoute {
        prefix: RoutePrefix::parse(key).map_err(|error| broken(error.to_string()))?,
        next_hop: TargetId::parse(&document.next_hop_account_id)
            .map_err(|error| broken(error.to_string()))?,
        created_at_ms: document.created_at_ms,
        modified_at_ms: document.modified_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::ManualClock;
    use crate::control::tests::UncertainState;
    use crate::state::MemoryControl;

    fn open(state: &Arc<MemoryControl>, clock: &ManualClock) -> Statics {
        let opened = Statics::open(state.clone(), Clock::Manual(clock.clone()));
        opened.now_or_never().expect("memory answers at once").unwrap()
    }

    fn prefix(text: &str) -> RoutePrefix {
        RoutePrefix::parse(text).unwrap()
    }

    fn target(text: &str) -> TargetId {
        TargetId::parse(text).unwrap()
    }

    #[tokio::test]
    async fn routes_are_created_replaced_and_removed_and_outlive_a_restart() {
        let (state, clock) = (Arc::new(MemoryControl::new()), ManualClock::new(100));
        let statics = open(&state, &clock);
        statics.create(prefix("g.b"), target("one")).await.unwrap();
        let first = statics.create(prefix("g.a"), target("two")).await.unwrap();
        clock.set(200);
        let second = statics.replace(prefix("g.a"), target("three")).await.unwrap();
        assert_eq!((first.created_at_ms, first.modified_at_ms), (100, 100));
        assert_eq!((second.created_at_ms, second.modified_at_ms), (100, 200));
        let again = open(&state, &clock);
        assert_eq!(again.all(), statics.all());
        assert_eq!(again.all().first(), Some(&second));
        again.remove(prefix("g.a")).await.unwrap();
        assert_eq!(open(&state, &clock).count(), 1);
    }

    #[tokio::test]
    async fn a_change_that_is_kept_though_it_failed_shows() {
        let state = Arc::new(UncertainState::default());
        let clock = Clock::Manual(ManualClock::new(100));
        let statics = Statics::open(state.clone(), clock.clone()).await.unwrap();
        let created = statics.create(prefix("g.a"), target("one")).await;
        assert!(matches!(created, Err(StaticsError::State(ControlStoreError::Io { .. }))));
        assert_eq!(statics.get(&prefix("g.a")).unwrap().next_hop, target("one"));
        let replaced = statics.replace(prefix("g.a"), target("two")).await;
        assert!(matches!(replaced, Err(StaticsError::State(_))));
        assert_eq!(statics.get(&prefix("g.a")).unwrap().next_hop, target("two"));
        assert_eq!(Statics::open(state.clone(), clock).await.unwrap().all(), statics.all());
        assert!(statics.remove(prefix("g.a")).await.is_err());
        assert_eq!(statics.count(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_done_changes_nothing() {
        let (state, clock) = (Arc::new(MemoryControl::new()), ManualClock::new(100));
        let statics = open(&state, &clock);
        statics.create(prefix("g"), target("one")).await.unwrap();
        let again = statics.create(prefix("g"), target("two")).await;
        assert!(matches!(again, Err(StaticsError::Exists(_))));
        let missing = statics.replace(prefix("g.a"), target("two")).await;
        assert!(matches!(missing, Err(StaticsError::Missing(_))));
        assert!(matches!(statics.remove(prefix("g.a")).await, Err(StaticsError::Missing(_))));
        assert_eq!(statics.count(), 1);
    }
}
