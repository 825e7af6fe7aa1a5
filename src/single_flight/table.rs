//! The table of running computations (promise P4). It stores no results.
//!
//! The first request for a key becomes the [`Leader`], and the others wait. The leader computes in a
//! separate task, so a disconnecting client cancels nothing. It reports panics of the computation as
//! an outcome. If its task ends without an outcome, dropping the leader releases the key, and the
//! waiting requests try again.
//!
//! An invalidation, such as a purge, applies to computations that have started. Their waiters get the
//! outcome, but it isn't stored, and the next request becomes the leader of a new computation. That
//! computation starts when the invalidated one has ended.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError},
};

use tokio::sync::watch;

use super::{Mutex, MutexGuard};
use crate::traces::Place;

/// Running computations by key. `T` is their outcome.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, T> {
    pub(super) table: Arc<Mutex<Table<K, T>>>,
}

pub(super) type Table<K, T> = HashMap<K, Entry<T>>;

#[derive(Debug)]
pub(super) struct Entry<T> {
    /// The computation that requests join.
    current: Option<Current<T>>,
    /// A computation that was invalidated and still runs.
    invalidated: Option<Waiter<T>>,
}

#[derive(Debug)]
struct Current<T> {
    waiter: Waiter<T>,
    has_started: bool,
}

/// Waits for the outcome of a computation.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    state: watch::Receiver<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    span: Option<Place>,
    outcome: Option<T>,
}

/// The obligation to compute. Dropping it releases the key.
#[derive(Debug)]
pub(crate) struct Leader<K: Eq + Hash, T> {
    table: Arc<Mutex<Table<K, T>>>,
    key: K,
    state: watch::Sender<State<T>>,
}

/// The role of a request in a computation.
#[derive(Debug)]
pub(crate) enum Join<K: Eq + Hash, T, P> {
    /// None is running: the request has to compute, with the permit for it.
    Leader(Leader<K, T>, P),
    /// Another request's computation is running.
    Waiter(Waiter<T>),
}

impl<K: Eq + Hash + Clone, T> SingleFlight<K, T> {
    /// Joins the running computation, or becomes the leader of a new one if `permit` allows it.
    /// `permit` is called while no computation can finish, so a result that it doesn't find in
    /// memory has not been stored yet.
    pub(crate) fn join<P, E>(
        &self,
        key: &K,
        permit: impl FnOnce() -> Result<P, E>,
    ) -> Result<Join<K, T, P>, E> {
        let mut table = lock(&self.table);
        if let Some(current) = table.get(key).and_then(|entry| entry.current.as_ref()) {
            return Ok(Join::Waiter(current.waiter.clone()));
        }
        let permit = permit()?;
        let (state, receiver) = watch::channel(State { span: None, outcome: None });
        let current = Some(Current { waiter: Waiter { state: receiver }, has_started: false });
        table.entry(key.clone()).or_default().current = current;
        let leader = Leader { table: Arc::clone(&self.table), key: key.clone(), state };
        Ok(Join::Leader(leader, permit))
    }

    /// Invalidates the computation of one key or all computations, and runs `purge` before a
    /// computation can be joined or finish.
    pub(crate) fn invalidate<R>(&self, key: Option<&K>, purge: impl FnOnce() -> R) -> R {
        let mut table = lock(&self.table);
        match key {
            Some(key) => table.get_mut(key).into_iter().for_each(Entry::invalidate),
            None => table.values_mut().for_each(Entry::invalidate),
        }
        purge()
    }

    /// Runs `change` while no computation can finish.
    pub(crate) fn while_none_finishes<R>(&self, change: impl FnOnce() -> R) -> R {
        let _table = lock(&self.table);
        change()
    }
}

impl<K: Eq + Hash, T> Leader<K, T> {
    /// Waits until an invalidated computation of the same key has ended. From then on, an
    /// invalidation applies to this one.
    pub(crate) async fn start(&self) {
        while let Err(invalidated) = self.try_start() {
            invalidated.ended().await;
        }
    }

    fn try_start(&self) -> Result<(), Waiter<T>> {
        match lock(&self.table).get_mut(&self.key) {
            Some(Entry { invalidated: Some(invalidated), .. }) => Err(invalidated.clone()),
            Some(Entry { current: Some(current), .. }) => {
                current.has_started = true;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the computation. `store` runs before the key can be joined again, with whether its result
    /// is still valid and may be stored. It returns the outcome for the waiting requests.
    pub(crate) fn finish(self, store: impl FnOnce(&K, bool) -> T) {
        let mut table = lock(&self.table);
        let is_valid = self.release(&mut table);
        let outcome = store(&self.key, is_valid);
        self.state.send_modify(|state| state.outcome = Some(outcome));
    }

    /// Releases the key. Returns whether the computation had it, or was invalidated.
    fn release(&self, table: &mut Table<K, T>) -> bool {
        let Some(entry) = table.get_mut(&self.key) else { return false };
        let this = self.waiter();
        let was_current = entry.current.take_if(|current| current.waiter.is_same(&this)).is_some();
        entry.invalidated.take_if(|invalidated| invalidated.is_same(&this));
        if entry.current.is_none() && entry.invalidated.is_none() {
            table.remove(&self.key);
        }
        was_current
    }

    /// A waiter for the leader's own request.
    pub(crate) fn waiter(&self) -> Waiter<T> {
        Waiter { state: self.state.subscribe() }
    }

    /// Sets the span of the computation, for links from those of waiting requests.
    pub(crate) fn set_span(&self, span: Option<Place>) {
        self.state.send_if_modified(|state| {
            state.span = span;
            false
        });
    }
}

impl<K: Eq + Hash, T> Drop for Leader<K, T> {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        self.release(&mut table);
    }
}

impl<T> Waiter<T> {
    /// Waits for the end of the computation.
    async fn ended(&self) {
        // An error also means the end: the leader was dropped.
        drop(self.state.clone().wait_for(|state| state.outcome.is_some()).await);
    }

    /// The span of the computation, if it is traced.
    pub(crate) fn span(&self) -> Option<Place> {
        self.state.borrow().span
    }

    fn is_same(&self, other: &Self) -> bool {
        self.state.same_channel(&other.state)
    }
}

impl<T: Clone> Waiter<T> {
    /// The outcome of the computation, or `None` if its leader was dropped.
    pub(crate) async fn outcome(&self) -> Option<T> {
        self.ended().await;
        self.state.borrow().outcome.clone()
    }
}

impl<T> Entry<T> {
    fn invalidate(&mut self) {
        if let Some(current) = self.current.take_if(|current| current.has_started) {
            self.invalidated = Some(current.waiter);
        }
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self { table: Arc::default() }
    }
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { current: None, invalidated: None }
    }
}

impl<T> Clone for Waiter<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

/// No panic interrupts a change of the table, so a poisoned lock is safe to use.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
