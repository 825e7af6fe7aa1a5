//! Decides how to respond to a lookup from what the cache holds. Pure: the caller does the I/O.

use std::{sync::Arc, time::Duration};

use super::{
    Detail, Forward, Freshness, Lookup,
    early_death::HandOutLimit,
    lifetime::Phase,
    store::{Entry, Slot},
};
use crate::{clock::Moment, settings, shared::Need};

/// The settings that decide when the cache serves, refreshes or fetches (`cache.*`).
#[derive(Debug)]
pub(super) struct PlanRules {
    /// A token is refreshed after it was served so often.
    hand_out_limit: Arc<HandOutLimit>,
    /// A younger token is never refreshed for that reason.
    hand_out_min_age: Duration,
    /// A younger token satisfies `no-cache`.
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
    Serve {
        entry: Arc<Entry>,
        /// Whether to fetch a new entry in the background.
        refresh: bool,
    },
    /// Fetch from Juspay and wait for it.
    Fetch(FetchReason),
}

/// Why a fetch is needed, and the fallback if it fails.
#[derive(Debug)]
pub(super) enum FetchReason {
    /// The cache has nothing that may be served.
    NothingUsable(Forward),
    /// The token is below the normal floor; it is served if the fetch fails.
    BelowNormalFloor(Arc<Entry>),
    /// The token has probably no uses left; it is served if the fetch fails.
    UsedUp(Arc<Entry>),
    /// The token's life is shorter than the request's `min-fresh`; it is served if the fetch fails.
    MinFresh(Arc<Entry>, Forward),
    /// The request has `no-cache`; the cached token is no fallback.
    NoCache(Arc<Entry>, Forward),
}

impl PlanRules {
    pub(super) fn new(settings: &settings::Cache, hand_out_limit: Arc<HandOutLimit>) -> Self {
        let hand_out_min_age = settings.hand_out_min_age();
        Self { hand_out_limit, hand_out_min_age, min_age: settings.force_refresh_min_age }
    }

    /// Decides how to respond to `lookup`, given the cached `slot`.
    pub(super) fn plan(&self, slot: Option<&Slot>, lookup: &Lookup, now: Moment) -> Plan {
        match slot {
            Some(Slot::NotFound { until }) if now.monotonic < *until => Plan::NotFound,
            Some(Slot::Customer(entry)) => {
                let plan = self.plan_for_entry(entry, lookup, now);
                let is_fetch = matches!(plan, Plan::Fetch(_));
                if is_fetch && lookup.freshness.only_if_cached { Plan::NotCached } else { plan }
            }
            Some(Slot::NotFound { .. }) | None if lookup.freshness.only_if_cached => {
                Plan::NotCached
            }
            Some(Slot::NotFound { .. }) | None => {
                Plan::Fetch(FetchReason::NothingUsable(Forward::Miss))
            }
        }
    }

    fn plan_for_entry(&self, entry: &Arc<Entry>, lookup: &Lookup, now: Moment) -> Plan {
        let phase = entry.lifetime.phase(now);
        let is_usable = matches!(phase, Phase::Fresh | Phase::Refresh) || !lookup.want_token;
        let is_new_enough = is_usable && self.satisfies_no_cache(entry, lookup, now);
        if lookup.freshness.no_cache && !is_new_enough {
            Plan::Fetch(match phase {
                Phase::Fresh | Phase::Refresh => {
                    FetchReason::NoCache(Arc::clone(entry), Forward::Request)
                }
                Phase::Stale => FetchReason::NoCache(Arc::clone(entry), Forward::Stale),
                Phase::Expired => FetchReason::NothingUsable(Forward::Stale),
            })
        } else if is_usable {
            self.plan_usable(entry, lookup, now)
        } else if phase == Phase::Stale {
            Self::plan_stale(entry, lookup, now)
        } else {
            Plan::Fetch(FetchReason::NothingUsable(Forward::Stale))
        }
    }

