//! Decides how to respond to a lookup from what the cache holds. Pure: the caller does the I/O.

use std::{sync::Arc, time::Duration};

use super::{
    Detail, Forward, Lookup,
    lifetime::Phase,
    store::{Entry, Slot},
};
use crate::{clock::Moment, settings};

/// The settings that decide when the cache serves, refreshes or fetches (`cache.*`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// A token is refreshed after it was served this many times; 0 disables this.
    max_hand_outs: u32,
    /// A younger token is never refreshed for that reason, and satisfies `no-cache`.
    min_age: Duration,
}

/// How to respond to a lookup.
#[derive(Debug)]
pub(super) enum Plan {
    /// Juspay reported recently that the customer doesn't exist.
    NotFound,
    /// The request has `only-if-cached`, and the cache has no usable entry.
    NotCached,
    /// Serve the cached entry.
    HandOut {
        entry: Arc<Entry>,
        /// Whether to fetch a new entry in the background.
        behind: bool,
    },
    /// Fetch from Juspay and wait for it.
    Fetch(Trip),
}

/// Why a fetch is needed, and the fallback if it fails.
#[derive(Debug)]
pub(super) enum Trip {
    /// The cache has nothing that may be served.
    Needed(Forward),
    /// The token is below the normal floor; it is served if the fetch fails.
    OrStale(Arc<Entry>),
    /// The token's life is shorter than the request's `min-fresh`; it is served if the fetch fails.
    OrLessFresh(Arc<Entry>, Forward),
    /// The request has `no-cache`; the cached token is no fallback.
    Forced(Arc<Entry>, Forward),
}

impl From<&settings::Cache> for Rules {
    fn from(settings: &settings::Cache) -> Self {
        Self { max_hand_outs: settings.max_hand_outs, min_age: settings.force_refresh_min_age }
    }
}

impl Rules {
    /// Decides how to respond to `lookup`, given the cached `slot`.
    pub(super) fn plan(self, slot: Option<&Slot>, lookup: &Lookup, now: Moment) -> Plan {
        match slot {
            Some(Slot::NotFound { until }) if now.monotonic < *until => Plan::NotFound,
            Some(Slot::Customer(entry)) => {
                let plan = self.with_entry(entry, lookup, now);
                let asks = matches!(plan, Plan::Fetch(_));
                if asks && lookup.freshness.only_if_cached { Plan::NotCached } else { plan }
            }
            Some(Slot::NotFound { .. }) | None if lookup.freshness.only_if_cached => {
                Plan::NotCached
            }
            Some(Slot::NotFound { .. }) | None => Plan::Fetch(Trip::Needed(Forward::Miss)),
        }
    }

    fn with_entry(self, entry: &Arc<Entry>, lookup: &Lookup, now: Moment) -> Plan {
        let phase = entry.lifetime.phase(now);
        let is_usable = matches!(phase, Phase::Fresh | Phase::Refresh) || !lookup.want_token;
        let is_new = is_usable && self.counts_as_new(entry, lookup, now);
        if lookup.freshness.no_cache && !is_new {
            Plan::Fetch(match phase {
                Phase::Fresh | Phase::Refresh => Trip::Forced(Arc::clone(entry), Forward::Request),
                Phase::Stale => Trip::Forced(Arc::clone(entry), Forward::Stale),
                Phase::Dead => Trip::Needed(Forward::Stale),
            })
        } else if is_usable {
            self.usable(entry, lookup, now)
        } else if phase == Phase::Stale {
            Self::stale(entry, lookup, now)
        } else {
            Plan::Fetch(Trip::Needed(Forward::Stale))
        }
    }

    fn usable(self, entry: &Arc<Entry>, lookup: &Lookup, now: Moment) -> Plan {
        let is_unmet = lookup.wants_more_than(entry, now);
        if is_unmet && !lookup.freshness.only_if_cached && !self.is_best(entry, lookup, now) {
            return Plan::Fetch(Trip::OrLessFresh(Arc::clone(entry), Forward::Request));
        }
        let is_due = entry.lifetime.phase(now) == Phase::Refresh || self.is_used_up(entry, now);
        let behind = is_due && !entry.is_backing_off(now);
        Plan::HandOut { entry: Arc::clone(entry), behind }
    }

