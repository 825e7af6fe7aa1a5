//! Promise P5: a Juspay that fails, is slow or returns wrong data is invisible to customers whose
//! token is above the outage floor. Promise P3 holds even if a clock is wrong.

use std::time::Duration;

use jiff::SignedDuration;
use simulator::{ApiError, Fault, FaultRule, MintRequest};

use crate::support::{Client, Reply, World, until};

/// A simulated token lives for 899 s by the conservative reading: its normal end is at the age of
/// 779 s, its outage end at 869 s.
const BELOW_NORMAL_END: Duration = Duration::from_secs(789);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[track_caller]
fn assert_served(reply: &Reply, cache_status: &str) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.cache_status(), format!("juspay-bff; {cache_status}"));
}

/// Checks that the response has a new token. The expired one may have been evicted before.
#[track_caller]
fn fetched(reply: &Reply) {
    let swept = reply.cache_status().contains("uri-miss");
    assert_served(
        reply,
        &format!("fwd={}; stored; ttl=779", if swept { "uri-miss" } else { "stale" }),
    );
}

/// A world in which alice has a token of this age.
async fn world_of_alice(settings: &str, age: Duration) -> (World, Client, String) {
    let world = World::with(settings).await;
    let alice = world.client("alice");
    let first = alice.me().await;
    assert_served(&first, "fwd=uri-miss; stored; ttl=779");
    world.clock.advance(age);
    (world, alice, first.token())
}