    fn plan_usable(&self, entry: &Arc<Entry>, lookup: &Lookup, now: Moment) -> Plan {
        let is_unmet = lookup.is_min_fresh_unmet(entry, now);
        if is_unmet
            && !lookup.freshness.only_if_cached
            && !self.is_best_available(entry, lookup, now)
        {
            return Plan::Fetch(FetchReason::MinFresh(Arc::clone(entry), Forward::Request));
        }
        let refresh = self.is_refresh_due(entry, now) && !entry.is_backing_off(now);
        if refresh && self.is_used_up(entry, lookup, now) {
            return Plan::Fetch(FetchReason::UsedUp(Arc::clone(entry)));
        }
        Plan::Serve { entry: Arc::clone(entry), refresh }
    }

    /// Handles a token between the two floors. A request waits for a fetch unless the last fetch
    /// failed; then it gets the cached token at once. A request with an unmet `min-fresh` waits for
    /// the next fetch.
    fn plan_stale(entry: &Arc<Entry>, lookup: &Lookup, now: Moment) -> Plan {
        let is_unmet = lookup.is_min_fresh_unmet(entry, now);
        let refresh = !entry.is_backing_off(now);
        let is_waiting = is_unmet && refresh && !lookup.freshness.only_if_cached;
        if entry.has_failed() && !is_waiting {
            return Plan::Serve { entry: Arc::clone(entry), refresh };
        }
        Plan::Fetch(if is_unmet {
            FetchReason::MinFresh(Arc::clone(entry), Forward::Stale)
        } else {
            FetchReason::BelowNormalFloor(Arc::clone(entry))
        })
    }

    /// Whether the entry satisfies `no-cache`: it was fetched moments ago, or its token was never
    /// served.
    fn satisfies_no_cache(&self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        self.is_new(entry, lookup, now) || (lookup.want_token && entry.is_unused())
    }

    /// Whether the entry was fetched moments ago, and the client's own token may be as young.
    pub(super) fn is_new(&self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        !lookup.freshness.must_be_new && entry.age(now) < self.min_age
    }

    /// Whether a fetch can't bring a longer life: the last fetch failed moments ago, or it brought
    /// this token, whose total life is below `min-fresh`.
    fn is_best_available(&self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        let is_always_unmet =
            lookup.freshness.min_fresh.is_some_and(|min_fresh| entry.lifetime.total() < min_fresh);
        entry.is_backing_off(now) || (is_always_unmet && entry.age(now) < self.min_age)
    }

    /// Whether a usable token is to be refreshed, by its age or by its uses.
    pub(super) fn is_refresh_due(&self, entry: &Entry, now: Moment) -> bool {
        entry.lifetime.phase(now) == Phase::Refresh || self.has_many_uses(entry, now)
    }

    /// Whether the token would probably not work for this request, so that it is worth waiting for a new one.
    fn is_used_up(&self, entry: &Entry, lookup: &Lookup, now: Moment) -> bool {
        lookup.want_token
            && lookup.want_body
            && !lookup.freshness.only_if_cached
            && !entry.has_failed()
            && self.has_many_uses(entry, now)
            && self.hand_out_limit.is_exceeded(entry.hand_outs())
    }

    /// Whether the token was served so often that it may be near Juspay's limit on its uses.
    fn has_many_uses(&self, entry: &Entry, now: Moment) -> bool {
        self.hand_out_limit.is_reached(|| entry.hand_outs())
            && entry.age(now) >= self.hand_out_min_age
    }
}

impl Lookup {
    /// Whether the token's remaining life is below the request's `min-fresh`.
    pub(super) fn is_min_fresh_unmet(&self, entry: &Entry, now: Moment) -> bool {
        let min_fresh = self.freshness.min_fresh.filter(|_| self.want_token);
        min_fresh.is_some_and(|min_fresh| entry.lifetime.remaining(now) < min_fresh)
    }

