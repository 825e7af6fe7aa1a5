//! A customer's failed fetch is remembered for that customer: what ends that, and its
//! `Retry-After`.

use std::{fs, time::Duration};

use tempfile::TempDir;

use super::{
    first_request, retry_after, scripted,
    scripted_juspay::{ScriptedJuspay, answer},
};
use crate::support::{Client, Reply, Stage, World, shipped};

/// A failure that is remembered for longer than any pause of the service itself.
fn unavailable(retry_after: u64) -> Vec<u8> {
    let lines = format!("Retry-After: {retry_after}\r\n");
    answer("500 Internal Server Error", &lines, b"")
}

/// A world in which `alice` has failed once, for thirty seconds, and Juspay works again.
async fn failed() -> (World, ScriptedJuspay, Client) {
    let (world, juspay) = scripted().await;
    juspay.answer("alice", unavailable(30));
    let client = world.client("alice");
    assert_eq!(client.me().await.code(), "upstream_error");
    juspay.heal("alice");
    assert_remembered(&juspay, &client).await;
    (world, juspay, client)
}

async fn assert_remembered(juspay: &ScriptedJuspay, client: &Client) {
    assert_eq!(client.me().await.code(), "upstream_error");
    assert_eq!(juspay.calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn remembered_error_is_returned_without_a_call() {
    let (world, juspay) = scripted().await;
    juspay.answer("alice", unavailable(7));
    let client = world.client("alice");
    // Plus up to half as much jitter.
    for (passed, expected) in [(0, 7..=11), (0, 7..=11), (3, 4..=6), (3, 1..=2)] {
        world.clock.advance(Duration::from_secs(passed));
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
        assert!(expected.contains(&retry_after(&reply)), "{}", reply.text());
    }
    assert_eq!(juspay.calls("alice"), 1);
    first_request(&world, "bob").await;
    juspay.heal("alice");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_failure_is_remembered_for_at_most_a_second() {
    let (world, juspay) = scripted().await;
    juspay.answer("alice", answer("500 Internal Server Error", "", b""));
    let client = world.client("alice");
    assert!((1..=2).contains(&retry_after(&client.me().await)));
    juspay.heal("alice");
    assert!((1..=2).contains(&retry_after(&client.me().await)));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(client.me().await.status, 200);
    assert_eq!(juspay.calls("alice"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_directive_bypasses_a_remembered_failure() {
    let (_world, juspay, client) = failed().await;
    for directive in ["no-cache", "min-fresh=300", "no-cache, min-fresh=300"] {
        let lines = format!("Cache-Control: {directive}\r\n");
        let reply: Reply = client.request("GET", "/me/customer", &lines).await;
        assert_eq!(reply.code(), "upstream_error", "{directive}");
        assert!((30..=45).contains(&retry_after(&reply)), "{directive}");
    }
    let without_token = client.get("/me/customer?options.get_client_auth_token=false").await;
    assert_eq!(without_token.code(), "upstream_error");
    assert_remembered(&juspay, &client).await;
}

/// The cached token stays, and requests without `no-cache` get it.
#[tokio::test(flavor = "multi_thread")]
async fn no_cache_with_a_cached_token_causes_few_calls() {
    let (world, juspay) = scripted().await;
    let client = world.client("alice");
    assert_eq!(client.me().await.status, 200);
    // Below the normal floor, no limit applies to `no-cache`.
    world.clock.advance(Duration::from_secs(790));
    juspay.answer("alice", answer("500 Internal Server Error", "", b""));
    for _ in 0..20 {
        let reply = client.request("GET", "/me/customer", "Cache-Control: no-cache\r\n").await;
        assert_eq!((reply.status, &*reply.code()), (503, "upstream_unavailable"));
        retry_after(&reply);
    }
    assert_eq!(juspay.calls("alice"), 2);
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_ends_a_remembered_failure() {
    for what in [serde_json::json!({"customer_id": "alice"}), serde_json::json!({"all": true})] {
        let (world, juspay, client) = failed().await;
        let other = serde_json::json!({"customer_id": "bob"});
        assert_eq!(world.admin().post("/cache/purge", &other).await.status, 200);
        assert_remembered(&juspay, &client).await;
        assert_eq!(world.admin().post("/cache/purge", &what).await.status, 200);
        assert_eq!(client.me().await.status, 200, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_key_ends_a_remembered_failure() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    let stage = Stage::set().await;
    fs::write(&path, &stage.api_key).unwrap();
    let juspay = ScriptedJuspay::start(stage.clock.clone()).await;
    let settings = format!(
        "{}juspay.base_url = \"{}\"\njuspay.api_key_file = \"{}\"\nsecrets.poll = \"1s\"",
        shipped(),
        juspay.base_url(),
        path.display()
    );
    let world = stage.open_ready(&settings).await;
    juspay.answer("alice", unavailable(30));
    let client = world.client("alice");
    assert_eq!(client.me().await.code(), "upstream_error");
    juspay.heal("alice");
    assert_remembered(&juspay, &client).await;
    fs::write(&path, "canary_another").unwrap();
    for _ in 0..3 {
        world.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_breaker_ends_a_remembered_failure() {
    let (world, juspay, client) = failed().await;
    for number in 0..20 {
        let customer = format!("c{number}");
        juspay.answer(&customer, answer("500 Internal Server Error", "", b""));
        world.client(&customer).me().await;
    }
    assert_eq!(world.client("bob").me().await.code(), "upstream_unavailable");
    assert_remembered(&juspay, &client).await;
    world.clock.advance(Duration::from_secs(5));
    assert_remembered(&juspay, &client).await;
    first_request(&world, "bob").await;
    assert_eq!(client.me().await.status, 200);
}
