//! The breaker on a clock in milliseconds. Each call is for another customer unless a test states
//! otherwise.

use super::*;
use crate::juspay::sliding_window::tests::customer;

const RULES: BreakerRules = BreakerRules {
    failure_rate: 0.5,
    window: Duration::from_secs(10),
    min_calls: 4,
    open_for: Duration::from_secs(5),
};

const FAILS: CallResult = CallResult::Outage(None);

/// A customer whose calls fail while those of others succeed.
const FAILING: CustomerHash = customer(u64::MAX);

fn at(millis: u64) -> Monotonic {
    Monotonic::new(Duration::from_millis(millis))
}

fn end(fails: bool) -> CallResult {
    if fails { FAILS } else { CallResult::Healthy }
}

/// A call for the customer that starts and ends at `millis`.
fn call_of(
    breaker: &Breaker,
    of: CustomerHash,
    millis: u64,
    end: CallResult,
) -> Option<BreakerState> {
    breaker.admit(of, at(millis)).unwrap().finish(at(millis), end)
}

/// A call for a new customer that starts and ends at `millis`.
fn call(breaker: &Breaker, millis: u64, fails: bool) -> Option<BreakerState> {
    call_of(breaker, customer(millis), millis, end(fails))
}

fn admit(breaker: &Breaker, millis: u64) -> Result<BreakerPermit, Duration> {
    breaker.admit(customer(millis), at(millis))
}

/// A breaker opened at 5 ms by the customers 0 to 5.
fn opened() -> Breaker {
    let breaker = Breaker::new(RULES);
    for n in 0..5 {
        assert_eq!(call(&breaker, n, n != 2), None);
    }
    assert_eq!(call(&breaker, 5, true), Some(BreakerState::Open));
    breaker
}

#[test]
fn breaker_opens_at_the_failure_rate() {
    let breaker = opened();
    assert_eq!(admit(&breaker, 6).unwrap_err(), Duration::from_millis(4999));
    assert_eq!(breaker.state(at(5004)), BreakerState::Open);
    let breaker = Breaker::new(RULES);
    for n in 0..100 {
        assert_eq!(call(&breaker, n, n % 3 == 2), None, "a third isn't half");
    }
    assert_eq!(breaker.state(at(100)), BreakerState::Closed);
}

#[test]
fn exact_failure_rate_opens_the_breaker() {
    let breaker = Breaker::new(RULES);
    for n in 0..9 {
        assert_eq!(call(&breaker, n, n >= 5), None, "{n}");
    }
    assert_eq!(call(&breaker, 9, true), Some(BreakerState::Open));
}

#[test]
fn min_calls_are_required() {
    let breaker = Breaker::new(BreakerRules { min_calls: 20, ..RULES });
    for n in 0..19 {
        assert_eq!(call(&breaker, n, true), None);
    }
    assert_eq!(call(&breaker, 19, true), Some(BreakerState::Open));
}

#[test]
fn five_failing_customers_are_required() {
    let breaker = Breaker::new(RULES);
    for n in 0..1000 {
        assert_eq!(call_of(&breaker, customer(n % 4), n, FAILS), None);
    }
    assert_eq!(call_of(&breaker, customer(4), 1000, FAILS), Some(BreakerState::Open));
}

#[test]
fn customer_counts_once_however_often_it_fails() {
    let breaker = Breaker::new(RULES);
    for n in 0..6 {
        assert_eq!(call_of(&breaker, customer(n), n, CallResult::Healthy), None);
    }
    for n in 0..1000 {
        assert_eq!(call_of(&breaker, customer(100 + n % 5), n, FAILS), None, "5 of 11 isn't half");
    }
    assert_eq!(call_of(&breaker, customer(105), 1000, FAILS), Some(BreakerState::Open));
}

#[test]
fn success_clears_the_customers_failure() {
    let breaker = Breaker::new(RULES);
    for n in 0..100 {
        assert_eq!(call_of(&breaker, customer(n / 2), n, end(n % 2 == 0)), None);
    }
}

