//! Tests of the single flight: which request computes, which ones wait, which result may be stored.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::FutureExt as _;

use super::*;

type TestFlight = SingleFlight<&'static str, u32>;

fn lead(flight: &TestFlight, key: &'static str) -> Leader<&'static str, u32> {
    match flight.join(&key, || Ok::<_, ()>(())) {
        Ok(Join::Leader(leader, ())) => leader,
        Ok(Join::Waiter(_)) | Err(()) => panic!("another computation of {key} is running"),
    }
}

fn wait(flight: &TestFlight, key: &'static str) -> Waiter<u32> {
    let permit = || -> Result<(), ()> { panic!("a permit is needed although one is running") };
    match flight.join(&key, permit) {
        Ok(Join::Waiter(waiter)) => waiter,
        Ok(Join::Leader(..)) | Err(()) => panic!("no computation of {key} is running"),
    }
}

fn has_started(leader: &Leader<&'static str, u32>) -> bool {
    leader.start().now_or_never().is_some()
}

fn is_rejected(flight: &TestFlight, key: &'static str) -> bool {
    matches!(flight.join::<(), _>(&key, || Err("rejected")), Err("rejected"))
}

#[test]
fn p4_all_requests_share_one_computation_until_it_has_finished() {
    let flight = TestFlight::default();
    let leader = lead(&flight, "a");
    let (first, second) = (wait(&flight, "a"), wait(&flight, "a"));
    let _other = lead(&flight, "b");
    assert!(first.outcome().now_or_never().is_none(), "still running");
    leader.finish(|_, may_store| {
        assert!(may_store);
        7
    });
    assert_eq!(first.outcome().now_or_never(), Some(Some(7)));
    assert_eq!(second.outcome().now_or_never(), Some(Some(7)), "all waiters get it");
    drop(lead(&flight, "a"));
}

#[test]
fn p4_dropped_leader_ends_the_wait_and_releases_the_key() {
    let flight = TestFlight::default();
    let leader = lead(&flight, "a");
    let waiter = wait(&flight, "a");
    drop(leader);
    assert_eq!(waiter.outcome().now_or_never(), Some(None));
    drop(lead(&flight, "a"));
}

#[test]
fn p4_computation_starts_after_the_invalidated_one_has_ended() {
    let flight = TestFlight::default();
    let old = lead(&flight, "a");
    assert!(has_started(&old));
    let waiter = wait(&flight, "a");
    assert_eq!(flight.invalidate(Some(&"a"), || 3), 3);
    let new = lead(&flight, "a");
    assert!(!has_started(&new), "one call at a time");
    let joined = wait(&flight, "a");
    old.finish(|_, may_store| {
        assert!(!may_store, "it started before the purge");
        1
    });
    assert_eq!(waiter.outcome().now_or_never(), Some(Some(1)));
    assert!(has_started(&new));
    let third = wait(&flight, "a");
    new.finish(|_, may_store| {
        assert!(may_store);
        2
    });
    assert_eq!(joined.outcome().now_or_never(), Some(Some(2)));
    assert_eq!(third.outcome().now_or_never(), Some(Some(2)), "the old one kept it in the table");
}

#[test]
fn p4_request_that_finds_the_result_in_memory_starts_nothing() {
    let flight = TestFlight::default();
    assert!(is_rejected(&flight, "a"));
    let old = lead(&flight, "a");
    assert!(has_started(&old));
    flight.invalidate(None, || ());
    assert!(is_rejected(&flight, "a"), "an invalidated computation isn't joined");
    drop(lead(&flight, "a"));
}

#[test]
fn p4_no_computation_finishes_while_a_permit_is_requested() {
    let flight = TestFlight::default();
    let locked = |flight: &TestFlight| flight.table.try_lock().is_err();
    let joined = flight.join(&"a", || locked(&flight).then_some(()).ok_or(()));
    let Ok(Join::Leader(leader, ())) = joined else {
        panic!("the permit was requested without the lock")
    };
    assert!(flight.invalidate(None, || locked(&flight)));
    assert!(flight.while_none_finishes(|| locked(&flight)));
    let waiter = leader.waiter();
    leader.finish(|_, _| u32::from(locked(&flight)));
    assert_eq!(waiter.outcome().now_or_never(), Some(Some(1)));
    assert!(!locked(&flight));
}

#[test]
fn p4_computation_starts_after_the_invalidated_ones_leader_was_dropped() {
    let flight = TestFlight::default();
    let old = lead(&flight, "a");
    assert!(has_started(&old));
    flight.invalidate(None, || ());
    let new = lead(&flight, "a");
    assert!(!has_started(&new));
    drop(old);
    assert!(has_started(&new));
}

#[test]
fn p4_leader_dropped_before_its_start_does_not_let_the_next_one_start() {
    let flight = TestFlight::default();
    let old = lead(&flight, "a");
    assert!(has_started(&old));
    flight.invalidate(None, || ());
    drop(lead(&flight, "a"));
    let new = lead(&flight, "a");
    assert!(!has_started(&new), "the invalidated one still runs");
    old.finish(|_, _| 1);
    assert!(has_started(&new));
}

#[test]
fn dropped_leader_after_an_invalidated_computation_empties_the_table() {
    let flight = TestFlight::default();
    let old = lead(&flight, "a");
    assert!(has_started(&old));
    flight.invalidate(None, || ());
    let new = lead(&flight, "a");
    old.finish(|_, _| 1);
    drop(new);
    assert!(flight.table.lock().unwrap().is_empty());
}

#[test]
fn repeated_invalidations_keep_no_finished_computation_in_memory() {
    let flight = SingleFlight::default();
    let lead = || match flight.join(&"a", || Ok::<_, ()>(())) {
        Ok(Join::Leader(leader, ())) => leader,
        Ok(Join::Waiter(_)) | Err(()) => panic!("another computation is running"),
    };
    let mut old = lead();
    let outcome = Arc::new(1);
    let first = Arc::downgrade(&outcome);
    let mut outcome = Some(outcome);
    for _ in 0..3 {
        assert!(old.start().now_or_never().is_some());
        flight.invalidate(None, || ());
        let new = lead();
        old.finish(|_, _| outcome.take());
        old = new;
    }
    assert!(old.start().now_or_never().is_some());
    assert!(first.upgrade().is_none());
}

#[test]
fn panic_while_storing_ends_only_this_computation() {
    let flight = TestFlight::default();
    let leader = lead(&flight, "a");
    let waiter = wait(&flight, "a");
    let finish = AssertUnwindSafe(|| leader.finish(|_, _| panic!("on purpose")));
    assert!(catch_unwind(finish).is_err());
    assert_eq!(waiter.outcome().now_or_never(), Some(None));
    lead(&flight, "a").finish(|_, _| 2);
}

#[test]
fn computation_that_has_not_started_survives_an_invalidation() {
    let flight = TestFlight::default();
    let leader = lead(&flight, "a");
    flight.invalidate(None, || ());
    let joined = wait(&flight, "a");
    leader.finish(|_, may_store| u32::from(may_store));
    assert_eq!(joined.outcome().now_or_never(), Some(Some(1)));
}

#[test]
fn invalidation_of_one_key_spares_the_others_and_one_of_all_spares_none() {
    let flight = TestFlight::default();
    let (a, b) = (lead(&flight, "a"), lead(&flight, "b"));
    assert!(has_started(&a) && has_started(&b));
    flight.invalidate(Some(&"b"), || ());
    b.finish(|_, may_store| {
        assert!(!may_store);
        0
    });
    let c = lead(&flight, "c");
    assert!(has_started(&c));
    c.finish(|_, may_store| {
        assert!(may_store);
        0
    });
    flight.invalidate(None, || ());
    a.finish(|_, may_store| {
        assert!(!may_store);
        0
    });
}
