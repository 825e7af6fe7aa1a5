//! The breaker on a clock in milliseconds. Each call is for another customer unless a test says
//! otherwise.

use super::*;
use crate::juspay::window::tests::customer;

const RULES: BreakerRules = BreakerRules {
    failure_rate: 0.5,
    window: Duration::from_secs(10),
    min_calls: 4,
    open_for: Duration::from_secs(5),
};

const FAILS: CallResult = CallResult::Outage(None);

/// A customer whose calls fail while those of others succeed.
const ODD: CustomerHash = customer(u64::MAX);

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
fn it_opens_at_the_rate_and_not_below_it() {
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
fn exactly_the_rate_opens_it() {
    let breaker = Breaker::new(RULES);
    for n in 0..9 {
        assert_eq!(call(&breaker, n, n >= 5), None, "{n}");
    }
    assert_eq!(call(&breaker, 9, true), Some(BreakerState::Open));
}

#[test]
fn it_needs_enough_calls() {
    let breaker = Breaker::new(BreakerRules { min_calls: 20, ..RULES });
    for n in 0..19 {
        assert_eq!(call(&breaker, n, true), None);
    }
    assert_eq!(call(&breaker, 19, true), Some(BreakerState::Open));
}

#[test]
fn it_needs_five_failing_customers() {
    let breaker = Breaker::new(RULES);
    for n in 0..1000 {
        assert_eq!(call_of(&breaker, customer(n % 4), n, FAILS), None);
    }
    assert_eq!(call_of(&breaker, customer(4), 1000, FAILS), Some(BreakerState::Open));
}

#[test]
fn a_customer_counts_once_however_often_it_fails() {
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
fn a_customer_whose_next_call_succeeds_does_not_count_as_failing() {
    let breaker = Breaker::new(RULES);
    for n in 0..100 {
        assert_eq!(call_of(&breaker, customer(n / 2), n, end(n % 2 == 0)), None);
    }
}

#[test]
fn failures_are_forgotten_when_the_window_has_passed() {
    for (last, state) in [(10_000, None), (9_999, Some(BreakerState::Open))] {
        let breaker = Breaker::new(RULES);
        for n in 0..4 {
            assert_eq!(call_of(&breaker, customer(n), 0, FAILS), None);
        }
        assert_eq!(call(&breaker, last, true), state, "{last}");
    }
}

#[test]
fn half_open_one_probe_at_a_time_decides() {
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
fn a_probe_that_never_ends_gives_its_place_back() {
    let breaker = opened();
    drop(admit(&breaker, 6000).unwrap());
    assert!(admit(&breaker, 6001).is_ok());
}

#[test]
fn an_odd_customer_cannot_keep_it_open() {
    let breaker = opened();
    assert_eq!(call_of(&breaker, ODD, 5005, FAILS), Some(BreakerState::Open), "once");
    for round in 0..100 {
        let now = 10_005 + round * 5_000;
        assert_eq!(call_of(&breaker, ODD, now, FAILS), None);
        assert_eq!(breaker.state(at(now)), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(ODD, at(now + 1)).unwrap_err(), Duration::from_millis(4999));
    }
    let odd = breaker.admit(ODD, at(600_000)).unwrap();
    assert_eq!(
        call(&breaker, 600_000, false),
        Some(BreakerState::Closed),
        "while that one is under way"
    );
    assert_eq!(odd.finish(at(600_001), FAILS), None);
}

#[test]
fn customers_that_failed_when_it_opened_keep_no_other_waiting_and_find_out_by_themselves() {
    let breaker = opened();
    let failed = customer(0);
    assert_eq!(call_of(&breaker, failed, 5005, FAILS), None);
    assert_eq!(breaker.state(at(5005)), BreakerState::HalfOpen, "open to others");
    assert_eq!(call_of(&breaker, failed, 10_005, CallResult::Healthy), Some(BreakerState::Closed));
}

#[test]
fn calls_from_before_it_opened_change_nothing() {
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
fn a_time_that_juspay_asks_for_lengthens_an_opening_and_never_makes_one() {
    for (asked, secs) in [(7, 7), (3, 5)] {
        let breaker = Breaker::new(RULES);
        let end = CallResult::Outage(Some(Duration::from_secs(asked)));
        for n in 0..4 {
            assert_eq!(call_of(&breaker, customer(n), 0, end), None);
        }
        assert_eq!(call_of(&breaker, customer(4), 0, end), Some(BreakerState::Open));
        assert_eq!(admit(&breaker, 0).unwrap_err(), Duration::from_secs(secs));
        // The `Retry-After` of a probe applies to its customer only.
        assert_eq!(call_of(&breaker, ODD, secs * 1000, end), Some(BreakerState::Open));
        assert_eq!(admit(&breaker, secs * 1000).unwrap_err(), Duration::from_secs(5));
    }
}

/// Juspay rate limits a customer's call at `now`, with a `Retry-After` that ends at `until`.
fn limited(breaker: &Breaker, now: u64, until: u64) -> bool {
    breaker.rate_limited(customer(now), at(now), at(until))
}

#[test]
fn a_rate_limit_of_two_customers_refuses_all_for_so_long_and_never_for_less_than_before() {
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
fn a_rate_limit_of_one_customer_is_its_own() {
    let breaker = Breaker::new(RULES);
    for n in 0..100 {
        assert!(!breaker.rate_limited(ODD, at(n), at(n + 30_000)));
    }
    // Different customers, but with a successful call in between.
    for n in 100..200 {
        assert_eq!(call(&breaker, n, false), None);
        assert!(!limited(&breaker, n, n + 30_000), "{n}");
    }
    assert_eq!(breaker.state(at(200)), BreakerState::Closed);
}

#[test]
fn a_rate_limit_counts_for_thirty_seconds() {
    for (second, opens) in [(29_999, true), (30_000, false)] {
        let breaker = Breaker::new(RULES);
        assert!(!limited(&breaker, 0, 700));
        assert_eq!(limited(&breaker, second, second + 700), opens, "{second}");
    }
}

#[test]
fn a_probe_from_before_a_rate_limit_decides_nothing_and_holds_no_place() {
    let again = |breaker: &Breaker| {
        assert!(!limited(breaker, 6000, 7000));
        assert!(limited(breaker, 6001, 7000));
    };
    let breaker = opened();
    let old = admit(&breaker, 6000).unwrap();
    again(&breaker);
    let new = admit(&breaker, 7000).unwrap();
    drop(old);
    assert!(admit(&breaker, 7001).is_err(), "the new probe is under way");
    assert_eq!(new.finish(at(7001), CallResult::Healthy), Some(BreakerState::Closed));
    let breaker = opened();
    let old = admit(&breaker, 6000).unwrap();
    again(&breaker);
    let _new = admit(&breaker, 7000).unwrap();
    assert_eq!(old.finish(at(7001), CallResult::Healthy), None);
    assert_eq!(breaker.state(at(7001)), BreakerState::HalfOpen);
}

#[test]
fn calls_from_before_it_opened_do_not_count_when_it_is_closed_again() {
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
