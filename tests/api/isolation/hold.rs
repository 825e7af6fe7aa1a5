//! The hold after 401 and 403: what starts it, what it does, and what ends it.

use std::{fs, time::Duration};

use serde_json::json;
use simulator::{ApiError, Fault, FaultRule};
use tempfile::TempDir;

use super::{
    first_request, retry_after, scripted,
    scripted_juspay::{ACCESS_DENIED, BAD_ORIGIN, answer},
};
use crate::support::{Stage, World, shipped};

const CREDENTIALS: &str = "upstream_rejected_credentials";

/// Requests for a customer for each of these numbers, all rejected.
async fn rejected(world: &World, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        let reply = world.client(&format!("c{number}")).me().await;
        assert_eq!((reply.status, &*reply.code()), (502, CREDENTIALS), "{number}");
    }
}

/// A world whose API key Juspay has disabled, with the hold started.
async fn world_on_hold(settings: &str) -> World {
    let world = World::with(&format!("{}{settings}", shipped())).await;
    world.simulator().set_key(&world.api_key, false);
    rejected(&world, 0..20).await;
    assert_eq!(world.simulator().total_requests(), 3, "two, and one that found out");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_two_rejected_customers_affect_no_other() {
    for (status, body) in [("401 Unauthorized", ACCESS_DENIED), ("403 Forbidden", BAD_ORIGIN)] {
        let (world, juspay) = scripted().await;
        for faulty in ["odd1", "odd2"] {
            juspay.answer(faulty, answer(status, "", body.as_bytes()));
            assert_eq!(world.client(faulty).me().await.status, 502);
        }
        for number in 0..20 {
            assert_eq!(world.client("odd1").me().await.status, 502);
            first_request(&world, &format!("c{number}")).await;
            world.clock.advance(Duration::from_millis(500));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_firewall_rejections_start_the_hold() {
    let (world, juspay) = scripted().await;
    let blocks = |customer: &str| {
        juspay.answer(customer, answer("403 Forbidden", "", b"<html>blocked</html>"));
    };
    // Four customers, with a success in between: no hold.
    for number in 0..4 {
        let customer = format!("first{number}");
        blocks(&customer);
        assert_eq!(world.client(&customer).me().await.code(), "upstream_rejected_origin");
    }
    first_request(&world, "alice").await;
    // Five start the hold; the sixth probes.
    for number in 0..20 {
        let customer = format!("then{number}");
        blocks(&customer);
        let reply = world.client(&customer).me().await;
        assert_eq!(reply.code(), "upstream_rejected_origin");
        assert_eq!(juspay.calls(&customer), usize::from(number < 6), "{number}");
        if number >= 6 {
            assert!((5..=8).contains(&retry_after(&reply)), "{}", reply.text());
        }
    }
    world.clock.advance(Duration::from_secs(5));
    first_request(&world, "bob").await;
    first_request(&world, "carol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_key_causes_one_probe_every_five_seconds_by_an_unrejected_customer() {
    let world = world_on_hold("").await;
    world.clock.advance(Duration::from_secs(4));
    rejected(&world, 0..40).await;
    assert_eq!(world.simulator().total_requests(), 3);
    world.clock.advance(Duration::from_secs(1));
    rejected(&world, 20..60).await;
    assert_eq!(world.simulator().total_requests(), 4);
    assert_eq!(world.simulator().calls("c20"), 1);
    world.simulator().set_key(&world.api_key, true);
    world.clock.advance(Duration::from_secs(5));
    for number in 0..60 {
        first_request(&world, &format!("c{number}")).await;
    }
}

/// No other customer is there to probe.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_customers_are_not_locked_out() {
    let world = world_on_hold("").await;
    world.simulator().set_key(&world.api_key, true);
    rejected(&world, 0..3).await;
    assert_eq!(world.simulator().total_requests(), 3);
    world.clock.advance(Duration::from_secs(5));
    for number in 0..3 {
        first_request(&world, &format!("c{number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_of_all_ends_the_hold() {
    let world = world_on_hold("").await;
    world.simulator().set_key(&world.api_key, true);
    rejected(&world, 0..20).await;
    let purge = json!({"customer_id": "c0"});
    assert_eq!(world.admin().post("/cache/purge", &purge).await.status, 200);
    rejected(&world, 20..30).await;
    world.purge_all().await;
    for number in 0..30 {
        first_request(&world, &format!("c{number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_key_file_ends_the_hold() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, "canary_wrong").unwrap();
    let stage = Stage::set().await;
    let settings =
        format!("{}juspay.api_key_file = \"{}\"\nsecrets.poll = \"1s\"", shipped(), path.display());
    let world = stage.open_ready(&settings).await;
    rejected(&world, 0..10).await;
    fs::write(&path, &world.api_key).unwrap();
    for _ in 0..3 {
        world.advance(Duration::from_secs(1)).await;
    }
    // Before the next probe, and for all of them.
    for number in 0..20 {
        first_request(&world, &format!("c{number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejection_of_one_customer_is_remembered_for_a_second() {
    let world = World::with(&shipped()).await;
    world.simulator().inject(FaultRule::once(Fault::Error(ApiError::AccessDenied)));
    let client = world.client("alice");
    for _ in 0..10 {
        let reply = client.me().await;
        assert_eq!(reply.code(), CREDENTIALS);
        assert!((1..=2).contains(&retry_after(&reply)));
    }
    assert_eq!(world.simulator().calls("alice"), 1);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(client.me().await.status, 200);
}
