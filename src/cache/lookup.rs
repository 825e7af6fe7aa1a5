//! A lookup: its parameters, its result, and how the result is made and counted.

use std::{fmt::Debug, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus::{Histogram, IntCounter};

use super::{
    CachedLink, Shared, fetch::FetchOutcome, lifetime::Phase, plan::FetchReason, store::Entry,
};
use crate::{
    clock::Moment,
    concurrency::LimitReached,
    customer::{CustomerId, CustomerRef, NewCustomer},
    juspay::{InvalidResponse, JuspayError},
    metrics::Metrics,
    settings::Rate,
    traces::{Parent, Span},
};

/// The parameters of a lookup.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The customer that the verified token names.
    pub customer: CustomerId,
    /// Whether the client wants the client auth token (`options.get_client_auth_token`).
    pub want_token: bool,
    /// Whether the client gets the body, or its headers only. Only a body hands out the token.
    pub want_body: bool,
    /// The directives of `Cache-Control`.
    pub freshness: Freshness,
    /// The request's `traceparent`, for the call to Juspay.
    pub traceparent: Option<String>,
    /// What the customer is created from if Juspay doesn't know it. `None`: it isn't created.
    pub new_customer: Option<Arc<NewCustomer>>,
    /// The parent of the lookup's spans.
    pub trace: Parent,
    /// The request, for log lines.
    pub requester: Option<Rc<dyn Requester>>,
}

/// A request, as log lines identify it.
pub trait Requester: Debug {
    /// The id of the request.
    fn request_id(&self) -> &str;

    /// The reference of its customer. Computed when called, because most requests don't need it.
    fn customer_ref(&self) -> Option<CustomerRef>;
}

/// Requirements on the token's freshness (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The remaining life that the token should have.
    pub min_fresh: Option<Duration>,
    /// The client wants a new token.
    pub no_cache: bool,
    /// With `no_cache`: the client's token has ended, so no token that was returned before is returned,
    /// however young it is. Beyond `limits.force_refresh_per_customer`, there is none.
    pub must_be_new: bool,
    /// The client wants the cached customer, and no fetch.
    pub only_if_cached: bool,
}

/// The result of a lookup.
#[derive(Debug, Clone)]
pub struct Found {
    /// The JSON for the client.
    pub body: Bytes,
    /// Its origin.
    pub source: Source,
    /// A limitation that the response must mention.
    pub detail: Option<Detail>,
    /// How much longer the cache returns it.
    pub ttl: Duration,
    /// The remaining life of the token, if the body has one.
    pub expires_in: Option<Duration>,
    /// After this time, a request starts a refresh.
    pub refresh_after: Duration,
    /// A link to the customer if a lookup found or stored it.
    pub link: Option<CachedLink>,
}

/// The origin of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The cache.
    Hit,
    /// The shared tier: another replica fetched it.
    Shared,
    /// Juspay.
    Fetched {
        /// Why the cache was not enough.
        forward: Forward,
        /// Another request started the fetch.
        collapsed: bool,
        /// Whether it was stored.
        stored: bool,
    },
}

/// Why a fetch was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// The customer was not cached.
    Miss,
    /// The cached token was too old.
    Stale,
    /// The client required a newer one.
    Request,
}

/// A limitation of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Juspay fails; the token is below the normal floor.
    Outage,
    /// The token's remaining life is below `min-fresh`.
    MinFreshUnmet,
    /// The customer replaced usable tokens too often.
    RefreshLimited,
}

/// Why a lookup fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// A fetch was needed, and failed.
    #[error(transparent)]
    Juspay(#[from] JuspayError),
    /// The customer is not cached, and the client wants no fetch.
    #[error("the customer is not cached")]
    NotCached,
    /// The client wants a new token, and the fetch failed.
    #[error("no new client auth token is available")]
    NoNewToken(JuspayError),
    /// The client accepts only a new token, and the customer has replaced too many; with the wait before
    /// the next one.
    #[error("the customer has replaced too many client auth tokens")]
    RefreshLimited(Duration),
    /// Too many requests wait for a fetch (`server.max_waiting`).
    #[error("too many requests are waiting")]
    Overloaded,
    /// Too many requests are waiting, for any reason (`server.max_in_flight`).
    #[error("too many requests are waiting")]
    MaxInFlight,
    /// Too many requests of this customer are waiting.
    #[error("too many requests of this customer are waiting")]
    TooManyAtOnce,
}

impl From<LimitReached> for LookupError {
    fn from(reached: LimitReached) -> Self {
        match reached {
            LimitReached::Key => Self::TooManyAtOnce,
            LimitReached::Total => Self::MaxInFlight,
        }
    }
}

impl Lookup {
    /// The same lookup, with spans below `span`.
    pub(super) fn within(self, span: &Span) -> Self {
        Self { trace: span.parent(), ..self }
    }
}

