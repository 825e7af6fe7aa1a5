//! A collector that is unreachable, slow or rejects spans: responses are not affected, and lost
//! spans are counted and logged.

use std::time::Duration;

use tokio::net::TcpSocket;

use crate::{
    collector::{Collector, Plan},
    support::{World, guard, until},
};

/// Interval of checks for new spans.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Small, so that a try does not time out before a busy machine has made it.
const STEP: Duration = Duration::from_millis(20);

fn lost(cause: &str) -> String {
    format!("juspay_bff_trace_spans_lost_total{{cause=\"{cause}\"}}")
}

async fn send_three_requests(world: &World) {
    for _ in 0..3 {
        assert_eq!(world.client("alice").me().await.status, 200);
    }
}

/// Advances the clock until this series has this value.
async fn advance_until_count(world: &World, series: &str, value: u64) {
    let is_received = async || world.count(series).await >= value;
    world.advance_until(series, STEP, is_received).await;
    assert_eq!(world.count(series).await, value);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_exported_while_the_service_runs() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    send_three_requests(&world).await;
    advance_until_count(&world, "juspay_bff_trace_spans_exported_total", 11).await;
    assert_eq!(collector.exported().spans.len(), 11);
    for cause in ["queue_full", "refused", "unreachable"] {
        assert_eq!(world.count(&lost(cause)).await, 0);
        let document = include_str!("../../docs/metrics.md");
        let mut rows = document.lines().filter(|row| row.contains("trace_spans_lost_total"));
        assert!(rows.any(|row| row.contains(&format!("`{cause}`"))), "docs/metrics.md: {cause}");
    }
    let head = &collector.received()[0].head;
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/x-protobuf"), "{head}");
    assert!(head.to_lowercase().contains("user-agent: juspay-bff/"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_collector_loses_only_spans() {
    // This port has no listener, and no other process can bind it.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let world = World::with(&format!("traces.endpoint = \"http://{address}\"")).await;
    // One more than other tests, whose collectors end before they do: the log is that of all tests.
    send_three_requests(&world).await;
    assert_eq!(world.client("alice").me().await.status, 200);
    advance_until_count(&world, &lost("unreachable"), 14).await;
    send_three_requests(&world).await;
    let is_logged = async || {
        let lines = guard::log_lines("failed to connect to the collector");
        lines.iter().any(|line| line.contains("\"lost\":14") && line.contains("WARN"))
    };
    until("the log line", is_logged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_with_a_temporary_error_is_sent_again() {
    let collector = Collector::new(Plan::Status(503)).await;
    let world = collector.world("").await;
    send_three_requests(&world).await;
    let is_received = async || !collector.received().is_empty();
    world.advance_until("a try", STEP, is_received).await;
    collector.plan(Plan::Take);
    advance_until_count(&world, "juspay_bff_trace_spans_exported_total", 11).await;
    let received = collector.received();
    assert_eq!((received.len(), &received[0].body), (2, &received[1].body));
    assert_eq!(world.count(&lost("unreachable")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_message_is_not_sent_again() {
    let collector = Collector::new(Plan::Status(400)).await;
    let world = collector.world("").await;
    send_three_requests(&world).await;
    advance_until_count(&world, &lost("refused"), 11).await;
    assert_eq!(collector.received().len(), 1);
    collector.plan(Plan::TakeWithout(2));
    send_three_requests(&world).await;
    advance_until_count(&world, &lost("refused"), 13).await;
    assert_eq!(world.count("juspay_bff_trace_spans_exported_total").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_collector_delays_neither_responses_nor_shutdown() {
    let collector = Collector::new(Plan::Hang).await;
    let mut world = collector.world("").await;
    send_three_requests(&world).await;
    let is_received = async || !collector.received().is_empty();
    world.advance_until("a try", STEP, is_received).await;
    send_three_requests(&world).await;
    world.service.signal();
    let mut turned = Duration::ZERO;
    until("the end of the service", async || {
        world.clock.advance(Duration::from_millis(100));
        turned += Duration::from_millis(100);
        world.service.has_ended()
    })
    .await;
    assert!(turned >= CHECK_INTERVAL, "the last spans had {turned:?}");
    // The time for three tries may pass before the end is noticed.
    let exported = ["last spans lost", "the collector did not respond in time"];
    let is_told = || exported.iter().any(|exported| !guard::log_lines(exported).is_empty());
    until("the log line", async || is_told()).await;
}
