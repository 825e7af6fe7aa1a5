//! When watched files are read again.

use std::{cell::Cell, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::clock::{Clock, timeout_at};

/// Every `secrets.poll`, and at once when a [`Reload`] is requested.
#[derive(Debug, Clone)]
pub(super) struct Polling {
    every: Duration,
    pub(super) clock: Arc<dyn Clock>,
    reload: Reload,
    /// How many requests have been met.
    met: Cell<u64>,
}

/// Requests that all watched files are read again at once. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Reload(watch::Sender<u64>);

/// The requests from some moment on.
pub(super) struct Requests(watch::Receiver<u64>);

impl Polling {
    pub(super) fn new(every: Duration, clock: &Arc<dyn Clock>, reload: Reload) -> Self {
        let met = Cell::new(reload.count());
        Self { every, clock: Arc::clone(clock), reload, met }
    }

    /// Completes when the files are due to be read again: a request during the last reading isn't
    /// lost.
    pub(super) async fn due(&self) {
        let met = self.met.get();
        let mut requests = self.reload.0.subscribe();
        let requested = requests.wait_for(|count| *count != met);
        let end = self.clock.monotonic().plus(self.every);
        drop(timeout_at(&*self.clock, end, requested).await);
        self.met.set(self.reload.count());
    }
}

impl Reload {
    /// Requests one.
    pub fn request(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn requests(&self) -> Requests {
        Requests(self.0.subscribe())
    }

    fn count(&self) -> u64 {
        *self.0.borrow()
    }
}

impl Requests {
    /// Completes with the next one; false when there can be no more.
    pub(super) async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::manual::ManualClock;

    const EVERY: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn files_are_due_by_the_clock_and_by_request() {
        let clock = ManualClock::at("2026-11-23T12:00:00Z");
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let reload = Reload::default();
        let polling = Polling::new(EVERY, &shared, reload.clone());
        let other = polling.clone();
        assert!(polling.due().now_or_never().is_none());
        let mut due = Box::pin(polling.due());
        assert!(due.as_mut().now_or_never().is_none());
        clock.advance(EVERY);
        assert!(due.as_mut().now_or_never().is_some());
        // Before it is waited for, twice, and while it is waited for.
        reload.request();
        reload.request();
        assert!(polling.due().now_or_never().is_some());
        assert!(polling.due().now_or_never().is_none());
        let mut due = Box::pin(polling.due());
        assert!(due.as_mut().now_or_never().is_none());
        reload.request();
        assert!(due.as_mut().now_or_never().is_some());
        assert!(other.due().now_or_never().is_some(), "each follower reads its files");
    }
}
