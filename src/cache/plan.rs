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
        detail: Option<Detail>,
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
    OrLessFresh(Arc<Entry>),
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
            Some(Slot::NotFound { until, .. }) if now.monotonic < *until => Plan::NotFound,
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
        let entry = Arc::clone(entry);
        let phase = entry.lifetime.phase(now);
        let is_usable = matches!(phase, Phase::Fresh | Phase::Refresh) || !lookup.want_token;
        if lookup.freshness.no_cache {
            if is_usable && self.counts_as_new(&entry, now) {
                return Plan::HandOut { entry, detail: None, behind: false };
            }
            return Plan::Fetch(match phase {
                Phase::Fresh | Phase::Refresh => Trip::Forced(entry, Forward::Request),
                Phase::Stale => Trip::Forced(entry, Forward::Stale),
                Phase::Dead => Trip::Needed(Forward::Stale),
            });
        }
        if !is_usable {
            return match phase {
                // It failed a moment ago; who asks again gets the same answer at once.
                Phase::Stale if entry.is_backing_off(now) => {
                    let detail = Some(lookup.shortcoming(&entry, now));
                    Plan::HandOut { entry, detail, behind: false }
                }
                Phase::Stale => Plan::Fetch(Trip::OrStale(entry)),
                Phase::Fresh | Phase::Refresh | Phase::Dead => {
                    Plan::Fetch(Trip::Needed(Forward::Stale))
                }
            };
        }
        if lookup.want_token && lookup.wants_more_than(&entry, now) {
            if lookup.freshness.only_if_cached || entry.age(now) < self.min_age {
                let detail = Some(Detail::MinFreshUnmet);
                return Plan::HandOut { entry, detail, behind: false };
            }
            return Plan::Fetch(Trip::OrLessFresh(entry));
        }
        let is_due = phase == Phase::Refresh || self.is_used_up(&entry, now);
        let behind = is_due && !entry.is_backing_off(now);
        Plan::HandOut { entry, detail: None, behind }
    }

    /// A phone that wants a new token gets this one: nobody has used it, or hardly.
    fn counts_as_new(self, entry: &Entry, now: Moment) -> bool {
        entry.age(now) < self.min_age || entry.hand_outs() == 0
    }

    /// Handed out so often that Juspay's cap on its uses may be near.
    fn is_used_up(self, entry: &Entry, now: Moment) -> bool {
        self.max_hand_outs > 0
            && entry.hand_outs() >= self.max_hand_outs
            && entry.age(now) >= self.min_age
    }
}

impl Lookup {
    /// Whether the token lives shorter than the phone wants it to.
    pub(super) fn wants_more_than(&self, entry: &Entry, now: Moment) -> bool {
        self.freshness.min_fresh.is_some_and(|least| entry.lifetime.remaining(now) < least)
    }

    /// What is to be said of a token below the normal floor that is handed out all the same.
    pub(super) fn shortcoming(&self, entry: &Entry, now: Moment) -> Detail {
        if self.wants_more_than(entry, now) { Detail::MinFreshUnmet } else { Detail::Outage }
    }
}

impl Trip {
    /// What `Cache-Status` calls it.
    pub(super) fn forward(&self) -> Forward {
        match self {
            Self::Needed(forward) | Self::Forced(_, forward) => *forward,
            Self::OrStale(_) => Forward::Stale,
            Self::OrLessFresh(_) => Forward::Request,
        }
    }

    /// The token above its normal end that is there already; replacing it costs the customer one
    /// unit of a limit.
    pub(super) fn replaces(&self, now: Moment) -> Option<&Arc<Entry>> {
        match self {
            Self::OrLessFresh(entry) | Self::Forced(entry, _) => {
                let phase = entry.lifetime.phase(now);
                Some(entry).filter(|_| matches!(phase, Phase::Fresh | Phase::Refresh))
            }
            Self::Needed(_) | Self::OrStale(_) => None,
        }
    }
}
