//! What clients get when Juspay isn't called, or rejects the service.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use simulator::{ApiError, Fault, FaultRule};
use tempfile::TempDir;

use super::{all_at_once, breaker, cold, is_ready, retry_after};
use crate::support::{World, guard};

const BREAKER: &str = "juspay.breaker.min_calls = 4";

fn status(status: u16, retry_after: Option<&str>) -> FaultRule {
    let headers: BTreeMap<_, _> =
        retry_after.map(|value| ("Retry-After".to_owned(), value.to_owned())).into_iter().collect();
    FaultRule::always(Fault::Status { status, headers, body: String::new() })
}

/// A world with `alice` in the cache.
async fn with_alice(settings: &str) -> World {
    let world = World::with(settings).await;
    assert_eq!(world.client("alice").me().await.status, 200);
    world
}

/// The cached customer is still served, and the service stays ready.
async fn alice_is_still_served(world: &World) {
    let reply = world.client("alice").me().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.cache_status().starts_with("juspay-bff; hit; ttl="), "{}", reply.cache_status());
    assert!(is_ready(world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_breaker_returns_503_without_a_call() {
    let world = with_alice(BREAKER).await;
    world.simulator().inject(status(500, None));
    for client in cold(&world, "first", 5) {
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
        retry_after(&reply, 1);
    }
    let calls = world.simulator().total_requests();
    assert_eq!((calls, breaker(&world).await), (6, "open"));
    for reply in all_at_once(cold(&world, "second", 50)).await {
        assert_eq!((reply.status, &*reply.code()), (503, "upstream_unavailable"));
        assert_eq!(reply.json()["retryable"], true);
        retry_after(&reply, 5);
    }
    assert_eq!(world.simulator().total_requests(), calls);
    alice_is_still_served(&world).await;

    world.simulator().clear_faults();
    world.clock.advance(Duration::from_millis(4_999));
    assert_eq!(world.client("bob").me().await.code(), "upstream_unavailable");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(breaker(&world).await, "half_open");
    assert_eq!(world.client("bob").me().await.status, 200);
    assert_eq!(breaker(&world).await, "closed");
    assert!(!guard::log_lines("circuit breaker opened; not calling Juspay").is_empty());
    assert!(!guard::log_lines("circuit breaker closed").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_breaker_probes_with_one_request() {
    let world = with_alice(BREAKER).await;
    world.simulator().inject(status(500, None));
    drop(all_at_once(cold(&world, "first", 5)).await);
    assert_eq!(breaker(&world).await, "open");
    world.simulator().clear_faults();
    world.clock.advance(Duration::from_secs(5));
    let latch = world.simulator().hold("probe");
    let client = world.client("probe");
    let probe = tokio::spawn(async move { client.me().await });
    latch.arrived(1).await;
    let calls = world.simulator().total_requests();
    for reply in all_at_once(cold(&world, "second", 20)).await {
        assert_eq!((reply.status, &*reply.code()), (503, "upstream_unavailable"));
        retry_after(&reply, 1);
    }
    assert_eq!(world.simulator().total_requests(), calls);
    alice_is_still_served(&world).await;
    latch.release();
    assert_eq!(probe.await.unwrap().status, 200);
    assert!(all_at_once(cold(&world, "third", 20)).await.iter().all(|it| it.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_ids_cannot_open_the_breaker() {
    let world = with_alice(BREAKER).await;
    for magic in ["sim_not_found", "sim_bad_request", "sim_other_customer", "sim_no_token"] {
        for _ in 0..10 {
            assert_ne!(world.client(magic).me().await.status, 503, "{magic}");
            world.clock.advance(Duration::from_secs(3));
        }
        assert_eq!(breaker(&world).await, "closed", "{magic}");
    }
    assert_eq!(world.client("bob").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_juspay_returns_503_and_stops_all_calls() {
    let world = with_alice("").await;
    world.simulator().inject(status(429, Some("7")).times(2));
    // Two customers, because a limit of one customer does not stop all calls.
    for client in cold(&world, "limited", 2) {
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (503, "upstream_unavailable"));
        retry_after(&reply, 7);
    }
    let calls = world.simulator().total_requests();
    for reply in all_at_once(cold(&world, "held", 20)).await {
        assert_eq!((reply.status, &*reply.code()), (503, "upstream_unavailable"));
        retry_after(&reply, 7);
    }
    assert_eq!(world.simulator().total_requests(), calls);
    alice_is_still_served(&world).await;
    world.clock.advance(Duration::from_secs(7));
    assert_eq!(world.client("bob").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_limited_to_the_services_own_wait() {
    for expected in ["86400", "18446744073709551615", "Tue, 24 Nov 2026 12:00:00 GMT"] {
        let world = World::new().await;
        world.simulator().inject(status(429, Some(expected)));
        retry_after(&world.client("bob").me().await, 60);
        retry_after(&world.client("carol").me().await, 60);
        retry_after(&world.client("dave").me().await, 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_juspays_503_reaches_every_waiting_client() {
    let shipped = "
        juspay.max_retries = 2
        juspay.try_timeout = \"2s\"
        juspay.breaker.min_calls = 20
    ";
    let world = World::with(shipped).await;
    world.simulator().inject(status(503, Some("7")).times(1));
    let latch = world.simulator().hold("bob");
    let client = world.client("bob");
    let requests = join_all((0..5).map(|_| client.begin())).await;
    latch.arrived(1).await;
    world.until_waiting(5).await;
    latch.release();
    for request in requests {
        let reply = request.reply().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
        assert_eq!(reply.json()["retryable"], true);
        retry_after(&reply, 7);
    }
    assert_eq!(world.simulator().calls("bob"), 1, "7 s exceed the remaining deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_juspays_503_reaches_no_cache_requests() {
    let world = with_alice("").await;
    world.clock.advance(Duration::from_secs(31));
    world.simulator().inject(status(503, Some("9")).times(1));
    let reply =
        world.client("alice").request("GET", "/me/customer", "Cache-Control: no-cache\r\n").await;
    assert_eq!((reply.status, &*reply.code()), (503, "upstream_unavailable"));
    retry_after(&reply, 9);
    alice_is_still_served(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_rejected_key_returns_502_with_few_calls() {
    let world = with_alice(BREAKER).await;
    world.simulator().set_key(&world.api_key, false);
    let calls_before = world.simulator().total_requests();
    for reply in all_at_once(cold(&world, "first", 200)).await {
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_rejected_credentials"));
        assert_eq!(reply.header("www-authenticate"), None);
    }
    let calls = world.simulator().total_requests() - calls_before;
    assert!((3..=66).contains(&calls), "{calls}: the concurrent calls, and a probe");
    assert_eq!(world.upstream("rejected_credentials").await, calls);
    world.clock.advance(Duration::from_millis(4_999));
    assert_eq!(world.client("bob").me().await.code(), "upstream_rejected_credentials");
    assert_eq!(world.simulator().total_requests() - calls_before, calls);
    world.clock.advance(Duration::from_millis(1));
    for client in cold(&world, "second", 20) {
        assert_eq!(client.me().await.code(), "upstream_rejected_credentials");
    }
    assert_eq!(world.simulator().total_requests() - calls_before, calls + 1, "one probe");
    assert_eq!(breaker(&world).await, "closed");
    alice_is_still_served(&world).await;
    let line = guard::log_lines("Juspay rejected the API key").pop().expect("a log line");
    assert!(line.contains("\"slot\":\"api_key\""), "{line}");
    world.simulator().set_key(&world.api_key, true);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.client("bob").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_rejected_address_returns_502_without_trying_the_other_key() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("next");
    std::fs::write(&path, "canary_next").unwrap();
    let next = format!("juspay.api_key_next_file = \"{}\"\n{BREAKER}", path.display());
    let world = with_alice(&next).await;
    world.simulator().set_key("canary_next", true);
    world.simulator().inject(FaultRule::always(Fault::Error(ApiError::BadOrigin)));
    let calls_before = world.simulator().total_requests();
    for client in cold(&world, "first", 50) {
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_rejected_origin"));
    }
    assert_eq!(world.simulator().total_requests() - calls_before, 3, "two calls and one probe");
    world.clock.advance(Duration::from_secs(5));
    for client in cold(&world, "second", 50) {
        assert_eq!(client.me().await.code(), "upstream_rejected_origin");
    }
    assert_eq!(world.simulator().total_requests() - calls_before, 4);
    let sent: Vec<_> = world.simulator().requests();
    let keys: Vec<_> = sent.iter().filter_map(|it| it.header("authorization")).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "always the first key");
    assert_eq!(breaker(&world).await, "closed");
    alice_is_still_served(&world).await;
    let line = guard::log_lines("Juspay rejected this server's address").pop().expect("a log line");
    assert!(line.contains("\"family\":\"ipv4\""), "{line}");
    world.simulator().clear_faults();
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.client("bob").me().await.status, 200);
}
