//! Spans that have ended, until they are sent. Nobody who ends one waits: what finds no room is lost
//! and counted.

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::{Notify, mpsc};

use super::Record;

/// Spans that wait at most, some 500 bytes each.
const MOST: usize = 4096;

/// So many don't wait for more.
pub(super) const ENOUGH: usize = 512;

/// Where spans are put.
#[derive(Debug, Clone)]
pub struct Queue {
    records: mpsc::Sender<Record>,
    enough: Arc<Notify>,
    lost: IntCounter,
}

/// Where they are taken from.
#[derive(Debug)]
pub struct Waiting {
    records: mpsc::Receiver<Record>,
    enough: Arc<Notify>,
}

impl Queue {
    /// An empty queue, and its end. What is lost is counted in `lost`.
    #[must_use]
    pub fn new(lost: IntCounter) -> (Self, Waiting) {
        let (sender, records) = mpsc::channel(MOST);
        let enough = Arc::<Notify>::default();
        let waiting = Waiting { records, enough: Arc::clone(&enough) };
        (Self { records: sender, enough, lost }, waiting)
    }

    /// Puts it behind the others, if there is room.
    pub(super) fn put(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            self.lost.inc();
        }
        // Waking a thread costs more than a span: it has its own time for looking.
        if self.records.capacity() <= MOST.saturating_sub(ENOUGH) {
            self.enough.notify_one();
        }
    }
}

impl Waiting {
    /// Those that have come, but no more than are enough; `None` when there are none.
    pub fn take(&mut self) -> Option<Vec<Record>> {
        let come = std::iter::from_fn(|| self.records.try_recv().ok());
        let batch: Vec<_> = come.take(ENOUGH).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Waits until there are enough of them.
    pub async fn enough(&self) {
        self.enough.notified().await;
    }
}
