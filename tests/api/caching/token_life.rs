//! Promise P3 and the life of a cached token, on a manual clock.

use std::time::Duration;

use jiff::SignedDuration;
use simulator::{Fault, FaultRule, TokenFault};

use super::served;
use crate::support::{Client, Reply, World, until};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn expires_in(reply: &Reply) -> u64 {
    reply.header("juspay-token-expires-in").expect("a life").parse().unwrap()
}

/// A client whose customer's next token has this fault.
fn client_with(world: &World, fault: Fault) -> Client {
    world.simulator().inject(FaultRule::once(fault).of("alice"));
    world.client("alice")
}

#[tokio::test(flavor = "multi_thread")]
async fn remaining_life_of_hits_decreases() {
    let world = World::new().await;
    let client = world.client("alice");
    let first = served(&client).await;
    assert_eq!(first.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(expires_in(&first), 899);
    for age in [0, 1, 300, 598] {
        let world_age = age - (899 - expires_in(&served(&client).await));
        world.clock.advance(secs(world_age));
        let hit = served(&client).await;
        assert_eq!(hit.cache_status(), format!("juspay-bff; hit; ttl={}", 779 - age));
        assert_eq!(expires_in(&hit), 899 - age);
        assert_eq!(hit.body, first.body, "byte for byte");
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_makes_one_call_in_the_background() {
    let world = World::new().await;
    let client = world.client("alice");
    let old = served(&client).await.token();
    let latch = world.simulator().hold("alice");
    // Remaining life: 300 s, minus 45 s of jitter.
    world.clock.advance(secs(645));
    for _ in 0..50 {
        let hit = served(&client).await;
        assert_eq!(hit.token(), old);
        assert_eq!(hit.cache_status(), "juspay-bff; hit; ttl=134");
    }
    latch.arrived(1).await;
    latch.release();
    let refreshed = async || served(&client).await.token() != old;
    until("the new token", refreshed).await;
    let hit = served(&client).await;
    assert_eq!(hit.cache_status(), "juspay-bff; hit; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 2);
    world.until_count("juspay_bff_cache_refreshes_total{outcome=\"success\"}", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_refresh_keeps_the_old_token() {
    let world = World::new().await;
    let client = world.client("alice");
    let old = served(&client).await.token();
    world.simulator().inject(FaultRule::once(Fault::Html).of("alice"));
    world.clock.advance(secs(645));
    assert_eq!(served(&client).await.token(), old);
    world.until_count("juspay_bff_cache_refreshes_total{outcome=\"failure\"}", 1).await;
    assert_eq!(served(&client).await.token(), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_past_its_normal_end_is_replaced_first() {
    let world = World::new().await;
    let client = world.client("alice");
    let old = served(&client).await.token();
    world.clock.advance(secs(779) + Duration::from_millis(1));
    let reply = served(&client).await;
    // Expiries have whole seconds; one millisecond of this second has passed on the server's clock.
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=stale; stored; ttl=778");
    assert_ne!(reply.token(), old);
    assert_eq!(expires_in(&reply), 898);
    let token = reply.token();
    assert_eq!(served(&client).await.token(), token);
    assert_eq!(world.simulator().calls("alice"), 2);
    // The new token's life starts at its own request.
    world.clock.advance(secs(598));
    let hit = served(&client).await;
    assert_eq!((hit.token(), hit.cache_status()), (token, "juspay-bff; hit; ttl=180"));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_served_until_its_normal_end() {
    let world = World::new().await;
    let client = world.client("alice");
    let old = served(&client).await.token();
    // No background refresh.
    let _latch = world.simulator().hold("alice");
    world.clock.advance(secs(779));
    let hit = served(&client).await;
    assert_eq!((hit.token(), hit.cache_status()), (old, "juspay-bff; hit; ttl=0"));
    assert_eq!(expires_in(&hit), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_short_lived_tokens_have_a_floor() {
    let world = World::new().await;
    // Seconds: total life, conservative remaining life, time to live in the cache.
    for (life, left, ttl) in
        [(36, 35, 5), (40, 39, 9), (60, 59, 29), (120, 119, 89), (300, 299, 224), (600, 599, 479)]
    {
        world.purge_all().await;
        let client = client_with(&world, Fault::Token(TokenFault::Life { seconds: life }));
        let calls = world.simulator().calls("alice");
        let reply = served(&client).await;
        assert_eq!(expires_in(&reply), left, "{life}");
        assert_eq!(reply.cache_status(), format!("juspay-bff; fwd=uri-miss; stored; ttl={ttl}"));
        let token = reply.token();
        // No background refresh.
        let latch = world.simulator().hold("alice");
        world.clock.advance(secs(ttl));
        let hit = served(&client).await;
        assert_eq!((hit.token(), hit.cache_status()), (token.clone(), "juspay-bff; hit; ttl=0"));
        assert!(expires_in(&hit) >= 30 && expires_in(&hit) >= (left / 4).min(120), "{life}");
        latch.arrived(1).await;
        latch.release();
        world.clock.advance(secs(1));
        assert_ne!(served(&client).await.token(), token, "{life}");
        assert_eq!(world.simulator().calls("alice"), calls + 2, "{life}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_life_is_limited_by_max_token_life() {
    let world = World::with("cache.max_token_life = \"10m\"").await;
    for seconds in [900, 86_400] {
        world.purge_all().await;
        let client = client_with(&world, Fault::Token(TokenFault::Life { seconds }));
        let reply = served(&client).await;
        assert_eq!(expires_in(&reply), 600);
        assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=480");
        let expected = &reply.json()["juspay"]["client_auth_token_expiry"];
        assert_eq!(*expected, "2026-11-23T12:10:00Z");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_juspay_clock_is_corrected_by_its_date() {
    let world = World::new().await;
    for hours in [1, 0, 24] {
        world.purge_all().await;
        world.simulator().set_clock_offset(SignedDuration::from_hours(hours));
        let reply = served(&world.client("alice")).await;
        assert_eq!(expires_in(&reply), 899, "{hours} h");
        assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
        // On this server's clock: the client's clock is closer to it than to a wrong one.
        let expected = &reply.json()["juspay"]["client_auth_token_expiry"];
        assert_eq!(*expected, "2026-11-23T12:14:59Z", "{hours} h");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_date_the_servers_clock_applies() {
    let world = World::with_config("", |config| config.token_life = secs(600)).await;
    world.simulator().set_clock_offset(SignedDuration::from_mins(3));
    // With Juspay's `Date` it would be 599 s.
    for fault in [Fault::NoDate, Fault::Age { seconds: 0 }, Fault::Age { seconds: 60 }] {
        world.purge_all().await;
        let reply = served(&client_with(&world, fault.clone())).await;
        assert_eq!(expires_in(&reply), 780, "{fault:?}");
    }
    world.simulator().set_clock_offset(SignedDuration::from_mins(-3));
    world.purge_all().await;
    assert_eq!(expires_in(&served(&client_with(&world, Fault::NoDate)).await), 420);
    // A clock far behind makes Juspay's tokens look expired, which is safer than serving expired
    // ones.
    world.simulator().set_clock_offset(SignedDuration::from_hours(-1));
    world.purge_all().await;
    let reply = client_with(&world, Fault::NoDate).me().await;
    assert_eq!(reply.code(), "upstream_invalid_response");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_life_starts_when_the_request_is_sent() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let waiting = client.begin().await;
    latch.arrived(1).await;
    world.clock.advance(secs(4));
    latch.release();
    // At receipt, 896 s remain on this server's clock; that minus a second counts from sending, 4 s
    // ago.
    assert_eq!(expires_in(&waiting.reply().await), 891);
    assert_eq!(expires_in(&served(&client).await), 891);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_token_must_be_valid_on_both_clocks() {
    let world = World::new().await;
    let client = world.client("alice");
    let old = served(&client).await.token();
    // The wall clock jumps ahead: on it, the token is below the floor.
    world.clock.jump_wall(SignedDuration::from_secs(780));
    let new = served(&client).await;
    assert_eq!(new.cache_status(), "juspay-bff; fwd=stale; stored; ttl=779");
    assert_ne!(new.token(), old);
    // The wall clock jumps back, and time passes: on the monotonic clock, the token has expired.
    world.clock.jump_wall(SignedDuration::from_secs(-780));
    assert_eq!(served(&client).await.cache_status(), "juspay-bff; hit; ttl=779");
    world.clock.advance(secs(780));
    assert_ne!(served(&client).await.token(), new.token());
}
