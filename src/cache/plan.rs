//! What becomes of a look-up, by what is in memory: a pure function, the table of answers.

use std::{sync::Arc, time::Duration};

use super::{
    Detail, Forward, Lookup,
    lifetime::Phase,
    store::{Entry, Slot},
};
use crate::{clock::Moment, settings};

/// The settings that plans are made by (`cache.*`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// A token handed out this often is replaced; 0: never.
    max_hand_outs: u32,
    /// A younger one isn't.
    min_age: Duration,
}

/// What becomes of a look-up.
#[derive(Debug)]
pub(super) enum Plan {
    /// Juspay has just said that there is no such customer.
    NotFound,
    /// Nothing in memory will do, and the phone wants nothing else.
    NotCached,
    /// What is in memory is answered.
    HandOut {
        entry: Arc<Entry>,
        /// The next one is fetched behind the answer.
        behind: bool,
    },
    /// Juspay is to be asked.
    Fetch(Trip),
}

/// Why Juspay is asked, and what is answered if it fails.
#[derive(Debug)]
pub(super) enum Trip {
    /// Nothing in memory may be handed out.
    Needed(Forward),
    /// Better a token below the normal floor than none.
    OrStale(Arc<Entry>),
    /// Better a token that isn't as fresh as the phone wants than none.
    OrLessFresh(Arc<Entry>, Forward),
    /// The phone won't have the old one.
    Forced(Arc<Entry>, Forward),
}

impl From<&settings::Cache> for Rules {
    fn from(settings: &settings::Cache) -> Self {
        Self { max_hand_outs: settings.max_hand_outs, min_age: settings.force_refresh_min_age }
    }
}

impl Rules {
    /// What becomes of `lookup` when `slot` is in memory.
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

    /// Between the two floors: waited for, unless the last fetch failed. Who asks then gets what
    /// there is at once; only a phone that wants more life in its token waits for the next try.
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

    /// A phone that wants something new gets this: it was fetched a moment ago, or it is a token
    /// that nobody has had yet.
    fn counts_as_new(self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        entry.age(now) < self.min_age || (lookup.want_token && entry.is_unused())
    }

    /// Whether a fetch would bring no longer life: the last one failed a moment ago, or brought
    /// this token, which never had the life that the phone wants.
    fn is_best(self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        let never_had_it =
            lookup.freshness.min_fresh.is_some_and(|least| entry.lifetime.whole() < least);
        entry.is_backing_off(now) || (never_had_it && entry.age(now) < self.min_age)
    }

    /// Handed out so often that Juspay's cap on its uses may be near.
    pub(super) fn is_used_up(self, entry: &Entry, now: Moment) -> bool {
        self.max_hand_outs > 0
            && entry.hand_outs() >= self.max_hand_outs
            && entry.age(now) >= self.min_age
    }
}

impl Lookup {
    /// Whether the token lives shorter than the phone wants it to.
    pub(super) fn wants_more_than(&self, entry: &Entry, now: Moment) -> bool {
        let least = self.freshness.min_fresh.filter(|_| self.want_token);
        least.is_some_and(|least| entry.lifetime.remaining(now) < least)
    }

    /// What is to be said of the token when it is handed out.
    pub(super) fn shortcoming(&self, entry: &Entry, now: Moment) -> Option<Detail> {
        if self.wants_more_than(entry, now) {
            Some(Detail::MinFreshUnmet)
        } else if self.is_below_floor(entry, now) {
            Some(Detail::Outage)
        } else {
            None
        }
    }

    /// Whether the token is wanted, and is below the normal floor: good for outages only.
    pub(super) fn is_below_floor(&self, entry: &Entry, now: Moment) -> bool {
        self.want_token && entry.lifetime.phase(now) == Phase::Stale
    }
}

impl Trip {
    /// What `Cache-Status` calls it.
    pub(super) fn forward(&self) -> Forward {
        match self {
            Self::Needed(forward) | Self::OrLessFresh(_, forward) | Self::Forced(_, forward) => {
                *forward
            }
            Self::OrStale(_) => Forward::Stale,
        }
    }

    /// The token above its normal end that is there already, and what is to be said of it when it
    /// may not be replaced: that costs the customer one unit of a limit.
    pub(super) fn replaces(&self) -> Option<(&Arc<Entry>, Detail)> {
        match self {
            Self::OrLessFresh(entry, Forward::Request) => Some((entry, Detail::MinFreshUnmet)),
            Self::Forced(entry, Forward::Request) => Some((entry, Detail::RefreshLimited)),
            Self::Needed(_) | Self::OrStale(_) | Self::OrLessFresh(..) | Self::Forced(..) => None,
        }
    }

    /// The token that is answered if the fetch fails, while it is alive.
    pub(super) fn fallback(&self, now: Moment) -> Option<&Arc<Entry>> {
        match self {
            Self::OrStale(entry) | Self::OrLessFresh(entry, _) => {
                Some(entry).filter(|entry| entry.is_alive(now))
            }
            Self::Needed(_) | Self::Forced(..) => None,
        }
    }
}
