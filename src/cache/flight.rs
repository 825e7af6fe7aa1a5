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
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use crate::{customer::CustomerKey, traces::Place};

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
    /// The span of its work, where that is traced.
    span: OnceLock<Place>,
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
    /// None is needed: one has landed since the caller looked into memory.
    Missed,
}

/// The duty to land a flight. Dropped without landing, the flight is lost and its waiters know.
#[derive(Debug)]
pub(super) struct Pilot<L> {
    table: Arc<Mutex<Table<L>>>,
    key: CustomerKey,
    flight: Arc<Flight<L>>,
    /// A void flight of the same customer, to be awaited before Juspay is called. Held here and not
    /// in the flight, so that purge after purge makes no chain of them.
    previous: Option<Arc<Flight<L>>>,
}

impl<L> Default for Flights<L> {
    fn default() -> Self {
        Self { table: Arc::default() }
    }
}

impl<L: Clone> Flights<L> {
    /// Joins the customer's flight, or becomes the one who flies it, if that is still `needed`.
    /// The closure is asked while no flight can land: what it finds missing won't be there until
    /// the flight has brought it.
    pub(super) fn board(&self, key: &CustomerKey, needed: impl FnOnce() -> bool) -> Boarding<L> {
        let mut table = lock(&self.table);
        let previous = match table.get(key) {
            Some(flight) if !flight.is_void() => return Boarding::Joined(Arc::clone(flight)),
            _ if !needed() => return Boarding::Missed,
            other => other.cloned(),
        };
        let flight = Arc::new(Flight {
            landing: watch::Sender::new(State::Flying),
            airborne: AtomicBool::new(false),
            void: AtomicBool::new(false),
            span: OnceLock::new(),
        });
        table.insert(key.clone(), Arc::clone(&flight));
        let table = Arc::clone(&self.table);
        Boarding::Leader(Pilot { table, key: key.clone(), flight, previous })
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

impl<L> Flight<L> {
    /// The span of its work, for those of others that wait for it.
    pub(super) fn span(&self) -> Option<Place> {
        self.span.get().copied()
    }

    fn is_flying(&self) -> bool {
        matches!(*self.landing.borrow(), State::Flying)
    }
}

impl<L: Clone> Pilot<L> {
    /// The flight, to wait for it like everyone else.
    pub(super) fn flight(&self) -> Arc<Flight<L>> {
        Arc::clone(&self.flight)
    }

    /// Waits until Juspay may be asked: until the void flight before this one has ended.
    pub(super) async fn take_off(&mut self) {
        if let Some(previous) = &self.previous {
            previous.landed().await;
            self.previous = None;
        }
        let _table = lock(&self.table);
        self.flight.airborne.store(true, Ordering::Relaxed);
    }

    /// Ends the flight. `store` runs before anyone can board anew and is told whether storing is
    /// allowed; what it gives is what every waiter gets.
    pub(super) fn land(mut self, store: impl FnOnce(&CustomerKey, bool) -> L) {
        let shared = Arc::clone(&self.table);
        let mut table = lock(&shared);
        let landing = store(&self.key, !self.flight.is_void());
        self.leave(&mut table);
        self.flight.landing.send_replace(State::Landed(landing));
    }
}

impl<L> Pilot<L> {
    /// Notes the span of the flight's work.
    pub(super) fn note_span(&self, span: Option<Place>) {
        if let Some(span) = span {
            self.flight.span.get_or_init(|| span);
        }
    }

    /// Takes the flight off the table, unless a later one stands there. If it leaves before the
    /// void one that it waits for, that one gets its place back: the next has to wait for it too.
    fn leave(&mut self, table: &mut Table<L>) {
        if table.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            match self.previous.take().filter(|previous| previous.is_flying()) {
                Some(previous) => table.insert(self.key.clone(), previous),
                None => table.remove(&self.key),
            };
        }
    }
}

impl<L> Drop for Pilot<L> {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.table);
        let mut table = lock(&shared);
        self.leave(&mut table);
        if self.flight.is_flying() {
            self.flight.landing.send_replace(State::Lost);
        }
    }
}

/// A thread that panicked with the lock left the table whole: each change is a single one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
