//! Gates hold responses back until a test releases them, so that tests script races instead of
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
#[must_use = "a gate that is dropped is open"]
pub struct Gate(Arc<State>);

impl Gate {
    /// Waits until `number` requests have arrived at this gate.
    pub async fn arrived(&self, number: u64) {
        let mut arrived = self.0.arrived.subscribe();
        // The wait can't fail, because `self` holds the sender.
        drop(arrived.wait_for(|arrived| *arrived >= number).await);
    }

    /// Number of requests that have arrived at this gate.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        *self.0.arrived.borrow()
    }

    /// Sends the held responses and lets later ones pass.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}

/// A request's wait at a gate.
#[derive(Debug)]
pub(super) struct GateWait(watch::Receiver<bool>);

impl GateWait {
    /// Waits until the gate is open.
    pub(super) async fn opened(mut self) {
        // An error means that the gate was dropped, which opens it.
        drop(self.0.wait_for(|open| *open).await);
    }
}

/// The gates by target: a customer, or a path of the issuer.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<String, Arc<State>>>);

impl Gates {
    /// Closes a gate for `target`. For later requests, it replaces an earlier gate.
    pub(super) fn hold(&self, target: &str) -> Gate {
        let state =
            Arc::new(State { arrived: watch::Sender::new(0), open: watch::Sender::new(false) });
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| !*gate.open.borrow());
        gates.insert(target.to_owned(), Arc::clone(&state));
        Gate(state)
    }

    /// Records a request at the gate of `target`; `None` if it needn't wait.
    pub(super) fn arrive(&self, target: &str) -> Option<GateWait> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.get(target).filter(|gate| !*gate.open.borrow())?;
        gate.arrived.send_modify(|arrived| *arrived += 1);
        Some(GateWait(gate.open.subscribe()))
    }
}
