//! How fresh a token a phone wants: the directives of the contract, as it sends them, and what
//! `Cache-Status` tells it. And how often a customer may ask.

use std::time::Duration;

use juspay_bff::simulator::{ApiError, Fault, FaultRule};

use crate::support::{Phone, Reply, World, until};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Phone {
    /// `GET /me/customer` with that `Cache-Control`.
    async fn asks_for(&self, directives: &str) -> Reply {
        self.request("GET", "/me/customer", &format!("Cache-Control: {directives}\r\n")).await
    }
}

fn expires_in(reply: &Reply) -> u64 {
    reply.header("juspay-token-expires-in").expect("a life").parse().unwrap()
}

#[track_caller]
fn told(reply: &Reply, cache_status: &str) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.cache_status(), format!("juspay-bff; {cache_status}"));
}

/// A world in which alice has had a token for 100 s: it lives for 799 s more.
async fn world_of_alice() -> (World, Phone, String) {
    let world = World::new().await;
    let alice = world.phone("alice");
    let first = alice.me().await;
    told(&first, "fwd=uri-miss; stored; ttl=779");
    world.clock.advance(secs(100));
    (world, alice, first.token())
}

#[tokio::test(flavor = "multi_thread")]
async fn min_fresh_gets_a_token_that_lives_long_enough() {
    let (world, alice, old) = world_of_alice().await;
    let met = alice.asks_for("min-fresh=799").await;
    told(&met, "hit; ttl=679");
    assert_eq!((met.token(), expires_in(&met)), (old.clone(), 799));
    let unmet = alice.asks_for("max-age=0, Min-Fresh=\"800\"").await;
    told(&unmet, "fwd=request; stored; ttl=779");
    assert!(unmet.token() != old && expires_in(&unmet) == 899);
    let impossible = alice.asks_for("min-fresh=99999999999999999999").await;
    told(&impossible, "hit; ttl=779; detail=min-fresh-unmet");
    assert_eq!((world.simulator().calls("alice"), impossible.token()), (2, unmet.token()));
    let first = world.phone("bob").asks_for("min-fresh=900").await;
    told(&first, "fwd=uri-miss; stored; ttl=779; detail=min-fresh-unmet");
}

