//! The breaker by the milliseconds of a clock that is a number.

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
fn a_latch_opens_at_once() {
    let latch = Breaker::latch(Duration::from_secs(5));
    assert_eq!(call(&latch, 0, false), None);
    assert_eq!(call(&latch, 1, true), Some(State::Open));
}

#[test]
fn a_hold_refuses_for_so_long_and_never_for_less_than_before() {
    let breaker = Breaker::new(RULES);
    assert!(breaker.hold(at(700)));
    assert_eq!(breaker.admit(at(0)).unwrap_err(), Duration::from_millis(700));
    assert!(!breaker.hold(at(600)), "no news");
    assert_eq!(breaker.admit(at(0)).unwrap_err(), Duration::from_millis(700));
    assert!(!breaker.hold(at(800)));
    assert_eq!(breaker.admit(at(0)).unwrap_err(), Duration::from_millis(800));
    assert_eq!(breaker.state(at(799)), State::Open);
    assert_eq!(breaker.state(at(800)), State::HalfOpen);
    assert!(breaker.admit(at(800)).is_ok());
}

#[test]
fn a_probe_from_before_a_hold_decides_nothing_and_holds_no_place() {
    let breaker = opened();
    let old = breaker.admit(at(6000)).unwrap();
    assert!(breaker.hold(at(7000)));
    let new = breaker.admit(at(7000)).unwrap();
    drop(old);
    assert!(breaker.admit(at(7000)).is_err(), "the new probe is under way");
    assert_eq!(new.ended(at(7001), false), Some(State::Closed));
    let breaker = opened();
    let old = breaker.admit(at(6000)).unwrap();
    assert!(breaker.hold(at(7000)));
    let _new = breaker.admit(at(7000)).unwrap();
    assert_eq!(old.ended(at(7001), false), None);
    assert_eq!(breaker.state(at(7001)), State::HalfOpen);
}

#[test]
fn calls_from_before_it_opened_do_not_count_when_it_is_closed_again() {
    let breaker = Breaker::new(RULES);
    let hung: Vec<_> = (0..4).map(|_| breaker.admit(at(0)).unwrap()).collect();
    for n in 0..4 {
        let _ = call(&breaker, n, true);
    }
    assert_eq!(call(&breaker, 6000, false), Some(State::Closed));
    for ticket in hung {
        assert_eq!(ticket.ended(at(6001), true), None);
    }
    assert_eq!(breaker.state(at(6001)), State::Closed);
}
