//! Memory: the number of cached customers is limited, and expired tokens are evicted.

use std::time::Duration;

use super::{entries, served};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn number_of_entries_is_limited_by_the_setting() {
    let world = World::with("cache.capacity = 10").await;
    for n in 0..100 {
        served(&world.client(&format!("customer{n}"))).await;
        assert!(entries(&world).await <= 10);
    }
    assert_eq!(entries(&world).await, 10);
    let evicted = "juspay_bff_cache_evictions_total{cause=\"size\"}";
    assert_eq!(world.count(evicted).await, 90);
    // Evicted customers are fetched again.
    for n in 0..100 {
        served(&world.client(&format!("customer{n}"))).await;
    }
    assert!(world.simulator().total_requests() >= 190);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_tokens_are_evicted() {
    let world = World::new().await;
    for n in 0..10 {
        served(&world.client(&format!("customer{n}"))).await;
    }
    assert_eq!(entries(&world).await, 10);
    // Past their normal end, they may still be used in an outage.
    world.advance(Duration::from_secs(860)).await;
    assert_eq!(entries(&world).await, 10);
    let swept = async || entries(&world).await < 1;
    world.advance_until("the sweep", Duration::from_secs(5), swept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_found_entries_are_evicted() {
    let world = World::with_config("", |config| config.provision = false).await;
    for n in 0..10 {
        let reply = world.client(&format!("customer{n}")).me().await;
        assert_eq!(reply.code(), "customer_not_found");
    }
    assert_eq!(entries(&world).await, 10);
    let swept = async || entries(&world).await < 1;
    world.advance_until("the sweep", Duration::from_secs(1), swept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unwanted_fields_are_not_cached() {
    let world = World::with("response.fields = [\"object_reference_id\", \"juspay\"]").await;
    let reply = served(&world.client("alice")).await;
    let object = reply.json();
    let names: Vec<_> = object.as_object().unwrap().keys().collect();
    assert_eq!(names, ["juspay", "object_reference_id"]);
    let hit = served(&world.client("alice")).await;
    assert_eq!(hit.body, reply.body);
}
