//! Cached customers are served while many requests wait; excess requests are rejected at once.

use std::time::Duration;

use simulator::Latch;
use tokio::task::JoinHandle;

use super::{all_at_once, breaker, cold, is_ready, retry_after};
use crate::support::{Client, Reply, World, shipped};

/// Clients whose responses are held back by latches at Juspay.
struct WaitingClients {
    latches: Vec<Latch>,
    requests: Vec<JoinHandle<Reply>>,
}

impl WaitingClients {
    fn new(world: &World, number: usize) -> Self {
        let ids: Vec<_> = (0..number).map(|n| format!("waiting{n}")).collect();
        let latches = ids.iter().map(|id| world.simulator().hold(id)).collect();
        let requests = ids.iter().map(|id| request(world.client(id))).collect();
        Self { latches, requests }
    }

    async fn all_at_juspay(&self) {
        for latch in &self.latches {
            latch.arrived(1).await;
        }
    }

    async fn release(self) -> Vec<Reply> {
        self.latches.iter().for_each(Latch::release);
        let mut replies = Vec::new();
        for request in self.requests {
            replies.push(request.await.unwrap());
        }
        replies
    }
}

fn request(client: Client) -> JoinHandle<Reply> {
    tokio::spawn(async move { client.me().await })
}

fn overloaded(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (503, "overloaded"), "{}", reply.text());
    retry_after(reply, 1);
}

async fn hits(world: &World, number: usize) {
    let clients = (0..number).map(|_| world.client("alice"));
    for reply in all_at_once(clients).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.cache_status().starts_with("juspay-bff; hit;"), "{}", reply.cache_status());
    }
    assert!(is_ready(world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn saturated_juspay_does_not_affect_hits() {
    // Long enough that the 64 hanging calls still run when the 65th gives up waiting.
    let world = World::with("juspay.try_timeout = \"5s\"").await;
    assert_eq!(world.client("alice").me().await.status, 200);
    let waiting = WaitingClients::new(&world, 64);
    waiting.all_at_juspay().await;
    assert_eq!(world.count("juspay_bff_upstream_in_flight").await, 64);
    let late = request(world.client("late"));
    world.until_waiting(65).await;
    world.settle().await;
    hits(&world, 50).await;
    world.advance(Duration::from_millis(2_500)).await;
    overloaded(&late.await.unwrap());
    assert_eq!(world.simulator().calls("late"), 0);
    assert_eq!(breaker(&world).await, "closed");
    assert!(waiting.release().await.iter().all(|reply| reply.status == 200));
    assert_eq!(world.client("late").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_uncached_customers_wait_and_hits_do_not() {
    let world = World::new().await;
    assert_eq!(world.client("alice").me().await.status, 200);
    let waiting = WaitingClients::new(&world, 500);
    world.until_waiting(500).await;
    hits(&world, 100).await;
    let replies = waiting.release().await;
    assert_eq!(replies.len(), 500);
    assert!(replies.iter().all(|reply| reply.status == 200), "all are served");
    let counts = world.simulator().counts();
    assert!(counts.values().all(|calls| *calls == 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_one_customer_cannot_use_all_permits() {
    let world = World::with(&shipped()).await;
    let latch = world.simulator().hold("crowd");
    let client = world.client("crowd");
    let crowd: Vec<_> = std::iter::repeat_n(client, 560).map(request).collect();
    world.until_waiting(512).await;
    world.settle().await;
    // One customer can't hold more than half of the permits.
    for client in std::iter::repeat_n(world.client("crowd"), 3) {
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (429, "rate_limited"), "{}", reply.text());
        retry_after(&reply, 1);
    }
    for reply in all_at_once(cold(&world, "other", 20)).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    latch.arrived(1).await;
    latch.release();
    let mut statuses = std::collections::BTreeMap::new();
    for request in crowd {
        *statuses.entry(request.await.unwrap().status).or_insert(0) += 1;
    }
    assert_eq!(statuses, [(200, 512), (429, 48)].into());
    assert_eq!(world.simulator().calls("crowd"), 1);
    world.until_waiting(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_five_hundred_requests_for_one_customer_share_one_call() {
    let world = World::with(&shipped()).await;
    let latch = world.simulator().hold("herd");
    let herd: Vec<_> = std::iter::repeat_n(world.client("herd"), 500).map(request).collect();
    world.until_waiting(500).await;
    latch.release();
    for request in herd {
        assert_eq!(request.await.unwrap().status, 200);
    }
    assert_eq!(world.simulator().calls("herd"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_joining_a_fetch_needs_no_fetch_permit() {
    let world = World::with("server.max_waiting = 1").await;
    let waiting = WaitingClients::new(&world, 1);
    waiting.all_at_juspay().await;
    let joined = request(world.client("waiting0"));
    world.until_waiting(2).await;
    overloaded(&world.client("late").me().await);
    assert!(waiting.release().await.iter().all(|reply| reply.status == 200));
    assert!(joined.await.unwrap().cache_status().ends_with("; collapsed"));
    assert_eq!(world.client("late").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_waiting_requests_are_rejected_and_hits_are_not() {
    let world = World::with("server.max_in_flight = 8\nserver.max_waiting = 7").await;
    assert_eq!(world.client("alice").me().await.status, 200);
    let waiting = WaitingClients::new(&world, 7);
    waiting.all_at_juspay().await;
    for client in cold(&world, "late", 5) {
        overloaded(&client.me().await);
    }
    for _ in 0..20 {
        assert_eq!(world.client("alice").me().await.status, 200);
    }
    assert_eq!(world.simulator().total_requests(), 8);
    assert!(waiting.release().await.iter().all(|reply| reply.status == 200));
    assert_eq!(world.client("late0").me().await.status, 200);
    world.until_waiting(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_never_limited() {
    let world = World::with("server.max_in_flight = 2\nserver.max_waiting = 1").await;
    assert_eq!(world.client("alice").me().await.status, 200);
    let waiting = WaitingClients::new(&world, 1);
    waiting.all_at_juspay().await;
    let alice = world.client("alice");
    assert_eq!(alice.me().await.status, 200);
    for reply in all_at_once(std::iter::repeat_n(alice, 300)).await {
        assert!(reply.cache_status().starts_with("juspay-bff; hit;"), "{}", reply.text());
    }
    overloaded(&world.client("late").me().await);
    assert!(waiting.release().await.iter().all(|reply| reply.status == 200));
}