    /// Handles a token between the two floors. A request waits for a fetch unless the last fetch
    /// failed; then it gets the cached token at once. A request with an unmet `min-fresh` waits for
    /// the next fetch.
    fn stale(entry: &Arc<Entry>, lookup: &Lookup, now: Moment) -> Plan {
        let is_unmet = lookup.wants_more_than(entry, now);
        let behind = !entry.is_backing_off(now);
        let waits = is_unmet && behind && !lookup.freshness.only_if_cached;
        if entry.has_failed() && !waits {
            return Plan::HandOut { entry: Arc::clone(entry), behind };
        }
        Plan::Fetch(if is_unmet {
            Trip::OrLessFresh(Arc::clone(entry), Forward::Stale)
        } else {
            Trip::OrStale(Arc::clone(entry))
        })
    }

    /// Whether the entry satisfies `no-cache`: it was fetched moments ago, or its token was never
    /// served.
    fn counts_as_new(self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        entry.age(now) < self.min_age || (lookup.want_token && entry.is_unused())
    }

    /// Whether a fetch can't bring a longer life: the last fetch failed moments ago, or it brought
    /// this token, whose total life is below `min-fresh`.
    fn is_best(self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        let never_had_it =
            lookup.freshness.min_fresh.is_some_and(|least| entry.lifetime.whole() < least);
        entry.is_backing_off(now) || (never_had_it && entry.age(now) < self.min_age)
    }

    /// Whether the token was served so often that it may be near Juspay's limit on its uses.
    pub(super) fn is_used_up(self, entry: &Entry, now: Moment) -> bool {
        self.max_hand_outs > 0
            && entry.hand_outs() >= self.max_hand_outs
            && entry.age(now) >= self.min_age
    }
}

impl Lookup {
    /// Whether the token's remaining life is below the request's `min-fresh`.
    pub(super) fn wants_more_than(&self, entry: &Entry, now: Moment) -> bool {
        let least = self.freshness.min_fresh.filter(|_| self.want_token);
        least.is_some_and(|least| entry.lifetime.remaining(now) < least)
    }

    /// The limitation of a served token that the response must mention.
    pub(super) fn shortcoming(&self, entry: &Entry, now: Moment) -> Option<Detail> {
        if self.wants_more_than(entry, now) {
            Some(Detail::MinFreshUnmet)
        } else if self.is_below_floor(entry, now) {
            Some(Detail::Outage)
        } else {
            None
        }
    }

    /// Whether the request wants the token, and the token is below the normal floor.
    pub(super) fn is_below_floor(&self, entry: &Entry, now: Moment) -> bool {
        self.want_token && entry.lifetime.phase(now) == Phase::Stale
    }
}

impl Trip {
    /// The `fwd` parameter of `Cache-Status` (RFC 9211 §2.2).
    pub(super) fn forward(&self) -> Forward {
        match self {
            Self::Needed(forward) | Self::OrLessFresh(_, forward) | Self::Forced(_, forward) => {
                *forward
            }
            Self::OrStale(_) => Forward::Stale,
        }
    }

    /// The usable token that the fetch would replace, and the detail to report if it may not be
    /// replaced. Replacing it costs the customer one request of a rate limit.
    pub(super) fn replaces(&self) -> Option<(&Arc<Entry>, Detail)> {
        match self {
            Self::OrLessFresh(entry, Forward::Request) => Some((entry, Detail::MinFreshUnmet)),
            Self::Forced(entry, Forward::Request) => Some((entry, Detail::RefreshLimited)),
            Self::Needed(_) | Self::OrStale(_) | Self::OrLessFresh(..) | Self::Forced(..) => None,
        }
    }

    /// The token to serve if the fetch fails, unless it has expired.
    pub(super) fn fallback(&self, now: Moment) -> Option<&Arc<Entry>> {
        match self {
            Self::OrStale(entry) | Self::OrLessFresh(entry, _) => {
                Some(entry).filter(|entry| entry.is_alive(now))
            }
            Self::Needed(_) | Self::Forced(..) => None,
        }
    }
}