fn unreachable(customer: &str) -> FaultRule {
    let error = Fault::Status { status: 500, headers: <_>::default(), body: String::new() };
    FaultRule::always(error).of(customer)
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_outage_is_invisible_above_the_outage_floor() {
    let (world, alice, old) = world_of_alice("", BELOW_NORMAL_END).await;
    for customer in ["alice", "bob"] {
        world.simulator().inject(unreachable(customer));
    }
    for _ in 0..5 {
        let reply = alice.me().await;
        assert_served(&reply, "hit; ttl=80; detail=outage");
        assert_eq!(reply.token(), old);
        assert_eq!(reply.header("juspay-token-expires-in"), Some("110"));
    }
    assert_eq!(world.simulator().calls("alice"), 2, "one attempt, and then a pause");
    let cold = world.client("bob").me().await;
    assert_eq!((cold.status, cold.code().as_str()), (502, "upstream_error"));
    assert!(cold.header("retry-after").is_some());

    world.clock.advance(secs(80));
    assert_served(&alice.me().await, "hit; ttl=0; detail=outage");
    world.clock.advance(secs(1));
    assert_eq!(alice.me().await.code(), "upstream_error", "below the floor, to the second");
    world.simulator().clear_faults();
    world.clock.advance(secs(1));
    fetched(&alice.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_every_kind_of_failure_is_invisible() {
    let faults = [
        Fault::Error(ApiError::AccessDenied),
        Fault::Error(ApiError::BadOrigin),
        Fault::Html,
        Fault::Empty,
        Fault::CutBody { whole_json: false },
        Fault::Token(simulator::TokenFault::Null),
        Fault::Object(simulator::ObjectFault::OtherCustomer),
        Fault::Status { status: 400, headers: <_>::default(), body: String::new() },
        Fault::Status { status: 429, headers: <_>::default(), body: String::new() },
    ];
    for fault in faults {
        let (world, alice, old) = world_of_alice("", BELOW_NORMAL_END).await;
        world.simulator().inject(FaultRule::always(fault.clone()).of("alice"));
        let reply = alice.me().await;
        assert_served(&reply, "hit; ttl=80; detail=outage");
        assert_eq!(reply.token(), old, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_slow_response_is_awaited_for_250_ms_and_used_later() {
    let (world, alice, old) = world_of_alice("", BELOW_NORMAL_END).await;
    let latch = world.simulator().hold("alice");
    let waiting = alice.begin().await;
    latch.arrived(1).await;
    world.advance(Duration::from_millis(249)).await;
    assert!(!waiting.is_answered());
    world.advance(Duration::from_millis(1)).await;
    let reply = waiting.reply().await;
    assert_served(&reply, "hit; ttl=79; detail=outage");
    assert_eq!(reply.token(), old);
    latch.release();
    until("the new token", async || {
        world.count("juspay_bff_upstream_requests_total{outcome=\"success\"}").await == 2
    })
    .await;
    until("its hit", async || alice.me().await.token() != old).await;
    assert_eq!(world.simulator().calls("alice"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_token_is_fetched_again_as_soon_as_juspay_recovers() {
    let (world, alice, old) = world_of_alice("", BELOW_NORMAL_END).await;
    world.simulator().inject(unreachable("alice").times(1));
    assert_served(&alice.me().await, "hit; ttl=80; detail=outage");
    world.clock.advance(secs(1));
    // After a failed fetch, requests don't wait: the new token is fetched in the background.
    assert_served(&alice.me().await, "hit; ttl=79; detail=outage");
    until("the new token", async || alice.me().await.token() != old).await;
    assert_served(&alice.me().await, "hit; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_customer_is_not_an_outage() {
    let (world, alice, _) = world_of_alice("", BELOW_NORMAL_END).await;
    world.simulator().inject(FaultRule::always(Fault::Error(ApiError::NotFound)).of("alice"));
    assert_eq!(alice.me().await.code(), "customer_not_found");
    world.simulator().clear_faults();
    world.clock.advance(secs(2));
    assert_served(&alice.me().await, "fwd=uri-miss; stored; ttl=779");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_when_no_fetch_may_start_only_requests_that_need_one_are_rejected() {
    let (world, alice, old) = world_of_alice("server.max_waiting = 2", secs(689)).await;
    let fresh = world.client("fresh");
    assert_eq!(fresh.me().await.status, 200);
    world.clock.advance(secs(100));
    let latches = ["c1", "c2"].map(|customer| world.simulator().hold(customer));
    let mut waiting = Vec::new();
    for customer in ["c1", "c2"] {
        waiting.push(world.client(customer).begin().await);
    }
    for latch in &latches {
        latch.arrived(1).await;
    }
    world.until_waiting(2).await;
    let shed = world.client("c3").me().await;
    assert_eq!((shed.status, shed.code().as_str()), (503, "overloaded"));
    assert!(shed.header("retry-after").is_some());
    // A request that joins a fetch needs no permit for it.
    waiting.push(world.client("c1").begin().await);
    world.until_waiting(3).await;
    assert_served(&fresh.me().await, "hit; ttl=679");
    let stale = alice.me().await;
    assert_served(&stale, "hit; ttl=80; detail=outage");
    assert_eq!(stale.token(), old);
    assert_eq!(world.simulator().calls("c3") + world.simulator().calls("alice"), 1);

    latches.iter().for_each(simulator::Latch::release);
    for client in waiting {
        assert_eq!(client.reply().await.status, 200);
    }
    world.until_waiting(0).await;
    assert_served(&alice.me().await, "fwd=stale; stored; ttl=779");
    assert_served(&world.client("c3").me().await, "fwd=uri-miss; stored; ttl=779");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_juspay_clock_an_hour_fast_is_tolerated() {
    let world = World::new().await;
    world.simulator().set_clock_offset(SignedDuration::from_hours(1));
    let alice = world.client("alice");
    let first = alice.me().await;
    assert_served(&first, "fwd=uri-miss; stored; ttl=779");
    assert_eq!(first.header("juspay-token-expires-in"), Some("899"));
    // The client's expiry is on this server's clock.
    let expiry = &first.json()["juspay"]["client_auth_token_expiry"];
    assert_eq!(expiry, "2026-11-23T12:14:59Z");
    world.simulator().inject(unreachable("alice"));
    world.clock.advance(secs(869));
    assert_served(&alice.me().await, "hit; ttl=0; detail=outage");
    world.clock.advance(secs(1));
    assert_eq!(alice.me().await.code(), "upstream_error");
}

/// If the wall clock is ahead of Juspay's, tokens seem expired. Setting it back prolongs no token.
#[tokio::test(flavor = "multi_thread")]
async fn p3_server_clock_jump_of_an_hour_is_tolerated() {
    for (hours, age, hit) in [
        (1, 0, None),
        (1, 789, None),
        (-1, 0, Some("hit; ttl=779")),
        (-1, 600, Some("hit; ttl=179")),
        (-1, 789, None),
        (-1, 870, None),
    ] {
        let (world, _, _) = world_of_alice("", secs(age)).await;
        let jump = SignedDuration::from_hours(hours);
        world.clock.jump_wall(jump);
        // Juspay's clock is a different one and doesn't jump.
        world.simulator().set_clock_offset(-jump);
        let life = SignedDuration::from_hours(9);
        let alice = world.client_with(&MintRequest { life, ..MintRequest::of("alice") });
        let reply = alice.me().await;
        match hit {
            Some(hit) => assert_served(&reply, hit),
            None if hours > 0 => assert_eq!(reply.code(), "upstream_invalid_response"),
            None => fetched(&reply),
        }
    }
}

/// Both clocks keep running in suspend, but here the wall clock is set back as well.
#[tokio::test(flavor = "multi_thread")]
async fn p3_expired_token_is_not_served_after_suspend() {
    let (world, alice, old) = world_of_alice("", secs(0)).await;
    world.simulator().inject(unreachable("alice"));
    world.clock.advance(secs(870));
    world.clock.jump_wall(SignedDuration::from_secs(-870));
    assert_eq!(alice.me().await.code(), "upstream_error");
    for directives in ["min-fresh=1", "no-cache"] {
        let lines = format!("Cache-Control: {directives}\r\n");
        assert_eq!(alice.request("GET", "/me/customer", &lines).await.status, 502);
    }
    world.simulator().clear_faults();
    world.clock.advance(secs(1));
    assert_ne!(alice.me().await.token(), old);
}