/// The outcome of a lookup, for spans and logs.
#[must_use]
pub const fn outcome(found: &Result<Found, LookupError>) -> &'static str {
    match found {
        Ok(Found { detail: Some(Detail::Outage), .. }) => "outage",
        Ok(Found { source: Source::Hit, .. }) => "hit",
        Ok(Found { source: Source::Shared, .. }) => "shared",
        Ok(Found { source: Source::Fetched { collapsed: true, .. }, .. }) => "joined",
        Ok(Found { source: Source::Fetched { forward, .. }, .. }) => match forward {
            Forward::Miss => "miss",
            Forward::Stale => "stale",
            Forward::Request => "bypass",
        },
        Err(LookupError::Juspay(JuspayError::CustomerNotFound)) => "not_found",
        Err(_) => "error",
    }
}

impl LookupError {
    /// The `cause` in a request's log line, or its `reason` if the response is a 4xx; `None` if the
    /// customer doesn't exist.
    #[must_use]
    pub const fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Juspay(JuspayError::CustomerNotFound) => None,
            Self::Juspay(error) | Self::NoNewToken(error) => Some(error.cause()),
            Self::NotCached => Some("not_cached"),
            Self::RefreshLimited(_) => Some("force_refresh_limit"),
            Self::Overloaded => Some("max_waiting"),
            Self::MaxInFlight => Some("max_in_flight"),
            Self::TooManyAtOnce => Some("customer_share"),
        }
    }

    /// Whether Juspay can't be called now, or doesn't respond in time.
    pub(super) const fn is_about_now(&self) -> bool {
        match self {
            Self::NoNewToken(_)
            | Self::RefreshLimited(_)
            | Self::Overloaded
            | Self::MaxInFlight
            | Self::TooManyAtOnce => true,
            Self::Juspay(error) => matches!(
                error,
                JuspayError::Timeout
                    | JuspayError::TooManyRequests(_)
                    | JuspayError::BreakerOpen(_)
                    | JuspayError::Saturated
            ),
            Self::NotCached => false,
        }
    }
}

/// `cache_requests_total` by outcome, and the remaining life of returned tokens.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) hit: IntCounter,
    pub(super) miss: IntCounter,
    joined: IntCounter,
    outage: IntCounter,
    pub(super) not_found: IntCounter,
    bypass: IntCounter,
    shared: IntCounter,
    remaining: Histogram,
}

impl Shared {
    /// A result from the cache.
    pub(super) fn hit(
        &self,
        entry: &Arc<Entry>,
        detail: Option<Detail>,
        lookup: &Lookup,
        now: Moment,
    ) -> Found {
        let count =
            if lookup.is_below_floor(entry, now) { &self.counts.outage } else { &self.counts.hit };
        count.inc();
        self.found(entry, Source::Hit, detail, lookup, now)
    }

    /// The result for a request that waited for a fetch. The floor is checked now, because a clock may
    /// have jumped or the machine may have slept since the fetch. `None` if the token has fallen below
    /// the normal floor, or is another replica's and not what this request needs: look it up again.
    pub(super) fn fetched(
        &self,
        outcome: FetchOutcome,
        reason: &FetchReason,
        collapsed: bool,
        lookup: &Lookup,
    ) -> Option<Result<Found, LookupError>> {
        let now = self.clock.moment();
        let forward = reason.forward();
        let failure = match outcome {
            FetchOutcome::Shared { entry, stored } => {
                let is_new = !lookup.freshness.no_cache || self.rules.is_new(&entry, lookup, now);
                let is_usable = is_new && lookup.may_get(&entry, now);
                if !is_usable || lookup.is_min_fresh_unmet(&entry, now) {
                    return None;
                }
                self.counts.shared.inc();
                let found = self.found(&entry, Source::Shared, None, lookup, now);
                return Some(Ok(Found { link: found.link.filter(|_| stored), ..found }));
            }
            FetchOutcome::Fallback { entry, failure } => {
                if entry.is_alive(now) && !lookup.freshness.no_cache {
                    return Some(Ok(self.hit(&entry, lookup.detail(&entry, now), lookup, now)));
                }
                failure
            }
            // If this request would replace nothing, it looks up again.
            FetchOutcome::Limited(_) => {
                let (entry, detail) = reason.replaceable()?;
                if !lookup.may_get(entry, now) {
                    return None;
                }
                // The shared tier does not tell how long.
                let wait = self.force_refresh_rate.map(Rate::interval).unwrap_or_default();
                return Some(self.limited((entry, detail), wait, lookup, now));
            }
            FetchOutcome::Customer { entry, stored } => match entry.lifetime.phase(now) {
                Phase::Stale if lookup.want_token => return None,
                Phase::Expired if lookup.want_token => InvalidResponse::TooShortLived.into(),
                Phase::Fresh | Phase::Refresh | Phase::Stale | Phase::Expired => {
                    self.count_fetch(forward, collapsed);
                    let source = Source::Fetched { forward, collapsed, stored };
                    let detail = lookup.detail(&entry, now);
                    return Some(Ok(self.found(&entry, source, detail, lookup, now)));
                }
            },
            FetchOutcome::Tokenless { json, .. } if !lookup.want_token => {
                self.count_fetch(forward, collapsed);
                let source = Source::Fetched { forward, collapsed, stored: false };
                let (body, ttl) = (json.without_token(), Duration::ZERO);
                return Some(Ok(Found::without_token(body, source, None, ttl)));
            }
            FetchOutcome::Tokenless { why, .. } => why.into(),
            FetchOutcome::Failed(error) => error,
        };
        Some(self.not_fetched(reason, failure.into(), collapsed, lookup))
    }

