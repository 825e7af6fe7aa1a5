//! Promise P4: at most one call is in flight for a customer, for any requests and disconnects of
//! clients.

use futures_util::future::join_all;
use simulator::{ApiError, Fault, FaultRule};

use crate::support::{Client, Pending, Reply, World};

/// Concurrent requests of `client`. Returns when they and `others` more requests wait for Juspay.
async fn waiting_requests(world: &World, client: &Client, size: u64, others: u64) -> Vec<Pending> {
    let requests = join_all((0..size).map(|_| client.begin())).await;
    world.until_waiting(size + others).await;
    requests
}

async fn replies(requests: Vec<Pending>) -> Vec<Reply> {
    join_all(requests.into_iter().map(Pending::reply)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_200_requests_for_an_uncached_customer_make_one_call() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let requests = waiting_requests(&world, &client, 200, 0).await;
    latch.release();
    let replies = replies(requests).await;
    let (mut stored, mut collapsed) = (0, 0);
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.token(), replies[0].token());
        match reply.cache_status() {
            "juspay-bff; fwd=uri-miss; stored; ttl=779" => stored += 1,
            "juspay-bff; fwd=uri-miss; collapsed" => collapsed += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((stored, collapsed), (1, 199));
    assert_eq!(world.simulator().calls("alice"), 1);
    for (outcome, number) in [("miss", 1), ("joined", 199), ("hit", 0)] {
        let series = format!("juspay_bff_cache_requests_total{{outcome=\"{outcome}\"}}");
        world.until_count(&series, number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_disconnect_of_the_first_client_cancels_nothing() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let first = client.begin().await;
    latch.arrived(1).await;
    let requests = waiting_requests(&world, &client, 199, 1).await;
    drop(first);
    world.until_waiting(199).await;
    latch.release();
    for reply in replies(requests).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; collapsed");
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_fetch_without_waiting_clients_finishes_and_is_cached() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    drop(waiting_requests(&world, &client, 1, 0).await);
    world.until_waiting(0).await;
    latch.release();
    world.until_count("juspay_bff_cache_entries", 1).await;
    assert_eq!(client.me().await.cache_status(), "juspay-bff; hit; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_300_successive_disconnects_starve_no_client() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    for _ in 0..300 {
        drop(waiting_requests(&world, &client, 1, 0).await);
        world.until_waiting(0).await;
    }
    let requests = waiting_requests(&world, &client, 1, 0).await;
    latch.release();
    let replies = replies(requests).await;
    assert_eq!(replies[0].status, 200, "{}", replies[0].text());
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_failed_fetch_ends_all_waiting_requests() {
    for (id, fault, code) in [
        ("a", status(500), "upstream_error"),
        ("b", status(429), "upstream_unavailable"),
        ("c", Fault::Error(ApiError::AccessDenied), "upstream_rejected_credentials"),
        ("d", Fault::Error(ApiError::NotFound), "customer_not_found"),
        ("e", Fault::Html, "upstream_invalid_response"),
        ("f", Fault::Reset, "upstream_error"),
    ] {
        // A separate world for each: some of them open the breaker or start the hold.
        let world = World::new().await;
        let latch = world.simulator().hold(id);
        world.simulator().inject(FaultRule::once(fault).of(id));
        let requests = waiting_requests(&world, &world.client(id), 50, 0).await;
        latch.release();
        for reply in replies(requests).await {
            assert_eq!(reply.code(), code, "{id}");
        }
        assert_eq!(world.simulator().calls(id), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_requests_waiting_until_the_deadline_share_one_call() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let requests = waiting_requests(&world, &client, 50, 0).await;
    latch.arrived(1).await;
    world.clock.advance(std::time::Duration::from_secs(5));
    for reply in replies(requests).await {
        assert_eq!((reply.status, &*reply.code()), (504, "upstream_timeout"));
    }
    assert_eq!(world.simulator().calls("alice"), 1);
    latch.release();
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_requests_with_and_without_token_share_one_call() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let requests = waiting_requests(&world, &client, 10, 0).await;
    let without = tokio::spawn({
        let client = client.clone();
        async move { client.get("/me/customer?options.get_client_auth_token=false").await }
    });
    world.until_waiting(11).await;
    latch.release();
    assert!(replies(requests).await.iter().all(|reply| reply.status == 200));
    let without = without.await.unwrap();
    assert_eq!(without.status, 200, "{}", without.text());
    assert_eq!(without.json().get("juspay"), None);
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_do_not_block_each_other() {
    let world = World::new().await;
    let latch = world.simulator().hold("slow");
    let slow = waiting_requests(&world, &world.client("slow"), 1, 0).await;
    for n in 0..10 {
        assert_eq!(world.client(&format!("customer{n}")).me().await.status, 200);
    }
    assert!(!slow[0].is_answered());
    latch.release();
    assert!(replies(slow).await.iter().all(|reply| reply.status == 200));
}

fn status(status: u16) -> Fault {
    Fault::Status { status, headers: [].into(), body: String::new() }
}
