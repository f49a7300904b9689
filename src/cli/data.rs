//! The store of a data directory, for commands that work without a server.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::server;
use crate::store::{NameStore, Store};

/// Opens the store that the settings name; an error if a server holds it. Called within a runtime.
pub(super) fn open(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    let (store, recovery) = server::open_store(settings, Clock::System)?;
    if let Some(tail) = recovery.journal.torn_tail {
        super::files::say_on_stderr(&format!(
            "cut {} bytes that a crash left half written at the end of {}",
            tail.bytes,
            tail.path.display()
        ));
    }
    Ok(Arc::new(store))
}

/// Opens the IPNS records of a data directory whose store is open.
pub(super) fn open_names(settings: &Settings) -> anyhow::Result<Arc<dyn NameStore>> {
    Ok(Arc::new(server::open_names(settings)?))
}
