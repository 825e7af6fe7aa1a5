//! Gates: answers that wait until a test lets them go, so that races are scripted, not slept for.

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

/// Holds back answers until it is released, or dropped.
#[derive(Debug)]
#[must_use = "a gate that is dropped is open"]
pub struct Gate(Arc<State>);

impl Gate {
    /// Waits until `number` requests have come to this gate.
    pub async fn arrived(&self, number: u64) {
        let mut arrived = self.0.arrived.subscribe();
        // An error would mean that nobody can arrive any more, but `self` keeps the sender.
        drop(arrived.wait_for(|arrived| *arrived >= number).await);
    }

    /// How many requests have come to this gate.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        *self.0.arrived.borrow()
    }

    /// Lets the answers go, and all later ones pass.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}

/// A request's way through a gate.
#[derive(Debug)]
pub(super) struct Passage(watch::Receiver<bool>);

impl Passage {
    /// Waits until the gate is open.
    pub(super) async fn opened(mut self) {
        // An error means that the gate is gone: nobody holds the answer back any more.
        drop(self.0.wait_for(|open| *open).await);
    }
}

/// The gates by what they hold: a customer, or an issuer's path.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<String, Arc<State>>>);

impl Gates {
    /// A closed gate for `target`. It takes the place of an earlier one for what comes from now.
    pub(super) fn hold(&self, target: &str) -> Gate {
        let state =
            Arc::new(State { arrived: watch::Sender::new(0), open: watch::Sender::new(false) });
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| !*gate.open.borrow());
        gates.insert(target.to_owned(), Arc::clone(&state));
        Gate(state)
    }

    /// Tells the gate of `target` that a request has come; `None` when it needn't wait.
    pub(super) fn arrive(&self, target: &str) -> Option<Passage> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.get(target).filter(|gate| !*gate.open.borrow())?;
        gate.arrived.send_modify(|arrived| *arrived = arrived.saturating_add(1));
        Some(Passage(gate.open.subscribe()))
    }
}
