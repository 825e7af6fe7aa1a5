//! What the shared tier has not learned, because it did not respond.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use crate::customer::CustomerId;

/// Purges that the tier has not learned, at most. Beyond, all customers are purged.
const MAX_PURGES: usize = 10_000;

/// What the tier has not learned, because it did not respond. Repeated until it does.
#[derive(Debug, Default)]
pub(in crate::cache) struct Unshared {
    purges: Mutex<Purges>,
    is_revocation_due: AtomicBool,
    due: Notify,
}

#[derive(Debug, Default)]
struct Purges {
    customers: HashSet<CustomerId>,
    /// All customers are to be purged.
    all: bool,
}

impl Unshared {
    /// Adds the purge of one customer or of all customers.
    pub(in crate::cache) fn add_purge(&self, customer: Option<&CustomerId>) {
        let mut purges = self.purges();
        match customer {
            Some(customer) if purges.customers.len() < MAX_PURGES => {
                purges.customers.insert(customer.clone());
            }
            Some(_) | None => *purges = Purges { customers: HashSet::new(), all: true },
        }
        self.due.notify_one();
    }

    pub(in crate::cache) fn add_revocation(&self) {
        self.is_revocation_due.store(true, Ordering::Release);
        self.due.notify_one();
    }

    pub(in crate::cache) fn take_revocation(&self) -> bool {
        self.is_revocation_due.swap(false, Ordering::AcqRel)
    }

    /// The purges: of all customers, or of these.
    pub(in crate::cache) fn take_purges(&self) -> (bool, HashSet<CustomerId>) {
        let Purges { customers, all } = std::mem::take(&mut *self.purges());
        (all, customers)
    }

    /// Waits until something is added.
    pub(in crate::cache) async fn added(&self) {
        self.due.notified().await;
    }

    fn purges(&self) -> MutexGuard<'_, Purges> {
        self.purges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
