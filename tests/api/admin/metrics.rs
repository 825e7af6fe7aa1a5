//! `/metrics`: names, labels, and the counts after a known sequence of requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;
use juspay_bff::{COMMIT, VERSION};
use simulator::{Fault, MintRequest, issuer::JWKS_PATH};

use crate::support::{Stage, World, until};

/// Values of one metric by labels.
fn series(text: &str, name: &str) -> BTreeMap<String, f64> {
    let of = |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
        Some((labels.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(of).collect()
}

/// The same without zeros.
fn counted(text: &str, name: &str) -> BTreeMap<String, f64> {
    let mut counted = series(text, name);
    counted.retain(|_, count| *count > 0.0);
    counted
}

fn expected(series: &[(&str, f64)]) -> BTreeMap<String, f64> {
    series.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect()
}

/// Sends requests of every kind.
async fn requests(world: &World) {
    let alice = world.client("alice");
    for _ in 0..3 {
        assert_eq!(alice.me().await.status, 200);
    }
    assert_eq!(alice.request("HEAD", "/me/customer", "").await.status, 200);
    world.anonymous().me().await;
    let life = SignedDuration::from_hours(-1);
    world.client_with(&MintRequest { life, ..MintRequest::of("alice") }).me().await;
    world.client_with_token("garbage").me().await;
    world.client("a/b").me().await;
    alice.get("/me/customer?options.get_client_auth_token=maybe").await;
    alice.request("DELETE", "/me/customer", "").await;
    alice.request("GET", "/me/customer", "Content-Length: 1\r\n").await;
    alice.get("/me/customer/alice").await;
    world.anonymous().get("/tkn").await;
    world.anonymous().request("POST", "/", "").await;
    for _ in 0..2 {
        world.client("sim_not_found").me().await;
    }
    world.client("sim_html").me().await;
    // Last, because the hold stops later calls to Juspay.
    world.client("sim_bad_key").me().await;
    world.admin().get("/nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route_status_and_code() {
    let world = World::new().await;
    requests(&world).await;
    let metrics = world.admin().get("/metrics").await.text();
    let me = |code: &str, status: u16| {
        format!("code=\"{code}\",route=\"/me/customer\",status=\"{status}\"")
    };
    assert_eq!(
        counted(&metrics, "juspay_bff_http_requests_total"),
        expected(&[
            (&me("ok", 200), 4.0),
            (&me("missing_token", 401), 1.0),
            (&me("expired_token", 401), 1.0),
            (&me("invalid_token", 401), 1.0),
            (&me("no_customer", 403), 1.0),
            (&me("invalid_request", 400), 1.0),
            (&me("method_not_allowed", 405), 1.0),
            (&me("body_not_allowed", 413), 1.0),
            (&me("customer_not_found", 404), 2.0),
            (&me("upstream_rejected_credentials", 502), 1.0),
            (&me("upstream_invalid_response", 502), 1.0),
            ("code=\"not_found\",route=\"unmatched\",status=\"404\"", 3.0),
        ])
    );
    for (route, count) in [("/me/customer", 15.0), ("unmatched", 3.0)] {
        let durations = series(&metrics, "juspay_bff_http_request_duration_seconds_count");
        assert!((durations[&format!("route=\"{route}\"")] - count).abs() < f64::EPSILON);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_upstream_and_auth_count_outcomes() {
    let world = World::new().await;
    requests(&world).await;
    let metrics = world.admin().get("/metrics").await.text();
    for (name, label, counts) in [
        ("cache_requests_total", "outcome", &[("hit", 3.0), ("miss", 4.0), ("not_found", 1.0)][..]),
        (
            "upstream_requests_total",
            "outcome",
            &[
                ("success", 1.0),
                ("not_found", 1.0),
                ("rejected_credentials", 1.0),
                ("invalid_response", 1.0),
            ],
        ),
        (
            "auth_failures_total",
            "reason",
            &[("missing_token", 1.0), ("expired", 1.0), ("not_jws", 1.0), ("no_customer", 1.0)],
        ),
    ] {
        let labelled = |(value, count): &(&str, f64)| (format!("{label}=\"{value}\""), *count);
        let expected: BTreeMap<_, _> = counts.iter().map(labelled).collect();
        assert_eq!(counted(&metrics, &format!("juspay_bff_{name}")), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_prefix_and_no_secrets() {
    let world = World::new().await;
    requests(&world).await;
    let metrics = world.admin().get("/metrics").await.text();
    for line in metrics.lines() {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        assert!(name.starts_with("juspay_bff_") || name.starts_with("process_"), "{line}");
    }
    for secret in [&*world.api_key, "tkn", "eyJ", "alice", "sim_", "a/b", "garbage", "cst_"] {
        assert!(!metrics.contains(secret), "{secret} in /metrics");
    }
    let info = format!("commit=\"{COMMIT}\",version=\"{VERSION}\"");
    assert_eq!(series(&metrics, "juspay_bff_build_info"), expected(&[(&info, 1.0)]));
    assert!(metrics.contains("\nprocess_resident_memory_bytes "));
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_show_the_current_state() {
    let world = World::new().await;
    let has = async |series: &str, value: f64| {
        (world.metric(&format!("juspay_bff_{series}")).await - value).abs() < f64::EPSILON
    };
    let start = f64::from(i32::try_from(world.clock_seconds()).unwrap());
    assert!(has("jwks_keys{issuer=\"main\"}", 1.0).await);
    assert!(has("jwks_last_success_timestamp_seconds{issuer=\"main\"}", start).await);
    assert!(has("jwks_refreshes_total{issuer=\"main\",outcome=\"success\"}", 1.0).await);

    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let waiting = tokio::spawn(async move { client.me().await });
    latch.arrived(1).await;
    for gauge in ["http_requests_in_flight", "http_requests_waiting", "upstream_in_flight"] {
        assert!(has(gauge, 1.0).await, "{gauge}");
    }
    latch.release();
    assert_eq!(waiting.await.unwrap().status, 200);
    for gauge in ["http_requests_in_flight", "http_requests_waiting", "upstream_in_flight"] {
        until(gauge, async || has(gauge, 0.0).await).await;
    }
    assert!(has("cache_entries", 1.0).await);
    assert!(has("cache_capacity", 100_000.0).await);
}

/// The labels of a metric's only label.
fn labels(text: &str, name: &str) -> Vec<String> {
    series(text, &format!("juspay_bff_{name}")).into_keys().collect()
}

/// Every counter and histogram.
const COUNTERS: [&str; 20] = [
    "auth_failures_total",
    "auth_logouts_total",
    "auth_revocation_reloads_total",
    "cache_evictions_total",
    "cache_refreshes_total",
    "cache_requests_total",
    "cache_token_early_death_age_seconds",
    "cache_token_early_death_hand_outs",
    "cache_tokens_total",
    "http_request_duration_seconds",
    "http_requests_total",
    "jwks_refreshes_total",
    "log_lines_lost_total",
    "tls_handshakes_total",
    "token_remaining_seconds",
    "trace_spans_exported_total",
    "upstream_identity_mismatches_total",
    "upstream_request_duration_seconds",
    "upstream_requests_total",
    "upstream_retries_total",
];

/// All values of their label.
const VALUES: [(&str, &str, &str); 8] = [
    ("auth_logouts_total", "outcome", "full invalid keys_unavailable overloaded replayed success"),
    ("auth_revocation_reloads_total", "outcome", "failure success"),
    ("cache_evictions_total", "cause", "expired removed size"),
    ("cache_refreshes_total", "outcome", "failure not_found success"),
    ("cache_requests_total", "outcome", "bypass hit joined miss not_found outage shared"),
    (
        "http_request_duration_seconds_count",
        "route",
        "/me/customer /me/prepare /me/sdk-payload unmatched",
    ),
    ("tls_handshakes_total", "outcome", "failed ok timeout"),
    (
        "upstream_requests_total",
        "outcome",
        "aborted already_exists client_error connection invalid_response not_found \
         rejected_credentials rejected_field rejected_origin server_error stale_connection success \
         timeout too_many_requests",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn counters_exist_with_zero_from_the_start() {
    let world = World::new().await;
    let metrics = world.admin().get("/metrics").await.text();
    let is_first_fetch =
        |line: &str| line.contains("jwks_refreshes_total{issuer=\"main\",outcome=\"success\"}");
    let mut counters = BTreeSet::new();
    for (line, name) in events(&metrics) {
        // All tests of this process share the log.
        if !is_first_fetch(line) && name != "juspay_bff_log_lines_lost_total" {
            assert!(line.ends_with(" 0"), "{line}");
        }
        counters.insert(name.trim_start_matches("juspay_bff_"));
    }
    let mut expected = BTreeSet::from(COUNTERS);
    expected.extend(cfg!(feature = "traces").then_some("trace_spans_lost_total"));
    assert_eq!(counters, expected);
    assert!(metrics.len() < 40_000, "{} bytes", metrics.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_label_has_all_of_its_values_from_the_start() {
    let world = World::new().await;
    let metrics = world.admin().get("/metrics").await.text();
    for (name, label, values) in VALUES {
        let of = |value: &str| format!("{label}=\"{value}\"");
        let expected: Vec<_> = values.split_whitespace().map(of).collect();
        assert_eq!(labels(&metrics, name), expected, "{name}");
    }
    assert_eq!(
        labels(&metrics, "jwks_refreshes_total"),
        ["issuer=\"main\",outcome=\"failure\"", "issuer=\"main\",outcome=\"success\""]
    );
    let reasons = labels(&metrics, "auth_failures_total");
    for reason in
        ["audience", "dpop_replayed", "expired", "keys_unavailable", "revoked", "signature"]
    {
        assert!(reasons.contains(&format!("reason=\"{reason}\"")), "{reason}: {reasons:?}");
    }
    let responses = labels(&metrics, "http_requests_total");
    for (code, route, status) in [
        ("ok", "/me/customer", 200),
        ("internal_error", "/me/customer", 500),
        ("upstream_timeout", "/me/customer", 504),
        ("ok", "/me/sdk-payload", 200),
        ("rate_limited", "/me/sdk-payload", 429),
        ("not_found", "/me/sdk-payload", 404),
        ("ok", "/me/prepare", 202),
        ("not_found", "unmatched", 404),
        ("internal_error", "unmatched", 500),
    ] {
        let labels = format!("code=\"{code}\",route=\"{route}\",status=\"{status}\"");
        assert!(responses.contains(&labels), "{labels}: {responses:?}");
    }
    assert!(!responses.iter().any(|labels| labels.contains("admin")), "{responses:?}");
}

/// The series of counters and histograms, each with the metric's name.
fn events(text: &str) -> Vec<(&str, &str)> {
    let mut metric = ("", false);
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let counts = name.starts_with("juspay_bff_") && matches!(kind, "counter" | "histogram");
            metric = (name, counts);
        } else if metric.1 && !line.starts_with('#') {
            found.push((line, metric.0));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_series_of_a_counter_appears_later() {
    let world = World::new().await;
    let series = async || -> BTreeSet<String> {
        let text = world.admin().get("/metrics").await.text();
        let series = |line: &str| line.rsplit_once(' ').expect("a value").0.to_owned();
        events(&text).into_iter().map(|(line, _)| series(line)).collect()
    };
    let first = series().await;
    requests(&world).await;
    world.clock.advance(Duration::from_secs(10));
    for customer in ["sim_429", "sim_500", "sim_reset", "sim_other_customer", "sim_no_token", "bob"]
    {
        world.client(customer).me().await;
    }
    world.client_with(&MintRequest::of("alice").with("aud", "other")).me().await;
    world.client("carol").request("GET", "/me/customer", "Cache-Control: only-if-cached\r\n").await;
    world.client("alice").request("GET", "/me/customer", "Cache-Control: no-cache\r\n").await;
    world.client("alice").get("/me/sdk-payload?action=process").await;
    world.client("alice").request("POST", "/me/prepare", "").await;
    world.anonymous().request("GET", "/", "Host: evil.example\r\n").await;
    world.admin().post("/cache/purge", &serde_json::json!({"all": true})).await;
    let later = series().await;
    let appeared: Vec<_> = later.difference(&first).collect();
    assert!(appeared.is_empty(), "{appeared:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_set_without_a_successful_fetch_has_no_time() {
    let stage = Stage::set().await;
    stage.issuer().inject(JWKS_PATH, None, Fault::Reset);
    let world = stage.open("");
    world
        .until_count("juspay_bff_jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"}", 1)
        .await;
    let metrics = world.admin().get("/metrics").await.text();
    assert!(!metrics.contains("\njuspay_bff_jwks_last_success_timestamp_seconds"), "{metrics}");
}
