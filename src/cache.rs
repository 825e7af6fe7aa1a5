//! ② Customers by key: handed out from memory, or fetched once.
//!
//! `plan` says what becomes of a look-up, `flight` is the one door to Juspay, `fetch` goes through
//! it, `store` is the memory and [`lifetime`] says how long a token is good. No HTTP here, and no
//! clock but the [`Clock`]: moka's own expiry is just a bound on memory.

mod fetch;
mod flight;
pub mod lifetime;
mod plan;
mod store;
#[cfg(test)]
mod tests;

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus::{Histogram, IntCounter};

use self::{
    fetch::{Fetcher, Landing},
    flight::{Boarding, Flight},
    plan::{Plan, Rules, Trip},
    store::{Entry, Slot},
};
use crate::{
    clock::{self, Clock, Moment, Monotonic},
    customer::{CustomerId, CustomerKey},
    juspay::{CustomerApi, InvalidAnswer, JuspayError},
    limits::CustomerLimit,
    metrics::Metrics,
    settings,
    waiting::WaitingRoom,
};

/// How long a request waits for a fresh token when it could have one below the normal floor.
const PATIENCE: Duration = Duration::from_millis(250);

/// The bounds of `cache_token_remaining_seconds`.
const LIFE_BOUNDS: [u64; 5] = [30, 60, 120, 300, 600];

/// The customers in memory, shared by all workers.
#[derive(Debug, Clone)]
pub struct CustomerCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    merchant: Arc<str>,
    rules: Rules,
    deadline: Duration,
    fetcher: Arc<Fetcher>,
    /// Replacements of good tokens that phones ask for (`limits.force_refresh_per_customer`).
    force_refreshes: CustomerLimit,
    waiting: WaitingRoom,
    clock: Arc<dyn Clock>,
    counts: Counts,
    metrics: Arc<Metrics>,
}

/// `cache_requests_total` by outcome, and the life of tokens at hand-out.
#[derive(Debug)]
struct Counts {
    hit: IntCounter,
    miss: IntCounter,
    joined: IntCounter,
    outage: IntCounter,
    not_found: IntCounter,
    bypass: IntCounter,
    remaining: Histogram,
}

/// What a phone asks for.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The customer that the verified token names.
    pub customer: CustomerId,
    /// Whether the client auth token is wanted (`options.get_client_auth_token`).
    pub want_token: bool,
    /// How fresh it is to be.
    pub freshness: Freshness,
    /// The request's `traceparent`, for a call to Juspay that it causes.
    pub traceparent: Option<String>,
}

/// How fresh a token is to be (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The life that the token should have left.
    pub min_fresh: Option<Duration>,
    /// A new token.
    pub no_cache: bool,
    /// What is in memory, or nothing.
    pub only_if_cached: bool,
}

/// A customer to answer with.
#[derive(Debug, Clone)]
pub struct Found {
    /// The JSON to send.
    pub body: Bytes,
    /// Where it came from.
    pub source: Source,
    /// What is to be said about it.
    pub detail: Option<Detail>,
    /// For how much longer it is handed out.
    pub ttl: Duration,
    /// The life left in the token, when there is one in the body.
    pub expires_in: Option<Duration>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Memory.
    Hit,
    /// Juspay.
    Fetched {
        /// Why memory didn't do.
        forward: Forward,
        /// Another request had asked already.
        collapsed: bool,
        /// It's in memory now.
        stored: bool,
    },
}

/// Why Juspay was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Nothing was in memory.
    Miss,
    /// What was there was past its end.
    Stale,
    /// The phone wanted a fresher one.
    Request,
}

/// What is to be said about an answer that isn't all that was wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Juspay fails; the token has less life left than it should.
    Outage,
    /// The token lives shorter than the phone wants it to.
    MinFreshUnmet,
    /// The phone has asked for new tokens too often.
    RefreshLimited,
}

