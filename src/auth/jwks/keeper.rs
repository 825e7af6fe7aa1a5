//! Keeps an issuer's key set fresh: on a jittered interval, sooner after a failure, and when a
//! request asks for a key that isn't there.
//!
//! One task an issuer, on a current-thread runtime (awc isn't `Send`). It fetches and parses with
//! no lock held and hands the whole set over; a failed fetch keeps the last good one.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use prometheus::{GaugeVec, IntCounter, IntGauge};
use tracing::{info, warn};

use super::{
    KeySet, LeftOut,
    fetch::{FetchError, KeyFetcher},
    store::KeyStore,
};
use crate::{
    clock::{Clock, timeout_at},
    metrics,
    settings::Algorithm,
};

/// Longest time for a fetch, with both of discovery's requests and all redirects.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// When a key set is fetched without being asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// After a success, at the latest.
    pub(crate) refresh: Duration,
    /// After a failure, at the latest.
    pub(crate) retry: Duration,
}

/// Refreshes one issuer's keys.
pub(crate) struct Keeper {
    issuer: Arc<str>,
    algorithms: Vec<Algorithm>,
    schedule: Schedule,
    fetcher: Box<dyn KeyFetcher>,
    store: Arc<KeyStore>,
    clock: Arc<dyn Clock>,
    gauges: Gauges,
    /// What the set in use was read from.
    last: Option<Bytes>,
}

struct Gauges {
    successes: IntCounter,
    failures: IntCounter,
    keys: IntGauge,
    left_out: IntGauge,
    /// Without a series for this issuer before the first success.
    last_success: GaugeVec,
}

impl Keeper {
    pub(crate) fn new(
        issuer: &Arc<str>,
        algorithms: &[Algorithm],
        schedule: Schedule,
        fetcher: Box<dyn KeyFetcher>,
        store: &Arc<KeyStore>,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        let refreshes = |outcome| metrics.jwks_refreshes.with_label_values(&[&**issuer, outcome]);
        Self {
            issuer: Arc::clone(issuer),
            algorithms: algorithms.to_vec(),
            schedule,
            fetcher,
            store: Arc::clone(store),
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

    /// Fetches and waits in turn, until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let pause =
                if self.refresh().await { self.schedule.refresh } else { self.schedule.retry };
            let next = self.clock.monotonic().plus(jittered(pause));
            timeout_at(&*self.clock, next, self.store.fetch_is_asked_for()).await;
        }
    }

    /// Fetches once; whether that succeeded.
    async fn refresh(&mut self) -> bool {
        let fetched = self.fetch_once().await;
        if let Err(error) = &fetched {
            let issuer = &*self.issuer;
            if self.store.usable(self.clock.monotonic()).is_some() {
                warn!(issuer, %error, "failed to fetch JWKS; keeping the previous keys");
            } else {
                warn!(issuer, %error, "failed to fetch JWKS; no usable keys available");
            }
        }
        fetched.is_ok()
    }

    /// Fetches once; gives what was left out of the set if it is another one.
    pub(crate) async fn fetch_once(&mut self) -> Result<Vec<LeftOut>, FetchError> {
        let flight = self.store.begin();
        let fetched = self.fetch().await;
        match fetched.and_then(|json| self.take_up(json)) {
            Ok(taken) => {
                let (set, left_out) = taken.unzip();
                self.store.succeed(flight, set);
                self.gauges.successes.inc();
                let now = self.clock.now().as_duration().as_secs_f64();
                self.gauges.last_success.with_label_values(&[&*self.issuer]).set(now);
                Ok(left_out.unwrap_or_default())
            }
            Err(error) => {
                self.store.fail(flight);
                self.gauges.failures.inc();
                Err(error)
            }
        }
    }

    /// The name of its issuer.
    pub(crate) fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// How many keys there are, and which of the issuer's algorithms they serve.
    pub(crate) fn held(&self) -> (usize, Vec<Algorithm>) {
        let Some(current) = self.store.usable(self.clock.monotonic()) else {
            return (0, Vec::new());
        };
        let served = self.algorithms.iter().copied().filter(|it| current.set.serves(*it));
        (current.set.len(), served.collect())
    }

    /// The time by its clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The issuer's clock at its last answer, if it told.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        self.fetcher.date()
    }

    async fn fetch(&mut self) -> Result<Bytes, FetchError> {
        let deadline = self.clock.monotonic().plus(FETCH_TIMEOUT);
        // The client library may panic on what a server sends; the keys must outlive that.
        let fetch = AssertUnwindSafe(self.fetcher.fetch()).catch_unwind();
        timeout_at(&*self.clock, deadline, fetch)
            .await
            .ok_or(FetchError::Timeout)?
            .map_err(|_panic| FetchError::Panicked)?
    }

    /// The set in `json` and what is left out of it; `None` when it is the one in use.
    fn take_up(&mut self, json: Bytes) -> Result<Option<(KeySet, Vec<LeftOut>)>, FetchError> {
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

/// The last fifth of `pause` is drawn, so that many processes don't ask at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.8..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_never_late_and_never_much_too_early() {
        let pause = Duration::from_secs(100);
        let drawn: Vec<_> = (0..64).map(|_| jittered(pause)).collect();
        assert!(drawn.iter().all(|drawn| (Duration::from_secs(80)..=pause).contains(drawn)));
        assert!(drawn.iter().any(|other| *other != drawn[0]), "nothing is drawn");
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }
}
