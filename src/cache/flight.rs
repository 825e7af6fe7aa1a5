//! The one door to Juspay: at most one fetch a customer (promise P4).
//!
//! A table of its own, key → [`Flight`]; what is stored is somebody else's business. A flight is
//! a task that nobody's hanging up cancels; everyone who wants the customer waits for the same
//! landing. Whatever ends the task, its [`Pilot`] takes the flight off the table when dropped.
//!
//! Epochs: a purge makes the flights that are in the air *void*. Their waiters are answered, but
//! nothing of theirs is stored, and whoever comes later starts anew — behind the void flight, so
//! that there still is one call at a time. A flight that has not asked Juspay yet is no older than
//! the purge and goes on.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use crate::customer::CustomerKey;

/// Flights under way, by customer. `L` is what a flight brings.
#[derive(Debug)]
pub(super) struct Flights<L> {
    table: Arc<Mutex<Table<L>>>,
}

type Table<L> = HashMap<CustomerKey, Arc<Flight<L>>>;

/// One fetch, seen by those who wait for it.
#[derive(Debug)]
pub(super) struct Flight<L> {
    landing: watch::Sender<State<L>>,
    /// Juspay has been asked. This and `void` are written and read with the table locked.
    airborne: AtomicBool,
    /// What it brings isn't to be stored.
    void: AtomicBool,
    /// A void flight of the same customer, to be awaited before Juspay is called.
    previous: Option<Arc<Flight<L>>>,
}

#[derive(Debug, Clone)]
enum State<L> {
    Flying,
    Landed(L),
    /// The task is gone and brought nothing, as its worker stopped.
    Lost,
}

/// How a request came to a flight.
pub(super) enum Boarding<L> {
    /// Nobody was flying: fly it.
    Leader(Pilot<L>),
    /// Another request's flight.
    Joined(Arc<Flight<L>>),
}

/// The duty to land a flight. Dropped without landing, the flight is lost and its waiters know.
#[derive(Debug)]
pub(super) struct Pilot<L> {
    table: Arc<Mutex<Table<L>>>,
    key: CustomerKey,
    flight: Arc<Flight<L>>,
}

impl<L> Default for Flights<L> {
    fn default() -> Self {
        Self { table: Arc::default() }
    }
}

impl<L: Clone> Flights<L> {
    /// Joins the customer's flight, or becomes the one who flies it.
    pub(super) fn board(&self, key: &CustomerKey) -> Boarding<L> {
        let mut table = lock(&self.table);
        let previous = match table.get(key) {
            Some(flight) if !flight.is_void() => return Boarding::Joined(Arc::clone(flight)),
            other => other.cloned(),
        };
        let flight = Arc::new(Flight {
            landing: watch::Sender::new(State::Flying),
            airborne: AtomicBool::new(false),
            void: AtomicBool::new(false),
            previous,
        });
        table.insert(key.clone(), Arc::clone(&flight));
        Boarding::Leader(Pilot { table: Arc::clone(&self.table), key: key.clone(), flight })
    }

    /// Makes the flights of one customer or of all void, and runs `clear` before anyone can board
    /// or land.
    pub(super) fn void<T>(&self, key: Option<&CustomerKey>, clear: impl FnOnce() -> T) -> T {
        let table = lock(&self.table);
        match key {
            Some(key) => table.get(key).into_iter().for_each(|flight| flight.make_void()),
            None => table.values().for_each(|flight| flight.make_void()),
        }
        clear()
    }

    /// Runs `change` while no flight can land.
    pub(super) fn while_none_lands<T>(&self, change: impl FnOnce() -> T) -> T {
        let _table = lock(&self.table);
        change()
    }
}

impl<L: Clone> Flight<L> {
    /// What the flight brings; `None` when it was lost.
    pub(super) async fn landed(&self) -> Option<L> {
        let mut receiver = self.landing.subscribe();
        let over = receiver.wait_for(|state| !matches!(state, State::Flying)).await;
        match over.as_deref() {
            Ok(State::Landed(landing)) => Some(landing.clone()),
            Ok(State::Flying | State::Lost) | Err(_) => None,
        }
    }

    fn is_void(&self) -> bool {
        self.void.load(Ordering::Relaxed)
    }

