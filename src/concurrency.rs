//! Limits on concurrent requests that have to wait (`server.max_in_flight`, `server.max_waiting`).
//!
//! Cache hits are never limited: rejecting one costs as much as serving it. A request that waits
//! for a fetch takes a permit from the limit on all waiting requests. A limit for each customer
//! leaves room for others when many requests of one customer wait. The fetch itself takes a permit
//! of its own; joining a running fetch takes none. Limits on the request rate are in `rate_limit`.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::GaugeGuard;

/// All limits on concurrency. Together, waiting requests hold at most `server.max_in_flight`
/// permits.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimits {
    max_in_flight: usize,
    max_waiting: usize,
    in_flight: Arc<Semaphore>,
    waiting: IntGauge,
    /// Limits fetches from Juspay that requests wait for (`server.max_waiting`).
    pub fetches: Arc<Semaphore>,
    /// Limits requests that wait for a token's signature check.
    pub verification: ConcurrencyLimit,
}

/// A limit on concurrency. Clones share its permits.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit {
    /// Acquiring takes a permit from each of them.
    limits: Arc<[Arc<Semaphore>]>,
    in_use: IntGauge,
}

/// A permit, released when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct Permit {
    _permits: Vec<OwnedSemaphorePermit>,
    _in_use: GaugeGuard,
}

/// A limit on waiting requests that is fair between keys. One key may hold half of
/// `server.max_in_flight`, and the last quarter is reserved for keys that hold nothing.
#[derive(Debug)]
pub struct FairLimit<K> {
    in_flight: Arc<Semaphore>,
    waiting: IntGauge,
    max_per_key: usize,
    reserved: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// A key's permit from a [`FairLimit`], released when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct FairPermit<K: Hash + Eq> {
    key: K,
    held: Arc<Mutex<HashMap<K, usize>>>,
    _permit: OwnedSemaphorePermit,
    _waiting: GaugeGuard,
}

/// Why a [`FairLimit`] has no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The key holds its maximum.
    Key,
    /// All permits are taken, or the remaining ones are reserved for keys that hold nothing.
    Total,
}

impl ConcurrencyLimits {
    /// Limits that report their use in these gauges.
    #[must_use]
    pub fn new(
        waiting: &IntGauge,
        verifying: &IntGauge,
        max_in_flight: usize,
        max_waiting: usize,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(max_in_flight));
        let verification =
            ConcurrencyLimit { limits: [Arc::clone(&in_flight)].into(), in_use: verifying.clone() };
        Self {
            max_in_flight,
            max_waiting,
            in_flight,
            waiting: waiting.clone(),
            fetches: Arc::new(Semaphore::new(max_waiting)),
            verification,
        }
    }

    /// A limit on requests that wait for an issuer's keys. It leaves half of `server.max_waiting`
    /// unused, because anyone can send tokens with unknown key ids.
    #[must_use]
    pub fn keys(&self) -> ConcurrencyLimit {
        let keys = Arc::new(Semaphore::new(self.half_of_waiting()));
        let limits = [keys, Arc::clone(&self.in_flight)].into();
        ConcurrencyLimit { limits, in_use: self.waiting.clone() }
    }

    /// A limit on introspection calls that requests wait for, as large as the one on requests that
    /// wait for keys.
    #[must_use]
    pub fn introspections(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.half_of_waiting()))
    }

    /// A limit on requests that wait for fetches, fair between keys.
    #[must_use]
    pub fn fair<K>(&self) -> FairLimit<K> {
        FairLimit {
            in_flight: Arc::clone(&self.in_flight),
            waiting: self.waiting.clone(),
            max_per_key: self.max_in_flight.div_euclid(2).max(1),
            reserved: self.max_in_flight.div_euclid(4),
            held: Arc::default(),
        }
    }

    fn half_of_waiting(&self) -> usize {
        self.max_waiting.div_euclid(2).max(1)
    }
}

impl ConcurrencyLimit {
    /// A separate limit that reports its use in a gauge.
    #[must_use]
    pub fn new(in_use: IntGauge, max: usize) -> Self {
        Self { limits: [Arc::new(Semaphore::new(max))].into(), in_use }
    }

    /// Takes a permit, if one is available.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        let permits = self.limits.iter().map(|limit| Arc::clone(limit).try_acquire_owned());
        let permits = permits.collect::<Result<_, _>>().ok()?;
        Some(Permit { _permits: permits, _in_use: GaugeGuard::new(&self.in_use) })
    }

    /// Number of permits taken.
    #[must_use]
    pub fn in_use(&self) -> usize {
        usize::try_from(self.in_use.get()).unwrap_or_default()
    }

    /// Whether no permit is available.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.limits.iter().any(|limit| limit.available_permits() == 0)
    }
}

