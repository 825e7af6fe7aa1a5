//! Pooled connections that the peer or a firewall dropped while they were idle. Each fails on its
//! next use; no customer notices, and nothing counts as a failure of Juspay.

use std::{fs, ops::RangeInclusive, time::Duration};

use futures_util::future::join_all;
use simulator::{Fault, FaultRule};

use super::{connections, owner};
use crate::support::{Client, Pending, Stage, World, shipped, tls::TlsTerminator, until};

/// `juspay.try_timeout`, as shipped.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const MOMENT: Duration = Duration::from_millis(1);

/// The longest pause before a first retry.
const BACKOFF: Duration = Duration::from_millis(50);

/// Default settings, and this many connections in the workers' pools.
async fn world_with_pool(workers: usize, connections: usize) -> World {
    let world = World::with(&format!("server.workers = {workers}\n{}", shipped())).await;
    fill_pool(&world, connections).await;
    world
}

/// Opens this many connections with concurrent requests.
async fn fill_pool(world: &World, connections: usize) {
    let ids: Vec<_> = (0..connections).map(|n| format!("pooled{n}")).collect();
    let latches: Vec<_> = ids.iter().map(|id| world.simulator().hold(id)).collect();
    let waiting = start(world, &ids).await;
    join_all(latches.iter().map(|latch| latch.arrived(1))).await;
    drop(latches);
    each_is_served(&ids, waiting).await;
    assert_eq!(newest_connection(world), u64::try_from(connections).unwrap());
}

fn newest_connection(world: &World) -> u64 {
    world.simulator().requests().iter().map(|it| it.connection).max().unwrap()
}

fn customers(prefix: &str, number: usize) -> Vec<String> {
    (0..number).map(|n| format!("{prefix}{n}")).collect()
}

/// Starts a request for each of these customers.
async fn start(world: &World, ids: &[String]) -> Vec<Pending> {
    let clients: Vec<_> = ids.iter().map(|id| world.client(id)).collect();
    join_all(clients.iter().map(Client::begin)).await
}

async fn each_is_served(ids: &[String], waiting: Vec<Pending>) {
    for (id, waiting) in ids.iter().zip(waiting) {
        assert_eq!(owner(&waiting.reply().await), *id);
    }
}

/// Checks that there were only repeats on new connections: no failure, no retry, no open breaker.
async fn only_repeats(world: &World, stale: RangeInclusive<u64>) {
    let repeats = world.upstream("stale_connection").await;
    assert!(stale.contains(&repeats), "{repeats} of {stale:?}");
    for outcome in ["connection", "timeout", "aborted", "invalid_response"] {
        assert_eq!(world.upstream(outcome).await, 0, "{outcome}");
    }
    assert_eq!(world.count("juspay_bff_upstream_retries_total").await, 0);
    let closed = "juspay_bff_upstream_breaker_state{state=\"closed\"}";
    assert_eq!(world.count(closed).await, 1);
    let exchanges = world.count("juspay_bff_upstream_request_duration_seconds_count").await;
    assert_eq!(exchanges, world.simulator().total_requests());
}

/// Pools and workers for each test.
const SIZES: [(usize, usize); 6] = [(1, 1), (1, 9), (1, 60), (2, 2), (2, 9), (2, 60)];

