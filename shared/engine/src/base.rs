//! What every service is made of: the store, the ports and what the deployment decides.

use crate::{Config, Ports};
use contracts::Timestamp;
use countersign_store::Store;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all services.
pub struct Base {
    pub(crate) store: Store,
    pub(crate) ports: Ports,
    pub(crate) config: Config,
    /// Names this process among owners of leases.
    pub(crate) process: String,
    draining: AtomicBool,
}

impl Base {
    pub(crate) fn new(ports: Ports, config: Config) -> Self {
        let process = hex::encode(ports.ids.id());
        let store = Store::new(
            (ports.table.clone(), ports.blobs.clone()),
            ports.notifier.clone(),
            (ports.clock.clone(), ports.ids.clone()),
            config.stage_events,
        );
        Self { store, ports, config, process, draining: AtomicBool::new(false) }
    }

    /// Nothing new is begun from now on: a worker ends with what it has in flight.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// This moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// A fresh salt: 16 random bytes, hexadecimal.
    pub(crate) fn salt(&self) -> String {
        self.ports.ids.secret().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}