/// Why a look-up brings nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Juspay had to be asked, and failed.
    #[error(transparent)]
    Juspay(#[from] JuspayError),
    /// Nothing in memory, and the phone wants nothing else.
    #[error("there is no such customer in memory")]
    NotCached,
    /// The phone wants a new token, and Juspay gives none now.
    #[error("there is no new token to be had now")]
    NoNewToken,
    /// Too many requests are waiting.
    #[error("too many requests are waiting")]
    Overloaded,
}

impl CustomerCache {
    /// An empty cache.
    #[must_use]
    pub fn new(
        settings: &settings::Settings,
        waiting: WaitingRoom,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let force_refreshes = settings.limits.force_refresh_per_customer;
        let shared = Shared {
            merchant: settings.juspay.merchant_id.as_str().into(),
            rules: Rules::from(&settings.cache),
            deadline: settings.juspay.deadline,
            fetcher: Arc::new(Fetcher::new(settings, Arc::clone(&clock), &metrics)),
            force_refreshes: CustomerLimit::new(force_refreshes, Arc::clone(&clock)),
            waiting,
            clock,
            counts: Counts::new(&metrics),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The customer, from memory or from Juspay.
    ///
    /// Runs on a `LocalSet`: a fetch is a task of its own there, which goes on when the caller
    /// doesn't.
    ///
    /// # Errors
    /// When nothing in memory will do and the fetch that this look-up waited for failed.
    pub async fn get(
        &self,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> Result<Found, LookupError> {
        let shared = &self.shared;
        let key = self.key(&lookup.customer);
        let mut deadline = None;
        loop {
            let seen = shared.fetcher.store.get(&key);
            let now = shared.clock.moment();
            let trip = match shared.rules.plan(seen.as_ref(), lookup, now) {
                Plan::HandOut { entry, detail, behind } => {
                    if behind {
                        self.refresh_behind(&key, seen.as_ref(), lookup, api);
                    }
                    return Ok(shared.hit(&entry, detail, lookup, now));
                }
                Plan::Fetch(trip) => trip,
                Plan::NotCached => return Err(LookupError::NotCached),
                Plan::NotFound => {
                    shared.counts.not_found.inc();
                    return Err(JuspayError::CustomerNotFound.into());
                }
            };
            let deadline = *deadline.get_or_insert(now.monotonic.plus(shared.deadline));
            let answered = self.travel(&key, seen.as_ref(), &trip, deadline, lookup, api).await;
            if let Some(answered) = answered {
                return answered;
            }
        }
    }

    /// Joins or starts a fetch and waits for it; `None` when that led nowhere and memory is to be
    /// looked into again.
    async fn travel(
        &self,
        key: &CustomerKey,
        seen: Option<&Slot>,
        trip: &Trip,
        deadline: Monotonic,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> Option<Result<Found, LookupError>> {
        let shared = &self.shared;
        let Some(_place) = shared.waiting.enter() else {
            return Some(shared.instead(trip, LookupError::Overloaded, lookup));
        };
        let (flight, collapsed) = match self.board(key, seen, trip, lookup, api) {
            Boarded::On(flight, collapsed) => (flight, collapsed),
            // One has landed since we looked: look again.
            Boarded::Missed => return None,
            Boarded::Limited(entry) => {
                let (detail, now) = (Some(Detail::RefreshLimited), shared.clock.moment());
                return Some(Ok(shared.hit(&entry, detail, lookup, now)));
            }
        };
        let until = match trip {
            Trip::OrStale(_) => deadline.min(shared.clock.monotonic().plus(PATIENCE)),
            Trip::Needed(_) | Trip::OrLessFresh(_) | Trip::Forced(..) => deadline,
        };
        let landed = clock::before(&*shared.clock, until, flight.landed()).await;
        // A lost flight is nobody's fault: its worker has stopped. Look again, on this one.
        let landing = landed.unwrap_or(Some(Landing::Failed(JuspayError::Timeout)))?;
        Some(shared.answer(landing, trip, collapsed, lookup))
    }

    /// Forgets a customer: those who come from now on get a new answer of Juspay's. Tells whether
    /// there was one.
    pub fn purge(&self, customer: &CustomerId) -> bool {
        let Fetcher { flights, store, .. } = &*self.shared.fetcher;
        let key = self.key(customer);
        flights.void(Some(&key), || store.remove(&key))
    }

    /// Forgets all customers, and tells how many.
    pub fn purge_all(&self) -> u64 {
        let Fetcher { flights, store, .. } = &*self.shared.fetcher;
        flights.void(None, || store.clear())
    }

    /// Frees the memory of tokens that will never be handed out again, and counts the others by
    /// the life they have left. Looks at every one: for once in some seconds.
    pub fn sweep(&self) {
        let Fetcher { flights, store, .. } = &*self.shared.fetcher;
        let now = self.shared.clock.moment();
        for (key, slot) in store.dead(now) {
            flights.while_none_lands(|| store.bury(&key, &slot));
        }
        store.settle();
        self.shared.force_refreshes.sweep();
        self.count_lives(now);
    }

    fn count_lives(&self, now: Moment) {
        let mut counts = [0_i64; LIFE_BOUNDS.len()];
        for life in self.shared.fetcher.store.lives(now) {
            for (count, _) in
                counts.iter_mut().zip(LIFE_BOUNDS).filter(|(_, b)| life.as_secs() >= *b)
            {
                *count = count.saturating_add(1);
            }
        }
        for (count, bound) in counts.into_iter().zip(LIFE_BOUNDS) {
            let gauge = &self.shared.metrics.cache.token_remaining;
            gauge.with_label_values(&[&bound.to_string()]).set(count);
        }
    }

    /// Counts the customers in memory, for `cache_entries`.
    pub fn settle(&self) {
        self.shared.fetcher.store.settle();
    }

    fn key(&self, customer: &CustomerId) -> CustomerKey {
        CustomerKey { merchant: Arc::clone(&self.shared.merchant), customer: customer.clone() }
    }

    /// Starts a fetch that nobody waits for, unless one is under way or has just landed.
    fn refresh_behind(
        &self,
        key: &CustomerKey,
        seen: Option<&Slot>,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) {
        let fetcher = &self.shared.fetcher;
        let needed = || fetcher.store.holds(key, seen);
        if let Boarding::Leader(pilot) = fetcher.flights.board(key, needed) {
            let flying = Arc::clone(fetcher).fly(pilot, lookup.clone(), Rc::clone(api));
            let metrics = Arc::clone(&self.shared.metrics);
            tokio::task::spawn_local(async move {
                let outcome = match flying.await {
                    None => "success",
                    Some(JuspayError::CustomerNotFound) => "not_found",
                    Some(_) => "failure",
                };
                metrics.cache.refreshes.with_label_values(&[outcome]).inc();
            });
        }
    }

    fn board(
        &self,
        key: &CustomerKey,
        seen: Option<&Slot>,
        trip: &Trip,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> Boarded {
        let shared = &self.shared;
        let fetcher = &shared.fetcher;
        let mut limited = None;
        let boarding = fetcher.flights.board(key, || {
            if !fetcher.store.holds(key, seen) {
                return false;
            }
            // Joining is free; starting a fetch although a good token is there isn't.
            limited = trip
                .replaces(shared.clock.moment())
                .filter(|_| shared.force_refreshes.spend(&lookup.customer).is_err());
            limited.is_none()
        });
        match (boarding, limited) {
            (Boarding::Joined(flight), _) => Boarded::On(flight, true),
            (Boarding::Leader(pilot), _) => {
                let flight = pilot.flight();
                let flying = Arc::clone(fetcher).fly(pilot, lookup.clone(), Rc::clone(api));
                tokio::task::spawn_local(flying);
                Boarded::On(flight, false)
            }
            (Boarding::Missed, Some(entry)) => Boarded::Limited(Arc::clone(entry)),
            (Boarding::Missed, None) => Boarded::Missed,
        }
    }
}

/// What came of going to the door.
enum Boarded {
    /// The customer's flight, and whether somebody else flies it.
    On(Arc<Flight<Landing>>, bool),
    /// One has landed since memory was looked into.
    Missed,
    /// The customer has had too many good tokens replaced.
    Limited(Arc<Entry>),
}

impl Shared {
    /// An answer from memory.
    fn hit(&self, entry: &Entry, detail: Option<Detail>, lookup: &Lookup, now: Moment) -> Found {
        let is_outage = detail == Some(Detail::Outage);
        let count = if is_outage { &self.counts.outage } else { &self.counts.hit };
        count.inc();
        self.found(entry, Source::Hit, detail, lookup, now)
    }

    /// Answers one of those who waited. The floor is checked now, not when the token came.
    fn answer(
        &self,
        landing: Landing,
        trip: &Trip,
        collapsed: bool,
        lookup: &Lookup,
    ) -> Result<Found, LookupError> {
        let now = self.clock.moment();
        let forward = trip.forward();
        let failure = match landing {
            Landing::Customer { entry, stored } if !lookup.want_token || entry.is_alive(now) => {
                self.count_fetch(forward, collapsed);
                let detail = lookup.wants_more_than(&entry, now).then_some(Detail::MinFreshUnmet);
                let source = Source::Fetched { forward, collapsed, stored };
                return Ok(self.found(&entry, source, detail, lookup, now));
            }
            Landing::Tokenless { json, .. } if !lookup.want_token => {
                self.count_fetch(forward, collapsed);
                let source = Source::Fetched { forward, collapsed, stored: false };
                let (body, ttl) = (json.without_token(), Duration::ZERO);
                return Ok(Found { body, source, detail: None, ttl, expires_in: None });
            }
            Landing::Customer { .. } => InvalidAnswer::TooShortLived.into(),
            Landing::Tokenless { why, .. } => why.into(),
            Landing::Failed(error) => error,
        };
        let instead = self.instead(trip, failure.into(), lookup);
        if instead.is_err() {
            self.count_fetch(forward, collapsed);
        }
        instead
    }

    /// What is answered when the fetch fails.
    fn instead(
        &self,
        trip: &Trip,
        error: LookupError,
        lookup: &Lookup,
    ) -> Result<Found, LookupError> {
        let now = self.clock.moment();
        if error == LookupError::Juspay(JuspayError::CustomerNotFound) {
            return Err(error);
        }
        match trip {
            Trip::OrStale(entry) if entry.is_alive(now) => {
                Ok(self.hit(entry, Some(lookup.shortcoming(entry, now)), lookup, now))
            }
            Trip::OrLessFresh(entry) if entry.is_alive(now) => {
                Ok(self.hit(entry, Some(Detail::MinFreshUnmet), lookup, now))
            }
            Trip::Forced(..) => Err(match error {
                LookupError::Juspay(JuspayError::Timeout) | LookupError::Overloaded => error,
                LookupError::Juspay(_) | LookupError::NotCached | LookupError::NoNewToken => {
                    LookupError::NoNewToken
                }
            }),
            Trip::Needed(_) | Trip::OrStale(_) | Trip::OrLessFresh(_) => Err(error),
        }
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
        // Below the normal floor, a token is only handed out with a remark.
        let normal = entry.lifetime.ttl(now);
        let is_remarked = detail.is_some() && normal.is_zero();
        let ttl = if is_remarked { entry.lifetime.outage_ttl(now) } else { normal };
        if !lookup.want_token {
            let body = entry.json.without_token();
            return Found { body, source, detail, ttl, expires_in: None };
        }
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
    fn new(metrics: &Metrics) -> Self {
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
