//! The spans of a request, their attributes, and their relations.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use simulator::{Fault, FaultRule, MintRequest};

use crate::{
    collector::{Collector, Plan},
    exported::{Exported, Span},
    support::World,
};

const MISS: &str = "\
GET /me/customer
  verify token
  look up customer
    fetch customer
      GET /customers/{id}
";

const HIT: &str = "\
GET /me/customer
  verify token
  look up customer
";

fn status(status: u16) -> Fault {
    Fault::Status { status, headers: <_>::default(), body: String::new() }
}

#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(span.attribute(key), *value, "{key} of {span:#?}");
    }
}

/// The port in the simulator's address.
fn port(world: &World) -> String {
    world.simulator().base_url().rsplit(':').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn miss_has_a_span_for_each_step_and_for_the_call() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("traces.service_name = \"shop\"").await;
    let reply = world.client("alice").me().await;
    assert_eq!(reply.status, 200);
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), MISS);
    assert_eq!(exported.resource["service.name"], "shop");
    assert_eq!(exported.resource["service.version"], env!("CARGO_PKG_VERSION"));
    let request = exported.one("GET /me/customer");
    assert_eq!((request.kind, &*request.parent), (SpanKind::Server, ""));
    assert_attributes(
        request,
        &[
            ("http.request.method", "GET"),
            ("http.route", "/me/customer"),
            ("http.response.status_code", "200"),
            ("url.scheme", "http"),
            ("juspay_bff.code", "ok"),
            ("juspay_bff.cache.outcome", "miss"),
            ("juspay_bff.request_id", reply.header("x-request-id").unwrap()),
        ],
    );
    let verification = exported.one("verify token");
    assert_eq!(verification.kind, SpanKind::Internal);
    assert_attributes(
        verification,
        &[
            ("juspay_bff.auth.outcome", "ok"),
            ("juspay_bff.auth.issuer", "main"),
            ("juspay_bff.auth.at_once", "false"),
        ],
    );
    assert_attributes(exported.one("look up customer"), &[("juspay_bff.cache.outcome", "miss")]);
    assert_attributes(exported.one("fetch customer"), &[("juspay_bff.fetch.outcome", "success")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn call_span_contains_the_host_and_not_the_url() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let port = port(&world);
    world.client("alice").me().await;
    let exported = collector.exported_at_stop(world).await;
    let call = exported.one("GET /customers/{id}");
    assert_eq!((call.kind, call.has_failed), (SpanKind::Client, false));
    assert_attributes(
        call,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("url.template", "/customers/{id}"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
            ("juspay_bff.attempt", "1"),
            ("http.request.resend_count", ""),
            ("juspay_bff.juspay.outcome", "success"),
            ("error.type", ""),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hit_returns_the_same_response_with_fewer_spans() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let alice = world.client("alice");
    alice.me().await;
    assert_eq!(alice.me().await.cache_status(), "juspay-bff; hit; ttl=779");
    let series = "juspay_bff_cache_requests_total{outcome=\"hit\"}";
    assert_eq!(world.count(series).await, 1);
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), format!("{MISS}{HIT}"));
    let hit = exported.named("GET /me/customer")[1].clone();
    assert_attributes(
        &hit,
        &[("juspay_bff.cache.outcome", "hit"), ("http.response.status_code", "200")],
    );
    assert_attributes(exported.named("verify token")[1], &[("juspay_bff.auth.at_once", "true")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_fetch_is_linked() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let latch = world.simulator().hold("alice");
    let alice = world.client("alice");
    let first = alice.begin().await;
    latch.arrived(1).await;
    let second = alice.begin().await;
    world.until_waiting(2).await;
    latch.release();
    assert_eq!((first.reply().await.status, second.reply().await.status), (200, 200));
    let exported = collector.exported_at_stop(world).await;
    let fetch = exported.one("fetch customer");
    let lookups = exported.named("look up customer");
    let of = |outcome| {
        let has_it = |span: &&&Span| span.attribute("juspay_bff.cache.outcome") == outcome;
        *lookups.iter().find(has_it).unwrap()
    };
    let (miss, joined) = (of("miss"), of("joined"));
    assert_eq!(fetch.parent, miss.id);
    assert_eq!(joined.links, std::slice::from_ref(&fetch.id));
    assert!(miss.links.is_empty() && miss.trace_id != joined.trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_has_its_own_span() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("juspay.max_retries = 2").await;
    world.simulator().inject(FaultRule::once(status(503)));
    let asking = world.client("alice").begin().await;
    let step = Duration::from_millis(10);
    world.advance_until("the answer", step, async || asking.is_answered()).await;
    assert_eq!(asking.reply().await.status, 200);
    let exported = collector.exported_at_stop(world).await;
    let calls = exported.named("GET /customers/{id}");
    let fetch = exported.one("fetch customer");
    assert!(calls.iter().all(|call| call.parent == fetch.id) && !fetch.has_failed);
    let [failed, good] = calls[..] else { panic!("{calls:#?}") };
    assert!(failed.has_failed && !good.has_failed && failed.end < good.start);
    assert_attributes(
        failed,
        &[
            ("http.response.status_code", "503"),
            ("juspay_bff.juspay.outcome", "server_error"),
            ("error.type", "server_error"),
            ("juspay_bff.attempt", "1"),
        ],
    );
    assert_attributes(good, &[("juspay_bff.attempt", "2"), ("http.request.resend_count", "1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_span_belongs_to_the_request_that_started_it() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let alice = world.client("alice");
    alice.me().await;
    world.clock.advance(Duration::from_secs(770));
    assert_eq!(alice.me().await.cache_status(), "juspay-bff; hit; ttl=9");
    world.until_count("juspay_bff_cache_refreshes_total{outcome=\"success\"}", 1).await;
    let exported = collector.exported_at_stop(world).await;
    let refresh = "    refresh customer\n      fetch customer\n        GET /customers/{id}\n";
    assert_eq!(exported.trees(), format!("{MISS}{HIT}{refresh}"));
    assert_attributes(
        exported.one("refresh customer"),
        &[("juspay_bff.refresh.outcome", "success")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_is_recorded_on_all_affected_spans() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    world.simulator().inject(FaultRule::always(status(500)));
    assert_eq!(world.client("alice").me().await.code(), "upstream_error");
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), MISS);
    let request = exported.one("GET /me/customer");
    assert!(request.has_failed);
    assert_attributes(
        request,
        &[
            ("http.response.status_code", "502"),
            ("juspay_bff.code", "upstream_error"),
            ("error.type", "upstream_error"),
            ("juspay_bff.cache.outcome", "error"),
        ],
    );
    for (name, outcome) in [
        ("fetch customer", "juspay_bff.fetch.outcome"),
        ("GET /customers/{id}", "juspay_bff.juspay.outcome"),
    ] {
        let span = exported.one(name);
        assert!(span.has_failed);
        assert_attributes(span, &[(outcome, "server_error"), ("error.type", "server_error")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_is_recorded_on_cached_responses() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let alice = world.client("alice");
    alice.me().await;
    world.clock.advance(Duration::from_secs(789));
    world.simulator().inject(FaultRule::always(status(500)));
    assert_eq!(alice.me().await.cache_status(), "juspay-bff; hit; ttl=80; detail=outage");
    let exported = collector.exported_at_stop(world).await;
    let request = exported.named("GET /me/customer")[1];
    assert!(!request.has_failed);
    assert_attributes(request, &[("juspay_bff.cache.outcome", "outage")]);
    assert!(exported.named("fetch customer")[1].has_failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_request_records_the_reason_and_nothing_of_the_token() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let wish = MintRequest { audience: "somebody else".to_owned(), ..MintRequest::of("alice") };
    assert_eq!(world.client_with(&wish).me().await.code(), "invalid_token");
    assert_eq!(world.anonymous().get("/elsewhere/alice?x=alice").await.status, 404);
    assert_eq!(world.anonymous().request("BREW", "/me/customer", "").await.status, 405);
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), "GET /me/customer\n  verify token\nGET\nHTTP\n");
    let request = exported.one("GET /me/customer");
    assert!(!request.has_failed);
    assert_attributes(
        request,
        &[("http.response.status_code", "401"), ("juspay_bff.code", "invalid_token")],
    );
    assert_attributes(
        exported.one("verify token"),
        &[("juspay_bff.auth.outcome", "audience"), ("juspay_bff.auth.issuer", "")],
    );
    assert_attributes(
        exported.one("GET"),
        &[("http.route", ""), ("http.response.status_code", "404")],
    );
    assert_attributes(
        exported.one("HTTP"),
        &[("http.request.method", "_OTHER"), ("juspay_bff.code", "method_not_allowed")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnected_client_leaves_its_span_and_the_call_continues() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let latch = world.simulator().hold("alice");
    let asking = world.client("alice").begin().await;
    latch.arrived(1).await;
    drop(asking);
    world.until_waiting(0).await;
    latch.release();
    world.until_count("juspay_bff_cache_entries", 1).await;
    let exported: Exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), MISS);
    assert_attributes(exported.one("GET /me/customer"), &[("http.response.status_code", "")]);
    assert_attributes(
        exported.one("GET /customers/{id}"),
        &[("juspay_bff.juspay.outcome", "success")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_creation_of_a_customer_has_a_span_without_its_values() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("juspay.create_missing_customers = true").await;
    world.simulator().set_provision(false);
    let token = MintRequest::of("newcomer-81")
        .with("phone_number", "+919810077181")
        .with("phone_number_verified", true)
        .with("given_name", "Firstname81");
    let token = world.issuer().mint(&token).unwrap();
    assert_eq!(world.client_with_token(&token).me().await.status, 200);
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), format!("{MISS}      POST /customers\n"));
    let creation = exported.one("POST /customers");
    assert_eq!(creation.kind, SpanKind::Client);
    assert_attributes(
        creation,
        &[
            ("http.request.method", "POST"),
            ("url.template", "/customers"),
            ("http.response.status_code", "200"),
            ("juspay_bff.juspay.outcome", "success"),
        ],
    );
    for received in collector.received() {
        let text = String::from_utf8_lossy(&received.body).into_owned();
        for value in ["newcomer-81", "9810077181", "Firstname81"] {
            assert!(!text.contains(value), "{value}");
        }
    }
}