#[test]
fn failures_expire_with_the_window() {
    for (last, state) in [(10_000, None), (9_999, Some(BreakerState::Open))] {
        let breaker = Breaker::new(RULES);
        for n in 0..4 {
            assert_eq!(call_of(&breaker, customer(n), 0, FAILS), None);
        }
        assert_eq!(call(&breaker, last, true), state, "{last}");
    }
}

#[test]
fn half_open_breaker_admits_one_probe_at_a_time() {
    let breaker = opened();
    assert_eq!(breaker.state(at(5005)), BreakerState::HalfOpen);
    let probe = admit(&breaker, 5005).unwrap();
    assert_eq!(admit(&breaker, 5006).unwrap_err(), Duration::ZERO);
    assert_eq!(breaker.state(at(5006)), BreakerState::HalfOpen);
    assert_eq!(probe.finish(at(5100), FAILS), Some(BreakerState::Open));
    assert_eq!(breaker.state(at(5100)), BreakerState::Open);
    assert_eq!(admit(&breaker, 5101).unwrap_err(), Duration::from_millis(4999));
    let probe = admit(&breaker, 10_100).unwrap();
    assert_eq!(probe.finish(at(10_200), CallResult::Healthy), Some(BreakerState::Closed));
    assert_eq!(breaker.state(at(10_200)), BreakerState::Closed);
    for n in 10_201..10_205 {
        assert_eq!(call(&breaker, n, true), None, "it counts from zero");
    }
}

#[test]
fn dropped_probe_is_released() {
    let breaker = opened();
    drop(admit(&breaker, 6000).unwrap());
    assert!(admit(&breaker, 6001).is_ok());
}

#[test]
fn failing_customer_cannot_keep_the_breaker_open() {
    let breaker = opened();
    assert_eq!(call_of(&breaker, FAILING, 5005, FAILS), Some(BreakerState::Open), "once");
    for round in 0..100 {
        let now = 10_005 + round * 5_000;
        assert_eq!(call_of(&breaker, FAILING, now, FAILS), None);
        assert_eq!(breaker.state(at(now)), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(FAILING, at(now + 1)).unwrap_err(), Duration::from_millis(4999));
    }
    let failing = breaker.admit(FAILING, at(600_000)).unwrap();
    assert_eq!(
        call(&breaker, 600_000, false),
        Some(BreakerState::Closed),
        "while the first one is running"
    );
    assert_eq!(failing.finish(at(600_001), FAILS), None);
}

#[test]
fn suspects_probe_separately_and_do_not_block_others() {
    let breaker = opened();
    let failed = customer(0);
    assert_eq!(call_of(&breaker, failed, 5005, FAILS), None);
    assert_eq!(breaker.state(at(5005)), BreakerState::HalfOpen, "open to others");
    assert_eq!(call_of(&breaker, failed, 10_005, CallResult::Healthy), Some(BreakerState::Closed));
}

#[test]
fn results_of_calls_from_before_opening_are_ignored() {
    let breaker = Breaker::new(RULES);
    let (good, bad) = (admit(&breaker, 100).unwrap(), admit(&breaker, 101).unwrap());
    for n in 0..5 {
        let _ = call(&breaker, n, true);
    }
    assert_eq!(good.finish(at(10), CallResult::Healthy), None);
    assert_eq!(breaker.state(at(10)), BreakerState::Open);
    let probe = admit(&breaker, 5004).unwrap();
    assert_eq!(bad.finish(at(5004), FAILS), None);
    assert_eq!(probe.finish(at(5005), CallResult::Healthy), Some(BreakerState::Closed));
}

