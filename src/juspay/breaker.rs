//! A circuit breaker: stops calls to Juspay during an outage.
//!
//! Pure: the caller passes the time. Closed, it admits every call and counts customers over a
//! sliding window, each customer once. It opens when calls of enough different customers fail.
//! After a pause it is half open, and [`Probes`] find out whether Juspay works again. A successful
//! probe closes it; a failed probe of a customer without earlier failures opens it again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    probes::{Prober, Probes},
    window::{CustomerCounts, CustomerHash, CustomerWindow},
};
use crate::clock::Monotonic;

/// Minimum number of customers with failed calls before the breaker opens. Fewer may just have odd
/// data.
const MIN_FAILING_CUSTOMERS: usize = 5;

/// A rate limit (429) of this many different customers counts as a rate limit of all calls. Each
/// one counts for [`RATE_LIMIT_COUNTS_FOR`].
const RATE_LIMITED_CUSTOMERS: usize = 2;
const RATE_LIMIT_COUNTS_FOR: Duration = Duration::from_secs(30);

/// When the breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Share of customers with failed calls at which it opens.
    pub(super) failure_rate: f64,
    /// Length of the sliding window.
    pub(super) window: Duration,
    /// Minimum number of calls in the window before it opens.
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

/// The result of a call, as the breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// A success, or an error that doesn't indicate an outage.
    Healthy,
    /// An error that indicates an outage, with Juspay's `Retry-After`.
    Outage(Option<Duration>),
}

/// The circuit breaker. Clones share its state.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    rules: Rules,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Incremented with each change of state. Results of calls admitted before are ignored.
    era: u64,
    window: CustomerWindow,
    /// Customers whose calls were rate limited since the last success, and when; at most
    /// [`RATE_LIMITED_CUSTOMERS`].
    rate_limited: Vec<(CustomerHash, Monotonic)>,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// Open until probes may start, then half open.
    Open(Probes),
}

/// Permission for one call. Dropping it without a result releases the probe and counts nothing.
#[derive(Debug)]
#[must_use = "the call's end is needed"]
pub(super) struct Ticket {
    breaker: Breaker,
    era: u64,
    customer: CustomerHash,
    turn: Option<Prober>,
}

impl Breaker {
    pub(super) fn new(rules: Rules) -> Self {
        let window = CustomerWindow::new(rules.window);
        let inner = Inner { phase: Phase::Closed, era: 0, window, rate_limited: Vec::new() };
        Self { rules, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Admits a call, or returns how long calls are refused.
    pub(super) fn admit(&self, customer: CustomerHash, now: Monotonic) -> Result<Ticket, Duration> {
        let mut inner = self.lock();
        let turn = match &mut inner.phase {
            Phase::Closed => None,
            Phase::Open(probes) => Some(probes.admit(customer, now)?),
        };
        Ok(Ticket { breaker: self.clone(), era: inner.era, customer, turn })
    }

    /// Records that Juspay rate limited a customer's call until `until`. After rate limits of
    /// different customers, the breaker refuses all calls until then, and never for less time than
    /// before. A running probe no longer counts. Returns whether this stopped calls or probes.
    pub(super) fn rate_limited(
        &self,
        customer: CustomerHash,
        now: Monotonic,
        until: Monotonic,
    ) -> bool {
        let mut inner = self.lock();
        let limited = &mut inner.rate_limited;
        limited.retain(|(of, at)| *of != customer && now.since(*at) < RATE_LIMIT_COUNTS_FOR);
        limited.truncate(RATE_LIMITED_CUSTOMERS.saturating_sub(1));
        limited.push((customer, now));
        if limited.len() < RATE_LIMITED_CUSTOMERS {
            return false;
        }
        if let Phase::Open(probes) = &mut inner.phase {
            let was_probing = probes.put_off(until);
            inner.era = inner.era.wrapping_add(1);
            return was_probing;
        }
        inner.open(until);
        true
    }

    pub(super) fn state(&self, now: Monotonic) -> State {
        match &self.lock().phase {
            Phase::Closed => State::Closed,
            Phase::Open(probes) if now < probes.from() => State::Open,
            Phase::Open(_) => State::HalfOpen,
        }
    }

    /// No code panics while it holds the lock, so a poisoned lock is safe to use.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Customers with failed calls become suspects: their probes may fail for reasons of their own.
    fn open(&mut self, until: Monotonic) {
        let probes = Probes::new(self.window.failing(), until, until);
        self.enter(Phase::Open(probes));
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era = self.era.wrapping_add(1);
        self.window.clear();
    }
}

impl Rules {
    fn are_broken_by(&self, counts: CustomerCounts) -> bool {
        let CustomerCounts { calls, customers, failing } = counts;
        let share = |part: usize, whole: usize| {
            let [part, whole] =
                [part, whole].map(|it| f64::from(u32::try_from(it).unwrap_or(u32::MAX)));
            part >= self.failure_rate * whole
        };
        calls >= self.min_calls && failing >= MIN_FAILING_CUSTOMERS && share(failing, customers)
    }
}

impl Ticket {
    pub(super) fn customer(&self) -> CustomerHash {
        self.customer
    }

    /// Whether this is a probe of a suspect, whose failure says nothing about other customers.
    pub(super) fn is_suspects(&self) -> bool {
        self.turn == Some(Prober::Suspect)
    }

    /// Records the result of the call. Returns the new state if it changed.
    pub(super) fn ended(mut self, now: Monotonic, end: CallEnd) -> Option<State> {
        let breaker = self.breaker.clone();
        let mut inner = breaker.lock();
        if inner.era != self.era {
            return None;
        }
        match (&mut inner.phase, end) {
            (Phase::Closed, _) => {
                if end == CallEnd::Healthy {
                    inner.rate_limited.clear();
                }
                inner.window.count(self.customer, now, end != CallEnd::Healthy);
                let CallEnd::Outage(asked_to_wait) = end else { return None };
                let counts = inner.window.total(now);
                let wait = breaker.rules.open_for.max(asked_to_wait.unwrap_or_default());
                breaker.rules.are_broken_by(counts).then(|| {
                    inner.open(now.plus(wait));
                    State::Open
                })
            }
            // The `Retry-After` of one customer's probe doesn't apply to all.
            (Phase::Open(probes), CallEnd::Outage(_)) => {
                let turn = self.turn.take()?;
                probes.failed(turn, self.customer, now.plus(breaker.rules.open_for));
                (turn == Prober::Other).then_some(State::Open)
            }
            (Phase::Open(_), CallEnd::Healthy) => {
                self.turn = None;
                inner.rate_limited.clear();
                inner.enter(Phase::Closed);
                Some(State::Closed)
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let mut inner = self.breaker.lock();
        if inner.era == self.era
            && let Phase::Open(probes) = &mut inner.phase
        {
            probes.give_back(turn);
        }
    }
}

#[cfg(test)]
mod tests;
