//! `juspay.deadline` covers the whole call: permit, connection, head and body.

use std::time::Duration;

use simulator::{Fault, FaultRule};

use super::owner;
use crate::support::{World, until};

/// Slightly less than `juspay.deadline`.
const ALMOST: Duration = Duration::from_millis(4_999);
const MOMENT: Duration = Duration::from_millis(1);

/// Maximum time for which a customer's first failed fetch is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

async fn until_called(world: &World, customer: &str) {
    until("the call", async || world.simulator().calls(customer) > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_call_ends_at_the_deadline() {
    let world = World::new().await;
    let faults = [Fault::Hang, Fault::UnfinishedHead, Fault::StalledBody];
    for (timeouts, fault) in (1..).zip(faults) {
        let id = format!("customer{timeouts}");
        world.simulator().inject(FaultRule::once(fault.clone()).of(&id));
        let client = world.client(&id);
        let waiting = client.begin().await;
        until_called(&world, &id).await;
        world.advance(ALMOST).await;
        assert!(!waiting.is_answered(), "{fault:?}");
        world.advance(MOMENT).await;
        let reply = waiting.reply().await;
        assert_eq!((reply.status, &*reply.code()), (504, "upstream_timeout"), "{fault:?}");
        let counted = "juspay_bff_upstream_requests_total{outcome=\"timeout\"}";
        world.until_count(counted, timeouts).await;
        world.until_count("juspay_bff_upstream_in_flight", 0).await;
        world.clock.advance(REMEMBERED_FOR);
        assert_eq!(owner(&client.me().await), id, "nothing is stored of {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_just_before_the_deadline_is_returned() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let waiting = world.client("alice").begin().await;
    latch.arrived(1).await;
    world.clock.advance(ALMOST);
    latch.release();
    assert_eq!(owner(&waiting.reply().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_waits_for_a_permit_for_half_of_the_deadline() {
    let world = World::with("juspay.max_in_flight = 1").await;
    let _latch = world.simulator().hold("first");
    let first = world.client("first").begin().await;
    until_called(&world, "first").await;
    let second = world.client("second").begin().await;
    world.until_waiting(2).await;
    world.settle().await;
    world.advance(Duration::from_millis(2_499)).await;
    assert!(!second.is_answered());
    world.advance(MOMENT).await;
    let reply = second.reply().await;
    assert_eq!((reply.status, &*reply.code()), (503, "overloaded"));
    assert_eq!(world.simulator().calls("second"), 0);
    assert!(!first.is_answered());
    world.advance(Duration::from_millis(2_500)).await;
    assert_eq!(first.reply().await.code(), "upstream_timeout");
    world.until_count("juspay_bff_upstream_in_flight", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_is_configurable() {
    let world = World::with(
        "juspay.deadline = \"700ms\"
         juspay.try_timeout = \"700ms\"",
    )
    .await;
    world.simulator().inject(FaultRule::once(Fault::Hang));
    let waiting = world.client("alice").begin().await;
    until_called(&world, "alice").await;
    world.advance(Duration::from_millis(699)).await;
    assert!(!waiting.is_answered());
    world.clock.advance(MOMENT);
    assert_eq!(waiting.reply().await.code(), "upstream_timeout");
}
