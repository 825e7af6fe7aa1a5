//! Time as a parameter.
//!
//! Everything that expires, waits or backs off takes a [`Clock`], so a test turns a clock by hand
//! instead of sleeping. This file is the only reader of the machine's clocks (clippy.toml bans
//! them elsewhere).
//!
//! Two clocks are told: the wall clock, which others' expiries are written in and which may jump;
//! and a monotonic one that runs on while the machine is suspended, which never jumps.

pub mod calendar;
#[cfg(test)]
pub mod manual;
mod pace;

use std::{
    fmt::Debug,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use rustix::time::ClockId;

pub use self::pace::Pace;

/// A clock of the service or of the simulator.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment in the past, suspend included.
    fn monotonic(&self) -> Monotonic;

    /// Both clocks at once.
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), monotonic: self.monotonic() }
    }

    /// Completes once [`Clock::monotonic`] has reached `deadline`.
    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()>;
}

/// A moment on a clock's monotonic scale, which is 584 years long. Moments of different clocks don't
/// compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(Nanos);

impl Monotonic {
    /// The scale's end: never.
    pub const END: Self = Self(Nanos::MAX);

    /// The moment `since_start` after the scale's beginning.
    #[must_use]
    pub fn new(since_start: Duration) -> Self {
        Self(since_start.into())
    }

    /// This moment moved into the future, stopping at the scale's end.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.plus(duration.into()))
    }

    /// How long after `earlier` this is; zero when it isn't after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.minus(earlier.0).duration()
    }
}

/// A time in half of a [`Duration`]'s memory, for what is kept of each customer: of 584 years at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(u64);

impl Nanos {
    const MAX: Self = Self(u64::MAX);

    /// The same, to be told.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The time by which this is longer than `other`.
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

/// A moment on both clocks. They may drift apart: what must hold, must hold on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On the wall clock.
    pub wall: Timestamp,
    /// On the monotonic clock.
    pub monotonic: Monotonic,
}

impl Moment {
    /// This moment moved into the future.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self { wall: later(self.wall, duration), monotonic: self.monotonic.plus(duration) }
    }

    /// How long until `self`, seen from `now`, on the clock that says less.
    #[must_use]
    pub fn remaining(self, now: Self) -> Duration {
        until(self.wall, now.wall).min(self.monotonic.since(now.monotonic))
    }

    /// Whether it is no more to come by one of the clocks, `now`.
    #[must_use]
    pub fn has_come(self, now: Self) -> bool {
        self.wall <= now.wall || self.monotonic <= now.monotonic
    }
}

/// How long until `future`, seen from `now`; zero when it has passed.
#[must_use]
pub fn until(future: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(future.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// From half of `pause` to all of it, drawn, so that what failed together isn't tried again together.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// `moment` moved into the future, stopping at the end of time.
#[must_use]
pub fn later(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The beginning of the second after the one that `moment` lies in.
#[must_use]
pub fn next_second(moment: Timestamp) -> Timestamp {
    let second = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    later(second, Duration::from_secs(1))
}

/// How far another clock is ahead of ours, or behind, by an HTTP date that it told between two moments
/// of ours. Such dates have whole seconds; what those and the way explain is no difference.
#[must_use]
pub fn ahead(date: Timestamp, sent: Timestamp, received: Timestamp) -> SignedDuration {
    let date_end = later(date, Duration::from_secs(1));
    if date > received {
        date.duration_since(received)
    } else if date_end < sent {
        date_end.duration_since(sent)
    } else {
        SignedDuration::ZERO
    }
}

/// An HTTP date (RFC 9110 §5.6.7), in the one form that is sent today.
#[must_use]
pub fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The future's output, or `None` when `deadline` comes first.
pub async fn before<F: Future>(
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
    /// The machine's clocks, ready to be shared.
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
            // tokio's timers stand still in suspend, so look again after each.
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
    fn the_monotonic_clock_does_not_go_back() {
        let clock = SystemClock;
        let earlier = clock.monotonic();
        assert!(clock.monotonic() >= earlier);
    }

    #[test]
    fn what_remains_is_told_by_the_clock_that_says_less() {
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
    fn http_dates_are_read() {
        let moment = "2020-03-17T14:45:26Z".parse().unwrap();
        assert_eq!(http_date("Tue, 17 Mar 2020 14:45:26 GMT"), Some(moment));
        assert_eq!(http_date("2020-03-17"), None);
    }

    #[test]
    fn another_clock_is_ahead_only_beyond_what_the_way_and_whole_seconds_explain() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap();
        let ahead = |date| ahead(at(date), at(500), at(900)).as_millis();
        assert_eq!([0, 1000, -1000, 5000].map(ahead), [0, 100, -500, 4100]);
    }

    #[test]
    fn until_the_past_is_zero() {
        let now = Timestamp::UNIX_EPOCH;
        let soon = later(now, Duration::from_secs(3));
        assert_eq!(until(soon, now), Duration::from_secs(3));
        assert_eq!(until(now, soon), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_deadline_that_has_passed_ends_the_wait() {
        let clock = SystemClock;
        let never = std::future::pending::<()>();
        assert_eq!(before(&clock, clock.monotonic(), never).await, None);
        let deadline = clock.monotonic().plus(Duration::from_mins(1));
        assert_eq!(before(&clock, deadline, async { 7 }).await, Some(7));
    }
}
