//! Computes how long a token may be served, from Juspay's expiry and the configured policy.
//!
//! Pure functions: no I/O, no clock, no state.
//!
//! ```text
//! sent                         refresh_at      normal end      outage end     end
//! |------------ fresh -------------|-- refresh ---|---- stale ----|- expired -|
//!                                                  |<-------- normal floor --->|
//!                                                                  |<- outage ->|
//! ```
//!
//! A token's life lasts from `sent` to `end`. It is the smaller of two readings: what remained on
//! Juspay's clock when Juspay responded, and what remained on this server's clock when the response
//! arrived.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    clock::{self, Moment, Monotonic, Nanos, until},
    settings,
    shared::SharedLife,
};

/// `Date` has whole seconds (RFC 9110 §5.6.7), so Juspay's clock may be up to one second ahead of
/// it.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// A new token must outlive the outage floor by this much. Otherwise it could expire before a
/// client uses it.
const MIN_USABLE_LIFE: Duration = Duration::from_secs(5);

/// Jitter shortens the time between refresh and normal end by at most this fraction. Customers
/// whose tokens were fetched together then refresh at different times.
const MAX_JITTER: f64 = 0.25;

/// The settings that limit a token's life (`cache.*`).
#[derive(Debug, Clone, Copy)]
pub struct LifetimePolicy {
    /// Minimum remaining life of a served token while Juspay works.
    pub min_remaining: Duration,
    /// Remaining life below which the cache refreshes the token in the background.
    pub refresh_ahead: Duration,
    /// Minimum remaining life of a served token while Juspay fails.
    pub outage_min_remaining: Duration,
    /// Upper limit of a token's life, even if Juspay reports a longer one.
    pub max_token_life: Duration,
}

impl From<&settings::Cache> for LifetimePolicy {
    fn from(settings: &settings::Cache) -> Self {
        Self {
            min_remaining: settings.min_remaining,
            refresh_ahead: settings.refresh_ahead,
            outage_min_remaining: settings.outage_min_remaining,
            max_token_life: settings.max_token_life,
        }
    }
}

impl LifetimePolicy {
    /// The shortest life that makes a new token usable.
    const fn min_life(&self) -> Duration {
        self.outage_min_remaining.saturating_add(MIN_USABLE_LIFE)
    }

    /// Minimum remaining life of a served token with this total life, while Juspay works.
    #[must_use]
    pub fn normal_floor(&self, life: Duration) -> Duration {
        self.outage_min_remaining.max(self.min_remaining.min(divided(life, 4)))
    }
}

/// The expiry that Juspay reports for a token, and the clock readings needed to interpret it.
#[derive(Debug, Clone, Copy)]
pub struct ReportedExpiry {
    /// The expiry on Juspay's clock.
    pub expiry: Timestamp,
    /// Juspay's clock when it responded, if known.
    pub date: Option<Timestamp>,
    /// When the request was sent, on this server's clocks. The token's life starts here.
    pub sent: Moment,
    /// When the response arrived, on this server's wall clock.
    pub received: Timestamp,
}

impl ReportedExpiry {
    /// A conservative life: the smaller of the readings of both clocks, minus the resolution of
    /// `Date`. Either clock may be wrong, and clients receive an expiry on this server's clock.
    fn life(&self) -> Duration {
        let on_this_clock = until(self.expiry, self.received);
        match self.date {
            Some(date) => {
                until(self.expiry, date).min(on_this_clock).saturating_sub(DATE_RESOLUTION)
            }
            None => on_this_clock,
        }
    }

    /// How far Juspay's clock is ahead of this server's (negative: behind), beyond what network
    /// latency and the resolution of `Date` explain.
    fn skew(&self) -> Option<SignedDuration> {
        self.date.map(|date| clock::skew(date, self.sent.wall, self.received))
    }

    /// Returns how many seconds this server's clock is ahead of Juspay's, if that alone makes the
    /// token's life too short.
    #[must_use]
    pub fn lost_to_clock_skew(&self, policy: &LifetimePolicy) -> Option<u64> {
        let on_juspays_clock = until(self.expiry, self.date?).saturating_sub(DATE_RESOLUTION);
        let ahead = u64::try_from(self.skew()?.as_secs().checked_neg()?).ok()?;
        let is_too_short = on_juspays_clock >= policy.min_life() && self.life() < policy.min_life();
        (is_too_short && ahead > 0).then_some(ahead)
    }
}

