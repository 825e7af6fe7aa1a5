//! Customers whose last fetch failed: for a while, each gets the same error without a call to Juspay.
//! Pure but for the clock's readings given to it and the jitter.
//!
//! So a customer whose fetches always fail causes few calls, whatever the number of its requests. The
//! pause grows only while other customers' fetches succeed: in an outage of Juspay every customer is
//! tried again after a second, so that recovery is quick.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Monotonic, jittered},
    customer::CustomerKey,
    juspay::JuspayError,
};

/// The pause after the first failure, and the longest, before jitter takes up to half away.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long after a pause a failure still counts as the one before the next.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Most customers that are remembered, some 200 bytes each. Beyond, failed fetches aren't remembered
/// and the breaker alone limits calls.
const MAX_CUSTOMERS: usize = 10_000;

/// Failed fetches, by customer.
#[derive(Debug, Default)]
pub(super) struct Failures {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    customers: HashMap<CustomerKey, Remembered>,
    /// Counts fetches that succeeded, of all customers.
    successes: u64,
}

#[derive(Debug)]
struct Remembered {
    failure: Failure,
    until: Monotonic,
    /// Before jitter.
    pause: Duration,
    /// At the failure: fetches that had succeeded, and [`CustomerApi::recoveries`].
    ///
    /// [`CustomerApi::recoveries`]: crate::juspay::CustomerApi::recoveries
    successes: u64,
    recoveries: u64,
}

/// A fetch that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: JuspayError,
    /// The customer's object came, without a usable token: look-ups that want none are answered.
    pub(super) lacks_only_token: bool,
}

impl Failures {
    /// Remembers that the customer's fetch failed, unless the error isn't about the call. `recoveries`
    /// was read when the fetch began.
    pub(super) fn note(
        &self,
        key: &CustomerKey,
        failure: Failure,
        recoveries: u64,
        now: Monotonic,
    ) {
        if !failure.error.is_remembered() {
            return;
        }
        let mut inner = self.lock();
        let successes = inner.successes;
        let before = inner.customers.get(key).filter(|before| before.recoveries == recoveries);
        let pause = match before {
            Some(before) if before.successes != successes => {
                before.pause.saturating_mul(2).min(MAX_PAUSE)
            }
            Some(_) | None => FIRST_PAUSE,
        };
        let wait = jittered(pause);
        let until = now.plus(failure.error.retry_after().unwrap_or_default().max(wait));
        if inner.has_room_for(key, now) {
            let remembered = Remembered { failure, until, pause, successes, recoveries };
            inner.customers.insert(key.clone(), remembered);
        }
    }

    /// A customer's fetch succeeded: its failures are forgotten, and the pauses of others may grow.
    pub(super) fn note_success(&self, key: &CustomerKey) {
        let mut inner = self.lock();
        inner.successes = inner.successes.wrapping_add(1);
        inner.customers.remove(key);
    }

    /// Forgets the failures of one customer or of all.
    pub(super) fn forget(&self, key: Option<&CustomerKey>) {
        let customers = &mut self.lock().customers;
        match key {
            Some(key) => drop(customers.remove(key)),
            None => *customers = HashMap::new(),
        }
    }

    /// The error of a failed fetch that a look-up gets without another fetch.
    pub(super) fn remembered(
        &self,
        key: &CustomerKey,
        want_token: bool,
        recoveries: u64,
        now: Monotonic,
    ) -> Option<JuspayError> {
        let inner = self.lock();
        let remembered = inner.customers.get(key)?;
        let Failure { error, lacks_only_token } = &remembered.failure;
        let applies = remembered.is_in_force(recoveries, now) && (want_token || !lacks_only_token);
        applies.then(|| error.clone())
    }

    /// How long until the customer's next fetch.
    pub(super) fn wait(
        &self,
        key: &CustomerKey,
        recoveries: u64,
        now: Monotonic,
    ) -> Option<Duration> {
        let inner = self.lock();
        let remembered = inner.customers.get(key)?;
        remembered.is_in_force(recoveries, now).then(|| remembered.until.since(now))
    }

    /// Frees the memory of what no longer counts.
    pub(super) fn sweep(&self, now: Monotonic) {
        let customers = &mut self.lock().customers;
        customers.retain(|_, remembered| now.since(remembered.until) < REMEMBERED_FOR);
        customers.shrink_to_fit();
    }

    /// A thread that panicked with the lock left it whole: each change is a single one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Failures that are over make room for one that isn't.
    fn has_room_for(&mut self, key: &CustomerKey, now: Monotonic) -> bool {
        if self.customers.len() < MAX_CUSTOMERS || self.customers.contains_key(key) {
            return true;
        }
        self.customers.retain(|_, remembered| now < remembered.until);
        self.customers.len() < MAX_CUSTOMERS
    }
}

impl Remembered {
    fn is_in_force(&self, recoveries: u64, now: Monotonic) -> bool {
        self.recoveries == recoveries && now < self.until
    }
}

#[cfg(test)]
mod tests;
