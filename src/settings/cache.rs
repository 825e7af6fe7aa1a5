//! `cache.*`: size of the cache and lifetimes of its entries.

use std::{ops::RangeInclusive, time::Duration};

use super::reader::Reader;

/// Juspay returns lifetimes of tokens in whole seconds, so a shorter floor has no meaning.
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

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
    /// `cache.max_hand_outs`; 0 disables replacement by number of responses.
    pub max_hand_outs: u32,
    /// `cache.force_refresh_min_age`
    pub force_refresh_min_age: Duration,
    /// `cache.not_found_ttl`
    pub not_found_ttl: Duration,
}

impl Cache {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let capacity = reader.at("cache.capacity").number(1..=100_000_000);
        let min_remaining = reader.at("cache.min_remaining").duration(LIFETIMES);
        let refresh_ahead = reader.at("cache.refresh_ahead").duration(LIFETIMES);
        let outage_min_remaining = reader.at("cache.outage_min_remaining").duration(LIFETIMES);
        let max_token_life = reader.at("cache.max_token_life").duration(LIFETIMES);
        let max_hand_outs = reader.at("cache.max_hand_outs").number(0..=1_000_000);
        let force_refresh_min_age =
            reader.at("cache.force_refresh_min_age").duration(Duration::ZERO..=*LIFETIMES.end());
        let not_found_ttl =
            reader.at("cache.not_found_ttl").duration(Duration::ZERO..=Duration::from_mins(5));
        Some(Self {
            capacity: capacity?,
            min_remaining: min_remaining?,
            refresh_ahead: refresh_ahead?,
            outage_min_remaining: outage_min_remaining?,
            max_token_life: max_token_life?,
            max_hand_outs: u32::try_from(max_hand_outs?).ok()?,
            force_refresh_min_age: force_refresh_min_age?,
            not_found_ttl: not_found_ttl?,
        })
    }
}
