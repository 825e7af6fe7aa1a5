//! A network with faults, in real time: every client gets its own object or a clean problem, and
//! nothing hangs.

use std::time::Duration;

use futures_util::StreamExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use simulator::{Fault, FaultRule};

use super::{breaker, cold, through};
use crate::support::{
    Client, Reply, World,
    proxy::{Plan, Proxy},
    until, with_timeout,
};

/// As shipped; worlds have no retries by default.
const RETRIES: &str = "juspay.max_retries = 2";

/// Settings with a budget that doesn't limit retries, and shorter timeouts.
const PERSISTENT: &str = "
    juspay.max_retries = 2
    juspay.retry_budget = 1.0
    juspay.try_timeout = \"1s\"
";

/// Requests a customer and checks whose object arrives; `None` for a clean problem.
async fn own_object(client: Client, id: String) -> Option<Reply> {
    let reply = with_timeout("a response", client.me()).await;
    if reply.status == 200 {
        assert_eq!(reply.json()["object_reference_id"], *id);
        assert!(reply.token().starts_with("tkn_"));
        return Some(reply);
    }
    let code = reply.code();
    let clean = [
        (502, "upstream_error"),
        (502, "upstream_invalid_response"),
        (503, "upstream_unavailable"),
        (503, "overloaded"),
        (504, "upstream_timeout"),
    ];
    assert!(clean.contains(&(reply.status, &code)), "{}", reply.text());
    None
}

/// Requests all customers, this many at a time, and returns the number of objects.
async fn served(world: &World, prefix: &str, number: usize, at_a_time: usize) -> usize {
    let requests = cold(world, prefix, number).into_iter().enumerate().map(|(n, client)| {
        let id = format!("{prefix}{n}");
        async move { tokio::spawn(own_object(client, id)).await.unwrap().is_some() }
    });
    let served: Vec<bool> =
        futures_util::stream::iter(requests).buffer_unordered(at_a_time).collect().await;
    served.into_iter().filter(|served| *served).count()
}

/// A world whose first `faulty` connections follow this plan.
async fn with_faulty_connections(plan: Plan, faulty: usize, settings: &str) -> (World, Proxy) {
    let plan = move |connection| if connection < faulty { plan } else { Plan::Pass };
    through(async |to| Proxy::before(to, plan).await, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_faulty_connection_fails_no_request() {
    for plan in [
        Plan::Latency(Duration::from_millis(50)),
        Plan::ResetMidHead,
        Plan::BlackHole,
        Plan::HalfClose,
        Plan::ByteByByte,
        Plan::CloseAfterAnswer,
        Plan::CloseOnReuse,
    ] {
        let (world, proxy) = with_faulty_connections(plan, 1, PERSISTENT).await;
        assert_eq!(served(&world, "c", 8, 1).await, 8, "{plan:?}");
        assert!(proxy.accepted() >= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_body_is_retried() {
    let (world, _proxy) = with_faulty_connections(Plan::ResetMidBody, 1, PERSISTENT).await;
    assert_eq!(world.client("alice").me().await.status, 200);
    assert_eq!(world.simulator().calls("alice"), 2);
    assert_eq!(world.count("juspay_bff_upstream_retries_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn body_of_a_closed_connection_is_retried() {
    let whole_json = false;
    for cut in [Fault::CutBody { whole_json }, Fault::CutChunked { whole_json }] {
        let world = World::with(RETRIES).await;
        world.simulator().inject(FaultRule::once(cut.clone()));
        let waiting = world.client("alice").begin().await;
        until("the first try", async || world.simulator().calls("alice") == 1).await;
        until("its end", async || world.upstream("invalid_response").await == 1).await;
        world.settle().await;
        world.advance(Duration::from_millis(50)).await;
        assert_eq!(waiting.reply().await.status, 200, "{cut:?}");
        assert_eq!(world.simulator().calls("alice"), 2);
        assert_eq!(world.count("juspay_bff_upstream_retries_total").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_body_without_a_customer_is_not_retried() {
    let world = World::with(RETRIES).await;
    for (n, fault) in [Fault::Html, Fault::Empty, Fault::NoLength].into_iter().enumerate() {
        let id = format!("whole{n}");
        world.simulator().inject(FaultRule::once(fault.clone()).of(&id));
        let reply = world.client(&id).me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
        assert_eq!(world.simulator().calls(&id), 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_after_each_response_fail_no_request() {
    let plan = |_| Plan::CloseAfterAnswer;
    let (world, proxy) = through(async |to| Proxy::before(to, plan).await, RETRIES).await;
    assert_eq!(served(&world, "one", 100, 1).await, 100);
    assert_eq!(served(&world, "many", 100, 16).await, 100);
    assert!(proxy.accepted() >= 200, "{}", proxy.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_juspay_returns_504_and_then_503() {
    let plan = |_| Plan::BlackHole;
    let settings = "
        juspay.max_retries = 2
        juspay.try_timeout = \"50ms\"
        juspay.breaker.min_calls = 4
        juspay.breaker.open_for = \"10m\"
    ";
    let (world, _proxy) = through(async |to| Proxy::before(to, plan).await, settings).await;
    let first = world.client("first").me().await;
    assert_eq!((first.status, &*first.code()), (504, "upstream_timeout"));
    for client in cold(&world, "next", 4) {
        drop(client.me().await);
    }
    let last = world.client("last").me().await;
    assert_eq!((last.status, &*last.code()), (503, "upstream_unavailable"));
    assert_eq!(breaker(&world).await, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_network_faults_never_leak_another_customers_object() {
    for seed in 0..3 {
        let (world, proxy) =
            through(async |to| Proxy::before(to, mix(seed)).await, PERSISTENT).await;
        let number = served(&world, "c", 300, 24).await;
        assert!(number >= 200, "seed {seed}: {number} of 300");
        // The network works again; the remaining faulty connections take one or two attempts.
        proxy.heal();
        let mut rounds = 1..=3;
        world.purge_all().await;
        while served(&world, "c", 300, 24).await < 300 {
            assert!(rounds.next().is_some(), "seed {seed}");
            world.purge_all().await;
        }
        assert_eq!(world.count("juspay_bff_upstream_identity_mismatches_total").await, 0);
        assert_eq!(world.count("juspay_bff_upstream_in_flight").await, 0);
        assert_eq!(world.count("juspay_bff_http_requests_waiting").await, 0);
    }
}

/// A random mix of plans, determined by the seed.
fn mix(seed: u64) -> impl Fn(usize) -> Plan + Send + Sync {
    let mut random = StdRng::seed_from_u64(seed);
    let plans: Vec<_> = (0..150)
        .map(|_| match random.random_range(0..20) {
            0..2 => Plan::ResetMidHead,
            2..4 => Plan::ResetMidBody,
            4 => Plan::BlackHole,
            5..7 => Plan::HalfClose,
            7..9 => Plan::ByteByByte,
            9..13 => Plan::CloseAfterAnswer,
            13..17 => Plan::CloseOnReuse,
            17..19 => Plan::Latency(Duration::from_millis(20)),
            _ => Plan::Latency(Duration::from_millis(1_500)),
        })
        .collect();
    move |connection| plans[connection % plans.len()]
}
