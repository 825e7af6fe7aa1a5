//! Counts hand-outs of a shared token together: each replica reports its own soon after the responses, and
//! learns the total.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::{
    Mutex,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
};

use crate::{
    cache::store::Entry,
    clock::Clock,
    customer::CustomerId,
    shared::{SharedTier, Version},
};

/// Reports of hand-outs in a batch, and at once.
const BATCH: usize = 1024;
const MAX_AT_ONCE: usize = 16;

/// Pause between two batches: responses with the same token in this time share a report.
const BATCH_PAUSE: Duration = Duration::from_millis(250);

/// What the shared tier knows of an entry.
#[derive(Debug)]
pub(in crate::cache) struct SharedState {
    customer: CustomerId,
    version: Version,
    /// Hand-outs by this process that the tier knows.
    reported: AtomicU32,
    of_others: AtomicU32,
    /// Whether a report is due.
    is_due: AtomicBool,
}

impl SharedState {
    pub(super) const fn new(customer: CustomerId, version: Version) -> Self {
        let (reported, of_others) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { customer, version, reported, of_others, is_due: AtomicBool::new(false) }
    }

    pub(in crate::cache) const fn version(&self) -> Version {
        self.version
    }

    pub(in crate::cache) fn hand_outs_of_others(&self) -> u32 {
        self.of_others.load(Ordering::Relaxed)
    }
}

/// Reports hand-outs to the tier, in the background.
#[derive(Debug)]
pub(in crate::cache) struct HandOuts {
    due: UnboundedSender<Weak<Entry>>,
    /// Taken by the task that reports.
    waiting: Mutex<UnboundedReceiver<Weak<Entry>>>,
    tier: Arc<dyn SharedTier>,
}

impl HandOuts {
    pub(in crate::cache) fn new(tier: Arc<dyn SharedTier>) -> Self {
        let (due, waiting) = mpsc::unbounded_channel();
        Self { due, waiting: Mutex::new(waiting), tier }
    }

    /// Requests a report, unless one is due. So each entry waits at most once.
    pub(in crate::cache) fn report(&self, entry: &Arc<Entry>) {
        let Some(shared) = entry.shared() else { return };
        if !shared.is_due.swap(true, Ordering::AcqRel) {
            // Fails at the end of the process.
            self.due.send(Arc::downgrade(entry)).unwrap_or_default();
        }
    }

    /// Sends the reports that are due, until dropped.
    pub(in crate::cache) async fn run(&self, clock: &dyn Clock) {
        let mut waiting = self.waiting.lock().await;
        let mut entries = Vec::new();
        loop {
            let number = waiting.recv_many(&mut entries, BATCH).await;
            let due = entries.drain(..).filter_map(|entry| entry.upgrade());
            let reports = stream::iter(due).map(|entry| self.send(entry));
            reports.buffer_unordered(MAX_AT_ONCE).collect::<()>().await;
            if number == BATCH {
                continue;
            }
            clock.sleep_until(clock.monotonic().plus(BATCH_PAUSE)).await;
        }
    }

    async fn send(&self, entry: Arc<Entry>) {
        let Some(shared) = entry.shared() else { return };
        shared.is_due.store(false, Ordering::Release);
        let own = entry.own_hand_outs();
        let number = own.saturating_sub(shared.reported.load(Ordering::Relaxed));
        if number == 0 {
            return;
        }
        let reported = self.tier.add_hand_outs(&shared.customer, shared.version, number).await;
        // Without a response, the next report contains them. They may count twice then, which only makes
        // the next refresh earlier.
        if let Ok(total) = reported {
            shared.reported.store(own, Ordering::Relaxed);
            let others = total.saturating_sub(own.into());
            shared.of_others.store(others.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }
}