    fn make_void(&self) {
        self.void.store(self.airborne.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl<L: Clone> Pilot<L> {
    /// The flight, to wait for it like everyone else.
    pub(super) fn flight(&self) -> Arc<Flight<L>> {
        Arc::clone(&self.flight)
    }

    /// Waits until Juspay may be asked: until the void flight before this one has ended.
    pub(super) async fn take_off(&self) {
        if let Some(previous) = &self.flight.previous {
            previous.landed().await;
        }
        let _table = lock(&self.table);
        self.flight.airborne.store(true, Ordering::Relaxed);
    }

    /// Ends the flight. `store` runs before anyone can board anew and is told whether storing is
    /// allowed; what it gives is what every waiter gets.
    pub(super) fn land(self, store: impl FnOnce(&CustomerKey, bool) -> L) {
        let mut table = lock(&self.table);
        let landing = store(&self.key, !self.flight.is_void());
        self.leave(&mut table);
        self.flight.landing.send_replace(State::Landed(landing));
    }
}

impl<L> Pilot<L> {
    /// Takes the flight off the table, unless a later one stands there.
    fn leave(&self, table: &mut Table<L>) {
        if table.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            table.remove(&self.key);
        }
    }
}

impl<L> Drop for Pilot<L> {
    fn drop(&mut self) {
        self.flight.landing.send_if_modified(|state| {
            let lost = matches!(state, State::Flying);
            if lost {
                *state = State::Lost;
            }
            lost
        });
        self.leave(&mut lock(&self.table));
    }
}

/// A thread that panicked with the lock left the table whole: each change is a single one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::customer::CustomerId;

    fn key(customer: &str) -> CustomerKey {
        let customer = CustomerId::parse(customer).unwrap();
        CustomerKey { merchant: "m".into(), customer }
    }

    fn lead(flights: &Flights<u32>, customer: &str) -> Pilot<u32> {
        match flights.board(&key(customer)) {
            Boarding::Leader(pilot) => pilot,
            Boarding::Joined(_) => panic!("somebody else flies {customer}"),
        }
    }

    fn join(flights: &Flights<u32>, customer: &str) -> Arc<Flight<u32>> {
        match flights.board(&key(customer)) {
            Boarding::Joined(flight) => flight,
            Boarding::Leader(_) => panic!("nobody flies {customer}"),
        }
    }

    #[test]
    fn p4_all_share_one_flight_until_it_has_landed() {
        let flights = Flights::default();
        let pilot = lead(&flights, "a");
        let (first, second) = (join(&flights, "a"), join(&flights, "a"));
        let _other = lead(&flights, "b");
        assert!(first.landed().now_or_never().is_none(), "still flying");
        pilot.land(|_, may_store| {
            assert!(may_store);
            7
        });
        assert_eq!(first.landed().now_or_never(), Some(Some(7)));
        assert_eq!(second.landed().now_or_never(), Some(Some(7)), "late waiters too");
        drop(lead(&flights, "a"));
    }

    #[test]
    fn p4_a_lost_flight_tells_its_waiters_and_leaves_the_table() {
        let flights = Flights::default();
        let pilot = lead(&flights, "a");
        let waiter = join(&flights, "a");
        drop(pilot);
        assert_eq!(waiter.landed().now_or_never(), Some(None));
        drop(lead(&flights, "a"));
    }

    #[test]
    fn p4_behind_a_void_flight_the_next_one_waits() {
        let flights = Flights::default();
        let old = lead(&flights, "a");
        assert!(old.take_off().now_or_never().is_some());
        let waiter = join(&flights, "a");
        assert_eq!(flights.void(Some(&key("a")), || 3), 3);
        let new = lead(&flights, "a");
        assert!(new.take_off().now_or_never().is_none(), "one call at a time");
        let joined = join(&flights, "a");
        old.land(|_, may_store| {
            assert!(!may_store, "it began before the purge");
            1
        });
        assert_eq!(waiter.landed().now_or_never(), Some(Some(1)));
        assert!(new.take_off().now_or_never().is_some());
        let late = join(&flights, "a");
        new.land(|_, may_store| {
            assert!(may_store);
            2
        });
        assert_eq!(joined.landed().now_or_never(), Some(Some(2)));
        assert_eq!(late.landed().now_or_never(), Some(Some(2)), "the old one left it in the table");
    }

    #[test]
    fn a_flight_that_has_not_asked_yet_outlives_a_purge() {
        let flights = Flights::default();
        let pilot = lead(&flights, "a");
        flights.void(None, || ());
        let joined = join(&flights, "a");
        pilot.land(|_, may_store| u32::from(may_store));
        assert_eq!(joined.landed().now_or_never(), Some(Some(1)));
    }

    #[test]
    fn a_purge_of_all_makes_every_flight_void_and_of_one_only_its_own() {
        let flights = Flights::default();
        let (a, b) = (lead(&flights, "a"), lead(&flights, "b"));
        assert!(a.take_off().now_or_never().is_some() && b.take_off().now_or_never().is_some());
        flights.void(Some(&key("b")), || ());
        b.land(|_, may_store| {
            assert!(!may_store);
            0
        });
        flights.void(None, || ());
        a.land(|_, may_store| {
            assert!(!may_store);
            0
        });
    }
}
