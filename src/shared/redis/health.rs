//! Whether a node of the server may be used: not while it is down, nor while its breaker is open.
//!
//! Three timeouts in a row, or one error of the connection, mean that the node is down until there is a
//! new connection that works. The breaker opens on a failure rate, for a node that responds only now and
//! then: its look-ups would wait in vain. Both are per node, as a cluster's other nodes may be well.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::{Monotonic, jittered};

/// Timeouts in a row after which a node is down.
const MAX_TIMEOUTS: u32 = 3;

/// Timeouts within this time count once: many calls that were sent at the same time say no more than one.
const SAME_TIMEOUT: Duration = Duration::from_millis(40);

/// Responses that the breaker remembers, at most.
const WINDOW: u32 = 64;

/// Responses that the breaker needs for a rate.
const MIN_RESPONSES: u32 = 20;

/// How long the breaker stays open, at most.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// The state of a node.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// A key whose look-up failed, if the node is down.
    down: Option<String>,
    timeouts_in_a_row: u32,
    last_timeout: Option<Monotonic>,
    /// The last responses, the newest in the lowest bit: 1 is a timeout.
    history: u64,
    responses: u32,
    open_until: Option<Monotonic>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server responded, even with a refusal.
    Responded,
    /// No response in time.
    Timeout,
    /// The connection or the server is of no use.
    Lost,
}

/// Why a node may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    Down,
    BreakerOpen,
}

impl Health {
    /// Whether a command may be sent.
    pub(super) fn check(&self, now: Monotonic) -> Result<(), Unusable> {
        let mut state = self.state();
        if state.down.is_some() {
            return Err(Unusable::Down);
        }
        match state.open_until {
            Some(until) if now < until => Err(Unusable::BreakerOpen),
            Some(_) => {
                *state = State::default();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Records how a command about `key` ended. Returns whether the node has just gone down.
    pub(super) fn note(&self, outcome: Outcome, key: &str, now: Monotonic) -> bool {
        let mut state = self.state();
        let is_timeout = outcome == Outcome::Timeout;
        if is_timeout {
            if state.last_timeout.is_some_and(|last| now.since(last) < SAME_TIMEOUT) {
                return false;
            }
            state.last_timeout = Some(now);
        }
        state.history = (state.history << 1) | u64::from(is_timeout);
        state.responses = state.responses.saturating_add(1).min(WINDOW);
        state.timeouts_in_a_row =
            if is_timeout { state.timeouts_in_a_row.saturating_add(1) } else { 0 };
        let is_failing = state.history.count_ones().saturating_mul(2) >= state.responses;
        if is_failing && state.responses >= MIN_RESPONSES && state.open_until.is_none() {
            state.open_until = Some(now.plus(jittered(OPEN_FOR)));
        }
        let goes_down = outcome == Outcome::Lost || state.timeouts_in_a_row >= MAX_TIMEOUTS;
        let was_up = state.down.is_none();
        if goes_down && was_up {
            state.down = Some(key.to_owned());
        }
        goes_down && was_up
    }

    /// The key whose look-up failed, if the node is down.
    pub(super) fn down(&self) -> Option<String> {
        self.state().down.clone()
    }

    /// Whether the breaker is open.
    pub(super) fn is_open(&self, now: Monotonic) -> bool {
        self.state().open_until.is_some_and(|until| now < until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(milliseconds))
    }

    #[test]
    fn three_timeouts_in_a_row_mean_down() {
        let health = Health::default();
        let outcomes = [Outcome::Timeout, Outcome::Timeout, Outcome::Responded, Outcome::Timeout];
        for (outcome, time) in outcomes.into_iter().zip([0, 50, 60, 100]) {
            assert!(!health.note(outcome, "a", at(time)));
        }
        assert!(!health.note(Outcome::Timeout, "a", at(150)));
        for _ in 0..100 {
            assert!(!health.note(Outcome::Timeout, "a", at(160)), "sent at the same time");
        }
        assert_eq!(health.check(at(160)), Ok(()));
        assert!(health.note(Outcome::Timeout, "b", at(200)));
        assert!(!health.note(Outcome::Timeout, "c", at(250)), "reported once");
        assert_eq!(health.check(at(10_000)), Err(Unusable::Down));
        assert_eq!(health.down().as_deref(), Some("b"));
    }

    #[test]
    fn one_error_of_the_connection_means_down() {
        let health = Health::default();
        assert!(health.note(Outcome::Lost, "a", at(0)));
        assert_eq!(health.check(at(0)), Err(Unusable::Down));
    }

    #[test]
    fn breaker_opens_on_a_failure_rate_and_closes_again() {
        let health = Health::default();
        for time in 0..9 {
            health.note(Outcome::Timeout, "a", at(time * 50));
            health.note(Outcome::Responded, "a", at(time * 50));
        }
        health.note(Outcome::Timeout, "a", at(450));
        assert_eq!(health.check(at(450)), Ok(()), "too few responses for a rate");
        health.note(Outcome::Responded, "a", at(450));
        assert_eq!(health.check(at(949)), Err(Unusable::BreakerOpen));
        assert!(health.is_open(at(450)) && !health.is_open(at(1450)));
        assert_eq!(health.check(at(1450)), Ok(()));
        health.note(Outcome::Timeout, "a", at(1450));
        assert_eq!(health.check(at(1450)), Ok(()), "the rate begins again");
    }

    #[test]
    fn few_failures_keep_the_breaker_closed() {
        let health = Health::default();
        for number in 0..1000 {
            let outcome = if number % 3 == 0 { Outcome::Timeout } else { Outcome::Responded };
            health.note(outcome, "a", at(number * 50));
            assert_eq!(health.check(at(number * 50)), Ok(()));
        }
    }
}
