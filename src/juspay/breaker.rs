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
    probes::{ProbeKind, Probes},
    sliding_window::{CustomerCounts, CustomerHash, CustomerWindow},
};
use crate::clock::Monotonic;

/// Minimum number of customers with failed calls before the breaker opens. Fewer may just have unusual
/// data.
const MIN_FAILING_CUSTOMERS: usize = 5;

/// A rate limit (429) of this many different customers counts as a rate limit of all calls. Each
/// one counts for [`RATE_LIMIT_LIFETIME`].
const MIN_RATE_LIMITED_CUSTOMERS: usize = 2;
const RATE_LIMIT_LIFETIME: Duration = Duration::from_secs(30);

/// When the breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakerRules {
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
pub(super) enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

/// The result of a call for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallResult {
    /// A success, or an error that doesn't indicate an outage.
    Healthy,
    /// An error that indicates an outage, with Juspay's `Retry-After`.
    Outage(Option<Duration>),
}

/// The circuit breaker. Clones share its state.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    rules: BreakerRules,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    circuit: Circuit,
    /// Incremented with each change of state. Results of calls admitted before are ignored.
    generation: u64,
    window: CustomerWindow,
    /// Customers whose calls were rate limited since the last success, and when; at most
    /// [`MIN_RATE_LIMITED_CUSTOMERS`].
    rate_limited: Vec<(CustomerHash, Monotonic)>,
}

#[derive(Debug)]
enum Circuit {
    Closed,
    /// Open until probes may start, then half open.
    Open(Probes),
}

/// Permission for one call. Dropping it without a result releases the probe and counts nothing.
#[derive(Debug)]
#[must_use = "the call's end is needed"]
pub(super) struct BreakerPermit {
    breaker: Breaker,
    generation: u64,
    customer: CustomerHash,
    probe: Option<ProbeKind>,
}

impl Breaker {
    pub(super) fn new(rules: BreakerRules) -> Self {
        let window = CustomerWindow::new(rules.window);
        let inner =
            Inner { circuit: Circuit::Closed, generation: 0, window, rate_limited: Vec::new() };
        Self { rules, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Admits a call, or returns how long calls are rejected.
    pub(super) fn admit(
        &self,
        customer: CustomerHash,
        now: Monotonic,
    ) -> Result<BreakerPermit, Duration> {
        let mut inner = self.lock();
        let probe = match &mut inner.circuit {
            Circuit::Closed => None,
            Circuit::Open(probes) => Some(probes.admit(customer, now)?),
        };
        Ok(BreakerPermit { breaker: self.clone(), generation: inner.generation, customer, probe })
    }

    /// Records that Juspay rate limited a customer's call until `until`. After rate limits of
    /// different customers, the breaker rejects all calls until then, and never for less time than
    /// before. A running probe no longer counts. Returns whether this stopped calls or probes.
    pub(super) fn rate_limited(
        &self,
        customer: CustomerHash,
        now: Monotonic,
        until: Monotonic,
    ) -> bool {
        let mut inner = self.lock();
        let limited = &mut inner.rate_limited;
        limited.retain(|(of, at)| *of != customer && now.since(*at) < RATE_LIMIT_LIFETIME);
        limited.truncate(MIN_RATE_LIMITED_CUSTOMERS - 1);
        limited.push((customer, now));
        if limited.len() < MIN_RATE_LIMITED_CUSTOMERS {
            return false;
        }
        inner.hold(until)
    }

    /// Rejects all calls until then, and never for less time than before. Returns whether this stopped
    /// calls or probes.
    pub(super) fn hold(&self, until: Monotonic) -> bool {
        self.lock().hold(until)
    }

    pub(super) fn state(&self, now: Monotonic) -> BreakerState {
        match &self.lock().circuit {
            Circuit::Closed => BreakerState::Closed,
            Circuit::Open(probes) if now < probes.next_probe() => BreakerState::Open,
            Circuit::Open(_) => BreakerState::HalfOpen,
        }
    }

    /// No code panics while it holds the lock, so a poisoned lock is safe to use.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hold(&mut self, until: Monotonic) -> bool {
        if let Circuit::Open(probes) = &mut self.circuit {
            let was_probing = probes.delay(until);
            self.generation += 1;
            return was_probing;
        }
        self.open(until);
        true
    }

    /// Customers with failed calls become suspects: their probes may fail for reasons that concern only them.
    fn open(&mut self, until: Monotonic) {
        let probes = Probes::new(self.window.failing(), until, until);
        self.switch_to(Circuit::Open(probes));
    }

    fn switch_to(&mut self, circuit: Circuit) {
        self.circuit = circuit;
        self.generation += 1;
        self.window.clear();
    }
}

impl BreakerRules {
    fn is_exceeded_by(&self, counts: CustomerCounts) -> bool {
        let CustomerCounts { calls, customers, failing } = counts;
        let share = |part: usize, whole: usize| {
            let [part, whole] =
                [part, whole].map(|it| f64::from(u32::try_from(it).unwrap_or(u32::MAX)));
            part >= self.failure_rate * whole
        };
        calls >= self.min_calls && failing >= MIN_FAILING_CUSTOMERS && share(failing, customers)
    }
}

impl BreakerPermit {
    pub(super) fn customer(&self) -> CustomerHash {
        self.customer
    }

    /// Whether this is a probe of a suspect, whose failure does not concern other customers.
    pub(super) fn is_suspect_probe(&self) -> bool {
        self.probe == Some(ProbeKind::Suspect)
    }

    /// Records the result of the call. Returns the new state if it changed.
    pub(super) fn finish(mut self, now: Monotonic, end: CallResult) -> Option<BreakerState> {
        let breaker = self.breaker.clone();
        let mut inner = breaker.lock();
        if inner.generation != self.generation {
            return None;
        }
        match (&mut inner.circuit, end) {
            (Circuit::Closed, _) => {
                if end == CallResult::Healthy {
                    inner.rate_limited.clear();
                }
                inner.window.count(self.customer, now, end != CallResult::Healthy);
                let CallResult::Outage(retry_after) = end else { return None };
                let counts = inner.window.total(now);
                let wait = breaker.rules.open_for.max(retry_after.unwrap_or_default());
                breaker.rules.is_exceeded_by(counts).then(|| {
                    inner.open(now.plus(wait));
                    BreakerState::Open
                })
            }
            // The `Retry-After` of one customer's probe doesn't apply to all.
            (Circuit::Open(probes), CallResult::Outage(_)) => {
                let probe = self.probe.take()?;
                probes.failed(probe, self.customer, now.plus(breaker.rules.open_for));
                (probe == ProbeKind::Other).then_some(BreakerState::Open)
            }
            (Circuit::Open(_), CallResult::Healthy) => {
                self.probe = None;
                inner.rate_limited.clear();
                inner.switch_to(Circuit::Closed);
                Some(BreakerState::Closed)
            }
        }
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        let mut inner = self.breaker.lock();
        if inner.generation == self.generation
            && let Circuit::Open(probes) = &mut inner.circuit
        {
            probes.release(probe);
        }
    }
}

#[cfg(test)]
mod tests;
