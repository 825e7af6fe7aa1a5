//! Latches hold responses back until a test releases them, so that tests script races instead of
//! sleeping.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

#[derive(Debug)]
struct State {
    arrived: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

/// Holds responses back until released or dropped.
#[derive(Debug)]
#[must_use = "a latch that is dropped is released"]
pub struct Latch(Arc<State>);

impl Latch {
    /// Waits until `number` requests have arrived at this latch.
    pub async fn arrived(&self, number: u64) {
        let mut arrived = self.0.arrived.subscribe();
        // The wait can't fail, because `self` holds the sender.
        drop(arrived.wait_for(|arrived| *arrived >= number).await);
    }

    /// Number of requests that have arrived at this latch.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        *self.0.arrived.borrow()
    }

    /// Sends the held responses and lets later ones pass.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.release();
    }
}

/// A request's wait at a latch.
#[derive(Debug)]
pub(super) struct LatchWait(watch::Receiver<bool>);

impl LatchWait {
    /// Waits until the latch is released.
    pub(super) async fn opened(mut self) {
        // An error means that the latch was dropped, which releases it.
        drop(self.0.wait_for(|open| *open).await);
    }
}

/// The latches by target: a customer, or a path of the issuer.
#[derive(Debug, Default)]
pub(super) struct Latches(Mutex<HashMap<String, Arc<State>>>);

impl Latches {
    /// Creates a latch for `target`. For later requests, it replaces an earlier latch.
    pub(super) fn hold(&self, target: &str) -> Latch {
        let state =
            Arc::new(State { arrived: watch::Sender::new(0), open: watch::Sender::new(false) });
        let mut latches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latches.retain(|_, latch| !*latch.open.borrow());
        latches.insert(target.to_owned(), Arc::clone(&state));
        Latch(state)
    }

    /// Records a request at the latch of `target`; `None` if it needn't wait.
    pub(super) fn arrive(&self, target: &str) -> Option<LatchWait> {
        let latches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latch = latches.get(target).filter(|latch| !*latch.open.borrow())?;
        latch.arrived.send_modify(|arrived| *arrived += 1);
        Some(LatchWait(latch.open.subscribe()))
    }
}
