//! Refreshes an issuer's key set: on an interval with jitter, sooner after a failure, and when a
//! request needs an unknown key.
//!
//! Each issuer has one task, on a current-thread runtime (awc is not `Send`). It holds no lock
//! while it fetches and parses. A failed fetch keeps the previous set.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use prometheus::{GaugeVec, IntCounter, IntGauge};
use tracing::{info, warn};

use super::{
    KeySet, LeftOut,
    cache::JwksCache,
    source::{FetchError, KeyFetcher},
};
use crate::{
    clock::{Clock, timeout_at},
    metrics,
    settings::Algorithm,
};

/// Maximum duration of one fetch, including both requests of discovery and all redirects.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// When a key set is refreshed without a request for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// The longest pause after a success.
    pub(crate) refresh: Duration,
    /// The longest pause after a failure.
    pub(crate) retry: Duration,
}

/// Refreshes the key set of one issuer.
pub(crate) struct JwksRefresher {
    issuer: Arc<str>,
    algorithms: Vec<Algorithm>,
    schedule: Schedule,
    fetcher: Box<dyn KeyFetcher>,
    cache: Arc<JwksCache>,
    clock: Arc<dyn Clock>,
    gauges: Gauges,
    /// The document of the current set.
    last: Option<Bytes>,
}

struct Gauges {
    successes: IntCounter,
    failures: IntCounter,
    keys: IntGauge,
    left_out: IntGauge,
    /// Has no series for this issuer before the first success.
    last_success: GaugeVec,
}

impl JwksRefresher {
    pub(crate) fn new(
        issuer: &Arc<str>,
        algorithms: &[Algorithm],
        schedule: Schedule,
        fetcher: Box<dyn KeyFetcher>,
        cache: &Arc<JwksCache>,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        let refreshes = |outcome| metrics.jwks_refreshes.with_label_values(&[&**issuer, outcome]);
        Self {
            issuer: Arc::clone(issuer),
            algorithms: algorithms.to_vec(),
            schedule,
            fetcher,
            cache: Arc::clone(cache),
            clock: Arc::clone(clock),
            gauges: Gauges {
                successes: refreshes("success"),
                failures: refreshes("failure"),
                keys: metrics.jwks_keys.with_label_values(&[&**issuer]),
                left_out: metrics.jwks_keys_left_out.with_label_values(&[&**issuer]),
                last_success: metrics.jwks_last_success.clone(),
            },
            last: None,
        }
    }

    /// Refreshes the key set until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let pause =
                if self.refresh().await { self.schedule.refresh } else { self.schedule.retry };
            let next = self.clock.monotonic().plus(jittered(pause));
            timeout_at(&*self.clock, next, self.cache.wait_for_request()).await;
        }
    }

    /// Fetches once and logs a failure. Returns whether the fetch succeeded.
    async fn refresh(&mut self) -> bool {
        let fetched = self.fetch_once().await;
        if let Err(error) = &fetched {
            let issuer = &*self.issuer;
            if self.cache.usable(self.clock.monotonic()).is_some() {
                warn!(issuer, %error, "failed to fetch JWKS; keeping the previous keys and retrying");
            } else {
                warn!(issuer, %error, "failed to fetch JWKS; no usable keys available");
            }
        }
        fetched.is_ok()
    }

    /// Fetches once. Returns the unusable keys if the set has changed.
    pub(crate) async fn fetch_once(&mut self) -> Result<Vec<LeftOut>, FetchError> {
        let fetch = self.cache.begin();
        let fetched = self.fetch().await;
        match fetched.and_then(|json| self.parse_if_changed(json)) {
            Ok(updated) => {
                let (set, left_out) = updated.unzip();
                self.cache.succeed(fetch, set);
                self.gauges.successes.inc();
                let now = self.clock.now().as_duration().as_secs_f64();
                self.gauges.last_success.with_label_values(&[&*self.issuer]).set(now);
                Ok(left_out.unwrap_or_default())
            }
            Err(error) => {
                self.cache.fail(fetch);
                self.gauges.failures.inc();
                Err(error)
            }
        }
    }

    /// The issuer's name in the settings.
    pub(crate) fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// The number of keys, and the issuer's algorithms that they support.
    pub(crate) fn usable_keys(&self) -> (usize, Vec<Algorithm>) {
        let Some(current) = self.cache.usable(self.clock.monotonic()) else {
            return (0, Vec::new());
        };
        let served = self.algorithms.iter().copied().filter(|it| current.set.supports(*it));
        (current.set.len(), served.collect())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The issuer's clock at its last response, if it sent a `Date`.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        self.fetcher.date()
    }

    async fn fetch(&mut self) -> Result<Bytes, FetchError> {
        let deadline = self.clock.monotonic().plus(FETCH_TIMEOUT);
        // The client library may panic on an unexpected response; the task must continue.
        let fetch = AssertUnwindSafe(self.fetcher.fetch()).catch_unwind();
        timeout_at(&*self.clock, deadline, fetch)
            .await
            .ok_or(FetchError::Timeout)?
            .map_err(|_panic| FetchError::Panicked)?
    }

    /// The key set in `json` and its unusable keys; `None` if the document has not changed.
    fn parse_if_changed(
        &mut self,
        json: Bytes,
    ) -> Result<Option<(KeySet, Vec<LeftOut>)>, FetchError> {
        if self.last.as_ref() == Some(&json) {
            return Ok(None);
        }
        let parse = if self.fetcher.is_file() { KeySet::parse_file } else { KeySet::parse };
        let (set, left_out) = parse(&json, &self.algorithms)?;
        self.gauges.left_out.set(i64::try_from(left_out.len()).unwrap_or(i64::MAX));
        for LeftOut { kid, why } in &left_out {
            warn!(
                issuer = &*self.issuer,
                kid,
                %why,
                "JWKS key skipped, so tokens signed with it are rejected; this is normal for keys \
                 with another use"
            );
        }
        info!(issuer = &*self.issuer, keys = set.len(), "JWKS updated");
        self.gauges.keys.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
        self.last = Some(json);
        Ok(Some((set, left_out)))
    }
}

/// Shortens `pause` by up to a fifth, so that many processes do not fetch at the same time.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.8..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_shortens_a_pause_by_at_most_a_fifth() {
        let pause = Duration::from_secs(100);
        let drawn: Vec<_> = (0..64).map(|_| jittered(pause)).collect();
        assert!(drawn.iter().all(|drawn| (Duration::from_secs(80)..=pause).contains(drawn)));
        assert!(drawn.iter().any(|other| *other != drawn[0]), "no random number is needed");
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }
}
