//! Which stores there are: the only place that chooses and opens them. A store that is elsewhere is
//! another arm here.

use std::sync::Arc;

use thiserror::Error;

use super::memory;
use crate::clock::Clock;
use crate::config::Settings;
use crate::data_dir::{DataDir, DataDirError};
use crate::detached::{Unfinished, run_blocking};
use crate::state::{ControlOpenError, ControlStore, DurableControl, MemoryControl};
use crate::store::{
    DurableIpns, DurableOptions, DurableStore, IndexLimits, IpnsLimits, IpnsOpenError, IpnsStore,
    MemoryIpns, Recovery, Store, StoreOpenError,
};

/// The stores of a server, or of a command that works without one.
pub struct Stores {
    /// Where announcements are kept.
    pub(crate) store: Arc<dyn Store>,
    /// Where IPNS records are kept.
    pub(crate) ipns: Arc<dyn IpnsStore>,
    /// Where the control plane keeps what is decided.
    pub(crate) state: Arc<dyn ControlStore>,
    /// What opening found; `None` where there was nothing to recover.
    pub(crate) report: Option<Recovery>,
}

/// Why stores cannot be opened.
#[derive(Debug, Error)]
pub enum StoresError {
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The announcements cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// The IPNS records cannot be opened.
    #[error(transparent)]
    Ipns(#[from] IpnsOpenError),
    /// The control plane's state cannot be opened.
    #[error(transparent)]
    State(#[from] ControlOpenError),
    /// Opening them panicked.
    #[error("the data directory was not opened")]
    Unfinished(#[from] Unfinished),
}

impl Stores {
    /// Opens the stores that the settings name: those of a data directory, which is made if it is not
    /// there. Called within a runtime; goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`StoresError`].
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Self, StoresError> {
        let settings = settings.clone();
        run_blocking(move || open_data_dir(&settings, clock)).await?
    }

    /// This store, and what goes with it in memory.
    pub fn with_store(store: Arc<dyn Store>) -> Self {
        let ipns = Arc::new(MemoryIpns::new(ipns_limits(&Settings::default())));
        Self { store, ipns, state: Arc::new(MemoryControl::new()), report: None }
    }
}

fn open_data_dir(settings: &Settings, clock: Clock) -> Result<Stores, StoresError> {
    let data_dir = DataDir::lock(&settings.data_dir)?;
    let (store, recovery) = DurableStore::open(DurableOptions {
        data_dir: data_dir.clone(),
        clock,
        schema: settings.record_schema.into(),
        threads: settings.workers.get(),
        segment_bytes: settings.journal_segment_bytes,
        disk_reserve_bytes: settings.journal_disk_reserve,
        limits: index_limits(settings),
    })?;
    let ipns = DurableIpns::open(&data_dir, ipns_limits(settings))?;
    let state = DurableControl::open(&data_dir)?;
    Ok(Stores {
        store: Arc::new(store),
        ipns: Arc::new(ipns),
        state: Arc::new(state),
        report: Some(recovery),
    })
}

/// What the settings let the index take.
fn index_limits(settings: &Settings) -> IndexLimits {
    let bytes_max = match settings.index_memory_max {
        0 => memory::usable_bytes().map_or(u64::MAX, |bytes| bytes / 4 * 3),
        bytes_max => bytes_max,
    };
    IndexLimits {
        key_network_max: settings.announce_key_network_max,
        bytes_max,
        network_keys_max: settings.announce_network_keys_max,
        peer_keys_max: settings.announce_peer_keys_max,
    }
}

/// What the settings let IPNS records take.
fn ipns_limits(settings: &Settings) -> IpnsLimits {
    IpnsLimits {
        records_max: settings.ipns_records_max,
        network_names_max: settings.ipns_network_names_max,
    }
}