    /// The limitation of a served token that the response must mention.
    pub(super) fn detail(&self, entry: &Entry, now: Moment) -> Option<Detail> {
        if self.is_min_fresh_unmet(entry, now) {
            Some(Detail::MinFreshUnmet)
        } else if self.is_below_floor(entry, now) {
            Some(Detail::Outage)
        } else {
            None
        }
    }

    /// Whether the request may get this entry while Juspay works.
    pub(super) fn may_get(&self, entry: &Entry, now: Moment) -> bool {
        entry.is_alive(now) && !self.is_below_floor(entry, now)
    }

    /// Whether the request wants the token, and the token is below the normal floor.
    pub(super) fn is_below_floor(&self, entry: &Entry, now: Moment) -> bool {
        self.want_token && entry.lifetime.phase(now) == Phase::Stale
    }
}

impl FetchReason {
    /// The `fwd` parameter of `Cache-Status` (RFC 9211 §2.2).
    pub(super) fn forward(&self) -> Forward {
        match self {
            Self::NothingUsable(forward)
            | Self::MinFresh(_, forward)
            | Self::NoCache(_, forward) => *forward,
            Self::BelowNormalFloor(_) | Self::UsedUp(_) => Forward::Stale,
        }
    }

    /// The usable token that the fetch would replace, and the detail to report if it may not be
    /// replaced. Replacing it costs the customer one request of a rate limit.
    pub(super) fn replaceable(&self) -> Option<(&Arc<Entry>, Detail)> {
        match self {
            Self::MinFresh(entry, Forward::Request) => Some((entry, Detail::MinFreshUnmet)),
            Self::NoCache(entry, Forward::Request) => Some((entry, Detail::RefreshLimited)),
            Self::NothingUsable(_)
            | Self::BelowNormalFloor(_)
            | Self::UsedUp(_)
            | Self::MinFresh(..)
            | Self::NoCache(..) => None,
        }
    }

    /// What another replica's token must fulfill to be served instead of a fetch.
    pub(super) fn need(&self, rules: &PlanRules, lookup: &Lookup, now: Moment) -> Need {
        let need = match self {
            Self::NothingUsable(_) => Need::default(),
            Self::BelowNormalFloor(entry)
            | Self::UsedUp(entry)
            | Self::MinFresh(entry, _)
            | Self::NoCache(entry, _) => need_newer_than(entry, now),
        };
        let is_min_fresh = matches!(self, Self::MinFresh(..));
        let min_fresh = lookup.freshness.min_fresh.filter(|_| is_min_fresh);
        let min_age = match lookup.freshness {
            // Another replica may have returned even the youngest to this client.
            Freshness { must_be_new: true, .. } => Some(Duration::ZERO),
            Freshness { no_cache, .. } => no_cache.then_some(rules.min_age),
        };
        Need {
            least_life: min_fresh.unwrap_or_default(),
            max_age: need.max_age.into_iter().chain(min_age).min(),
            ..need
        }
    }

    /// The token to serve if the fetch fails, unless it has expired.
    pub(super) fn fallback(&self, now: Moment) -> Option<&Arc<Entry>> {
        match self {
            Self::BelowNormalFloor(entry) | Self::UsedUp(entry) | Self::MinFresh(entry, _) => {
                Some(entry).filter(|entry| entry.is_alive(now))
            }
            Self::NothingUsable(_) | Self::NoCache(..) => None,
        }
    }
}

/// What another replica's token must fulfill to replace this one: a larger version or, if this one is not
/// in the shared tier, a smaller age.
pub(super) fn need_newer_than(entry: &Entry, now: Moment) -> Need {
    match entry.shared() {
        Some(shared) => Need { newer_than: Some(shared.version()), ..Need::default() },
        None => Need { max_age: Some(entry.age(now)), ..Need::default() },
    }
}