#[tokio::test(flavor = "multi_thread")]
async fn min_fresh_gets_what_there_is_when_juspay_fails() {
    let (world, alice, old) = world_of_alice().await;
    world.simulator().inject(FaultRule::always(Fault::Html).of("alice"));
    for _ in 0..5 {
        let unmet = alice.asks_for("min-fresh=800").await;
        told(&unmet, "hit; ttl=679; detail=min-fresh-unmet");
        assert_eq!(unmet.token(), old);
    }
    assert_eq!(world.simulator().calls("alice"), 2, "one try, and then a pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_gets_a_new_token() {
    let (world, alice, old) = world_of_alice().await;
    let new = alice.asks_for("no-cache").await;
    told(&new, "fwd=request; stored; ttl=779");
    assert_ne!(new.token(), old);
    // It's new for half a minute, for all phones of this customer's.
    world.clock.advance(secs(29));
    let same = alice.asks_for("no-cache").await;
    told(&same, "hit; ttl=750");
    assert_eq!(same.token(), new.token());
    world.clock.advance(secs(1));
    told(&alice.asks_for("no-cache").await, "fwd=request; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_joins_a_flight_in_the_air() {
    let (world, alice, old) = world_of_alice().await;
    let gate = world.simulator().hold("alice");
    let twins = [alice.clone(), alice.clone()]
        .map(|phone| tokio::spawn(async move { phone.asks_for("no-cache").await }));
    gate.arrived(1).await;
    world.until_waiting(2).await;
    gate.release();
    let mut statuses = Vec::new();
    for twin in twins {
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
async fn no_cache_past_the_limit_gets_the_cached_token() {
    let (world, alice, _) = world_of_alice().await;
    for _ in 0..3 {
        told(&alice.asks_for("no-cache").await, "fwd=request; stored; ttl=779");
        // The limit of 3/min gives one back each 20 s; half a minute makes a token old.
        world.clock.advance(secs(30));
    }
    let world = World::with("limits.force_refresh_per_customer = \"1/min\"").await;
    let (alice, bob) = (world.phone("alice"), world.phone("bob"));
    told(&alice.me().await, "fwd=uri-miss; stored; ttl=779");
    told(&bob.me().await, "fwd=uri-miss; stored; ttl=779");
    world.clock.advance(secs(30));
    told(&alice.asks_for("no-cache").await, "fwd=request; stored; ttl=779");
    world.clock.advance(secs(30));
    told(&alice.asks_for("no-cache").await, "hit; ttl=749; detail=refresh-limited");
    told(&alice.asks_for("min-fresh=880").await, "hit; ttl=749; detail=min-fresh-unmet");
    told(&bob.asks_for("no-cache").await, "fwd=request; stored; ttl=779");
    world.clock.advance(secs(30));
    told(&alice.asks_for("no-cache").await, "fwd=request; stored; ttl=779");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_in_an_outage_is_refused_and_the_token_stays() {
    for (fault, code) in [
        (Fault::Error(ApiError::AccessDenied), "upstream_unavailable"),
        (Fault::Error(ApiError::BadOrigin), "upstream_unavailable"),
        (Fault::Html, "upstream_unavailable"),
    ] {
        let (world, alice, old) = world_of_alice().await;
        world.simulator().inject(FaultRule::always(fault).of("alice"));
        let refused = alice.asks_for("no-cache").await;
        assert_eq!((refused.status, refused.code().as_str()), (503, code));
        assert!(refused.header("retry-after").is_some());
        let kept = alice.me().await;
        told(&kept, "hit; ttl=679");
        assert_eq!(kept.token(), old);
    }
    let (world, alice, old) = world_of_alice().await;
    let gate = world.simulator().hold("alice");
    let waiting = tokio::spawn({
        let alice = alice.clone();
        async move { alice.asks_for("no-cache").await }
    });
    gate.arrived(1).await;
    world.turn(secs(5)).await;
    let refused = waiting.await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(alice.me().await.token(), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_is_gone_is_404_whatever_is_asked_for() {
    for directives in ["no-cache", "min-fresh=800"] {
        let (world, alice, _) = world_of_alice().await;
        world.simulator().inject(FaultRule::always(Fault::Error(ApiError::NotFound)).of("alice"));
        assert_eq!(alice.asks_for(directives).await.code(), "customer_not_found");
        assert_eq!(alice.me().await.code(), "customer_not_found", "the token is gone, too");
        assert_eq!(alice.asks_for("only-if-cached").await.code(), "customer_not_found");
        assert_eq!(world.simulator().calls("alice"), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_if_cached_never_waits_for_juspay() {
    let (world, alice, old) = world_of_alice().await;
    let cached = alice.asks_for("only-if-cached").await;
    told(&cached, "hit; ttl=679");
    assert_eq!(cached.token(), old);
    told(
        &alice.asks_for("only-if-cached, min-fresh=800").await,
        "hit; ttl=679; detail=min-fresh-unmet",
    );
    for directives in ["only-if-cached, no-cache", "no-cache,only-if-cached,min-fresh=1"] {
        assert_eq!(alice.asks_for(directives).await.code(), "not_cached");
    }
    let bob = world.phone("bob");
    for directives in ["only-if-cached", "Only-If-Cached, no-cache", "only-if-cached, min-fresh=1"]
    {
        let none = bob.asks_for(directives).await;
        assert_eq!((none.status, none.code().as_str()), (504, "not_cached"), "{directives}");
        assert_eq!(none.json()["retryable"], false);
    }
    assert_eq!(world.simulator().calls("bob"), 0);
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_directives_are_about_the_object() {
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
    told(&bare("min-fresh=10000").await, "hit; ttl=679");
    told(&bare("no-cache").await, "fwd=request; stored; ttl=779");
    // That nobody has had its token makes an object no newer.
    world.clock.advance(secs(30));
    told(&bare("no-cache").await, "fwd=request; stored; ttl=779");
    world.clock.advance(secs(30));
    told(&alice.asks_for("no-cache").await, "hit; ttl=749");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_directives_are_refused_and_unknown_ones_ignored() {
    let (world, alice, _) = world_of_alice().await;
    for directives in ["min-fresh", "min-fresh=-1", "min-fresh=1s", "no-cache=1", "only-if-cached="]
    {
        let refused = alice.asks_for(directives).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"));
    }
    for directives in ["", "max-age=0", "no-store, no-transform", "x=\"a, no-cache\", ,foo"] {
        told(&alice.asks_for(directives).await, "hit; ttl=679");
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let world = World::with("limits.per_customer = \"3/min\"").await;
    let (alice, bob) = (world.phone("alice"), world.phone("bob"));
    for _ in 0..3 {
        assert_eq!(alice.me().await.status, 200);
    }
    let refused = alice.me().await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&after), "20 s, and half of it for jitter: {after}");
    assert_eq!(refused.json()["retryable"], true);
    // It's the customer that is limited, not the phone and not everybody.
    assert_eq!(world.phone("alice").me().await.status, 429);
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
async fn limits_can_be_off() {
    let settings = "
        [limits]
        per_customer = \"off\"
        force_refresh_per_customer = \"off\"
        [cache]
        force_refresh_min_age = \"0s\"";
    let world = World::with(settings).await;
    let alice = world.phone("alice");
    for _ in 0..20 {
        assert_eq!(alice.me().await.status, 200);
        told(&alice.asks_for("no-cache").await, "fwd=request; stored; ttl=779");
    }
    assert_eq!(world.simulator().calls("alice"), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_handed_out_often_is_replaced_behind() {
    let (world, alice, old) = world_of_alice().await;
    for _ in 1..10 {
        assert_eq!(alice.me().await.token(), old);
    }
    assert_eq!(world.simulator().calls("alice"), 1);
    assert_eq!(alice.me().await.token(), old, "the eleventh gets it, too");
    until("the new token", async || alice.me().await.token() != old).await;
    assert_eq!(world.simulator().calls("alice"), 2);
}
