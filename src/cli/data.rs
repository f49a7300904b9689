//! The store of a data directory, for commands that work without a server.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::store::{MemoryStore, Store};

/// Opens the store that the settings name. Called within a runtime.
pub(super) fn open(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(MemoryStore::new(Clock::System, settings.record_schema.into())))
}
