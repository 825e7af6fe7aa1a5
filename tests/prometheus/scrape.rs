//! After a known load, Prometheus has the same counts as the client and the simulator.

use std::collections::{BTreeMap, BTreeSet};

use juspay_bff::{COMMIT, VERSION};
use simulator::issuer::{INTROSPECTION_PATH, JWKS_PATH};

use crate::{
    prometheus::Prometheus,
    queries,
    scenario::{Scenario, now},
    support::World,
    tally::Counts,
};

/// The series of a counter, by the values of these labels.
async fn counted(prometheus: &Prometheus, name: &str, labels: &[&str]) -> Counts {
    let by = labels.join(", ");
    let samples = prometheus.query(&format!("sum by ({by}) ({name}) > 0")).await;
    samples.into_iter().map(|(has, value)| (values(&has, labels), whole(value))).collect()
}

fn values(has: &BTreeMap<String, String>, labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&label| has[label].clone()).collect()
}

fn whole(value: f64) -> u64 {
    value.to_string().parse().expect("a whole number")
}

/// The value of a query with one sample.
async fn only(prometheus: &Prometheus, promql: &str) -> u64 {
    let samples = prometheus.query(promql).await;
    let [(_, value)] = &samples[..] else { panic!("{promql}: {samples:?}") };
    whole(*value)
}

fn counts(expected: &[(&str, u64)]) -> Counts {
    expected.iter().map(|(label, count)| (vec![(*label).to_owned()], *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_has_the_counts_of_client_and_simulator() {
    let mut scenario = Scenario::set().await;
    let prometheus = Prometheus::of(scenario.world.service.admin, "1s").await;
    let first = counters(&scenario.world).await;
    scenario.play().await;
    let appeared: Vec<_> = counters(&scenario.world).await.difference(&first).cloned().collect();
    assert!(appeared.is_empty(), "series whose first event rate() misses: {appeared:?}");
    prometheus.until_scraped(now()).await;

    answers(&prometheus, &scenario).await;
    calls(&prometheus, &scenario.world).await;
    states(&prometheus, &scenario.world).await;
    queries::all_queries_return_data(&prometheus, &scenario.world).await;
    alerts(&prometheus).await;
}

/// The series of counters and histograms.
async fn counters(world: &World) -> BTreeSet<String> {
    let text = world.admin().get("/metrics").await.text();
    let mut is_counter = false;
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE juspay_bff_") {
            is_counter = metric.ends_with(" counter") || metric.ends_with(" histogram");
        } else if is_counter && line.starts_with("juspay_bff_") {
            series.extend(line.rsplit_once(' ').map(|(series, _)| series.to_owned()));
        }
    }
    series
}

async fn answers(prometheus: &Prometheus, Scenario { tally, .. }: &Scenario) {
    let by = ["route", "status", "code"];
    let total = counted(prometheus, "juspay_bff_http_requests_total", &by).await;
    assert_eq!(total, tally.answers);
    for (name, labels, expected) in [
        ("cache_requests_total", "outcome", &tally.lookups),
        ("auth_failures_total", "reason", &tally.rejections),
    ] {
        assert_eq!(&counted(prometheus, &format!("juspay_bff_{name}"), &[labels]).await, expected);
    }
    for (name, expected) in [
        ("http_request_duration_seconds_count", tally.answers.values().sum()),
        ("token_remaining_seconds_count", tally.hand_outs),
        ("token_remaining_seconds_bucket{le=~\"60|60.0\"}", tally.short),
        ("tls_handshakes_total{outcome=\"ok\"}", tally.handshakes),
    ] {
        assert_eq!(only(prometheus, &format!("sum(juspay_bff_{name})")).await, expected, "{name}");
    }
}

async fn calls(prometheus: &Prometheus, world: &World) {
    let total = world.simulator().total_requests();
    let failed = [
        ("not_found", 1),
        ("invalid_response", 1),
        ("server_error", 6),
        ("rejected_credentials", 1),
        ("rejected_origin", 1),
    ];
    let served = total - failed.iter().map(|(_, count)| count).sum::<u64>();
    let expected = counts(&[&failed[..], &[("success", served)]].concat());
    let upstream = "juspay_bff_upstream_requests_total";
    assert_eq!(counted(prometheus, upstream, &["outcome"]).await, expected);
    let duration = "juspay_bff_upstream_request_duration_seconds_count";
    assert_eq!(only(prometheus, duration).await, total);
    assert_eq!(only(prometheus, "juspay_bff_upstream_identity_mismatches_total").await, 1);
    let refreshes = counted(prometheus, "juspay_bff_cache_refreshes_total", &["outcome"]).await;
    assert_eq!(refreshes, counts(&[("success", 1), ("failure", 1)]));
}

async fn states(prometheus: &Prometheus, world: &World) {
    let info = prometheus.query("juspay_bff_build_info").await;
    let [(labels, _)] = &info[..] else { panic!("{info:?}") };
    assert_eq!((&*labels["version"], &*labels["commit"]), (VERSION, COMMIT));
    let published = world.issuer().jwks()["keys"].as_array().unwrap().len();
    let keys = "juspay_bff_jwks_keys + juspay_bff_jwks_keys_left_out";
    assert_eq!(only(prometheus, keys).await, u64::try_from(published).unwrap());
    let fetched = "juspay_bff_jwks_refreshes_total{outcome=\"success\"}";
    assert_eq!(only(prometheus, fetched).await, world.issuer().calls(JWKS_PATH));
    let asked = only(prometheus, "sum(juspay_bff_auth_introspections_total)").await;
    assert_eq!(asked, world.issuer().calls(INTROSPECTION_PATH));
    for (state, value) in [("closed", 1), ("open", 0), ("half_open", 0)] {
        let gauge = format!("juspay_bff_upstream_breaker_state{{state=\"{state}\"}}");
        assert_eq!(only(prometheus, &gauge).await, value, "{state}");
    }
    assert_eq!(only(prometheus, "juspay_bff_cache_capacity").await, 1000);
    assert_eq!(only(prometheus, "juspay_bff_upstream_clock_skew_seconds").await, 0);
    // alice, bob, carol, frank, gina, henry; the other entries have expired.
    assert_eq!(only(prometheus, "juspay_bff_cache_entries").await, 6);
}

/// The only alert that fires immediately with this load.
async fn alerts(prometheus: &Prometheus) {
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").await;
    let names: Vec<_> = firing.iter().map(|(labels, _)| &*labels["alertname"]).collect();
    assert_eq!(names, ["JuspayBffWrongCustomer"]);
}
