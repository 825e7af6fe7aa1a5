//! `POST /me/prepare`: fetches the customer ahead of its use.

use std::time::Duration;

use crate::support::{Client, Reply, World, until};

impl Client {
    async fn prepare(&self) -> Reply {
        self.request("POST", "/me/prepare", "Content-Length: 0\r\n").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_token_is_there_when_the_client_needs_it() {
    let world = World::new().await;
    let alice = world.client("alice");
    let reply = alice.prepare().await;
    assert_eq!((reply.status, reply.text()), (202, String::new()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let only_if_cached = "Cache-Control: only-if-cached\r\n";
    until("alice is cached", async || {
        alice.request("GET", "/me/customer", only_if_cached).await.status == 200
    })
    .await;
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_parallel_prepares_and_the_first_request_make_one_call() {
    let world = World::new().await;
    let alice = world.client("alice");
    let held = world.simulator().hold("alice");
    let prepares = futures_util::future::join_all((0..3).map(|_| alice.prepare())).await;
    assert!(prepares.iter().all(|reply| reply.status == 202), "at once, although Juspay waits");
    held.release();
    assert_eq!(alice.me().await.status, 200);
    alice.prepare().await;
    assert_eq!(world.simulator().calls("alice"), 1, "repeated ones are free");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_replaces_no_usable_token() {
    let world = World::new().await;
    let alice = world.client("alice");
    let token = alice.me().await.token();
    world.clock.advance(Duration::from_secs(60));
    for directive in ["no-cache", "only-if-cached", "no-cache, only-if-cached"] {
        let lines = format!("Content-Length: 0\r\nCache-Control: {directive}\r\n");
        assert_eq!(alice.request("POST", "/me/prepare", &lines).await.status, 202);
    }
    assert_eq!((alice.me().await.token(), world.simulator().calls("alice")), (token, 1));
    let lines = "Content-Length: 0\r\nCache-Control: min-fresh=890\r\n";
    assert_eq!(alice.request("POST", "/me/prepare", lines).await.status, 202);
    until("a fetch", async || world.simulator().calls("alice") == 2).await;
    let lines = "Content-Length: 0\r\nCache-Control: min-fresh=x\r\n";
    assert_eq!(alice.request("POST", "/me/prepare", lines).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepares_count_for_the_customer_s_limit() {
    let world = World::with("limits.per_customer = '2/min'").await;
    let alice = world.client("alice");
    let statuses = [alice.prepare().await.status, alice.prepare().await.status];
    assert_eq!((statuses, alice.prepare().await.status), ([202, 202], 429));
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_prepare_is_authenticated_and_checked_like_other_requests() {
    let world = World::new().await;
    let alice = world.client("alice");
    let get = alice.request("GET", "/me/prepare", "").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let body = alice.request("POST", "/me/prepare", "Content-Length: 2\r\n\r\n{}").await;
    assert_eq!(body.status, 413);
    let anonymous = world.anonymous();
    assert_eq!(anonymous.request("POST", "/me/prepare", "Content-Length: 0\r\n").await.status, 401);
}
