//! The Prometheus metrics of the service: one registry, and the handles that other modules update.
//!
//! Label values are closed sets and never identify a customer. Hot paths hold child metrics,
//! because a lookup by label costs about six increments.

mod labels;
mod registrar;

use std::sync::LazyLock;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder,
};

pub use self::labels::Series;
pub(crate) use self::labels::labels;
use self::registrar::{Registrar, opts};

/// Seconds. From a network round trip to `juspay.deadline`.
const UPSTREAM_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Seconds. From the floors of served tokens to the longest life.
const TOKEN_LIFE_BUCKETS: &[f64] =
    &[15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 450.0, 600.0, 750.0, 900.0];

/// Responses with a token: each number up to that with which `cache.max_hand_outs = "auto"` starts, then
/// fewer.
const HAND_OUT_BUCKETS: &[f64] =
    &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0];

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Metrics of the public listener.
    pub http: Http,
    /// Metrics of authentication.
    pub auth: Auth,
    /// Metrics of the cache.
    pub cache: Cache,
    /// Metrics of the Juspay client.
    pub upstream: Upstream,
    /// Metrics of trace export.
    pub traces: Traces,
    /// Metrics of the shared tier.
    pub shared: Shared,
    /// `secret_last_reload_success_timestamp_seconds{secret}`
    pub secret_last_reload_success: GaugeVec,
    /// `tls_certificate_not_after_timestamp_seconds{certificate}`
    pub certificate_not_after: GaugeVec,
}

/// `http_*`
#[derive(Debug)]
pub struct Http {
    /// `http_requests_total{route,status,code}`
    pub requests: IntCounterVec,
    /// `http_request_duration_seconds{route}`
    pub duration: HistogramVec,
    /// `http_requests_in_flight`
    pub in_flight: IntGauge,
    /// `http_requests_waiting`
    pub waiting: IntGauge,
    /// `http_connections`
    pub connections: IntGauge,
    /// `tls_handshakes_total{outcome}`
    pub tls_handshakes: IntCounterVec,
}

/// `auth_*` and `jwks_*`
#[derive(Debug)]
pub struct Auth {
    /// `auth_failures_total{reason}`
    pub failures: IntCounterVec,
    /// `auth_verifications_in_flight`
    pub verifications: IntGauge,
    /// `jwks_refreshes_total{issuer,outcome}`
    pub jwks_refreshes: IntCounterVec,
    /// `jwks_keys{issuer}`
    pub jwks_keys: IntGaugeVec,
    /// `jwks_keys_left_out{issuer}`
    pub jwks_keys_left_out: IntGaugeVec,
    /// `jwks_last_success_timestamp_seconds{issuer}`
    pub jwks_last_success: GaugeVec,
    /// `auth_revocations{source}`
    pub revocations: IntGaugeVec,
    /// `auth_revocation_reloads_total{outcome}`
    pub revocation_reloads: IntCounterVec,
    /// `auth_logouts_total{outcome}`
    pub logouts: IntCounterVec,
    /// `auth_introspections_total{issuer,outcome}`
    pub introspections: IntCounterVec,
    /// `auth_introspection_duration_seconds{issuer}`
    pub introspection_duration: HistogramVec,
    /// `auth_dpop_proofs`
    pub dpop_proofs: IntGauge,
}

/// `cache_*`
#[derive(Debug)]
pub struct Cache {
    /// `cache_requests_total{outcome}`
    pub requests: IntCounterVec,
    /// `cache_refreshes_total{outcome}`
    pub refreshes: IntCounterVec,
    /// `cache_entries`
    pub entries: IntGauge,
    /// `cache_capacity`
    pub capacity: IntGauge,
    /// `cache_evictions_total{cause}`
    pub evictions: IntCounterVec,
    /// `cache_token_remaining_seconds{at_least}`
    pub token_remaining: IntGaugeVec,
    /// `token_remaining_seconds`
    pub hand_out_remaining: Histogram,
    /// `cache_tokens_total`
    pub tokens: IntCounter,
    /// `cache_token_early_death_age_seconds`
    pub early_death_age: Histogram,
    /// `cache_token_early_death_hand_outs`
    pub early_death_hand_outs: Histogram,
    /// `cache_max_hand_outs`
    pub max_hand_outs: IntGauge,
}

