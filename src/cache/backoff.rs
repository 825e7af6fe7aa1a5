//! Pauses after failed fetches: of a cached customer's refreshes, and of customers whose last fetch
//! failed. Each of the latter gets the same error without a call to Juspay until its pause ends.
//!
//! So a customer whose fetches always fail causes few calls, however many requests it sends. Its
//! pause only grows while fetches of other customers succeed. In an outage of Juspay, every customer
//! is fetched again after a second, so recovery is quick.

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

/// The pause after the first failure and the longest one, before jitter subtracts up to half.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long after its pause a failure still lengthens the next pause.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Limit on remembered customers, about 200 bytes each. Above it, failed fetches aren't remembered,
/// and only the circuit breaker limits calls.
const MAX_CUSTOMERS: usize = 10_000;

/// A pause after a failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// Before jitter.
    pause: Duration,
    pub(super) until: Monotonic,
}

impl Backoff {
    /// The pause after a failure at `now`: twice as long as the one `before`.
    pub(super) fn after(before: Option<Self>, now: Monotonic) -> Self {
        let pause = before.map_or(FIRST_PAUSE, |before| before.pause.saturating_mul(2));
        let pause = pause.min(MAX_PAUSE);
        Self { pause, until: now.plus(jittered(pause)) }
    }

    pub(super) fn is_running(&self, now: Monotonic) -> bool {
        now < self.until
    }
}

/// Customers whose last fetch failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    customers: HashMap<CustomerKey, Remembered>,
    /// Counts successful fetches of all customers.
    successes: u64,
}

#[derive(Debug)]
struct Remembered {
    failure: Failure,
    backoff: Backoff,
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
    /// Juspay returned the customer without a usable token: lookups that want no token succeed.
    pub(super) lacks_only_token: bool,
}

impl Failures {
    /// Remembers a failed fetch, unless the error isn't about the call. `recoveries` was read when the
    /// fetch began.
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
        let before = before.filter(|before| before.successes != successes);
        let mut backoff = Backoff::after(before.map(|before| before.backoff), now);
        let retry_after = now.plus(failure.error.retry_after().unwrap_or_default());
        backoff.until = backoff.until.max(retry_after);
        if inner.has_room_for(key, now) {
            let remembered = Remembered { failure, backoff, successes, recoveries };
            inner.customers.insert(key.clone(), remembered);
        }
    }

    /// A fetch succeeded: the customer's failures are forgotten, and the pauses of others may grow.
    pub(super) fn note_success(&self, key: &CustomerKey) {
        let mut inner = self.lock();
        inner.successes += 1;
        inner.customers.remove(key);
    }

    /// Forgets the failures of one customer or of all customers.
    pub(super) fn forget(&self, key: Option<&CustomerKey>) {
        let customers = &mut self.lock().customers;
        match key {
            Some(key) => drop(customers.remove(key)),
            None => *customers = HashMap::new(),
        }
    }

    /// The error that a lookup gets instead of another fetch.
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

    /// The time until the customer may be fetched again.
    pub(super) fn wait(
        &self,
        key: &CustomerKey,
        recoveries: u64,
        now: Monotonic,
    ) -> Option<Duration> {
        let inner = self.lock();
        let remembered = inner.customers.get(key)?;
        remembered.is_in_force(recoveries, now).then(|| remembered.backoff.until.since(now))
    }

    /// Frees the memory of failures that no longer have an effect.
    pub(super) fn sweep(&self, now: Monotonic) {
        let customers = &mut self.lock().customers;
        customers.retain(|_, remembered| now.since(remembered.backoff.until) < REMEMBERED_FOR);
        customers.shrink_to_fit();
    }

    /// No panic interrupts a change, so a poisoned lock is safe to use.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether the table can hold the customer, after removing failures whose pause is over.
    fn has_room_for(&mut self, key: &CustomerKey, now: Monotonic) -> bool {
        if self.customers.len() < MAX_CUSTOMERS || self.customers.contains_key(key) {
            return true;
        }
        self.customers.retain(|_, remembered| remembered.backoff.is_running(now));
        self.customers.len() < MAX_CUSTOMERS
    }
}

impl Remembered {
    fn is_in_force(&self, recoveries: u64, now: Monotonic) -> bool {
        self.recoveries == recoveries && self.backoff.is_running(now)
    }
}

#[cfg(test)]
mod tests;
