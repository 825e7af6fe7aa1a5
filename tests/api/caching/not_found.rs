//! `cache.not_found_ttl`: an unknown customer is not requested from Juspay again at once.

use std::time::Duration;

use simulator::{ApiError, Fault, FaultRule};

use super::served;
use crate::support::{Client, World};

const TTL: Duration = Duration::from_secs(2);
const MOMENT: Duration = Duration::from_millis(1);

async fn is_not_found(client: &Client) {
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (404, "customer_not_found"));
    let retry_after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((2..=3).contains(&retry_after), "{retry_after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn not_found_is_cached_for_not_found_ttl() {
    let world = World::with_config("", |config| config.provision = false).await;
    let client = world.client("alice");
    is_not_found(&client).await;
    assert_eq!(world.upstream("not_found").await, 1);
    // Created just now, but the 404 is still cached.
    world.simulator().set_provision(true);
    world.clock.advance(Duration::from_millis(1_999));
    is_not_found(&client).await;
    let without = client.get("/me/customer?options.get_client_auth_token=false").await;
    assert_eq!(without.code(), "customer_not_found");
    assert_eq!(world.simulator().calls("alice"), 1);
    world.clock.advance(MOMENT);
    let reply = served(&client).await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 2);
    let counted = "juspay_bff_cache_requests_total{outcome=\"not_found\"}";
    assert_eq!(world.count(counted).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_not_found_ttl_disables_caching() {
    let settings = "cache.not_found_ttl = \"0s\"";
    let world = World::with_config(settings, |config| config.provision = false).await;
    let client = world.client("alice");
    for calls in 1..=3 {
        assert_eq!(client.me().await.code(), "customer_not_found");
        assert_eq!(world.simulator().calls("alice"), calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_customer_loses_the_cached_token() {
    let world = World::new().await;
    let client = world.client("alice");
    served(&client).await;
    world.simulator().inject(FaultRule::once(Fault::Error(ApiError::NotFound)).of("alice"));
    // Within the refresh period: this response is the last one.
    world.clock.advance(Duration::from_secs(645));
    served(&client).await;
    world.until_count("juspay_bff_cache_refreshes_total{outcome=\"not_found\"}", 1).await;
    is_not_found(&client).await;
    world.clock.advance(TTL);
    served(&client).await;
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_are_remembered_for_at_most_a_second() {
    let world = World::new().await;
    let fault = Fault::Status { status: 404, headers: [].into(), body: String::new() };
    world.simulator().inject(FaultRule::once(fault).of("alice"));
    let client = world.client("alice");
    for _ in 0..2 {
        assert_eq!(client.me().await.code(), "upstream_error");
    }
    world.clock.advance(Duration::from_secs(1));
    served(&client).await;
    assert_eq!(world.simulator().calls("alice"), 2);
}
