//! When watched files are read again.

use std::{sync::Arc, time::Duration};

use crate::clock::Clock;

/// Every `secrets.poll`. The one place for any further reason to read the files again.
#[derive(Debug, Clone)]
pub(super) struct Polling {
    every: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl Polling {
    pub(super) fn new(every: Duration, clock: &Arc<dyn Clock>) -> Self {
        Self { every, clock: Arc::clone(clock) }
    }

    /// Completes when the files are due to be read again.
    pub(super) async fn due(&self) {
        self.clock.sleep_until(self.clock.monotonic().plus(self.every)).await;
    }
}