    /// The result if the customer may not replace its token now: the old one, unless it is of no use.
    pub(super) fn limited(
        &self,
        (entry, detail): (&Arc<Entry>, Detail),
        wait: Duration,
        lookup: &Lookup,
        now: Moment,
    ) -> Result<Found, LookupError> {
        if lookup.freshness.must_be_new {
            self.count_fetch(Forward::Request, false);
            return Err(LookupError::RefreshLimited(wait));
        }
        Ok(self.hit(entry, Some(detail), lookup, now))
    }

    /// The result if the fetch failed or did not start.
    pub(super) fn not_fetched(
        &self,
        reason: &FetchReason,
        error: LookupError,
        collapsed: bool,
        lookup: &Lookup,
    ) -> Result<Found, LookupError> {
        let now = self.clock.moment();
        let is_not_found =
            matches!(&error, LookupError::Juspay(it) if it.is_about_missing_customer());
        if let Some(entry) = reason.fallback(now).filter(|_| !is_not_found) {
            return Ok(self.hit(entry, lookup.detail(entry, now), lookup, now));
        }
        self.count_fetch(reason.forward(), collapsed);
        let is_forced = matches!(reason, FetchReason::NoCache(..));
        let is_shown = !is_forced || is_not_found || error.is_about_now();
        Err(match error {
            LookupError::Juspay(error) if !is_shown => LookupError::NoNewToken(error),
            LookupError::Juspay(_)
            | LookupError::NotCached
            | LookupError::NoNewToken(_)
            | LookupError::RefreshLimited(_)
            | LookupError::Overloaded
            | LookupError::MaxInFlight
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
        entry: &Arc<Entry>,
        source: Source,
        detail: Option<Detail>,
        lookup: &Lookup,
        now: Moment,
    ) -> Found {
        let lifetime = &entry.lifetime;
        let is_below_floor = lookup.is_below_floor(entry, now);
        let ttl = if is_below_floor { lifetime.outage_ttl(now) } else { lifetime.ttl(now) };
        let is_cached = !matches!(source, Source::Fetched { stored: false, .. });
        let link = is_cached.then(|| CachedLink::to(entry));
        if !lookup.want_token {
            let body = entry.json.without_token();
            return Found { link, ..Found::without_token(body, source, detail, ttl) };
        }
        let found = Found::with_token(entry, source, detail, ttl, now);
        if lookup.want_body {
            self.count_hand_out(entry, &found);
        }
        Found { link, ..found }
    }

    /// Counts that the client gets the entry's token, if it has one.
    pub(super) fn count_hand_out(&self, entry: &Arc<Entry>, found: &Found) {
        if let Some(left) = found.expires_in {
            entry.count_hand_out();
            self.counts.remaining.observe(left.as_secs_f64());
            if let Some(hand_outs) = &self.fetcher.hand_outs {
                hand_outs.report(entry);
            }
        }
    }
}

impl Found {
    const fn without_token(
        body: Bytes,
        source: Source,
        detail: Option<Detail>,
        ttl: Duration,
    ) -> Self {
        let refresh_after = Duration::ZERO;
        Self { body, source, detail, ttl, expires_in: None, refresh_after, link: None }
    }

    /// A result with the entry's token, without a link.
    pub(super) fn with_token(
        entry: &Entry,
        source: Source,
        detail: Option<Detail>,
        ttl: Duration,
        now: Moment,
    ) -> Self {
        let expires_in = entry.json.has_token().then(|| entry.lifetime.remaining(now));
        let (body, refresh_after) = (entry.json.with_token(), entry.lifetime.refresh_after(now));
        Self { body, source, detail, ttl, expires_in, refresh_after, link: None }
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
            shared: of("shared"),
            remaining: metrics.cache.hand_out_remaining.clone(),
        }
    }
}
