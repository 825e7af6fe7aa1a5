//! When Juspay isn't asked: a circuit breaker, pure but for the clock's readings given to it.
//!
//! Closed, calls go out and their ends are counted over a sliding window. Once too many fail it
//! opens, and calls are refused for a while. Then it is half open: one call at a time probes
//! whether all is well again; a success closes it, a failure opens it anew.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::Monotonic;

/// Parts that the window slides by: it forgets a tenth at a time.
const SLICES: u32 = 10;

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
    window: Window,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Monotonic },
    HalfOpen { probing: bool },
}

/// Permission for one call. Its end must be told; dropped untold, it counts as never made.
#[derive(Debug)]
#[must_use = "the call's end is to be told"]
pub(super) struct Ticket {
    inner: Arc<Mutex<Inner>>,
    rules: Rules,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new(rules: Rules) -> Self {
        let inner = Inner { phase: Phase::Closed, window: Window::new(rules.window) };
        Self { rules, inner: Arc::new(Mutex::new(inner)) }
    }

    /// One that opens at the first failure.
    pub(super) fn latch(open_for: Duration) -> Self {
        let window = Duration::from_secs(1);
        Self::new(Rules { failure_rate: 0.0, window, min_calls: 1, open_for })
    }

    /// Permission for a call, or how long there will be none.
    pub(super) fn admit(&self, now: Monotonic) -> Result<Ticket, Duration> {
        let mut inner = lock(&self.inner);
        let is_probe = match inner.phase {
            Phase::Closed => false,
            Phase::Open { until } if now < until => return Err(until.since(now)),
            // Another call is probing; its end isn't far.
            Phase::HalfOpen { probing: true } => return Err(Duration::ZERO),
            Phase::Open { .. } | Phase::HalfOpen { probing: false } => {
                inner.phase = Phase::HalfOpen { probing: true };
                true
            }
        };
        Ok(Ticket { inner: Arc::clone(&self.inner), rules: self.rules, is_probe })
    }

    /// Refuses all calls until then, as Juspay has asked for it.
    pub(super) fn hold(&self, until: Monotonic) {
        lock(&self.inner).phase = Phase::Open { until };
    }

    pub(super) fn state(&self, now: Monotonic) -> State {
        match lock(&self.inner).phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

impl Ticket {
    /// The call has ended. Tells the state that this has led to, when it is another one.
    pub(super) fn ended(mut self, now: Monotonic, is_failure: bool) -> Option<State> {
        let is_probe = std::mem::take(&mut self.is_probe);
        let mut inner = lock(&self.inner);
        let opens = match inner.phase {
            Phase::HalfOpen { .. } if is_probe => {
                if !is_failure {
                    *inner = Inner { phase: Phase::Closed, window: Window::new(self.rules.window) };
                    return Some(State::Closed);
                }
                true
            }
            Phase::Closed => {
                inner.window.count(now, is_failure);
                is_failure && inner.window.is_bad(now, &self.rules)
            }
            // A call from before it opened: nothing new.
            Phase::Open { .. } | Phase::HalfOpen { .. } => false,
        };
        if opens {
            inner.phase = Phase::Open { until: now.plus(self.rules.open_for) };
            inner.window = Window::new(self.rules.window);
        }
        opens.then_some(State::Open)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_probe
            && let Phase::HalfOpen { probing } = &mut lock(&self.inner).phase
        {
            *probing = false;
        }
    }
}

/// Counts over a time that slides in steps.
#[derive(Debug)]
pub(super) struct Window {
    slice: Duration,
    /// The oldest first; each with the moment at which it began.
    slices: VecDeque<(Monotonic, Counts)>,
}

/// What has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) all: u32,
    pub(super) marked: u32,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let slice = length.checked_div(SLICES).unwrap_or_default();
        Self { slice, slices: VecDeque::new() }
    }

    /// Counts one thing, marked or not.
    pub(super) fn count(&mut self, now: Monotonic, is_marked: bool) {
        self.forget(now);
        let is_current =
            self.slices.back().is_some_and(|(start, _)| now.since(*start) < self.slice);
        if !is_current {
            self.slices.push_back((now, Counts::default()));
        }
        if let Some((_, counts)) = self.slices.back_mut() {
            counts.all = counts.all.saturating_add(1);
            counts.marked = counts.marked.saturating_add(u32::from(is_marked));
        }
    }

    /// What the window holds.
    pub(super) fn total(&mut self, now: Monotonic) -> Counts {
        self.forget(now);
        self.slices.iter().fold(Counts::default(), |sum, (_, counts)| Counts {
            all: sum.all.saturating_add(counts.all),
            marked: sum.marked.saturating_add(counts.marked),
        })
    }

