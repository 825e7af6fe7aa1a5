//! Time as a parameter, so that tests set a clock instead of sleeping.
//!
//! Everything that expires, waits or backs off takes a [`Clock`]. Only this file reads the
//! machine's clocks (clippy.toml bans them elsewhere).
//!
//! A clock has two readings. The wall clock is used for expiries that other systems set; it may
//! jump. The monotonic clock never jumps, and it keeps running while the machine is suspended.

pub mod calendar;
#[cfg(any(test, feature = "test-util"))]
pub mod manual;
mod throttle;

use std::{
    fmt::Debug,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use rustix::time::ClockId;

pub use self::throttle::Throttle;

/// A clock of the service or of the simulator.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;

    /// Time since a fixed moment in the past, including time in suspend.
    fn monotonic(&self) -> Monotonic;

    /// Both readings at once.
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), monotonic: self.monotonic() }
    }

    /// Completes once [`Clock::monotonic`] has reached `deadline`.
    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()>;
}

/// A moment on a clock's monotonic scale, which ends after 584 years. Moments of different clocks
/// aren't comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(Nanos);

impl Monotonic {
    /// The end of the scale, which is never reached.
    pub const END: Self = Self(Nanos::MAX);

    /// The moment `since_start` after the start of the scale.
    #[must_use]
    pub fn new(since_start: Duration) -> Self {
        Self(since_start.into())
    }

    /// This moment plus `duration`, saturating at the end of the scale.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.plus(duration.into()))
    }

    /// The time from `earlier` to this moment, or zero if this moment isn't later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.minus(earlier.0).duration()
    }
}

/// A duration of at most 584 years, in half of the memory of a [`Duration`]. Cache entries use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(u64);

impl Nanos {
    const MAX: Self = Self(u64::MAX);

    /// Converts to a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This duration minus `other`, or zero if `other` is longer.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        Self(seconds.saturating_add(duration.subsec_nanos().into()))
    }
}

/// A moment on both clocks. The clocks may drift apart, so deadlines are checked on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On the wall clock.
    pub wall: Timestamp,
    /// On the monotonic clock.
    pub monotonic: Monotonic,
}

impl Moment {
    /// This moment plus `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self { wall: later(self.wall, duration), monotonic: self.monotonic.plus(duration) }
    }

    /// The time from `now` to this moment, on the clock that yields less.
    #[must_use]
    pub fn remaining(self, now: Self) -> Duration {
        until(self.wall, now.wall).min(self.monotonic.since(now.monotonic))
    }

    /// Whether this moment has passed at `now`, on either clock.
    #[must_use]
    pub fn has_passed(self, now: Self) -> bool {
        self.wall <= now.wall || self.monotonic <= now.monotonic
    }
}

/// The time from `now` to `future`, or zero if `future` has passed.
#[must_use]
pub fn until(future: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(future.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// A random duration between half of `pause` and all of it, so that concurrent failures aren't
/// retried together.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// `moment` plus `duration`, saturating at [`Timestamp::MAX`].
#[must_use]
pub fn later(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The start of the second that follows `moment`.
#[must_use]
pub fn next_second(moment: Timestamp) -> Timestamp {
    let second = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    later(second, Duration::from_secs(1))
}

/// How far another clock is ahead of this one (negative: behind), given an HTTP date that it sent
/// between two moments on this clock. Network latency and the date's resolution of one second don't
/// count as skew.
#[must_use]
pub fn skew(date: Timestamp, sent: Timestamp, received: Timestamp) -> SignedDuration {
    let date_end = later(date, Duration::from_secs(1));
    if date > received {
        date.duration_since(received)
    } else if date_end < sent {
        date_end.duration_since(sent)
    } else {
        SignedDuration::ZERO
    }
}

/// Parses an HTTP date (RFC 9110 §5.6.7) in the format that current servers send (IMF-fixdate).
#[must_use]
pub fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The future's output, or `None` if the deadline passes first.
pub async fn timeout_at<F: Future>(
    clock: &dyn Clock,
    deadline: Monotonic,
    future: F,
) -> Option<F::Output> {
    let timer = clock.sleep_until(deadline);
    tokio::select! {
        biased;
        output = future => Some(output),
        () = timer => None,
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clocks as a trait object.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
        Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Monotonic {
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let time = rustix::time::clock_gettime(CLOCK);
        Monotonic::new(Duration::try_from(time).unwrap_or(Duration::ZERO))
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            // tokio's timers don't advance in suspend, so the clock is read again after each.
            loop {
                let left = deadline.since(clock.monotonic());
                if left.is_zero() {
                    return;
                }
                #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
                tokio::time::sleep(left).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_never_goes_back() {
        let clock = SystemClock;
        let earlier = clock.monotonic();
        assert!(clock.monotonic() >= earlier);
    }

    #[test]
    fn remaining_time_is_the_smaller_of_both_clocks() {
        let start = Moment {
            wall: Timestamp::UNIX_EPOCH,
            monotonic: Monotonic::new(Duration::from_secs(100)),
        };
        let end = start.plus(Duration::from_secs(10));
        assert_eq!(end.remaining(start), Duration::from_secs(10));
        let wall_jumped = Moment { wall: later(start.wall, Duration::from_secs(4)), ..start };
        assert_eq!(end.remaining(wall_jumped), Duration::from_secs(6));
        let suspended = Moment { monotonic: start.monotonic.plus(Duration::from_secs(7)), ..start };
        assert_eq!(end.remaining(suspended), Duration::from_secs(3));
        assert_eq!(start.remaining(end), Duration::ZERO);
    }

    #[test]
    fn http_dates_are_parsed() {
        let moment = "2020-03-17T14:45:26Z".parse().unwrap();
        assert_eq!(http_date("Tue, 17 Mar 2020 14:45:26 GMT"), Some(moment));
        assert_eq!(http_date("2020-03-17"), None);
    }

    #[test]
    fn skew_excludes_latency_and_resolution() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap();
        let skew = |date| skew(at(date), at(500), at(900)).as_millis();
        assert_eq!([0, 1000, -1000, 5000].map(skew), [0, 100, -500, 4100]);
    }

    #[test]
    fn until_the_past_is_zero() {
        let now = Timestamp::UNIX_EPOCH;
        let soon = later(now, Duration::from_secs(3));
        assert_eq!(until(soon, now), Duration::from_secs(3));
        assert_eq!(until(now, soon), Duration::ZERO);
    }

    #[tokio::test]
    async fn passed_deadline_ends_the_wait() {
        let clock = SystemClock;
        let never = std::future::pending::<()>();
        assert_eq!(timeout_at(&clock, clock.monotonic(), never).await, None);
        let deadline = clock.monotonic().plus(Duration::from_mins(1));
        assert_eq!(timeout_at(&clock, deadline, async { 7 }).await, Some(7));
    }
}
