//! Unsolicited responses on idle connections. awc notices one that arrived before the connection is
//! reused; otherwise only the identity check protects the next customer.

use std::time::Duration;

use futures_util::future::join_all;
use simulator::{Fault, FaultRule};

use super::{connections, identity_mismatches, owner, replies};
use crate::support::{Client, Reply, World};

const GAP: Duration = Duration::from_millis(5);

fn surplus_for(customer: &str) -> FaultRule {
    FaultRule::once(Fault::Surplus { gap_ms: 5 }).of(customer)
}

/// Purges the customer, because a failed fetch is remembered for a second or more.
async fn forget_failure(world: &World, id: &str) {
    let purge = serde_json::json!({"customer_id": id});
    assert_eq!(world.admin().post("/cache/purge", &purge).await.status, 200);
}

/// Requests until the customer gets its object. Returns how many responses were rejected before.
async fn until_served(world: &World, client: &Client, id: &str, first: Reply) -> u64 {
    let mut reply = first;
    for rejected in 0..5 {
        if reply.status == 200 {
            assert_eq!(owner(&reply), id);
            return rejected;
        }
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
        forget_failure(world, id).await;
        reply = replies(GAP, world, vec![client.begin().await]).await.remove(0);
    }
    panic!("{id} is rejected every time");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_surplus_response_before_the_next_customers_is_rejected() {
    let world = World::with("server.workers = 1").await;
    world.simulator().inject(surplus_for("alice"));
    assert_eq!(owner(&world.client("alice").me().await), "alice");
    let bob = world.client("bob").begin().await;
    world.until_waiting(1).await;
    world.settle().await;
    // Bob's request is on the connection on which Alice's second response arrives only now.
    let reply = replies(GAP, &world, vec![bob]).await.remove(0);
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
    assert!(!reply.text().contains("alice"), "{}", reply.text());
    assert_eq!(identity_mismatches(&world).await, 1);
    // The connection isn't reused.
    forget_failure(&world, "bob").await;
    for customer in ["carol", "bob", "dave"] {
        assert_eq!(owner(&world.client(customer).me().await), customer);
    }
    assert_eq!(identity_mismatches(&world).await, 1);
    let shifted = connections(&world, "alice")[0];
    assert_eq!(connections(&world, "bob")[0], shifted, "the test needs this connection");
    for customer in ["carol", "dave"] {
        assert_ne!(connections(&world, customer), [shifted]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_surplus_response_before_the_next_request_is_harmless() {
    let world = World::with("server.workers = 1").await;
    for n in 0..20 {
        let (unlucky, next) = (format!("unlucky{n}"), format!("next{n}"));
        world.simulator().inject(surplus_for(&unlucky));
        assert_eq!(owner(&world.client(&unlucky).me().await), unlucky);
        world.advance(GAP).await;
        let client = world.client(&next);
        let reply = replies(GAP, &world, vec![client.begin().await]).await.remove(0);
        until_served(&world, &client, &next, reply).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_surplus_responses_never_reach_another_customer() {
    let world = World::new().await;
    let ids: Vec<_> = (0..50).map(|n| format!("customer{n}")).collect();
    let clients: Vec<_> = ids.iter().map(|id| world.client(id)).collect();
    let mut rejected = 0;
    for round in 0..10 {
        world.purge_all().await;
        ids.iter().skip(round).step_by(10).for_each(|id| world.simulator().inject(surplus_for(id)));
        for (clients, ids) in clients.chunks(25).zip(ids.chunks(25)) {
            let requests = join_all(clients.iter().map(Client::begin)).await;
            let responses = replies(GAP, &world, requests).await;
            for ((client, id), reply) in clients.iter().zip(ids).zip(responses) {
                rejected += until_served(&world, client, id, reply).await;
            }
        }
    }
    assert_eq!(identity_mismatches(&world).await, rejected);
}
