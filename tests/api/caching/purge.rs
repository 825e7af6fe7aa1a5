//! A purge: later requests get a new response from Juspay.

use serde_json::json;

use super::{entries, served};
use crate::support::World;

/// Purges, and returns the number of purged customers.
async fn purge(world: &World, what: serde_json::Value) -> u64 {
    let reply = world.admin().post("/cache/purge", &what).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["purged"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_customer_is_fetched_again_and_others_are_not() {
    let world = World::new().await;
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    let (first, other) = (served(&alice).await.token(), served(&bob).await.token());
    assert_eq!(purge(&world, json!({"customer_id": "alice"})).await, 1);
    let reply = served(&alice).await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_ne!(reply.token(), first);
    assert_eq!(served(&bob).await.token(), other);
    assert_eq!(purge(&world, json!({"customer_id": "carol"})).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_customers_can_be_purged_at_once() {
    let world = World::new().await;
    for n in 0..20 {
        served(&world.client(&format!("customer{n}"))).await;
    }
    assert_eq!(entries(&world).await, 20);
    assert_eq!(purge(&world, json!({"all": true})).await, 20);
    assert_eq!(entries(&world).await, 0);
    for n in 0..20 {
        served(&world.client(&format!("customer{n}"))).await;
        assert_eq!(world.simulator().calls(&format!("customer{n}")), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_during_fetch_discards_the_result() {
    for what in [json!({"customer_id": "alice"}), json!({"all": true})] {
        let world = World::new().await;
        let latch = world.simulator().hold("alice");
        let client = world.client("alice");
        let before = client.begin().await;
        latch.arrived(1).await;
        purge(&world, what).await;
        let after = client.begin().await;
        world.until_waiting(2).await;
        // Still one call at a time.
        world.settle().await;
        assert_eq!(world.simulator().calls("alice"), 1);
        latch.release();
        let (before, after) = (before.reply().await, after.reply().await);
        assert_eq!(before.cache_status(), "juspay-bff; fwd=uri-miss");
        assert_eq!(after.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
        assert_ne!(before.token(), after.token());
        assert_eq!(served(&client).await.token(), after.token());
        assert_eq!(world.simulator().calls("alice"), 2);
    }
}