impl<K: Hash + Eq + Clone> FairLimit<K> {
    /// Takes a permit for `key`.
    ///
    /// # Errors
    /// If none is available.
    pub fn try_acquire(&self, key: &K) -> Result<FairPermit<K>, LimitReached> {
        let mut held = lock(&self.held);
        let holds = held.get(key).copied().unwrap_or_default();
        if holds >= self.max_per_key {
            return Err(LimitReached::Key);
        }
        if holds > 0 && self.in_flight.available_permits() <= self.reserved {
            return Err(LimitReached::Total);
        }
        let permit =
            Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| LimitReached::Total)?;
        held.insert(key.clone(), holds.saturating_add(1));
        Ok(FairPermit {
            key: key.clone(),
            held: Arc::clone(&self.held),
            _permit: permit,
            _waiting: GaugeGuard::new(&self.waiting),
        })
    }
}

impl<K: Hash + Eq> Drop for FairPermit<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        let Some(holds) = held.get_mut(&self.key) else { return };
        *holds = holds.saturating_sub(1);
        if *holds == 0 {
            held.remove(&self.key);
        }
    }
}

/// No code panics while it holds the lock, so a poisoned lock is safe to use.
fn lock<K>(held: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(name: &str) -> IntGauge {
        IntGauge::new(name, name).unwrap()
    }

    #[test]
    fn limit_hands_out_its_permits_and_no_more() {
        let gauge = gauge("waiting");
        let limit = ConcurrencyLimit::new(gauge.clone(), 2);
        let first = limit.try_acquire().unwrap();
        assert!(!limit.is_exhausted());
        let _second = limit.try_acquire().unwrap();
        assert!(limit.is_exhausted() && limit.try_acquire().is_none());
        assert_eq!(gauge.get(), 2, "a rejected request isn't inside");
        drop(first);
        assert!(!limit.is_exhausted());
        assert!(limit.try_acquire().is_some());
    }

    #[test]
    fn waiting_and_verifying_requests_share_a_limit() {
        let (waiting, verifying) = (gauge("w"), gauge("v"));
        let limits = ConcurrencyLimits::new(&waiting, &verifying, 3, 2);
        let fair = limits.fair::<&str>();
        let _waiting = [fair.try_acquire(&"a").unwrap(), fair.try_acquire(&"b").unwrap()];
        assert!(!limits.verification.is_exhausted());
        let permit = limits.verification.try_acquire().unwrap();
        assert_eq!((waiting.get(), verifying.get()), (2, 1));
        assert!(limits.verification.is_exhausted() && limits.verification.try_acquire().is_none());
        assert!(limits.keys().try_acquire().is_none());
        assert_eq!(fair.try_acquire(&"c").unwrap_err(), LimitReached::Total);
        drop(permit);
        let keys = limits.keys();
        let _permit = keys.try_acquire().unwrap();
        assert_eq!((waiting.get(), verifying.get()), (3, 0));
        assert!(limits.verification.is_exhausted());
        assert_eq!(limits.fetches.available_permits(), 2, "a fetch isn't a waiting request");
    }

    #[test]
    fn requests_for_keys_and_introspections_have_half_of_max_waiting() {
        let limits = ConcurrencyLimits::new(&gauge("w"), &gauge("v"), 100, 4);
        let keys = limits.keys();
        let _in_use = (keys.try_acquire().unwrap(), keys.try_acquire().unwrap());
        assert!(keys.try_acquire().is_none());
        let free =
            (limits.introspections().available_permits(), limits.fetches.available_permits());
        assert_eq!(free, (2, 4));
        let smallest = ConcurrencyLimits::new(&gauge("w"), &gauge("v"), 2, 1);
        assert!(smallest.keys().try_acquire().is_some());
    }

    #[test]
    fn one_key_may_hold_half_of_the_permits() {
        let limits = ConcurrencyLimits::new(&gauge("w"), &gauge("v"), 16, 8);
        let limit = limits.fair::<&str>();
        let mut held: Vec<_> = (0..8).map(|_| limit.try_acquire(&"a").unwrap()).collect();
        assert_eq!(limit.try_acquire(&"a").unwrap_err(), LimitReached::Key);
        assert!(limit.try_acquire(&"b").is_ok());
        held.pop();
        assert!(limit.try_acquire(&"a").is_ok(), "a place given back can be taken again");
    }

    #[test]
    fn last_quarter_is_reserved_for_keys_that_hold_nothing() {
        let waiting = gauge("w");
        let limits = ConcurrencyLimits::new(&waiting, &gauge("v"), 16, 8);
        let limit = limits.fair::<u32>();
        let mut held: Vec<_> = (0..12).map(|n| limit.try_acquire(&(n % 3)).unwrap()).collect();
        assert_eq!(limit.try_acquire(&0).unwrap_err(), LimitReached::Total);
        held.extend((3..7).map(|n| limit.try_acquire(&n).unwrap()));
        assert_eq!((limit.try_acquire(&7).unwrap_err(), waiting.get()), (LimitReached::Total, 16));
        drop(held);
        assert_eq!((waiting.get(), lock(&limit.held).len()), (0, 0), "nothing is kept of a key");
    }
}
