//! How long may this token be handed out? A pure function of what Juspay said and of our policy.
//!
//! ```text
//! sent                         refresh_at      normal end      outage end     end
//!  |------------ fresh -------------|-- refresh ---|---- stale ----|--- dead --|
//!                                                  |<-------- normal floor --->|
//!                                                                  |<- outage ->|
//! ```
//!
//! From `sent` to `end` is the token's life: the smaller of what is left of it by Juspay's clock when
//! Juspay answered and by ours when the answer had come.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    clock::{self, Moment, Nanos, until},
    settings,
};

/// Juspay's `Date` is cut to whole seconds: its clock may be this much further than it says.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// A token must be good for this much longer than the outage floor when it comes, or it would be
/// dead before a phone has used it.
const SHORTEST_USE: Duration = Duration::from_secs(5);

/// Jitter takes at most this part of the time between refresh and normal end, so that customers
/// who came together don't refresh together.
const JITTER: f64 = 0.25;

/// The settings that bound a token's life (`cache.*`).
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The floor in normal running.
    pub min_remaining: Duration,
    /// The life from which on a refresh is started behind a request.
    pub refresh_ahead: Duration,
    /// The floor while Juspay fails.
    pub outage_min_remaining: Duration,
    /// Upper bound of a life, whatever Juspay reports.
    pub max_token_life: Duration,
}

impl From<&settings::Cache> for Policy {
    fn from(settings: &settings::Cache) -> Self {
        Self {
            min_remaining: settings.min_remaining,
            refresh_ahead: settings.refresh_ahead,
            outage_min_remaining: settings.outage_min_remaining,
            max_token_life: settings.max_token_life,
        }
    }
}

impl Policy {
    /// A token that lives shorter when it comes is of no use.
    const fn shortest_life(&self) -> Duration {
        self.outage_min_remaining.saturating_add(SHORTEST_USE)
    }

    /// Below how much of its whole life a token isn't handed out in normal running.
    #[must_use]
    pub fn normal_floor(&self, life: Duration) -> Duration {
        self.outage_min_remaining.max(self.min_remaining.min(share(life, 4)))
    }
}

/// What is known of a token's expiry when it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The expiry that Juspay reports, on Juspay's clock.
    pub expiry: Timestamp,
    /// Juspay's clock when it answered, when it can be known.
    pub date: Option<Timestamp>,
    /// When our request was sent, on our clocks: the life counts from here.
    pub sent: Moment,
    /// When the answer had come, on our wall clock.
    pub received: Timestamp,
}

impl Report {
    /// The most careful reading of the token's life: the smaller one of both clocks', less what
    /// `Date` may be off. One clock may be wrong, and phones are told the end on ours.
    fn life(&self) -> Duration {
        let by_our_clock = until(self.expiry, self.received);
        match self.date {
            Some(date) => {
                until(self.expiry, date).min(by_our_clock).saturating_sub(DATE_RESOLUTION)
            }
            None => by_our_clock,
        }
    }

    /// How far Juspay's clock is ahead of ours, or behind; beyond what whole seconds and the time on
    /// the way explain.
    fn skew(&self) -> Option<SignedDuration> {
        self.date.map(|date| clock::ahead(date, self.sent.wall, self.received))
    }

    /// By how many seconds our clock is ahead of Juspay's, when that alone makes the token's life too
    /// short.
    #[must_use]
    pub fn lost_to_our_clock(&self, policy: &Policy) -> Option<u64> {
        let by_juspays = until(self.expiry, self.date?).saturating_sub(DATE_RESOLUTION);
        let ahead = u64::try_from(self.skew()?.as_secs().checked_neg()?).ok()?;
        let is_lost = by_juspays >= policy.shortest_life() && self.life() < policy.shortest_life();
        (is_lost && ahead > 0).then_some(ahead)
    }
}

/// When a token is fresh, worth a refresh, stale, dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    end: Moment,
    whole: Nanos,
    outage_floor: Nanos,
    normal_floor: Nanos,
    /// How long before the normal end a refresh starts.
    refresh_lead: Nanos,
}

/// What may be done with a token at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Hand it out.
    Fresh,
    /// Hand it out, and fetch the next one behind it.
    Refresh,
    /// Below the normal floor: fetch first; hand it out only if Juspay fails.
    Stale,
    /// Below the outage floor: never hand it out.
    Dead,
}

impl Lifetime {
    /// The life of a token that just came; `None` when it's too short to be of use.
    ///
    /// `jitter` is a number from 0 to 1, another one for each customer.
    #[must_use]
    pub fn new(policy: &Policy, report: &Report, jitter: f64) -> Option<Self> {
        let life = report.life().min(policy.max_token_life);
        let outage_floor = policy.outage_min_remaining;
        if life < policy.shortest_life() {
            return None;
        }
        let normal_floor = policy.normal_floor(life);
        let lead = policy
            .refresh_ahead
            .saturating_sub(policy.min_remaining)
            .min(share(life.saturating_sub(normal_floor), 3));
        Some(Self {
            end: report.sent.plus(life),
            whole: life.into(),
            outage_floor: outage_floor.into(),
            normal_floor: normal_floor.into(),
            refresh_lead: lead.mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0)).into(),
        })
    }

    /// What may be done with the token now.
    #[must_use]
    pub fn phase(&self, now: Moment) -> Phase {
        let remaining = Nanos::from(self.remaining(now));
        if remaining < self.outage_floor {
            Phase::Dead
        } else if remaining < self.normal_floor {
            Phase::Stale
        } else if remaining.minus(self.normal_floor) < self.refresh_lead {
            Phase::Refresh
        } else {
            Phase::Fresh
        }
    }

    /// The life left, by our reading.
    #[must_use]
    pub fn remaining(&self, now: Moment) -> Duration {
        self.end.remaining(now)
    }

    /// The whole life, from the sending of the request on.
    #[must_use]
    pub fn whole(&self) -> Duration {
        self.whole.duration()
    }

    /// How long it is still handed out in normal running.
    #[must_use]
    pub fn ttl(&self, now: Moment) -> Duration {
        self.remaining(now).saturating_sub(self.normal_floor.duration())
    }

    /// How long it is still handed out while Juspay fails.
    #[must_use]
    pub fn outage_ttl(&self, now: Moment) -> Duration {
        self.remaining(now).saturating_sub(self.outage_floor.duration())
    }

    /// Whether the life is so short that the policy's floor had to give way.
    #[must_use]
    pub fn is_shorter_than_meant(&self, policy: &Policy) -> bool {
        self.normal_floor.duration() < policy.min_remaining
    }

    /// The expiry that phones are told: ours, not Juspay's.
    #[must_use]
    pub fn expiry(&self) -> Timestamp {
        self.end.wall
    }
}

/// `duration` divided by `parts`.
fn share(duration: Duration, parts: u32) -> Duration {
    duration.checked_div(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests;
