//! Answers: what those get who waited, and those who needn't; each is counted here, once.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::{
    Detail, Forward, Found, Lookup, LookupError, Shared, Source, fetch::Landing, lifetime::Phase,
    plan::FetchReason, store::Entry,
};
use crate::{
    clock::Moment,
    juspay::{InvalidResponse, JuspayError},
    metrics::Metrics,
};

/// `cache_requests_total` by outcome, and the life of tokens at hand-out.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) hit: IntCounter,
    pub(super) miss: IntCounter,
    joined: IntCounter,
    outage: IntCounter,
    pub(super) not_found: IntCounter,
    bypass: IntCounter,
    remaining: Histogram,
}

impl Shared {
    /// An answer from memory.
    pub(super) fn hit(
        &self,
        entry: &Entry,
        detail: Option<Detail>,
        lookup: &Lookup,
        now: Moment,
    ) -> Found {
        let count =
            if lookup.is_below_floor(entry, now) { &self.counts.outage } else { &self.counts.hit };
        count.inc();
        self.found(entry, Source::Hit, detail, lookup, now)
    }

    /// Answers one of those who waited. The floor is checked now, not when the token came. `None`
    /// when a token came that is good for outages only, as a clock has jumped or the machine has
    /// slept: memory, where it is by now, is to be looked into again.
    pub(super) fn answer(
        &self,
        landing: Landing,
        reason: &FetchReason,
        collapsed: bool,
        lookup: &Lookup,
    ) -> Option<Result<Found, LookupError>> {
        let now = self.clock.moment();
        let forward = reason.forward();
        let failure = match landing {
            Landing::Customer { entry, stored } => match entry.lifetime.phase(now) {
                Phase::Stale if lookup.want_token => return None,
                Phase::Expired if lookup.want_token => InvalidResponse::TooShortLived.into(),
                Phase::Fresh | Phase::Refresh | Phase::Stale | Phase::Expired => {
                    self.count_fetch(forward, collapsed);
                    let source = Source::Fetched { forward, collapsed, stored };
                    let detail = lookup.detail(&entry, now);
                    return Some(Ok(self.found(&entry, source, detail, lookup, now)));
                }
            },
            Landing::Tokenless { json, .. } if !lookup.want_token => {
                self.count_fetch(forward, collapsed);
                let source = Source::Fetched { forward, collapsed, stored: false };
                let (body, ttl) = (json.without_token(), Duration::ZERO);
                return Some(Ok(Found { body, source, detail: None, ttl, expires_in: None }));
            }
            Landing::Tokenless { why, .. } => why.into(),
            Landing::Failed(error) => error,
        };
        Some(self.instead(reason, failure.into(), collapsed, lookup))
    }

    /// What is answered when the fetch fails.
    pub(super) fn instead(
        &self,
        reason: &FetchReason,
        error: LookupError,
        collapsed: bool,
        lookup: &Lookup,
    ) -> Result<Found, LookupError> {
        let now = self.clock.moment();
        let is_gone = error == LookupError::Juspay(JuspayError::CustomerNotFound);
        if let Some(entry) = reason.fallback(now).filter(|_| !is_gone) {
            return Ok(self.hit(entry, lookup.detail(entry, now), lookup, now));
        }
        self.count_fetch(reason.forward(), collapsed);
        let is_forced = matches!(reason, FetchReason::NoCache(..));
        let is_told = !is_forced || is_gone || error.is_about_now();
        Err(match error {
            LookupError::Juspay(error) if !is_told => LookupError::NoNewToken(error),
            LookupError::Juspay(_)
            | LookupError::NotCached
            | LookupError::NoNewToken(_)
            | LookupError::Overloaded
            | LookupError::TooManyAtOnce => error,
        })
    }

    fn count_fetch(&self, forward: Forward, collapsed: bool) {
        let count = match (collapsed, forward) {
            (true, _) => &self.counts.joined,
            (false, Forward::Request) => &self.counts.bypass,
            (false, Forward::Miss | Forward::Stale) => &self.counts.miss,
        };
        count.inc();
    }

    fn found(
        &self,
        entry: &Entry,
        source: Source,
        detail: Option<Detail>,
        lookup: &Lookup,
        now: Moment,
    ) -> Found {
        let lifetime = &entry.lifetime;
        let is_below_floor = lookup.is_below_floor(entry, now);
        let ttl = if is_below_floor { lifetime.outage_ttl(now) } else { lifetime.ttl(now) };
        if !lookup.want_token {
            let body = entry.json.without_token();
            return Found { body, source, detail, ttl, expires_in: None };
        }
        self.with_token(entry, source, detail, ttl, now)
    }

    /// The customer with its token, which is counted as handed out.
    pub(super) fn with_token(
        &self,
        entry: &Entry,
        source: Source,
        detail: Option<Detail>,
        ttl: Duration,
        now: Moment,
    ) -> Found {
        let body = entry.json.with_token();
        let left = entry.lifetime.remaining(now);
        let has_token = entry.json.has_token();
        if has_token {
            entry.count_hand_out();
            self.counts.remaining.observe(left.as_secs_f64());
        }
        Found { body, source, detail, ttl, expires_in: has_token.then_some(left) }
    }
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let of = |outcome| metrics.cache.requests.with_label_values(&[outcome]);
        Self {
            hit: of("hit"),
            miss: of("miss"),
            joined: of("joined"),
            outage: of("outage"),
            not_found: of("not_found"),
            bypass: of("bypass"),
            remaining: metrics.cache.hand_out_remaining.clone(),
        }
    }
}
