//! Limits on concurrent requests that have to wait (`server.max_in_flight`, `server.max_waiting`).
//!
//! Cache hits are never limited: rejecting one costs as much as serving it. A request that waits
//! for a fetch acquires a permit from the limit on all waiting requests. A limit for each customer
//! keeps permits free for others when many requests of one customer wait. The fetch itself acquires a
//! separate permit; joining a running fetch needs none. Limits on the request rate are in `rate_limit`.

use std::{hash::Hash, sync::Arc};

use dashmap::{DashMap, Entry};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{GaugeGuard, Metrics};

/// The limits on waiting requests. Together, waiting requests hold at most `server.max_in_flight`
/// permits.
#[derive(Debug, Clone)]
pub struct Limits {
    max_in_flight: usize,
    max_waiting: usize,
    waiting: Limit,
    /// Limits fetches from Juspay that requests wait for (`server.max_waiting`).
    pub fetches: Arc<Semaphore>,
    /// Limits requests that wait for a token's signature check.
    pub verification: Limit,
}

/// A limit on concurrency that reports its use in a gauge. Clones share its permits.
#[derive(Debug, Clone)]
pub struct Limit {
    all: Arc<Semaphore>,
    /// A smaller limit within it.
    part: Option<Arc<Semaphore>>,
    in_use: IntGauge,
}

/// A permit, released when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it limits nothing"]
pub struct Permit {
    _all: OwnedSemaphorePermit,
    _part: Option<OwnedSemaphorePermit>,
    _in_use: GaugeGuard,
}

/// A limit on waiting requests that is fair between keys. One key may hold half of
/// `server.max_in_flight`, and the last quarter is reserved for keys that hold nothing.
#[derive(Debug)]
pub struct FairLimit<K: Hash + Eq> {
    waiting: Limit,
    max_per_key: usize,
    reserved: usize,
    held: Arc<DashMap<K, usize>>,
}

/// A key's permit from a [`FairLimit`], released when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it limits nothing"]
pub struct FairPermit<K: Hash + Eq> {
    key: K,
    held: Arc<DashMap<K, usize>>,
    _permit: Permit,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The key holds its maximum.
    Key,
    /// All permits are in use, or the remaining ones are reserved for keys that hold nothing.
    Total,
}

impl Limits {
    /// Limits that report their use in these metrics.
    #[must_use]
    pub fn new(metrics: &Metrics, max_in_flight: usize, max_waiting: usize) -> Self {
        let waiting = Limit::new(&metrics.http.waiting, max_in_flight);
        let in_use = metrics.auth.verifications.clone();
        let verification = Limit { in_use, ..waiting.clone() };
        let fetches = Arc::new(Semaphore::new(max_waiting));
        Self { max_in_flight, max_waiting, waiting, fetches, verification }
    }

    /// A limit on requests that wait for an issuer's keys: half of `server.max_waiting`, because any
    /// client can send tokens with unknown key ids.
    #[must_use]
    pub fn keys(&self) -> Limit {
        Limit { part: Some(self.half_of_waiting()), ..self.waiting.clone() }
    }

    /// A limit on introspection calls that requests wait for, as large as the one on requests that
    /// wait for keys.
    #[must_use]
    pub fn introspections(&self) -> Arc<Semaphore> {
        self.half_of_waiting()
    }

    /// A limit on requests that wait for fetches, fair between keys.
    #[must_use]
    pub fn fair<K: Hash + Eq>(&self) -> FairLimit<K> {
        FairLimit {
            waiting: self.waiting.clone(),
            max_per_key: self.max_in_flight.div_euclid(2).max(1),
            reserved: self.max_in_flight.div_euclid(4),
            held: Arc::default(),
        }
    }

    fn half_of_waiting(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.max_waiting.div_euclid(2).max(1)))
    }
}

impl Limit {
    /// A separate limit that reports its use in a gauge.
    #[must_use]
    pub fn new(in_use: &IntGauge, max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(max)), part: None, in_use: in_use.clone() }
    }

    /// Acquires a permit, if one is available.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        let acquire = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned();
        let part = self.part.as_ref().map(acquire).transpose().ok()?;
        let all = acquire(&self.all).ok()?;
        Some(Permit { _all: all, _part: part, _in_use: GaugeGuard::new(&self.in_use) })
    }

    /// Whether no permit is available.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        let is_exhausted = |permits: &Arc<Semaphore>| permits.available_permits() == 0;
        is_exhausted(&self.all) || self.part.as_ref().is_some_and(is_exhausted)
    }
}