#[tokio::test(flavor = "multi_thread")]
async fn closed_connections_cost_successive_customers_nothing() {
    for fault in [Fault::Reset, Fault::Close] {
        for (workers, connections) in SIZES {
            let world = world_with_pool(workers, connections).await;
            world.simulator().make_connections_stale(fault.clone());
            for id in customers("next", 10) {
                assert_eq!(owner(&world.client(&id).me().await), id);
            }
            // The first failure drops the rest of a worker's pool.
            only_repeats(&world, 1..=u64::try_from(workers).unwrap()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connections_cost_concurrent_customers_nothing() {
    for fault in [Fault::Reset, Fault::Close] {
        for (workers, connections) in SIZES {
            let world = world_with_pool(workers, connections).await;
            world.simulator().make_connections_stale(fault.clone());
            let ids = customers("c", connections);
            each_is_served(&ids, start(&world, &ids).await).await;
            only_repeats(&world, 1..=u64::try_from(connections).unwrap()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_cost_concurrent_customers_one_try_timeout() {
    for (workers, connections) in SIZES {
        let world = world_with_pool(workers, connections).await;
        world.simulator().make_connections_stale(Fault::Hang);
        let ids = customers("c", connections);
        let before = world.simulator().total_requests();
        let waiting = start(&world, &ids).await;
        let sent = u64::try_from(connections).unwrap();
        until("all requests", async || world.simulator().total_requests() == before + sent).await;
        world.advance(TRY_TIMEOUT - MOMENT).await;
        world.advance(MOMENT).await;
        each_is_served(&ids, waiting).await;
        only_repeats(&world, 1..=sent).await;
        // The pool was dropped, so no further customer waits.
        for id in customers("next", 10) {
            assert_eq!(owner(&world.client(&id).me().await), id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connection_is_dropped_at_the_try_timeout() {
    let world = world_with_pool(1, 9).await;
    world.simulator().make_connections_stale(Fault::Hang);
    let waiting = world.client("alice").begin().await;
    until("the request", async || world.simulator().calls("alice") == 1).await;
    world.advance(TRY_TIMEOUT - MOMENT).await;
    assert!(!waiting.is_answered());
    world.advance(MOMENT).await;
    assert_eq!(owner(&waiting.reply().await), "alice");
    only_repeats(&world, 1..=1).await;
    let [silent, new] = connections(&world, "alice")[..] else { panic!("two exchanges") };
    assert!(silent <= 9 && new > 9, "{silent} {new}");
    // The pool consists of the new connection.
    assert_eq!(owner(&world.client("bob").me().await), "bob");
    assert_eq!(connections(&world, "bob"), [new]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_on_new_connections_do_not_prove_that_old_ones_work() {
    let world = world_with_pool(1, 1).await;
    world.simulator().make_connections_stale(Fault::Hang);
    let waiting = world.client("alice").begin().await;
    until("the request", async || world.simulator().calls("alice") == 1).await;
    // On a new connection, which a firewall accepts.
    assert_eq!(owner(&world.client("bob").me().await), "bob");
    world.advance(TRY_TIMEOUT).await;
    assert_eq!(owner(&waiting.reply().await), "alice");
    only_repeats(&world, 1..=1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_a_timeout_while_old_connections_work() {
    let world = world_with_pool(1, 2).await;
    world.simulator().inject(FaultRule::once(Fault::Hang).of("alice"));
    let waiting = world.client("alice").begin().await;
    until("the request", async || world.simulator().calls("alice") == 1).await;
    assert_eq!(owner(&world.client("bob").me().await), "bob");
    assert!(connections(&world, "bob") <= vec![2], "the test needs this connection");
    world.advance(TRY_TIMEOUT).await;
    world.until_count("juspay_bff_upstream_requests_total{outcome=\"timeout\"}", 1).await;
    world.settle().await;
    world.advance(BACKOFF).await;
    assert_eq!(owner(&waiting.reply().await), "alice");
    assert_eq!(world.upstream("stale_connection").await, 0);
    assert_eq!(world.count("juspay_bff_upstream_retries_total").await, 1);
    // The connection may still be the cause: equally old ones aren't reused.
    assert_eq!(owner(&world.client("carol").me().await), "carol");
    assert!(connections(&world, "carol") > vec![2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_repeat_counts_once() {
    let settings = format!(
        "server.workers = 1\njuspay.max_retries = 0\n{}",
        shipped().replace("juspay.max_retries", "#")
    );
    let world = World::with(&settings).await;
    fill_pool(&world, 9).await;
    world.simulator().inject(FaultRule::always(Fault::Reset).of("alice"));
    let reply = world.client("alice").me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
    assert_eq!(world.upstream("stale_connection").await, 1);
    assert_eq!(world.upstream("connection").await, 1);
    let [old, new] = connections(&world, "alice")[..] else { panic!("two exchanges") };
    assert!(old <= 9 && new > 9, "{old} {new}");
    // On a new connection from the start, there is nothing to repeat. The customer's failure is
    // remembered for a second.
    world.advance(Duration::from_secs(1)).await;
    assert_eq!(world.client("alice").me().await.code(), "upstream_error");
    assert_eq!(connections(&world, "alice").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_use_survive_failures_of_others() {
    let world = world_with_pool(1, 2).await;
    let latch = world.simulator().hold("alice");
    let alice = world.client("alice").begin().await;
    latch.arrived(1).await;
    world.simulator().make_connections_stale(Fault::Reset);
    assert_eq!(owner(&world.client("bob").me().await), "bob");
    assert_eq!(world.upstream("stale_connection").await, 1);
    drop(latch);
    assert_eq!(owner(&alice.reply().await), "alice");
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn started_response_is_not_a_stale_connection() {
    let world = world_with_pool(1, 1).await;
    world.simulator().inject(FaultRule::once(Fault::UnfinishedHead).of("alice"));
    let waiting = world.client("alice").begin().await;
    until("the request", async || world.simulator().calls("alice") == 1).await;
    world.settle().await;
    world.advance(TRY_TIMEOUT).await;
    world.until_count("juspay_bff_upstream_requests_total{outcome=\"timeout\"}", 1).await;
    world.settle().await;
    world.advance(BACKOFF).await;
    assert_eq!(owner(&waiting.reply().await), "alice");
    assert_eq!(world.upstream("stale_connection").await, 0);
    assert_eq!(world.count("juspay_bff_upstream_retries_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_tls_connection_costs_nothing() {
    let stage = Stage::set().await;
    let juspay = stage.simulator().base_url().strip_prefix("http://").unwrap().parse().unwrap();
    let end = TlsTerminator::new("127.0.0.1", juspay).await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(&ca, &end.ca).unwrap();
    let settings = format!(
        "server.workers = 1\n{}juspay.base_url = \"https://{}\"\njuspay.ca_file = \"{}\"\n",
        shipped(),
        end.address,
        ca.path().display()
    );
    let world = stage.open_ready(&settings).await;
    for (stale, fault) in [(1, Fault::Close), (2, Fault::Reset)] {
        let ids = customers(&format!("c{stale}"), 9);
        each_is_served(&ids, start(&world, &ids).await).await;
        world.simulator().make_connections_stale(fault);
        let id = format!("next{stale}");
        assert_eq!(owner(&world.client(&id).me().await), id);
        only_repeats(&world, stale..=stale).await;
    }
}
