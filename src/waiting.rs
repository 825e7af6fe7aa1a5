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

use crate::metrics::Raised;

/// All limits on concurrency. Together, waiting requests hold at most `server.max_in_flight`
/// permits.
#[derive(Debug, Clone)]
pub struct Rooms {
    max_in_flight: usize,
    max_waiting: usize,
    in_flight: Arc<Semaphore>,
    waiting: IntGauge,
    /// Limits fetches from Juspay that requests wait for (`server.max_waiting`).
    pub fetches: Arc<Semaphore>,
    /// Limits requests that wait for a token's signature check.
    pub verification: WaitingRoom,
}

/// A limit on concurrency. Clones share its permits.
#[derive(Debug, Clone)]
pub struct WaitingRoom {
    /// Acquiring takes a permit from each of them.
    limits: Arc<[Arc<Semaphore>]>,
    inside: IntGauge,
}

/// A permit, released when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
    _inside: Raised,
}

/// A limit on waiting requests that is fair between keys. One key may hold half of
/// `server.max_in_flight`, and the last quarter is reserved for keys that hold nothing.
#[derive(Debug)]
pub struct FairRoom<K> {
    in_flight: Arc<Semaphore>,
    waiting: IntGauge,
    max_per_key: usize,
    reserved: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// A key's permit from a [`FairLimit`], released when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct FairPlace<K: Hash + Eq> {
    key: K,
    held: Arc<Mutex<HashMap<K, usize>>>,
    _permit: OwnedSemaphorePermit,
    _waiting: Raised,
}

/// Why a [`FairLimit`] has no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The key holds its maximum.
    ForKey,
    /// All permits are taken, or the remaining ones are reserved for keys that hold nothing.
    ForAll,
}

impl Rooms {
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
            WaitingRoom { limits: [Arc::clone(&in_flight)].into(), inside: verifying.clone() };
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
    pub fn keys(&self) -> WaitingRoom {
        let keys = Arc::new(Semaphore::new(self.half_of_waiting()));
        let limits = [keys, Arc::clone(&self.in_flight)].into();
        WaitingRoom { limits, inside: self.waiting.clone() }
    }

    /// A limit on introspection calls that requests wait for, as large as the one on requests that
    /// wait for keys.
    #[must_use]
    pub fn introspections(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.half_of_waiting()))
    }

    /// A limit on requests that wait for fetches, fair between keys.
    #[must_use]
    pub fn fair<K>(&self) -> FairRoom<K> {
        FairRoom {
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

impl WaitingRoom {
    /// A separate limit that reports its use in a gauge.
    #[must_use]
    pub fn new(inside: IntGauge, most: usize) -> Self {
        Self { limits: [Arc::new(Semaphore::new(most))].into(), inside }
    }

    /// Takes a permit, if one is available.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        let permits = self.limits.iter().map(|limit| Arc::clone(limit).try_acquire_owned());
        let permits = permits.collect::<Result<_, _>>().ok()?;
        Some(Place { _permits: permits, _inside: Raised::new(&self.inside) })
    }

    /// Number of permits taken.
    #[must_use]
    pub fn inside(&self) -> usize {
        usize::try_from(self.inside.get()).unwrap_or_default()
    }

    /// Whether no permit is available.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.limits.iter().any(|limit| limit.available_permits() == 0)
    }
}

impl<K: Hash + Eq + Clone> FairRoom<K> {
    /// Takes a permit for `key`.
    ///
    /// # Errors
    /// If none is available.
    pub fn enter(&self, key: &K) -> Result<FairPlace<K>, Full> {
        let mut held = lock(&self.held);
        let holds = held.get(key).copied().unwrap_or_default();
        if holds >= self.max_per_key {
            return Err(Full::ForKey);
        }
        if holds > 0 && self.in_flight.available_permits() <= self.reserved {
            return Err(Full::ForAll);
        }
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| Full::ForAll)?;
        held.insert(key.clone(), holds.saturating_add(1));
        Ok(FairPlace {
            key: key.clone(),
            held: Arc::clone(&self.held),
            _permit: permit,
            _waiting: Raised::new(&self.waiting),
        })
    }
}

impl<K: Hash + Eq> Drop for FairPlace<K> {
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
    fn a_room_holds_its_number_and_no_more() {
        let gauge = gauge("waiting");
        let room = WaitingRoom::new(gauge.clone(), 2);
        let first = room.enter().unwrap();
        assert!(!room.is_full());
        let _second = room.enter().unwrap();
        assert!(room.is_full() && room.enter().is_none());
        assert_eq!(gauge.get(), 2, "a rejected request isn't inside");
        drop(first);
        assert!(!room.is_full());
        assert!(room.enter().is_some());
    }

    #[test]
    fn waiting_and_verifying_requests_share_a_bound() {
        let (waiting, verifying) = (gauge("w"), gauge("v"));
        let rooms = Rooms::new(&waiting, &verifying, 3, 2);
        let fair = rooms.fair::<&str>();
        let _waiting = [fair.enter(&"a").unwrap(), fair.enter(&"b").unwrap()];
        assert!(!rooms.verification.is_full());
        let place = rooms.verification.enter().unwrap();
        assert_eq!((waiting.get(), verifying.get()), (2, 1));
        assert!(rooms.verification.is_full() && rooms.verification.enter().is_none());
        assert!(rooms.keys().enter().is_none());
        assert_eq!(fair.enter(&"c").unwrap_err(), Full::ForAll);
        drop(place);
        let keys = rooms.keys();
        let _place = keys.enter().unwrap();
        assert_eq!((waiting.get(), verifying.get()), (3, 0));
        assert!(rooms.verification.is_full());
        assert_eq!(rooms.fetches.available_permits(), 2, "a fetch isn't a waiting request");
    }

    #[test]
    fn requests_for_keys_and_introspections_have_half_of_max_waiting() {
        let rooms = Rooms::new(&gauge("w"), &gauge("v"), 100, 4);
        let keys = rooms.keys();
        let _inside = (keys.enter().unwrap(), keys.enter().unwrap());
        assert!(keys.enter().is_none());
        let free = (rooms.introspections().available_permits(), rooms.fetches.available_permits());
        assert_eq!(free, (2, 4));
        let smallest = Rooms::new(&gauge("w"), &gauge("v"), 2, 1);
        assert!(smallest.keys().enter().is_some());
    }

    #[test]
    fn one_key_may_hold_half_of_the_places() {
        let rooms = Rooms::new(&gauge("w"), &gauge("v"), 16, 8);
        let room = rooms.fair::<&str>();
        let mut held: Vec<_> = (0..8).map(|_| room.enter(&"a").unwrap()).collect();
        assert_eq!(room.enter(&"a").unwrap_err(), Full::ForKey);
        assert!(room.enter(&"b").is_ok());
        held.pop();
        assert!(room.enter(&"a").is_ok(), "a place given back can be taken again");
    }

    #[test]
    fn the_last_quarter_is_for_keys_that_hold_nothing() {
        let waiting = gauge("w");
        let rooms = Rooms::new(&waiting, &gauge("v"), 16, 8);
        let room = rooms.fair::<u32>();
        let mut held: Vec<_> = (0..12).map(|n| room.enter(&(n % 3)).unwrap()).collect();
        assert_eq!(room.enter(&0).unwrap_err(), Full::ForAll);
        held.extend((3..7).map(|n| room.enter(&n).unwrap()));
        assert_eq!((room.enter(&7).unwrap_err(), waiting.get()), (Full::ForAll, 16));
        drop(held);
        assert_eq!((waiting.get(), lock(&room.held).len()), (0, 0), "nothing is kept of a key");
    }
}