/// The points in time at which a token changes its [`Phase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    end: Moment,
    total: Nanos,
    outage_floor: Nanos,
    normal_floor: Nanos,
    /// How long before its normal end a token is refreshed.
    refresh_lead: Nanos,
}

/// How the cache may use a token at a given moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Serve it.
    Fresh,
    /// Serve it, and fetch a new one in the background.
    Refresh,
    /// Below the normal floor: fetch first, and serve it only if Juspay fails.
    Stale,
    /// Below the outage floor: never serve it.
    Expired,
}

impl Lifetime {
    /// The life of a token that has just arrived, or `None` if the token is too short-lived to use.
    ///
    /// `jitter` is a random number from 0 to 1, drawn for each token.
    #[must_use]
    pub fn new(policy: &LifetimePolicy, report: &ReportedExpiry, jitter: f64) -> Option<Self> {
        let life = report.life().min(policy.max_token_life);
        let outage_floor = policy.outage_min_remaining;
        if life < policy.min_life() {
            return None;
        }
        let normal_floor = policy.normal_floor(life);
        let lead = policy
            .refresh_ahead
            .saturating_sub(policy.min_remaining)
            .min(divided(life.saturating_sub(normal_floor), 3));
        Some(Self {
            end: report.sent.plus(life),
            total: life.into(),
            outage_floor: outage_floor.into(),
            normal_floor: normal_floor.into(),
            refresh_lead: lead.mul_f64(1.0 - MAX_JITTER * jitter.clamp(0.0, 1.0)).into(),
        })
    }

    /// The life of a token that another replica fetched.
    #[must_use]
    pub fn of_shared(policy: &LifetimePolicy, life: &SharedLife) -> Self {
        Self {
            end: life.end,
            total: life.total.into(),
            outage_floor: policy.outage_min_remaining.into(),
            normal_floor: policy.normal_floor(life.total).into(),
            refresh_lead: life.refresh_lead.into(),
        }
    }

    /// The life for other replicas, of a token whose request was sent at `born`.
    #[must_use]
    pub fn to_shared(&self, born: Monotonic) -> SharedLife {
        let (total, refresh_lead) = (self.total.duration(), self.refresh_lead.duration());
        SharedLife { born, end: self.end, total, refresh_lead }
    }

    /// The remaining life below which the token is served only if Juspay fails.
    #[must_use]
    pub fn normal_floor(&self) -> Duration {
        self.normal_floor.duration()
    }

    /// How the cache may use the token at `now`.
    #[must_use]
    pub fn phase(&self, now: Moment) -> Phase {
        let remaining = Nanos::from(self.remaining(now));
        if remaining < self.outage_floor {
            Phase::Expired
        } else if remaining < self.normal_floor {
            Phase::Stale
        } else if remaining.minus(self.normal_floor) < self.refresh_lead {
            Phase::Refresh
        } else {
            Phase::Fresh
        }
    }

    /// The remaining life, by the conservative reading.
    #[must_use]
    pub fn remaining(&self, now: Moment) -> Duration {
        self.end.remaining(now)
    }

    /// The total life, from sending the request to the expiry.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total.duration()
    }

    /// How long the token may still be served while Juspay works.
    #[must_use]
    pub fn ttl(&self, now: Moment) -> Duration {
        self.remaining(now).saturating_sub(self.normal_floor.duration())
    }

    /// When the refresh phase begins.
    #[must_use]
    pub fn refresh_after(&self, now: Moment) -> Duration {
        self.ttl(now).saturating_sub(self.refresh_lead.duration())
    }

    /// How long the token may still be served while Juspay fails.
    #[must_use]
    pub fn outage_ttl(&self, now: Moment) -> Duration {
        self.remaining(now).saturating_sub(self.outage_floor.duration())
    }

    /// Whether the token's life is too short for `cache.min_remaining`, so that a lower floor
    /// applies.
    #[must_use]
    pub fn has_reduced_floor(&self, policy: &LifetimePolicy) -> bool {
        self.normal_floor.duration() < policy.min_remaining
    }

    /// The expiry to send to clients, on this server's clock.
    #[must_use]
    pub fn expiry(&self) -> Timestamp {
        self.end.wall
    }
}

fn divided(duration: Duration, parts: u32) -> Duration {
    duration.checked_div(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests;
