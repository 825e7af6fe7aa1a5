//! `cache.*`: size of the cache and lifetimes of its entries.

use std::{ops::RangeInclusive, time::Duration};

use super::reader::Reader;

/// Juspay returns lifetimes of tokens in whole seconds, so a shorter floor has no meaning.
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// With `cache.max_hand_outs = "auto"`, a token of this age is replaced because of its responses, if
/// `cache.force_refresh_min_age` isn't shorter. A visit of an app can use a token up in half a minute.
const AUTO_MIN_AGE: Duration = Duration::from_secs(5);

/// `cache.max_hand_outs`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxHandOuts {
    /// A token is replaced after this many responses; 0 disables that.
    Number(u32),
    /// `"auto"`: the cache lowers the number while tokens stop working too early.
    Auto,
}

impl Default for MaxHandOuts {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl MaxHandOuts {
    /// Whether tokens are replaced because of their responses.
    #[must_use]
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Number(0))
    }
}

/// `cache.*`
#[derive(Debug, Clone)]
pub struct Cache {
    /// `cache.capacity`, in customers.
    pub capacity: u64,
    /// `cache.min_remaining`
    pub min_remaining: Duration,
    /// `cache.refresh_ahead`
    pub refresh_ahead: Duration,
    /// `cache.outage_min_remaining`
    pub outage_min_remaining: Duration,
    /// `cache.max_token_life`
    pub max_token_life: Duration,
    /// `cache.max_hand_outs`
    pub max_hand_outs: MaxHandOuts,
    /// `cache.force_refresh_min_age`
    pub force_refresh_min_age: Duration,
    /// `cache.not_found_ttl`
    pub not_found_ttl: Duration,
}

impl Cache {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let up_to = |longest| Duration::ZERO..=longest;
        Self {
            capacity: reader.number("cache.capacity", 1..=100_000_000),
            min_remaining: reader.duration("cache.min_remaining", LIFETIMES),
            refresh_ahead: reader.duration("cache.refresh_ahead", LIFETIMES),
            outage_min_remaining: reader.duration("cache.outage_min_remaining", LIFETIMES),
            max_token_life: reader.duration("cache.max_token_life", LIFETIMES),
            max_hand_outs: reader.filled(|it| {
                let auto = ("auto", MaxHandOuts::Auto);
                it.at("cache.max_hand_outs").number_or(0..=1_000_000, MaxHandOuts::Number, auto)
            }),
            force_refresh_min_age: reader
                .duration("cache.force_refresh_min_age", up_to(*LIFETIMES.end())),
            not_found_ttl: reader.duration("cache.not_found_ttl", up_to(Duration::from_mins(5))),
        }
    }

    /// The age from which on a token is replaced because of its responses.
    #[must_use]
    pub fn hand_out_min_age(&self) -> Duration {
        match self.max_hand_outs {
            MaxHandOuts::Number(_) => self.force_refresh_min_age,
            MaxHandOuts::Auto => self.force_refresh_min_age.min(AUTO_MIN_AGE),
        }
    }

    /// The lower bounds and the upper bound of a token's lifetime must be in order.
    pub(super) fn check(&self, reader: &mut Reader<'_>) {
        let outage = ("cache.outage_min_remaining", self.outage_min_remaining);
        let least = ("cache.min_remaining", self.min_remaining);
        let ahead = ("cache.refresh_ahead", self.refresh_ahead);
        let life = ("cache.max_token_life", self.max_token_life);
        reader.check_at_most(
            outage,
            least,
            ", so tokens would be valid for less time in an outage",
        );
        reader.check_longer(ahead, least, "nothing is refreshed in the background");
        reader.check_longer(life, ahead, "every cached response starts a refresh");
    }
}