impl<K: Hash + Eq + Clone> FairLimit<K> {
    /// Acquires a permit for `key`.
    ///
    /// # Errors
    /// If none is available.
    pub fn try_acquire(&self, key: &K) -> Result<FairPermit<K>, LimitReached> {
        // The entry is locked until the permit is counted.
        let entry = self.held.entry(key.clone());
        if let Entry::Occupied(holds) = &entry {
            if *holds.get() >= self.max_per_key {
                return Err(LimitReached::Key);
            }
            if self.waiting.all.available_permits() <= self.reserved {
                return Err(LimitReached::Total);
            }
        }
        let permit = self.waiting.try_acquire().ok_or(LimitReached::Total)?;
        *entry.or_default() += 1;
        Ok(FairPermit { key: key.clone(), held: Arc::clone(&self.held), _permit: permit })
    }
}

impl<K: Hash + Eq> Drop for FairPermit<K> {
    fn drop(&mut self) {
        self.held.remove_if_mut(&self.key, |_, holds| {
            *holds -= 1;
            *holds == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new("0", "0").unwrap()
    }

    #[test]
    fn limit_grants_only_its_permits() {
        let gauge = IntGauge::new("in_use", "in_use").unwrap();
        let limit = Limit::new(&gauge, 2);
        let first = limit.try_acquire().unwrap();
        assert!(!limit.is_exhausted());
        let _second = limit.try_acquire().unwrap();
        assert!(limit.is_exhausted() && limit.try_acquire().is_none());
        assert_eq!(gauge.get(), 2, "a rejected request is not counted");
        drop(first);
        assert!(!limit.is_exhausted());
        assert!(limit.try_acquire().is_some());
    }

    #[test]
    fn waiting_and_verifying_requests_share_a_limit() {
        let metrics = metrics();
        let (waiting, verifying) = (&metrics.http.waiting, &metrics.auth.verifications);
        let limits = Limits::new(&metrics, 3, 2);
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
        let limits = Limits::new(&metrics(), 100, 4);
        let keys = limits.keys();
        let _in_use = (keys.try_acquire().unwrap(), keys.try_acquire().unwrap());
        assert!(keys.try_acquire().is_none());
        let free =
            (limits.introspections().available_permits(), limits.fetches.available_permits());
        assert_eq!(free, (2, 4));
        let smallest = Limits::new(&metrics(), 2, 1);
        assert!(smallest.keys().try_acquire().is_some());
    }

    #[test]
    fn one_key_may_hold_half_of_the_permits() {
        let limits = Limits::new(&metrics(), 16, 8);
        let limit = limits.fair::<&str>();
        let mut held: Vec<_> = (0..8).map(|_| limit.try_acquire(&"a").unwrap()).collect();
        assert_eq!(limit.try_acquire(&"a").unwrap_err(), LimitReached::Key);
        assert!(limit.try_acquire(&"b").is_ok());
        held.pop();
        assert!(limit.try_acquire(&"a").is_ok(), "a released permit is available again");
    }

    #[test]
    fn last_quarter_is_reserved_for_keys_that_hold_nothing() {
        let metrics = metrics();
        let waiting = &metrics.http.waiting;
        let limits = Limits::new(&metrics, 16, 8);
        let limit = limits.fair::<u32>();
        let mut held: Vec<_> = (0..12).map(|n| limit.try_acquire(&(n % 3)).unwrap()).collect();
        assert_eq!(limit.try_acquire(&0).unwrap_err(), LimitReached::Total);
        held.extend((3..7).map(|n| limit.try_acquire(&n).unwrap()));
        assert_eq!((limit.try_acquire(&7).unwrap_err(), waiting.get()), (LimitReached::Total, 16));
        drop(held);
        assert_eq!((waiting.get(), limit.held.len()), (0, 0), "no key stays in memory");
    }
}