#[test]
fn retry_after_extends_but_never_causes_an_opening() {
    for (retry_after, secs) in [(7, 7), (3, 5)] {
        let breaker = Breaker::new(RULES);
        let end = CallResult::Outage(Some(Duration::from_secs(retry_after)));
        for n in 0..4 {
            assert_eq!(call_of(&breaker, customer(n), 0, end), None);
        }
        assert_eq!(call_of(&breaker, customer(4), 0, end), Some(BreakerState::Open));
        assert_eq!(admit(&breaker, 0).unwrap_err(), Duration::from_secs(secs));
        // The `Retry-After` of a probe applies to its customer only.
        assert_eq!(call_of(&breaker, FAILING, secs * 1000, end), Some(BreakerState::Open));
        assert_eq!(admit(&breaker, secs * 1000).unwrap_err(), Duration::from_secs(5));
    }
}

/// Juspay rate limits a customer's call at `now`, with a `Retry-After` that ends at `until`.
fn limited(breaker: &Breaker, now: u64, until: u64) -> bool {
    breaker.rate_limited(customer(now), at(now), at(until))
}

#[test]
fn rate_limit_of_two_customers_stops_all_calls() {
    let breaker = Breaker::new(RULES);
    assert!(!limited(&breaker, 0, 700), "one customer");
    assert!(admit(&breaker, 0).is_ok());
    assert!(limited(&breaker, 1, 700));
    assert_eq!(admit(&breaker, 1).unwrap_err(), Duration::from_millis(699));
    assert!(!limited(&breaker, 2, 600), "no news");
    assert_eq!(admit(&breaker, 2).unwrap_err(), Duration::from_millis(698));
    assert!(!limited(&breaker, 3, 800));
    assert_eq!(admit(&breaker, 3).unwrap_err(), Duration::from_millis(797));
    assert_eq!(breaker.state(at(799)), BreakerState::Open);
    assert_eq!(breaker.state(at(800)), BreakerState::HalfOpen);
    assert!(admit(&breaker, 800).is_ok());
}

#[test]
fn rate_limit_of_one_customer_affects_no_other() {
    let breaker = Breaker::new(RULES);
    for n in 0..100 {
        assert!(!breaker.rate_limited(FAILING, at(n), at(n + 30_000)));
    }
    // Different customers, but with a successful call in between.
    for n in 100..200 {
        assert_eq!(call(&breaker, n, false), None);
        assert!(!limited(&breaker, n, n + 30_000), "{n}");
    }
    assert_eq!(breaker.state(at(200)), BreakerState::Closed);
}

#[test]
fn rate_limit_expires_after_thirty_seconds() {
    for (second, opens) in [(29_999, true), (30_000, false)] {
        let breaker = Breaker::new(RULES);
        assert!(!limited(&breaker, 0, 700));
        assert_eq!(limited(&breaker, second, second + 700), opens, "{second}");
    }
}

#[test]
fn rate_limit_abandons_a_running_probe() {
    let again = |breaker: &Breaker| {
        assert!(!limited(breaker, 6000, 7000));
        assert!(limited(breaker, 6001, 7000));
    };
    let breaker = opened();
    let old = admit(&breaker, 6000).unwrap();
    again(&breaker);
    let new = admit(&breaker, 7000).unwrap();
    drop(old);
    assert!(admit(&breaker, 7001).is_err(), "the new probe is running");
    assert_eq!(new.finish(at(7001), CallResult::Healthy), Some(BreakerState::Closed));
    let breaker = opened();
    let old = admit(&breaker, 6000).unwrap();
    again(&breaker);
    let _new = admit(&breaker, 7000).unwrap();
    assert_eq!(old.finish(at(7001), CallResult::Healthy), None);
    assert_eq!(breaker.state(at(7001)), BreakerState::HalfOpen);
}

#[test]
fn results_from_before_opening_are_ignored_after_closing() {
    let breaker = Breaker::new(RULES);
    let hung: Vec<_> = (100..105).map(|n| breaker.admit(customer(n), at(0)).unwrap()).collect();
    for n in 0..5 {
        let _ = call(&breaker, n, true);
    }
    assert_eq!(call(&breaker, 6000, false), Some(BreakerState::Closed));
    for ticket in hung {
        assert_eq!(ticket.finish(at(6001), FAILS), None);
    }
    assert_eq!(breaker.state(at(6001)), BreakerState::Closed);
}