/// `upstream_*`
#[derive(Debug)]
pub struct Upstream {
    /// `upstream_requests_total{outcome}`
    pub requests: IntCounterVec,
    /// `upstream_request_duration_seconds`
    pub duration: Histogram,
    /// `upstream_in_flight`
    pub in_flight: IntGauge,
    /// `upstream_retries_total`
    pub retries: IntCounter,
    /// `upstream_breaker_state{state}`
    pub breaker_state: IntGaugeVec,
    /// `upstream_key_slot{slot}`
    pub key_slot: IntGaugeVec,
    /// `customer_creations_total{outcome}`
    pub creations: IntCounterVec,
    /// `upstream_identity_mismatches_total`
    pub identity_mismatches: IntCounter,
    /// `upstream_clock_skew_seconds`, absent until measured.
    pub clock_skew: GaugeVec,
}

/// `trace_spans_*`
#[derive(Debug, Clone)]
pub struct Traces {
    /// `trace_spans_exported_total`
    pub exported: IntCounter,
    /// `trace_spans_lost_total{cause}`
    pub lost: IntCounterVec,
}

/// `shared_*`, absent without the shared tier.
#[derive(Debug, Clone)]
pub struct Shared {
    /// `shared_requests_total{outcome}`
    pub requests: IntCounterVec,
    /// `shared_request_duration_seconds`
    pub duration: HistogramVec,
    /// `shared_state{state}`
    pub state: IntGaugeVec,
}

/// `log_lines_lost_total`. Global, because the process has one log and may lose lines before its
/// metrics exist.
static LOST_LOG_LINES: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let help = "Log lines lost because standard output was full, closed or read too slowly.";
    IntCounter::with_opts(opts("log_lines_lost_total", help)).ok()
});

/// Counts log lines that couldn't be written.
pub fn count_lost_log_lines(number: u64) {
    if let Some(lost) = &*LOST_LOG_LINES {
        lost.inc_by(number);
    }
}

/// The number of log lines lost since the process started.
pub fn lost_log_lines() -> u64 {
    LOST_LOG_LINES.as_ref().map_or(0, IntCounter::get)
}

