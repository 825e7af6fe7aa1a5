//! `Cache-Control` directives of requests, the `Cache-Status` of their responses, and rate limits
//! per customer.

use std::time::Duration;

use simulator::{ApiError, Fault, FaultRule};

use crate::support::{Client, Reply, World, until};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Client {
    /// `GET /me/customer` with these `Cache-Control` directives.
    async fn get_with(&self, directives: &str) -> Reply {
        self.request("GET", "/me/customer", &format!("Cache-Control: {directives}\r\n")).await
    }
}

fn expires_in(reply: &Reply) -> u64 {
    reply.header("juspay-token-expires-in").expect("a life").parse().unwrap()
}

#[track_caller]
fn assert_cache_status(reply: &Reply, cache_status: &str) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.cache_status(), format!("juspay-bff; {cache_status}"));
}

/// A world in which alice's token was fetched 100 s ago and lives for another 799 s.
async fn world_of_alice() -> (World, Client, String) {
    let world = World::new().await;
    let alice = world.client("alice");
    let first = alice.me().await;
    assert_cache_status(&first, "fwd=uri-miss; stored; ttl=779");
    world.clock.advance(secs(100));
    (world, alice, first.token())
}

#[tokio::test(flavor = "multi_thread")]
async fn min_fresh_returns_a_token_with_enough_life() {
    let (world, alice, old) = world_of_alice().await;
    let met = alice.get_with("min-fresh=799").await;
    assert_cache_status(&met, "hit; ttl=679");
    assert_eq!((met.token(), expires_in(&met)), (old.clone(), 799));
    let unmet = alice.get_with("max-age=0, Min-Fresh=\"800\"").await;
    assert_cache_status(&unmet, "fwd=request; stored; ttl=779");
    assert!(unmet.token() != old && expires_in(&unmet) == 899);
    let impossible = alice.get_with("min-fresh=99999999999999999999").await;
    assert_cache_status(&impossible, "hit; ttl=779; detail=min-fresh-unmet");
    assert_eq!((world.simulator().calls("alice"), impossible.token()), (2, unmet.token()));
    let first = world.client("bob").get_with("min-fresh=900").await;
    assert_cache_status(&first, "fwd=uri-miss; stored; ttl=779; detail=min-fresh-unmet");
}

