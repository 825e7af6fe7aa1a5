//! Tests of the single flight: which request computes, which ones wait, which result may be stored.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::FutureExt as _;

use super::*;

type Flights = SingleFlight<&'static str, u32>;

fn lead(flights: &Flights, key: &'static str) -> Leader<&'static str, u32> {
    match flights.join(&key, || Ok::<_, ()>(())) {
        Ok(Join::Leader(leader, ())) => leader,
        Ok(Join::Waiter(_)) | Err(()) => panic!("another computation of {key} is running"),
    }
}

fn wait(flights: &Flights, key: &'static str) -> Waiter<u32> {
    let permit = || -> Result<(), ()> { panic!("a permit is needed although one is running") };
    match flights.join(&key, permit) {
        Ok(Join::Waiter(waiter)) => waiter,
        Ok(Join::Leader(..)) | Err(()) => panic!("no computation of {key} is running"),
    }
}

fn has_started(leader: &Leader<&'static str, u32>) -> bool {
    leader.start().now_or_never().is_some()
}

fn is_refused(flights: &Flights, key: &'static str) -> bool {
    matches!(flights.join::<(), _>(&key, || Err("refused")), Err("refused"))
}

#[test]
fn p4_all_requests_share_one_computation_until_it_has_finished() {
    let flights = Flights::default();
    let leader = lead(&flights, "a");
    let (first, second) = (wait(&flights, "a"), wait(&flights, "a"));
    let _other = lead(&flights, "b");
    assert!(first.outcome().now_or_never().is_none(), "still running");
    leader.finish(|_, may_store| {
        assert!(may_store);
        7
    });
    assert_eq!(first.outcome().now_or_never(), Some(Some(7)));
    assert_eq!(second.outcome().now_or_never(), Some(Some(7)), "late waiters too");
    drop(lead(&flights, "a"));
}

#[test]
fn p4_a_dropped_leader_ends_the_wait_and_releases_the_key() {
    let flights = Flights::default();
    let leader = lead(&flights, "a");
    let waiter = wait(&flights, "a");
    drop(leader);
    assert_eq!(waiter.outcome().now_or_never(), Some(None));
    drop(lead(&flights, "a"));
}

#[test]
fn p4_a_computation_starts_after_the_invalidated_one_has_ended() {
    let flights = Flights::default();
    let old = lead(&flights, "a");
    assert!(has_started(&old));
    let waiter = wait(&flights, "a");
    assert_eq!(flights.invalidate(Some(&"a"), || 3), 3);
    let new = lead(&flights, "a");
    assert!(!has_started(&new), "one call at a time");
    let joined = wait(&flights, "a");
    old.finish(|_, may_store| {
        assert!(!may_store, "it began before the purge");
        1
    });
    assert_eq!(waiter.outcome().now_or_never(), Some(Some(1)));
    assert!(has_started(&new));
    let late = wait(&flights, "a");
    new.finish(|_, may_store| {
        assert!(may_store);
        2
    });
    assert_eq!(joined.outcome().now_or_never(), Some(Some(2)));
    assert_eq!(late.outcome().now_or_never(), Some(Some(2)), "the old one left it in the table");
}

#[test]
fn p4_a_request_that_finds_the_result_in_memory_starts_nothing() {
    let flights = Flights::default();
    assert!(is_refused(&flights, "a"));
    let old = lead(&flights, "a");
    assert!(has_started(&old));
    flights.invalidate(None, || ());
    assert!(is_refused(&flights, "a"), "an invalidated computation isn't joined");
    drop(lead(&flights, "a"));
}

#[test]
fn p4_no_computation_finishes_while_a_permit_is_requested() {
    let flights = Flights::default();
    let locked = |flights: &Flights| flights.table.try_lock().is_err();
    let joined = flights.join(&"a", || locked(&flights).then_some(()).ok_or(()));
    let Ok(Join::Leader(leader, ())) = joined else { panic!("requested with the table open") };
    assert!(flights.invalidate(None, || locked(&flights)));
    assert!(flights.while_none_finishes(|| locked(&flights)));
    let waiter = leader.waiter();
    leader.finish(|_, _| u32::from(locked(&flights)));
    assert_eq!(waiter.outcome().now_or_never(), Some(Some(1)));
    assert!(!locked(&flights));
}

#[test]
fn p4_a_computation_starts_after_the_invalidated_ones_leader_was_dropped() {
    let flights = Flights::default();
    let old = lead(&flights, "a");
    assert!(has_started(&old));
    flights.invalidate(None, || ());
    let new = lead(&flights, "a");
    assert!(!has_started(&new));
    drop(old);
    assert!(has_started(&new));
}

#[test]
fn p4_a_leader_dropped_before_its_start_does_not_let_the_next_one_start() {
    let flights = Flights::default();
    let old = lead(&flights, "a");
    assert!(has_started(&old));
    flights.invalidate(None, || ());
    drop(lead(&flights, "a"));
    let new = lead(&flights, "a");
    assert!(!has_started(&new), "the invalidated one still runs");
    old.finish(|_, _| 1);
    assert!(has_started(&new));
}

#[test]
fn a_dropped_leader_after_an_invalidated_computation_leaves_the_table_empty() {
    let flights = Flights::default();
    let old = lead(&flights, "a");
    assert!(has_started(&old));
    flights.invalidate(None, || ());
    let new = lead(&flights, "a");
    old.finish(|_, _| 1);
    drop(new);
    assert!(flights.table.lock().unwrap().is_empty());
}

#[test]
fn repeated_invalidations_keep_no_finished_computation_in_memory() {
    let flights = SingleFlight::default();
    let lead = || match flights.join(&"a", || Ok::<_, ()>(())) {
        Ok(Join::Leader(leader, ())) => leader,
        Ok(Join::Waiter(_)) | Err(()) => panic!("another computation is running"),
    };
    let mut old = lead();
    let outcome = Arc::new(1);
    let first = Arc::downgrade(&outcome);
    let mut outcome = Some(outcome);
    for _ in 0..3 {
        assert!(old.start().now_or_never().is_some());
        flights.invalidate(None, || ());
        let new = lead();
        old.finish(|_, _| outcome.take());
        old = new;
    }
    assert!(old.start().now_or_never().is_some());
    assert!(first.upgrade().is_none());
}

#[test]
fn a_panic_while_storing_ends_the_computation_and_nothing_else() {
    let flights = Flights::default();
    let leader = lead(&flights, "a");
    let waiter = wait(&flights, "a");
    let finish = AssertUnwindSafe(|| leader.finish(|_, _| panic!("on purpose")));
    assert!(catch_unwind(finish).is_err());
    assert_eq!(waiter.outcome().now_or_never(), Some(None));
    lead(&flights, "a").finish(|_, _| 2);
}

#[test]
fn a_computation_that_has_not_started_outlives_an_invalidation() {
    let flights = Flights::default();
    let leader = lead(&flights, "a");
    flights.invalidate(None, || ());
    let joined = wait(&flights, "a");
    leader.finish(|_, may_store| u32::from(may_store));
    assert_eq!(joined.outcome().now_or_never(), Some(Some(1)));
}

#[test]
fn an_invalidation_of_one_key_leaves_the_others_and_one_of_all_leaves_none() {
    let flights = Flights::default();
    let (a, b) = (lead(&flights, "a"), lead(&flights, "b"));
    assert!(has_started(&a) && has_started(&b));
    flights.invalidate(Some(&"b"), || ());
    b.finish(|_, may_store| {
        assert!(!may_store);
        0
    });
    let c = lead(&flights, "c");
    assert!(has_started(&c));
    c.finish(|_, may_store| {
        assert!(may_store);
        0
    });
    flights.invalidate(None, || ());
    a.finish(|_, may_store| {
        assert!(!may_store);
        0
    });
}
