//! Tests of the flight table by itself: who boards, who waits, who may store.

use futures_util::FutureExt as _;

use super::*;
use crate::customer::CustomerId;

fn key(customer: &str) -> CustomerKey {
    let customer = CustomerId::parse(customer).unwrap();
    CustomerKey { merchant: "m".into(), customer }
}

fn lead(flights: &Flights<u32>, customer: &str) -> Pilot<u32> {
    match flights.board(&key(customer), || true) {
        Boarding::Leader(pilot) => pilot,
        Boarding::Joined(_) | Boarding::Missed => panic!("somebody else flies {customer}"),
    }
}

fn join(flights: &Flights<u32>, customer: &str) -> Arc<Flight<u32>> {
    match flights.board(&key(customer), || panic!("asked although one is flying")) {
        Boarding::Joined(flight) => flight,
        Boarding::Leader(_) | Boarding::Missed => panic!("nobody flies {customer}"),
    }
}

#[test]
fn p4_all_share_one_flight_until_it_has_landed() {
    let flights = Flights::default();
    let pilot = lead(&flights, "a");
    let (first, second) = (join(&flights, "a"), join(&flights, "a"));
    let _other = lead(&flights, "b");
    assert!(first.landed().now_or_never().is_none(), "still flying");
    pilot.land(|_, may_store| {
        assert!(may_store);
        7
    });
    assert_eq!(first.landed().now_or_never(), Some(Some(7)));
    assert_eq!(second.landed().now_or_never(), Some(Some(7)), "late waiters too");
    drop(lead(&flights, "a"));
}

#[test]
fn p4_a_lost_flight_tells_its_waiters_and_leaves_the_table() {
    let flights = Flights::default();
    let pilot = lead(&flights, "a");
    let waiter = join(&flights, "a");
    drop(pilot);
    assert_eq!(waiter.landed().now_or_never(), Some(None));
    drop(lead(&flights, "a"));
}

#[test]
fn p4_behind_a_void_flight_the_next_one_waits() {
    let flights = Flights::default();
    let mut old = lead(&flights, "a");
    assert!(old.take_off().now_or_never().is_some());
    let waiter = join(&flights, "a");
    assert_eq!(flights.void(Some(&key("a")), || 3), 3);
    let mut new = lead(&flights, "a");
    assert!(new.take_off().now_or_never().is_none(), "one call at a time");
    let joined = join(&flights, "a");
    old.land(|_, may_store| {
        assert!(!may_store, "it began before the purge");
        1
    });
    assert_eq!(waiter.landed().now_or_never(), Some(Some(1)));
    assert!(new.take_off().now_or_never().is_some());
    let late = join(&flights, "a");
    new.land(|_, may_store| {
        assert!(may_store);
        2
    });
    assert_eq!(joined.landed().now_or_never(), Some(Some(2)));
    assert_eq!(late.landed().now_or_never(), Some(Some(2)), "the old one left it in the table");
}

#[test]
fn p4_who_looked_before_a_landing_looks_again() {
    let flights = Flights::<u32>::default();
    let missed = flights.board(&key("a"), || false);
    assert!(matches!(missed, Boarding::Missed));
    let mut old = lead(&flights, "a");
    assert!(old.take_off().now_or_never().is_some());
    flights.void(None, || ());
    let missed = flights.board(&key("a"), || false);
    assert!(matches!(missed, Boarding::Missed), "a void flight brings nothing");
    drop(lead(&flights, "a"));
}

#[test]
fn p4_nobody_lands_while_it_is_asked_whether_a_flight_is_needed() {
    let flights = Flights::<u32>::default();
    let locked = |flights: &Flights<u32>| flights.table.try_lock().is_err();
    let boarding = flights.board(&key("a"), || locked(&flights));
    let Boarding::Leader(pilot) = boarding else { panic!("asked with the table open") };
    assert!(flights.void(None, || locked(&flights)));
    assert!(flights.while_none_lands(|| locked(&flights)));
    pilot.land(|_, _| u32::from(locked(&flights)));
    assert!(!locked(&flights));
}

#[test]
fn p4_behind_a_lost_void_flight_the_next_one_goes_on() {
    let flights = Flights::default();
    let mut old = lead(&flights, "a");
    assert!(old.take_off().now_or_never().is_some());
    flights.void(None, || ());
    let mut new = lead(&flights, "a");
    assert!(new.take_off().now_or_never().is_none());
    drop(old);
    assert!(new.take_off().now_or_never().is_some());
}

#[test]
fn p4_a_flight_lost_behind_a_void_one_does_not_open_the_door() {
    let flights = Flights::default();
    let mut old = lead(&flights, "a");
    assert!(old.take_off().now_or_never().is_some());
    flights.void(None, || ());
    drop(lead(&flights, "a"));
    let mut new = lead(&flights, "a");
    assert!(new.take_off().now_or_never().is_none(), "the void one still flies");
    old.land(|_, _| 1);
    assert!(new.take_off().now_or_never().is_some());
}

#[test]
fn a_flight_lost_behind_one_that_has_landed_leaves_the_table_empty() {
    let flights = Flights::default();
    let mut old = lead(&flights, "a");
    assert!(old.take_off().now_or_never().is_some());
    flights.void(None, || ());
    let new = lead(&flights, "a");
    old.land(|_, _| 1);
    drop(new);
    assert!(lock(&flights.table).is_empty());
}

#[test]
fn purge_after_purge_keeps_no_landed_flight_in_memory() {
    let flights = Flights::default();
    let mut old = lead(&flights, "a");
    let first = Arc::downgrade(&old.flight);
    for _ in 0..3 {
        assert!(old.take_off().now_or_never().is_some());
        flights.void(None, || ());
        let new = lead(&flights, "a");
        old.land(|_, _| 1);
        old = new;
    }
    assert!(old.take_off().now_or_never().is_some());
    assert!(first.upgrade().is_none());
}

#[test]
fn a_panic_while_storing_loses_the_flight_and_nothing_else() {
    let flights = Flights::default();
    let pilot = lead(&flights, "a");
    let waiter = join(&flights, "a");
    let landing = std::panic::AssertUnwindSafe(|| pilot.land(|_, _| panic!("on purpose")));
    assert!(std::panic::catch_unwind(landing).is_err());
    assert_eq!(waiter.landed().now_or_never(), Some(None));
    lead(&flights, "a").land(|_, _| 2);
}

#[test]
fn a_flight_that_has_not_asked_yet_outlives_a_purge() {
    let flights = Flights::default();
    let pilot = lead(&flights, "a");
    flights.void(None, || ());
    let joined = join(&flights, "a");
    pilot.land(|_, may_store| u32::from(may_store));
    assert_eq!(joined.landed().now_or_never(), Some(Some(1)));
}

#[test]
fn a_purge_of_all_makes_every_flight_void_and_of_one_only_its_own() {
    let flights = Flights::default();
    let (mut a, mut b) = (lead(&flights, "a"), lead(&flights, "b"));
    assert!(a.take_off().now_or_never().is_some() && b.take_off().now_or_never().is_some());
    flights.void(Some(&key("b")), || ());
    b.land(|_, may_store| {
        assert!(!may_store);
        0
    });
    flights.void(None, || ());
    a.land(|_, may_store| {
        assert!(!may_store);
        0
    });
}