#[tokio::test(flavor = "multi_thread")]
async fn min_fresh_returns_the_cached_token_if_juspay_fails() {
    let (world, alice, old) = world_of_alice().await;
    world.simulator().inject(FaultRule::always(Fault::Html).of("alice"));
    for _ in 0..5 {
        let unmet = alice.get_with("min-fresh=800").await;
        assert_cache_status(&unmet, "hit; ttl=679; detail=min-fresh-unmet");
        assert_eq!(unmet.token(), old);
    }
    assert_eq!(world.simulator().calls("alice"), 2, "one try, and then a pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_returns_a_new_token() {
    let (world, alice, old) = world_of_alice().await;
    let new = alice.get_with("no-cache").await;
    assert_cache_status(&new, "fwd=request; stored; ttl=779");
    assert_ne!(new.token(), old);
    // It counts as new for 30 s, for all clients of the customer.
    world.clock.advance(secs(29));
    let same = alice.get_with("no-cache").await;
    assert_cache_status(&same, "hit; ttl=750");
    assert_eq!(same.token(), new.token());
    world.clock.advance(secs(1));
    assert_cache_status(&alice.get_with("no-cache").await, "fwd=request; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_joins_a_running_fetch() {
    let (world, alice, old) = world_of_alice().await;
    let latch = world.simulator().hold("alice");
    let concurrent = [alice.clone(), alice.clone()]
        .map(|client| tokio::spawn(async move { client.get_with("no-cache").await }));
    latch.arrived(1).await;
    world.until_waiting(2).await;
    latch.release();
    let mut statuses = Vec::new();
    for twin in concurrent {
        let reply = twin.await.unwrap();
        assert!(reply.status == 200 && reply.token() != old, "{}", reply.text());
        statuses.push(reply.cache_status().to_owned());
    }
    statuses.sort();
    let both = ["juspay-bff; fwd=request; collapsed", "juspay-bff; fwd=request; stored; ttl=779"];
    assert_eq!(statuses, both);
    assert_eq!(world.simulator().calls("alice"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_beyond_the_limit_returns_the_cached_token() {
    let (world, alice, _) = world_of_alice().await;
    for _ in 0..3 {
        assert_cache_status(&alice.get_with("no-cache").await, "fwd=request; stored; ttl=779");
        // The limit of 3/min allows one more every 20 s, and a token is new for 30 s.
        world.clock.advance(secs(30));
    }
    let world = World::with("limits.force_refresh_per_customer = \"1/min\"").await;
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    assert_cache_status(&alice.me().await, "fwd=uri-miss; stored; ttl=779");
    assert_cache_status(&bob.me().await, "fwd=uri-miss; stored; ttl=779");
    world.clock.advance(secs(30));
    assert_cache_status(&alice.get_with("no-cache").await, "fwd=request; stored; ttl=779");
    world.clock.advance(secs(30));
    assert_cache_status(&alice.get_with("no-cache").await, "hit; ttl=749; detail=refresh-limited");
    assert_cache_status(
        &alice.get_with("min-fresh=880").await,
        "hit; ttl=749; detail=min-fresh-unmet",
    );
    assert_cache_status(&bob.get_with("no-cache").await, "fwd=request; stored; ttl=779");
    world.clock.advance(secs(30));
    assert_cache_status(&alice.get_with("no-cache").await, "fwd=request; stored; ttl=779");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_in_an_outage_fails_and_the_cached_token_remains() {
    for (fault, code) in [
        (Fault::Error(ApiError::AccessDenied), "upstream_unavailable"),
        (Fault::Error(ApiError::BadOrigin), "upstream_unavailable"),
        (Fault::Html, "upstream_unavailable"),
    ] {
        let (world, alice, old) = world_of_alice().await;
        world.simulator().inject(FaultRule::always(fault).of("alice"));
        let refused = alice.get_with("no-cache").await;
        assert_eq!((refused.status, refused.code().as_str()), (503, code));
        assert!(refused.header("retry-after").is_some());
        let kept = alice.me().await;
        assert_cache_status(&kept, "hit; ttl=679");
        assert_eq!(kept.token(), old);
    }
    let (world, alice, old) = world_of_alice().await;
    let latch = world.simulator().hold("alice");
    let waiting = tokio::spawn({
        let alice = alice.clone();
        async move { alice.get_with("no-cache").await }
    });
    latch.arrived(1).await;
    world.advance(secs(5)).await;
    let refused = waiting.await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(alice.me().await.token(), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_customer_is_404_for_every_directive() {
    for directives in ["no-cache", "min-fresh=800"] {
        let (world, alice, _) = world_of_alice().await;
        world.simulator().inject(FaultRule::always(Fault::Error(ApiError::NotFound)).of("alice"));
        assert_eq!(alice.get_with(directives).await.code(), "customer_not_found");
        assert_eq!(alice.me().await.code(), "customer_not_found", "the token is gone, too");
        assert_eq!(alice.get_with("only-if-cached").await.code(), "customer_not_found");
        assert_eq!(world.simulator().calls("alice"), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_if_cached_never_waits_for_juspay() {
    let (world, alice, old) = world_of_alice().await;
    let cached = alice.get_with("only-if-cached").await;
    assert_cache_status(&cached, "hit; ttl=679");
    assert_eq!(cached.token(), old);
    assert_cache_status(
        &alice.get_with("only-if-cached, min-fresh=800").await,
        "hit; ttl=679; detail=min-fresh-unmet",
    );
    for directives in ["only-if-cached, no-cache", "no-cache,only-if-cached,min-fresh=1"] {
        assert_eq!(alice.get_with(directives).await.code(), "not_cached");
    }
    let bob = world.client("bob");
    for directives in ["only-if-cached", "Only-If-Cached, no-cache", "only-if-cached, min-fresh=1"]
    {
        let none = bob.get_with(directives).await;
        assert_eq!((none.status, none.code().as_str()), (504, "not_cached"), "{directives}");
        assert_eq!(none.json()["retryable"], false);
    }
    assert_eq!(world.simulator().calls("bob"), 0);
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_directives_apply_to_the_object() {
    let (world, alice, _) = world_of_alice().await;
    let bare = async |directives: &str| {
        let target = "/me/customer?options.get_client_auth_token=false";
        let lines = format!("Cache-Control: {directives}\r\n");
        let reply = alice.request("GET", target, &lines).await;
        assert!(
            reply.json()["juspay"].is_null() && reply.header("juspay-token-expires-in").is_none()
        );
        reply
    };
    assert_cache_status(&bare("min-fresh=10000").await, "hit; ttl=679");
    assert_cache_status(&bare("no-cache").await, "fwd=request; stored; ttl=779");
    // The object is as old as its fetch, even if its token was never returned.
    world.clock.advance(secs(30));
    assert_cache_status(&bare("no-cache").await, "fwd=request; stored; ttl=779");
    world.clock.advance(secs(30));
    assert_cache_status(&alice.get_with("no-cache").await, "hit; ttl=749");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_directives_are_rejected_and_unknown_ones_ignored() {
    let (world, alice, _) = world_of_alice().await;
    for directives in ["min-fresh", "min-fresh=-1", "min-fresh=1s", "no-cache=1", "only-if-cached="]
    {
        let refused = alice.get_with(directives).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"));
    }
    for directives in ["", "max-age=0", "no-store, no-transform", "x=\"a, no-cache\", ,foo"] {
        assert_cache_status(&alice.get_with(directives).await, "hit; ttl=679");
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limited_request_receives_retry_after() {
    let world = World::with("limits.per_customer = \"3/min\"").await;
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    for _ in 0..3 {
        assert_eq!(alice.me().await.status, 200);
    }
    let refused = alice.me().await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&after), "20 s, and half of it for jitter: {after}");
    assert_eq!(refused.json()["retryable"], true);
    // The limit applies to the customer, not to the client or to all customers.
    assert_eq!(world.client("alice").me().await.status, 429);
    assert_eq!(bob.me().await.status, 200);
    world.clock.advance(secs(20) - Duration::from_millis(1));
    assert_eq!(alice.me().await.status, 429);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(alice.me().await.status, 200);
    assert_eq!(alice.me().await.status, 429);
    world.clock.advance(secs(60));
    for _ in 0..3 {
        assert_eq!(alice.me().await.status, 200);
    }
    assert_eq!(alice.me().await.status, 429);
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_can_be_disabled() {
    let settings = "
        [limits]
        per_customer = \"off\"
        force_refresh_per_customer = \"off\"
        [cache]
        force_refresh_min_age = \"0s\"";
    let world = World::with(settings).await;
    let alice = world.client("alice");
    for _ in 0..20 {
        assert_eq!(alice.me().await.status, 200);
        assert_cache_status(&alice.get_with("no-cache").await, "fwd=request; stored; ttl=779");
    }
    assert_eq!(world.simulator().calls("alice"), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn frequently_returned_token_is_replaced_in_the_background() {
    let (world, alice, old) = world_of_alice().await;
    for _ in 1..10 {
        assert_eq!(alice.me().await.token(), old);
    }
    assert_eq!(world.simulator().calls("alice"), 1);
    assert_eq!(alice.me().await.token(), old, "the eleventh gets it, too");
    until("the new token", async || alice.me().await.token() != old).await;
    assert_eq!(world.simulator().calls("alice"), 2);
}