    fn is_bad(&mut self, now: Monotonic, rules: &Rules) -> bool {
        let Counts { all, marked } = self.total(now);
        all >= rules.min_calls && f64::from(marked) >= rules.failure_rate * f64::from(all)
    }

    fn forget(&mut self, now: Monotonic) {
        let length = self.slice.saturating_mul(SLICES);
        while self.slices.front().is_some_and(|(start, _)| now.since(*start) >= length) {
            self.slices.pop_front();
        }
    }
}

/// A thread that panicked with the lock left it whole: each change is a single one.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        failure_rate: 0.5,
        window: Duration::from_secs(10),
        min_calls: 4,
        open_for: Duration::from_secs(5),
    };

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(millis))
    }

    /// A call at that time that ends at once.
    fn call(breaker: &Breaker, millis: u64, fails: bool) -> Option<State> {
        breaker.admit(at(millis)).unwrap().ended(at(millis), fails)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(RULES);
        assert_eq!(call(&breaker, 0, true), None);
        assert_eq!(call(&breaker, 1, true), None);
        assert_eq!(call(&breaker, 2, false), None);
        assert_eq!(call(&breaker, 3, true), Some(State::Open));
        breaker
    }

    #[test]
    fn it_opens_at_the_rate_and_not_without_enough_calls() {
        let breaker = opened();
        assert_eq!(breaker.admit(at(4)).unwrap_err(), Duration::from_millis(4999));
        assert_eq!(breaker.state(at(5002)), State::Open);
        let breaker = Breaker::new(RULES);
        for n in 0..100 {
            assert_eq!(call(&breaker, n, n % 3 == 2), None, "a third isn't half");
        }
        assert_eq!(breaker.state(at(100)), State::Closed);
    }

    #[test]
    fn exactly_the_rate_opens_it() {
        let breaker = Breaker::new(RULES);
        for (n, fails) in [true, false, false].into_iter().enumerate() {
            assert_eq!(call(&breaker, n.try_into().unwrap(), fails), None);
        }
        assert_eq!(call(&breaker, 3, true), Some(State::Open));
    }

    #[test]
    fn failures_are_forgotten_when_the_window_has_passed() {
        let breaker = Breaker::new(RULES);
        for n in 0..3 {
            assert_eq!(call(&breaker, n, true), None);
        }
        assert_eq!(call(&breaker, 10_000, true), None, "the others have left the window");
        let breaker = Breaker::new(RULES);
        for n in 0..3 {
            assert_eq!(call(&breaker, n, true), None);
        }
        assert_eq!(call(&breaker, 9_999, true), Some(State::Open));
    }

    #[test]
    fn half_open_one_probe_at_a_time_decides() {
        let breaker = opened();
        assert_eq!(breaker.state(at(5003)), State::HalfOpen);
        let probe = breaker.admit(at(5003)).unwrap();
        assert_eq!(breaker.admit(at(5003)).unwrap_err(), Duration::ZERO);
        assert_eq!(breaker.state(at(5003)), State::HalfOpen);
        assert_eq!(probe.ended(at(5100), true), Some(State::Open));
        assert_eq!(breaker.admit(at(5101)).unwrap_err(), Duration::from_millis(4999));
        let probe = breaker.admit(at(10_100)).unwrap();
        assert_eq!(probe.ended(at(10_200), false), Some(State::Closed));
        assert_eq!(breaker.state(at(10_200)), State::Closed);
        assert_eq!(call(&breaker, 10_201, true), None, "it counts anew");
    }

    #[test]
    fn a_probe_that_never_ends_gives_its_place_back() {
        let breaker = opened();
        drop(breaker.admit(at(6000)).unwrap());
        assert!(breaker.admit(at(6000)).is_ok());
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing() {
        let breaker = Breaker::new(RULES);
        let (good, bad) = (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
        for n in 0..4 {
            let _ = call(&breaker, n, true);
        }
        assert_eq!(good.ended(at(10), false), None);
        assert_eq!(breaker.state(at(10)), State::Open);
        let probe = breaker.admit(at(5003)).unwrap();
        assert_eq!(bad.ended(at(5004), true), None);
        assert_eq!(probe.ended(at(5005), false), Some(State::Closed));
    }

    #[test]
    fn a_latch_opens_at_once_and_a_hold_when_told() {
        let latch = Breaker::latch(Duration::from_secs(5));
        assert_eq!(call(&latch, 0, false), None);
        assert_eq!(call(&latch, 1, true), Some(State::Open));
        let breaker = Breaker::new(RULES);
        breaker.hold(at(700));
        assert_eq!(breaker.admit(at(0)).unwrap_err(), Duration::from_millis(700));
        assert!(breaker.admit(at(700)).is_ok());
    }
}
