//! Advances a world's clock and waits until the service has noticed.

use std::time::Duration;

use super::{World, until};

/// Number of requests after which both workers of the world have handled several: they accept
/// connections in turn.
const REQUESTS: usize = 8;

impl World {
    /// Lets every thread react to the clock and to bytes that have arrived.
    pub async fn settle(&self) {
        self.service.run_pending_tasks().await;
        for _ in 0..REQUESTS {
            assert_eq!(self.anonymous().me().await.code(), "missing_token");
        }
    }

    /// Advances the clock and lets the service react.
    pub async fn advance(&self, time: Duration) {
        self.clock.advance(time);
        self.settle().await;
    }

    /// Advances the clock repeatedly until a condition holds, each time by at most `step` beyond
    /// what the service has seen. Otherwise the clock runs ahead of a busy machine, and tokens
    /// expire.
    pub async fn advance_until(
        &self,
        what: &str,
        step: Duration,
        mut condition: impl AsyncFnMut() -> bool,
    ) {
        until(what, async || {
            self.clock.advance(step);
            self.service.run_pending_tasks().await;
            condition().await
        })
        .await;
    }

    /// The value of a counter in `/metrics`; zero if absent.
    pub async fn count(&self, series: &str) -> u64 {
        self.metric(series).await.to_string().parse().expect("a whole number")
    }

    /// Waits until a counter in `/metrics` has reached `value`.
    pub async fn until_count(&self, series: &str, value: u64) {
        let has_come = async || self.count(series).await == value;
        until(&format!("{series} {value}"), has_come).await;
    }

    /// Waits until this many clients wait for Juspay.
    pub async fn until_waiting(&self, clients: u64) {
        self.until_count("juspay_bff_http_requests_waiting", clients).await;
    }

    /// Number of calls to Juspay with this outcome.
    pub async fn upstream(&self, outcome: &str) -> u64 {
        self.count(&format!("juspay_bff_upstream_requests_total{{outcome=\"{outcome}\"}}")).await
    }

    /// Purges all customers.
    pub async fn purge_all(&self) {
        let reply = self.admin().post("/cache/purge", &serde_json::json!({"all": true})).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}
