//! Whether the server should be sent requests: ready when each of its components is.
//!
//! A component is not ready until it reports so; a background task that dies makes the server
//! permanently unready. Storage is checked each time: a dead storage thread is named.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// A part of the server that readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// The files named at start are read in.
    Imports,
    /// The public listener takes connections.
    Listener,
}

/// Ready when every component is, no background task has died, and storage can be worked with.
#[derive(Default)]
pub(crate) struct Readiness {
    storage: Vec<Box<StorageCheck>>,
    imports: AtomicBool,
    listener: AtomicBool,
    dead: Mutex<BTreeSet<&'static str>>,
}

/// Reports why storage is unusable, if it is. Never blocks.
pub(crate) type StorageCheck = dyn Fn() -> Option<String> + Send + Sync;

impl Readiness {
    /// Nothing is ready yet; `storage` is checked on every readiness request.
    pub(crate) fn new(storage: Vec<Box<StorageCheck>>) -> Self {
        Self { storage, ..Self::default() }
    }

    /// Says that a component works.
    pub(crate) fn set_ready(&self, component: Component) {
        self.flag(component).store(true, Ordering::Release);
    }

    /// Marks a component as not ready.
    pub(crate) fn set_not_ready(&self, component: Component) {
        self.flag(component).store(false, Ordering::Release);
    }

    /// Marks a background task as dead.
    pub(crate) fn set_dead(&self, task: &'static str) {
        self.dead.lock().insert(task);
    }

    /// What is not ready; empty when the server is ready.
    pub(crate) fn waiting_for(&self) -> Vec<String> {
        let missing = [
            (Component::Imports, "files are still being imported"),
            (Component::Listener, "the public listener does not take connections"),
        ]
        .into_iter()
        .filter(|(component, _)| !self.flag(*component).load(Ordering::Acquire))
        .map(|(_, reason)| reason.to_owned());
        let dead = self.dead.lock();
        let dead = dead.iter().map(|task| format!("the background task `{task}` has died"));
        let storage = self.storage.iter().filter_map(|check| check());
        missing.chain(dead).chain(storage).collect()
    }

    fn flag(&self, component: Component) -> &AtomicBool {
        match component {
            Component::Imports => &self.imports,
            Component::Listener => &self.listener,
        }
    }
}
