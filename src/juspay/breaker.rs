//! When Juspay isn't asked: a circuit breaker, pure but for the clock's readings given to it.
//!
//! Closed, calls go out and their ends are counted over a sliding window. Once too many fail it
//! opens, and calls are refused for a while. Then it is half open: one call at a time probes
//! whether all is well again; a success closes it, a failure opens it anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::window::{Counts, Window};
use crate::clock::Monotonic;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The share of failures at which it opens.
    pub(super) failure_rate: f64,
    /// The time that is counted.
    pub(super) window: Duration,
    /// Calls in that time without which it doesn't open.
    pub(super) min_calls: u32,
    /// How long it stays open.
    pub(super) open_for: Duration,
}

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    Open,
    HalfOpen,
}

/// A breaker; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    rules: Rules,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Counts the phases: a call that was admitted in an earlier one changes nothing any more.
    era: u64,
    window: Window,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Monotonic },
    HalfOpen { probing: bool },
}

/// Permission for one call. Its end is to be told; dropped untold, it proves nothing, and a probe
/// gives its place back.
#[derive(Debug)]
#[must_use = "the call's end is to be told"]
pub(super) struct Ticket {
    breaker: Breaker,
    era: u64,
}

impl Breaker {
    pub(super) fn new(rules: Rules) -> Self {
        let inner = Inner { phase: Phase::Closed, era: 0, window: Window::new(rules.window) };
        Self { rules, inner: Arc::new(Mutex::new(inner)) }
    }

    /// One that opens at the first failure.
    pub(super) fn latch(open_for: Duration) -> Self {
        let window = Duration::from_secs(1);
        Self::new(Rules { failure_rate: 0.0, window, min_calls: 1, open_for })
    }

    /// Permission for a call, or how long there will be none.
    pub(super) fn admit(&self, now: Monotonic) -> Result<Ticket, Duration> {
        let mut inner = self.lock();
        match &mut inner.phase {
            Phase::Closed => {}
            Phase::Open { until } if now < *until => return Err(until.since(now)),
            Phase::Open { .. } => inner.enter(Phase::HalfOpen { probing: true }),
            // Another call is probing; its end isn't far.
            Phase::HalfOpen { probing: true } => return Err(Duration::ZERO),
            Phase::HalfOpen { probing } => *probing = true,
        }
        Ok(Ticket { breaker: self.clone(), era: inner.era })
    }

    /// Refuses all calls until then, as Juspay has asked for it; never for less time than it does
    /// anyway. Tells whether it was not open before.
    pub(super) fn hold(&self, hold_until: Monotonic) -> bool {
        let mut inner = self.lock();
        if let Phase::Open { until } = &mut inner.phase {
            *until = hold_until.max(*until);
            return false;
        }
        inner.enter(Phase::Open { until: hold_until });
        true
    }

    pub(super) fn state(&self, now: Monotonic) -> State {
        match self.lock().phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// A thread that panicked with the lock left it whole: nothing in between can panic.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era = self.era.wrapping_add(1);
        self.window.clear();
    }
}

impl Rules {
    fn are_broken_by(&self, Counts { all, marked }: Counts) -> bool {
        all >= self.min_calls && f64::from(marked) >= self.failure_rate * f64::from(all)
    }
}

impl Ticket {
    /// The call has ended. Tells the state that this has led to, when it is another one.
    pub(super) fn ended(self, now: Monotonic, is_failure: bool) -> Option<State> {
        let Breaker { rules, .. } = &self.breaker;
        let mut inner = self.breaker.lock();
        if inner.era != self.era {
            return None;
        }
        let is_probe = matches!(inner.phase, Phase::HalfOpen { .. });
        inner.window.count(now, is_failure);
        if is_failure && (is_probe || rules.are_broken_by(inner.window.total(now))) {
            inner.enter(Phase::Open { until: now.plus(rules.open_for) });
            Some(State::Open)
        } else if is_probe {
            inner.enter(Phase::Closed);
            Some(State::Closed)
        } else {
            None
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.breaker.lock();
        // After its end was told, a probe's era is over.
        if inner.era == self.era
            && let Phase::HalfOpen { probing } = &mut inner.phase
        {
            *probing = false;
        }
    }
}

#[cfg(test)]
mod tests;
