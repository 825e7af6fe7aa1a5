//! Measures the skew between Juspay's clock and this server's, by the `Date` of responses. Reports
//! it as a gauge and in the log.
//!
//! It makes no decisions: the cache limits the life of tokens by both clocks.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use prometheus::GaugeVec;

use crate::clock::Monotonic;

/// A larger skew is logged. Smaller ones shorten a token's life by at most a thirtieth.
const TOLERATED: SignedDuration = SignedDuration::from_secs(30);

/// Minimum time between log lines. One of Juspay's hosts may have a different clock than the
/// others.
const QUIET: Duration = Duration::from_mins(1);

/// The state of the measurement.
#[derive(Debug)]
pub struct ClockSkew {
    gauge: GaugeVec,
    logged: Mutex<Option<Logged>>,
}

/// A skew that was logged.
#[derive(Debug, Clone, Copy)]
struct Logged {
    skew: SignedDuration,
    at: Monotonic,
    /// When a large skew was last measured.
    seen: Monotonic,
}

impl ClockSkew {
    /// Starts without a value, so the gauge is absent.
    #[must_use]
    pub fn new(gauge: GaugeVec) -> Self {
        Self { gauge, logged: Mutex::default() }
    }

    /// Records how far Juspay's clock is ahead of this server's (negative: behind).
    pub fn record(&self, skew: SignedDuration, now: Monotonic) {
        self.gauge.with_label_values::<&str>(&[]).set(skew.as_secs_f64());
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_large = skew.abs() > TOLERATED;
        match &mut *logged {
            None if is_large => *logged = Some(log(skew, now)),
            Some(known) if is_large => {
                known.seen = now;
                let is_another = skew.checked_sub(known.skew).is_none_or(|it| it.abs() > TOLERATED);
                if is_another && now.since(known.at) >= QUIET {
                    *known = log(skew, now);
                }
            }
            Some(known) if now.since(known.seen) >= QUIET => {
                *logged = None;
                tracing::info!("this server's clock agrees with Juspay's again");
            }
            Some(_) | None => {}
        }
    }
}

fn log(skew: SignedDuration, now: Monotonic) -> Logged {
    let direction = if skew.is_negative() { "ahead of" } else { "behind" };
    tracing::warn!(
        skew_seconds = skew.as_secs(),
        "this server's clock is {} s {direction} Juspay's; check time synchronization (NTP)",
        skew.abs().as_secs(),
    );
    Logged { skew, at: now, seen: now }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{captured_log::CapturedLog, metrics::Metrics};

    /// The number of log lines after each measurement, given as pairs of skew and time in seconds;
    /// and the log.
    fn lines(observations: &[(i64, u64)]) -> (Vec<usize>, String) {
        let (log, _guard) = CapturedLog::on_this_thread();
        let skew = ClockSkew::new(Metrics::new("1", "1").unwrap().upstream.clock_skew);
        let counts = observations.iter().map(|(seconds, at)| {
            let now = Monotonic::new(Duration::from_secs(*at));
            skew.record(SignedDuration::from_secs(*seconds), now);
            log.text().lines().count()
        });
        (counts.collect(), log.text())
    }

    #[test]
    fn skew_is_logged_when_it_appears_changes_and_disappears() {
        let (counts, text) = lines(&[
            (0, 0),
            (30, 10),
            (-30, 20),
            (31, 30),
            (31, 31),
            (60, 100),
            (62, 110),
            (-900, 170),
            (-900, 500),
            (5, 510),
            (0, 560),
            (0, 700),
        ]);
        assert_eq!(counts, [0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4], "{text}");
        assert!(text.contains("clock is 31 s behind Juspay's"), "{text}");
        assert!(text.contains("clock is 900 s ahead of Juspay's"), "{text}");
        assert!(text.contains("skew_seconds=-900"), "{text}");
        assert!(text.lines().last().unwrap().contains("agrees with Juspay's again"), "{text}");
    }

    #[test]
    fn one_host_with_another_clock_does_not_flood_the_log() {
        let calls: Vec<_> = (0..600).map(|at| (if at % 2 == 0 { 0 } else { 40 }, at)).collect();
        assert_eq!(lines(&calls).0.last(), Some(&1));
        let calls: Vec<_> = (0..600).map(|at| (if at % 2 == 0 { 400 } else { 40 }, at)).collect();
        assert_eq!(lines(&calls).0.last(), Some(&10));
    }

    #[test]
    fn gauge_is_absent_until_the_skew_is_measured() {
        let metrics = Metrics::new("1", "1").unwrap();
        let skew = ClockSkew::new(metrics.upstream.clock_skew.clone());
        let shown = || String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(!shown().contains("upstream_clock_skew_seconds"));
        skew.record(SignedDuration::from_millis(-1500), Monotonic::new(Duration::ZERO));
        assert!(shown().contains("\njuspay_bff_upstream_clock_skew_seconds -1.5\n"), "{}", shown());
    }
}
