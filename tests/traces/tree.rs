//! Which spans a request has, what they tell, and how they hang together.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use simulator::{Fault, FaultRule, MintRequest};

use crate::{
    collector::{Collector, Plan},
    support::World,
    told::{Span, Told},
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
fn says(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(span.says(key), *value, "{key} of {span:#?}");
    }
}

/// Whom the simulator's address names.
fn port(world: &World) -> String {
    world.simulator().base_url().rsplit(':').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_has_a_span_for_each_station_and_for_the_call() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("traces.service_name = \"shop\"").await;
    let reply = world.phone("alice").me().await;
    assert_eq!(reply.status, 200);
    let told = collector.told_in_the_end(world).await;
    assert_eq!(told.trees(), MISS);
    assert_eq!(told.resource["service.name"], "shop");
    assert_eq!(told.resource["service.version"], env!("CARGO_PKG_VERSION"));
    let request = told.one("GET /me/customer");
    assert_eq!((request.kind, &*request.parent), (SpanKind::Server, ""));
    says(
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
    let verification = told.one("verify token");
    assert_eq!(verification.kind, SpanKind::Internal);
    says(
        verification,
        &[
            ("juspay_bff.auth.outcome", "ok"),
            ("juspay_bff.auth.issuer", "main"),
            ("juspay_bff.auth.at_once", "false"),
        ],
    );
    says(told.one("look up customer"), &[("juspay_bff.cache.outcome", "miss")]);
    says(told.one("fetch customer"), &[("juspay_bff.fetch.outcome", "success")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_names_the_server_and_not_the_address_that_it_asks_for() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let port = port(&world);
    world.phone("alice").me().await;
    let told = collector.told_in_the_end(world).await;
    let call = told.one("GET /customers/{id}");
    assert_eq!((call.kind, call.has_failed), (SpanKind::Client, false));
    says(
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
async fn a_hit_is_the_same_answer_with_fewer_spans() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let alice = world.phone("alice");
    alice.me().await;
    assert_eq!(alice.me().await.cache_status(), "juspay-bff; hit; ttl=779");
    let series = "juspay_bff_cache_requests_total{outcome=\"hit\"}";
    assert_eq!(world.count(series).await, 1);
    let told = collector.told_in_the_end(world).await;
    assert_eq!(told.trees(), format!("{MISS}{HIT}"));
    let hit = told.named("GET /me/customer")[1].clone();
    says(&hit, &[("juspay_bff.cache.outcome", "hit"), ("http.response.status_code", "200")]);
    says(told.named("verify token")[1], &[("juspay_bff.auth.at_once", "true")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_fetch_points_to_it() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let gate = world.simulator().hold("alice");
    let alice = world.phone("alice");
    let first = alice.begin().await;
    gate.arrived(1).await;
    let second = alice.begin().await;
    world.until_waiting(2).await;
    gate.release();
    assert_eq!((first.reply().await.status, second.reply().await.status), (200, 200));
    let told = collector.told_in_the_end(world).await;
    let fetch = told.one("fetch customer");
    let lookups = told.named("look up customer");
    let of = |outcome| {
        let has_it = |span: &&&Span| span.says("juspay_bff.cache.outcome") == outcome;
        *lookups.iter().find(has_it).unwrap()
    };
    let (miss, joined) = (of("miss"), of("joined"));
    assert_eq!(fetch.parent, miss.id);
    assert_eq!(joined.links, std::slice::from_ref(&fetch.id));
    assert!(miss.links.is_empty() && miss.trace_id != joined.trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_has_a_span_of_its_own() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("juspay.max_retries = 2").await;
    world.simulator().inject(FaultRule::once(status(503)));
    let asking = world.phone("alice").begin().await;
    let step = Duration::from_millis(10);
    world.turn_until("the answer", step, async || asking.is_answered()).await;
    assert_eq!(asking.reply().await.status, 200);
    let told = collector.told_in_the_end(world).await;
    let calls = told.named("GET /customers/{id}");
    let fetch = told.one("fetch customer");
    assert!(calls.iter().all(|call| call.parent == fetch.id) && !fetch.has_failed);
    let [failed, good] = calls[..] else { panic!("{calls:#?}") };
    assert!(failed.has_failed && !good.has_failed && failed.end < good.start);
    says(
        failed,
        &[
            ("http.response.status_code", "503"),
            ("juspay_bff.juspay.outcome", "server_error"),
            ("error.type", "server_error"),
            ("juspay_bff.attempt", "1"),
        ],
    );
    says(good, &[("juspay_bff.attempt", "2"), ("http.request.resend_count", "1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_belongs_to_the_request_that_began_it() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let alice = world.phone("alice");
    alice.me().await;
    world.clock.advance(Duration::from_secs(770));
    assert_eq!(alice.me().await.cache_status(), "juspay-bff; hit; ttl=9");
    world.until_count("juspay_bff_cache_refreshes_total{outcome=\"success\"}", 1).await;
    let told = collector.told_in_the_end(world).await;
    let refresh = "    refresh customer\n      fetch customer\n        GET /customers/{id}\n";
    assert_eq!(told.trees(), format!("{MISS}{HIT}{refresh}"));
    says(told.one("refresh customer"), &[("juspay_bff.refresh.outcome", "success")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shows_on_each_span_that_it_touches() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    world.simulator().inject(FaultRule::always(status(500)));
    assert_eq!(world.phone("alice").me().await.code(), "upstream_error");
    let told = collector.told_in_the_end(world).await;
    assert_eq!(told.trees(), MISS);
    let request = told.one("GET /me/customer");
    assert!(request.has_failed);
    says(
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
        let span = told.one(name);
        assert!(span.has_failed);
        says(span, &[(outcome, "server_error"), ("error.type", "server_error")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_behind_an_answer_from_memory() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let alice = world.phone("alice");
    alice.me().await;
    world.clock.advance(Duration::from_secs(789));
    world.simulator().inject(FaultRule::always(status(500)));
    assert_eq!(alice.me().await.cache_status(), "juspay-bff; hit; ttl=80; detail=outage");
    let told = collector.told_in_the_end(world).await;
    let request = told.named("GET /me/customer")[1];
    assert!(!request.has_failed);
    says(request, &[("juspay_bff.cache.outcome", "outage")]);
    assert!(told.named("fetch customer")[1].has_failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_leaves_the_reason_and_nothing_of_the_token() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let wish = MintRequest { audience: "somebody else".to_owned(), ..MintRequest::of("alice") };
    assert_eq!(world.phone_with(&wish).me().await.code(), "invalid_token");
    assert_eq!(world.stranger().get("/elsewhere/alice?x=alice").await.status, 404);
    assert_eq!(world.stranger().request("BREW", "/me/customer", "").await.status, 405);
    let told = collector.told_in_the_end(world).await;
    assert_eq!(told.trees(), "GET /me/customer\n  verify token\nGET\nHTTP\n");
    let request = told.one("GET /me/customer");
    assert!(!request.has_failed);
    says(request, &[("http.response.status_code", "401"), ("juspay_bff.code", "invalid_token")]);
    says(
        told.one("verify token"),
        &[("juspay_bff.auth.outcome", "audience"), ("juspay_bff.auth.issuer", "")],
    );
    says(told.one("GET"), &[("http.route", ""), ("http.response.status_code", "404")]);
    says(
        told.one("HTTP"),
        &[("http.request.method", "_OTHER"), ("juspay_bff.code", "method_not_allowed")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_hangs_up_leaves_its_span_and_the_call_goes_on() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let gate = world.simulator().hold("alice");
    let asking = world.phone("alice").begin().await;
    gate.arrived(1).await;
    drop(asking);
    world.until_waiting(0).await;
    gate.release();
    world.until_count("juspay_bff_cache_entries", 1).await;
    let told: Told = collector.told_in_the_end(world).await;
    assert_eq!(told.trees(), MISS);
    says(told.one("GET /me/customer"), &[("http.response.status_code", "")]);
    says(told.one("GET /customers/{id}"), &[("juspay_bff.juspay.outcome", "success")]);
}
