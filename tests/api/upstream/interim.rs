//! awc considers an unsolicited 1xx the response and keeps the connection. Each later response on it
//! then belongs to the previous request, which may be another customer's.

use std::time::Duration;

use futures_util::future::join_all;
use simulator::{Fault, FaultRule};

use super::{connections, identity_mismatches, owner, replies};
use crate::support::{Client, World};

const CUSTOMERS: usize = 50;
const ROUNDS: usize = 20;

/// Time between the 1xx and the response that follows it, on the manual clock.
const GAP: Duration = Duration::from_millis(5);

struct Clients {
    world: World,
    customers: Vec<(String, Client)>,
    rejected: u64,
}

impl Clients {
    async fn new() -> Self {
        let world = World::new().await;
        let ids = (0..CUSTOMERS).map(|n| format!("customer{n}"));
        let customers = ids.map(|id| (id.clone(), world.client(&id))).collect();
        Self { world, customers, rejected: 0 }
    }

    /// Every customer is fetched again: first those for which `status` returns a 1xx before the
    /// response, then all others. The responses after the 1xx arrive once the others' requests have
    /// been sent.
    async fn round(&mut self, first: usize, status: impl Fn(usize) -> Option<u16>) {
        let Self { world, customers, rejected } = self;
        world.purge_all().await;
        let order = (0..CUSTOMERS).map(|n| (first + n) % CUSTOMERS);
        let (hinted, others): (Vec<_>, Vec<_>) = order.partition(|n| status(*n).is_some());
        for n in &hinted {
            let fault = Fault::Interim { status: status(*n).unwrap(), gap_ms: 5 };
            world.simulator().inject(FaultRule::once(fault).of(&customers[*n].0));
        }
        for reply in join_all(hinted.iter().map(|n| customers[*n].1.me())).await {
            assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
            *rejected += 1;
        }
        let waiting = join_all(others.iter().map(|n| customers[*n].1.begin())).await;
        // All requests have been sent.
        world.settle().await;
        for (n, reply) in others.iter().zip(replies(GAP, world, waiting).await) {
            assert_eq!(owner(&reply), customers[*n].0);
            assert!(reply.cache_status().contains("fwd=uri-miss"), "{}", reply.cache_status());
        }
    }

    /// Only requests that got a 1xx failed. No connection with a 1xx was reused, so the identity
    /// check found nothing.
    async fn nothing_else_was_rejected(&self) {
        assert_eq!(self.world.upstream("invalid_response").await, self.rejected);
        assert_eq!(identity_mismatches(&self.world).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_unsolicited_103_never_leaks_anothers_object() {
    let mut clients = Clients::new().await;
    for round in 0..ROUNDS {
        clients.round(round * 7, |n| (round == 0 && n == 0).then_some(103)).await;
    }
    clients.nothing_else_was_rejected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_repeated_103s_never_leak_anothers_object() {
    let mut clients = Clients::new().await;
    for round in 0..ROUNDS {
        clients.round(round * 7, |n| ((n + round) % 10 == 3).then_some(103)).await;
    }
    clients.nothing_else_was_rejected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_any_1xx_never_leaks_anothers_object() {
    let mut clients = Clients::new().await;
    let statuses = [100, 101, 102, 103, 104, 199];
    for (round, status) in statuses.into_iter().cycle().take(ROUNDS).enumerate() {
        clients.round(round * 7, |n| ((n + round) % 10 == 3).then_some(status)).await;
    }
    clients.nothing_else_was_rejected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_response_in_one_packet_with_the_response_is_rejected() {
    let world = World::with("server.workers = 1").await;
    let fault = Fault::Interim { status: 103, gap_ms: 0 };
    world.simulator().inject(FaultRule::once(fault).of("alice"));
    assert_eq!(world.client("alice").me().await.code(), "upstream_invalid_response");
    assert_eq!(owner(&world.client("bob").me().await), "bob");
    world.purge_all().await;
    assert_eq!(owner(&world.client("alice").me().await), "alice");
    assert_ne!(connections(&world, "alice")[0], connections(&world, "bob")[0]);
}
