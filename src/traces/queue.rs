//! The queue of finished spans. Finishing a span never waits: spans that exceed the queue are lost
//! and counted.

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::{Notify, mpsc};

use super::Record;

/// Maximum number of queued spans, some 500 bytes each.
const CAPACITY: usize = 4096;

/// Maximum number of spans in a batch. When this many are queued, they are sent at once.
pub(super) const BATCH: usize = 512;

/// The queue's input.
#[derive(Debug, Clone)]
pub struct Queue {
    records: mpsc::Sender<Record>,
    enough: Arc<Notify>,
    lost: IntCounter,
}

/// The queue's output.
#[derive(Debug)]
pub struct Waiting {
    records: mpsc::Receiver<Record>,
    enough: Arc<Notify>,
}

impl Queue {
    /// An empty queue. `lost` counts the spans that exceed it.
    #[must_use]
    pub fn new(lost: IntCounter) -> (Self, Waiting) {
        let (sender, records) = mpsc::channel(CAPACITY);
        let enough = Arc::<Notify>::default();
        let waiting = Waiting { records, enough: Arc::clone(&enough) };
        (Self { records: sender, enough, lost }, waiting)
    }

    /// Adds a span, if there is room.
    pub(super) fn put(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            self.lost.inc();
        }
        // Waking the thread costs more than a span, so it is woken for a full batch only.
        if self.records.capacity() <= CAPACITY.saturating_sub(BATCH) {
            self.enough.notify_one();
        }
    }
}

impl Waiting {
    /// Removes a batch of spans; `None` if the queue is empty.
    pub fn take(&mut self) -> Option<Vec<Record>> {
        let queued = std::iter::from_fn(|| self.records.try_recv().ok());
        let batch: Vec<_> = queued.take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Waits until a full batch is queued.
    pub async fn enough(&self) {
        self.enough.notified().await;
    }
}
