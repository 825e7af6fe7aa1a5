//! When Juspay isn't called: a circuit breaker, pure but for the clock's readings given to it.
//!
//! Closed, calls go out, and the customers with calls are counted over a sliding window, each once.
//! It opens when the calls of enough different customers fail, and refuses calls for a while. Then
//! it is half open: [`Probes`] find out whether Juspay is back; a success closes it, a failure of a
//! customer whose calls haven't failed before opens it again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    probes::{Prober, Probes},
    window::{CustomerCounts, CustomerHash, CustomerWindow},
};
use crate::clock::Monotonic;

/// Different customers whose calls must fail before the breaker opens: fewer may be odd data.
const MIN_FAILING_CUSTOMERS: usize = 5;

/// Different customers whose calls met a rate limit (429) before it is taken for one of all calls, and
/// how long each counts.
const RATE_LIMITED_CUSTOMERS: usize = 2;
const RATE_LIMIT_COUNTS_FOR: Duration = Duration::from_secs(30);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The share of customers with failing calls at which it opens.
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

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// Well, or in a way that isn't an outage.
    Healthy,
    /// As in an outage; with the time for which Juspay wants no calls.
    Outage(Option<Duration>),
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
    window: CustomerWindow,
    /// Customers whose calls met a rate limit since a call last went well, and when; at most
    /// [`RATE_LIMITED_CUSTOMERS`].
    rate_limited: Vec<(CustomerHash, Monotonic)>,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// Open until the probes may begin, then half open.
    Open(Probes),
}

/// Permission for one call. Dropped without its end, it proves nothing, and a probe gives its place
/// back.
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

    /// Permission for a call, or the time for which there is none.
    pub(super) fn admit(&self, customer: CustomerHash, now: Monotonic) -> Result<Ticket, Duration> {
        let mut inner = self.lock();
        let turn = match &mut inner.phase {
            Phase::Closed => None,
            Phase::Open(probes) => Some(probes.admit(customer, now)?),
        };
        Ok(Ticket { breaker: self.clone(), era: inner.era, customer, turn })
    }

    /// A customer's call met a rate limit: Juspay wants no calls until then. Once it said so for
    /// different customers, all calls are refused; never for less time than they are anyway, and a
    /// probe under way decides nothing any more. Returns whether calls went out before and don't now.
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

    /// A thread that panicked with the lock left it whole: nothing in between can panic.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Customers with failing calls are no probes for all: their calls may fail for another reason.
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

    /// Whether it is the probe of a customer whose calls have failed: its failures say nothing about
    /// other customers.
    pub(super) fn is_suspects(&self) -> bool {
        self.turn == Some(Prober::Suspect)
    }

    /// The call has ended. Returns the state that this has led to, when it is another one.
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
            // One customer's probe doesn't say how long all are to wait.
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
