//! `juspay.deadline` is around the whole call: place, connection, head and body (trap 3).

use std::time::Duration;

use juspay_bff::simulator::{Fault, FaultRule};

use super::owner;
use crate::support::{World, until};

/// A moment less than `juspay.deadline`.
const ALMOST: Duration = Duration::from_millis(4_999);
const MOMENT: Duration = Duration::from_millis(1);

async fn until_called(world: &World, customer: &str) {
    until("the call", async || world.simulator().calls(customer) > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_no_answer_is_waited_for_longer_than_the_deadline() {
    let world = World::new().await;
    let faults = [Fault::Hang, Fault::UnfinishedHead, Fault::StalledBody];
    for (timeouts, fault) in (1..).zip(faults) {
        let id = format!("customer{timeouts}");
        world.simulator().inject(FaultRule::once(fault.clone()).of(&id));
        let phone = world.phone(&id);
        let asking = phone.begin().await;
        until_called(&world, &id).await;
        world.turn(ALMOST).await;
        assert!(!asking.is_answered(), "{fault:?}");
        world.turn(MOMENT).await;
        let reply = asking.reply().await;
        assert_eq!((reply.status, &*reply.code()), (504, "upstream_timeout"), "{fault:?}");
        let counted = "juspay_bff_upstream_requests_total{outcome=\"timeout\"}";
        world.until_count(counted, timeouts).await;
        world.until_count("juspay_bff_upstream_in_flight", 0).await;
        assert_eq!(owner(&phone.me().await), id, "nothing is kept of {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_the_last_moment_is_in_time() {
    let world = World::new().await;
    let gate = world.simulator().hold("alice");
    let asking = world.phone("alice").begin().await;
    gate.arrived(1).await;
    world.clock.advance(ALMOST);
    gate.release();
    assert_eq!(owner(&asking.reply().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_a_place_is_part_of_the_deadline() {
    let world = World::with("juspay.max_in_flight = 1").await;
    let ids = ["first", "second", "third"];
    let gates = ids.map(|id| world.simulator().hold(id));
    // Asked at 0 s, 1 s and 1.5 s; each gets the place when the one before has timed out.
    let mut asking = Vec::new();
    for (waiting, (id, ms)) in (1..).zip(ids.into_iter().zip([1_000, 500, 0])) {
        asking.push(world.phone(id).begin().await);
        world.until_waiting(waiting).await;
        world.settle().await;
        world.clock.advance(Duration::from_millis(ms));
    }
    assert_eq!(world.count("juspay_bff_upstream_in_flight").await, 1);
    for ((id, gate), ms) in ids.into_iter().zip(&gates).zip([3_500, 1_000, 500]) {
        gate.arrived(1).await;
        world.turn(Duration::from_millis(ms - 1)).await;
        assert!(!asking[0].is_answered(), "{id}");
        world.turn(MOMENT).await;
        assert_eq!(asking.remove(0).reply().await.code(), "upstream_timeout", "{id}");
    }
    world.until_count("juspay_bff_upstream_in_flight", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_a_setting() {
    let world = World::with("juspay.deadline = \"700ms\"").await;
    world.simulator().inject(FaultRule::once(Fault::Hang));
    let asking = world.phone("alice").begin().await;
    until_called(&world, "alice").await;
    world.turn(Duration::from_millis(699)).await;
    assert!(!asking.is_answered());
    world.clock.advance(MOMENT);
    assert_eq!(asking.reply().await.code(), "upstream_timeout");
}