impl Metrics {
    /// A registry with all metrics at zero and the process metrics (`process_*`).
    ///
    /// # Errors
    /// If two metrics share a name, which is a bug in this module.
    pub fn new(version: &str, commit: &str) -> Result<Self, prometheus::Error> {
        let make = Registrar { registry: Registry::new() };
        make.info(version, commit)?;
        make.log()?;
        #[cfg(target_os = "linux")]
        make.registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            http: make.http()?,
            auth: make.auth()?,
            cache: make.cache()?,
            upstream: make.upstream()?,
            traces: make.traces()?,
            shared: make.shared()?,
            secret_last_reload_success: make.float_gauges(
                "secret_last_reload_success_timestamp_seconds",
                "Unix time of the last successful read of a secret's file, in seconds.",
                &["secret"],
            )?,
            certificate_not_after: make.float_gauges(
                "tls_certificate_not_after_timestamp_seconds",
                "Unix time at which a certificate in use expires, in seconds.",
                &["certificate"],
            )?,
            registry: make.registry,
        })
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// If the library can't encode the metrics.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Raises a gauge by one until dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts nothing"]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    /// Raises `gauge`.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Registrar {
    fn http(&self) -> Result<Http, prometheus::Error> {
        Ok(Http {
            requests: self.counters(
                "http_requests_total",
                "Completed HTTP requests, by route, status and problem code.",
                &["route", "status", "code"],
            )?,
            duration: self.histograms(
                "http_request_duration_seconds",
                "Time from a request's head to its response, in seconds, by route.",
                &["route"],
            )?,
            in_flight: self.gauge("http_requests_in_flight", "HTTP requests in progress.")?,
            waiting: self.gauge(
                "http_requests_waiting",
                "HTTP requests waiting for Juspay or for signing keys.",
            )?,
            connections: self
                .gauge("http_connections", "Open connections of the public listener.")?,
            tls_handshakes: self.counters(
                "tls_handshakes_total",
                "TLS handshakes on the public listener, by outcome.",
                &["outcome"],
            )?,
        })
    }

    fn auth(&self) -> Result<Auth, prometheus::Error> {
        Ok(Auth {
            failures: self.counters(
                "auth_failures_total",
                "Requests rejected by authentication, by reason.",
                &["reason"],
            )?,
            verifications: self.gauge(
                "auth_verifications_in_flight",
                "Requests whose token is being verified or is queued for verification.",
            )?,
            jwks_refreshes: self.counters(
                "jwks_refreshes_total",
                "Fetches of an issuer's JWKS, by issuer and outcome.",
                &["issuer", "outcome"],
            )?,
            jwks_keys: self.gauges("jwks_keys", "Usable keys in an issuer's JWKS.", &["issuer"])?,
            jwks_keys_left_out: self.gauges(
                "jwks_keys_left_out",
                "Keys in an issuer's JWKS that are ignored.",
                &["issuer"],
            )?,
            jwks_last_success: self.float_gauges(
                "jwks_last_success_timestamp_seconds",
                "Unix time of the last successful fetch of an issuer's JWKS, in seconds.",
                &["issuer"],
            )?,
            revocations: self.gauges(
                "auth_revocations",
                "Revocations in force, by source.",
                &["source"],
            )?,
            revocation_reloads: self.counters(
                "auth_revocation_reloads_total",
                "Reloads of a changed auth.revocations_file, and checks that found no valid list, \
                 by outcome.",
                &["outcome"],
            )?,
            logouts: self.counters(
                "auth_logouts_total",
                "Logout tokens received from issuers, by outcome.",
                &["outcome"],
            )?,
            introspections: self.introspections()?,
            introspection_duration: self.introspection_duration()?,
            dpop_proofs: self
                .gauge("auth_dpop_proofs", "DPoP proofs remembered to reject replays.")?,
        })
    }

    fn introspections(&self) -> Result<IntCounterVec, prometheus::Error> {
        self.counters(
            "auth_introspections_total",
            "Token introspection requests, by issuer and outcome.",
            &["issuer", "outcome"],
        )
    }

    fn introspection_duration(&self) -> Result<HistogramVec, prometheus::Error> {
        self.histograms(
            "auth_introspection_duration_seconds",
            "Time of a token introspection request, queueing included, in seconds.",
            &["issuer"],
        )
    }

    fn cache(&self) -> Result<Cache, prometheus::Error> {
        Ok(Cache {
            requests: self.counters(
                "cache_requests_total",
                "Customer lookups in the cache, by outcome.",
                &["outcome"],
            )?,
            refreshes: self.counters(
                "cache_refreshes_total",
                "Refreshes of client auth tokens that were still valid, by outcome.",
                &["outcome"],
            )?,
            entries: self.gauge("cache_entries", "Customers in the cache.")?,
            capacity: self.gauge("cache_capacity", "Maximum number of customers in the cache.")?,
            evictions: self.counters(
                "cache_evictions_total",
                "Customers removed from the cache, by cause.",
                &["cause"],
            )?,
            token_remaining: self.gauges(
                "cache_token_remaining_seconds",
                "Cached customers whose client auth token is valid for at least at_least more \
                 seconds.",
                &["at_least"],
            )?,
            hand_out_remaining: self.histogram(
                "token_remaining_seconds",
                "Remaining validity of client auth tokens in responses, in seconds.",
                TOKEN_LIFE_BUCKETS,
            )?,
            tokens: self.counter(
                "cache_tokens_total",
                "Client auth tokens that Juspay issued and the cache stored.",
            )?,
            early_death_age: self.early_death_age()?,
            early_death_hand_outs: self.early_death_hand_outs()?,
            max_hand_outs: self.gauge(
                "cache_max_hand_outs",
                "Responses after which a client auth token is replaced, as set or determined by \
                 \"auto\"; 0: never.",
            )?,
        })
    }

    fn early_death_age(&self) -> Result<Histogram, prometheus::Error> {
        self.histogram(
            "cache_token_early_death_age_seconds",
            "Age of client auth tokens that an app reported as not working before their expiry, in \
             seconds.",
            TOKEN_LIFE_BUCKETS,
        )
    }

    fn early_death_hand_outs(&self) -> Result<Histogram, prometheus::Error> {
        self.histogram(
            "cache_token_early_death_hand_outs",
            "Responses that had contained a client auth token when an app reported it as not working \
             before its expiry.",
            HAND_OUT_BUCKETS,
        )
    }

    fn upstream(&self) -> Result<Upstream, prometheus::Error> {
        Ok(Upstream {
            requests: self.counters(
                "upstream_requests_total",
                "Calls to Juspay, by outcome; calls with stale_connection are repeated on a new \
                 connection.",
                &["outcome"],
            )?,
            duration: self.histogram(
                "upstream_request_duration_seconds",
                "Duration of calls to Juspay, in seconds.",
                UPSTREAM_BUCKETS,
            )?,
            in_flight: self.gauge("upstream_in_flight", "Calls to Juspay in progress.")?,
            retries: self.counter("upstream_retries_total", "Retries of calls to Juspay.")?,
            breaker_state: self.gauges(
                "upstream_breaker_state",
                "State of the circuit breaker: 1 for the current state, 0 for the others.",
                &["state"],
            )?,
            key_slot: self.gauges(
                "upstream_key_slot",
                "API key in use: 1 for the key in use, 0 for the other.",
                &["slot"],
            )?,
            creations: self.counters(
                "customer_creations_total",
                "Creations of customers that Juspay did not know, by outcome; absent without \
                 juspay.create_missing_customers.",
                &["outcome"],
            )?,
            identity_mismatches: self.counter(
                "upstream_identity_mismatches_total",
                "Juspay responses about another customer; all are rejected.",
            )?,
            clock_skew: self.float_gauges(
                "upstream_clock_skew_seconds",
                "Juspay's clock minus this server's, in seconds, from Juspay's last Date header; \
                 negative if this server is ahead.",
                &[],
            )?,
        })
    }

    fn traces(&self) -> Result<Traces, prometheus::Error> {
        Ok(Traces {
            exported: self
                .counter("trace_spans_exported_total", "Trace spans accepted by the collector.")?,
            lost: self.counters(
                "trace_spans_lost_total",
                "Trace spans that did not reach the collector, by cause.",
                &["cause"],
            )?,
        })
    }

    fn shared(&self) -> Result<Shared, prometheus::Error> {
        Ok(Shared {
            requests: self.counters(
                "shared_requests_total",
                "Look-ups and stores in the shared tier, by outcome.",
                &["outcome"],
            )?,
            duration: self.histograms(
                "shared_request_duration_seconds",
                "Time of a look-up in the shared tier, queueing included, in seconds.",
                &[],
            )?,
            state: self.gauges(
                "shared_state",
                "State of the shared tier: 1 for the current state, 0 for the others.",
                &["state"],
            )?,
        })
    }

    fn info(&self, version: &str, commit: &str) -> Result<(), prometheus::Error> {
        let opts = opts("build_info", "Version and commit of this process; always 1.")
            .const_label("version", version)
            .const_label("commit", commit);
        self.register(Gauge::with_opts(opts)).map(|info| info.set(1.0))
    }

    fn log(&self) -> Result<(), prometheus::Error> {
        let lost = LOST_LOG_LINES.clone();
        let missing = || prometheus::Error::Msg("log_lines_lost_total is not a metric".to_owned());
        self.register(lost.ok_or_else(missing)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_have_the_prefix() {
        let metrics = Metrics::new("1.2.3", "abc").unwrap();
        metrics.http.requests.with_label_values(&["unmatched", "404", "not_found"]).inc();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(
            text.contains("juspay_bff_build_info{commit=\"abc\",version=\"1.2.3\"} 1"),
            "{text}"
        );
        assert!(text.contains("juspay_bff_http_requests_total{code=\"not_found\",route=\"unmatched\",status=\"404\"} 1"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("juspay_bff_") || line.starts_with("process_"), "{line}");
        }
    }
}
