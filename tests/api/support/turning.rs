//! Turning a world's clock, and knowing when the service has noticed.

use std::time::Duration;

use super::{World, until};

/// Requests after which each of the world's two workers has had several turns: connections go to
/// them by turns.
const TURNS: usize = 8;

impl World {
    /// Lets each thread do what it was woken for: by the clock, or by bytes that have come.
    pub async fn settle(&self) {
        self.service.turn().await;
        for _ in 0..TURNS {
            assert_eq!(self.stranger().me().await.code(), "missing_token");
        }
    }

    /// Turns the clock, and lets the service act on it.
    pub async fn turn(&self, time: Duration) {
        self.clock.advance(time);
        self.settle().await;
    }

    /// Turns the clock again and again until something has come of it, each time no further than
    /// `step` beyond what the service has seen: else the clock of a busy machine runs away, and
    /// tokens with it.
    pub async fn turn_until(
        &self,
        what: &str,
        step: Duration,
        mut condition: impl AsyncFnMut() -> bool,
    ) {
        until(what, async || {
            self.clock.advance(step);
            self.service.turn().await;
            condition().await
        })
        .await;
    }

    /// The value of one series of `/metrics` that counts; zero when it isn't there.
    pub async fn count(&self, series: &str) -> u64 {
        self.metric(series).await.to_string().parse().expect("a whole number")
    }

    /// Waits until one series of `/metrics` has counted so far.
    pub async fn until_count(&self, series: &str, value: u64) {
        let has_come = async || self.count(series).await == value;
        until(&format!("{series} {value}"), has_come).await;
    }

    /// Waits until so many phones wait for Juspay.
    pub async fn until_waiting(&self, phones: u64) {
        self.until_count("juspay_bff_http_requests_waiting", phones).await;
    }

    /// How many calls to Juspay had that outcome.
    pub async fn upstream(&self, outcome: &str) -> u64 {
        self.count(&format!("juspay_bff_upstream_requests_total{{outcome=\"{outcome}\"}}")).await
    }

    /// Forgets all customers.
    pub async fn purge_all(&self) {
        let reply = self.admin().post("/cache/purge", &serde_json::json!({"all": true})).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}
