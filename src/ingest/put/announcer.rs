//! Signed announcements on their way into a store: who checks them, and who hands them on.
//!
//! Nothing is kept here, and what the store refuses is refused as a whole.

use std::net::IpAddr;
use std::sync::Arc;

use super::{PutError, PutMoment, PutPolicy, VerifiedPut};
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::{Applied, Store};
use crate::types::Origin;

/// Checks announcements and hands them to a store. What it was given is durable when it says so.
#[derive(Clone)]
pub struct Announcer {
    policy: Arc<PutPolicy>,
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Announcer {
    /// One that asks what the settings ask; `None` where announcing is off.
    pub fn new(settings: &Settings, store: Arc<dyn Store>, clock: Clock) -> Option<Self> {
        let policy = Arc::new(PutPolicy::new(settings)?);
        Some(Self { policy, store, clock })
    }

    /// Decodes and checks a request that counts under the network `origin`. `caller` is where it came
    /// from, if that is certain.
    ///
    /// # Errors
    ///
    /// Those of [`PutPolicy::verify`].
    pub fn verify(
        &self,
        body: &[u8],
        caller: Option<IpAddr>,
        origin: Origin,
    ) -> Result<VerifiedPut, PutError> {
        let now_ms = self.clock.now_ms();
        self.policy.verify(body, PutMoment { now_ms, caller, origin })
    }

    /// Takes all records in, or none. When this returns, they are durable and lookups see them.
    ///
    /// # Errors
    ///
    /// [`PutError::NoRoom`] and [`PutError::Unavailable`].
    pub async fn apply(&self, put: VerifiedPut) -> Result<Applied, PutError> {
        Ok(self.store.update(put.into_updates()).await?)
    }
}
