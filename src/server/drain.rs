//! The shutdown flag that the parts of the service share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Set when the shutdown begins. From then on, responses close their connections.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// Begins the shutdown.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
