//! Whether the server should be sent requests: ready when each of its components is.
//!
//! A component is not ready until it says so, and one whose task dies is no longer.

use std::sync::atomic::{AtomicBool, Ordering};

/// A part of the server that readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The files named at start are read in.
    Imports,
    /// The public listener takes connections.
    Listener,
    /// The background work runs.
    Maintenance,
}

/// Ready when every component is. A component whose task dies is reported as not ready.
#[derive(Debug, Default)]
pub struct Readiness {
    imports: AtomicBool,
    listener: AtomicBool,
    maintenance: AtomicBool,
}

impl Readiness {
    /// Nothing is ready yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that a component works.
    pub fn set_ready(&self, component: Component) {
        self.flag(component).store(true, Ordering::Release);
    }

    /// Says that a component does not, or no longer, work.
    pub fn set_not_ready(&self, component: Component) {
        self.flag(component).store(false, Ordering::Release);
    }

    /// What is missing; empty when the server is ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        [
            (Component::Imports, "files are still being imported"),
            (Component::Listener, "the public listener does not take connections"),
            (Component::Maintenance, "the background work has stopped"),
        ]
        .into_iter()
        .filter(|(component, _)| !self.flag(*component).load(Ordering::Acquire))
        .map(|(_, reason)| reason)
        .collect()
    }

    fn flag(&self, component: Component) -> &AtomicBool {
        match component {
            Component::Imports => &self.imports,
            Component::Listener => &self.listener,
            Component::Maintenance => &self.maintenance,
        }
    }
}
