//! ② Customers by key: handed out from memory, or fetched once.
//!
//! `plan` says what becomes of a look-up, `flight` is the one door to Juspay, `fetch` goes through
//! it, `answer` tells what came of it, `store` is the memory, `failures` remembers failed fetches and
//! [`lifetime`] says how long a token is good. No HTTP here, and no clock but the [`Clock`]: what is
//! dead is swept, and moka only bounds the number.

mod answer;
mod at_hand;
mod failures;
mod fetch;
mod flight;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod lifetime;
mod lookup;
mod plan;
mod store;
#[cfg(test)]
mod tests;

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::sync::{Notify, Semaphore};

use self::{
    answer::Counts,
    fetch::{Fetcher, Landing},
    flight::{Boarding, Flight},
    plan::{FetchReason, Plan, PlanRules},
    store::{Entry, Slot},
};
pub use self::{
    at_hand::{AtHand, Ready},
    lookup::{
        Detail, Forward, Found, Freshness, Lookup, LookupError, Requester, Source,
        outcome as lookup_outcome,
    },
};
use crate::{
    clock::{self, Clock, Moment, Monotonic, Throttle},
    concurrency::{FairLimit, Limits},
    customer::{CustomerId, CustomerKey},
    juspay::{CustomerApi, JuspayError},
    metrics::{self, Metrics, Series as _},
    rate_limit::CustomerRateLimit,
    settings,
    traces::{Kind, Span},
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
    rules: PlanRules,
    deadline: Duration,
    fetcher: Arc<Fetcher>,
    /// Replacements of good tokens that phones ask for (`limits.force_refresh_per_customer`).
    force_refreshes: CustomerRateLimit,
    waiting: FairLimit<CustomerId>,
    /// Fetches that requests wait for, of which each holds a permit (`server.max_waiting`).
    fetches: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    counts: Counts,
    purged: Notify,
    metrics: Arc<Metrics>,
}

impl CustomerCache {
    /// An empty cache.
    #[must_use]
    pub fn new(
        settings: &settings::Settings,
        limits: &Limits,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let force_refreshes = settings.limits.force_refresh_per_customer;
        metrics.cache.refreshes.initialize(REFRESH_OUTCOMES.iter().copied());
        let shared = Shared {
            merchant: settings.juspay.merchant_id.as_str().into(),
            rules: PlanRules::from(&settings.cache),
            deadline: settings.juspay.deadline,
            fetcher: Arc::new(Fetcher::new(settings, Arc::clone(&clock), &metrics)),
            force_refreshes: CustomerRateLimit::new(force_refreshes, Arc::clone(&clock)),
            waiting: limits.fair(),
            fetches: Arc::clone(&limits.fetches),
            clock,
            counts: Counts::new(&metrics),
            purged: Notify::new(),
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
        let span = lookup.trace.begin("look up customer", Kind::Internal);
        let found = self.look_up(lookup, &span, api).await;
        span.set("juspay_bff.cache.outcome", lookup_outcome(&found));
        found
    }

    async fn look_up(
        &self,
        lookup: &Lookup,
        span: &Span,
        api: &Rc<dyn CustomerApi>,
    ) -> Result<Found, LookupError> {
        let shared = &self.shared;
        let key = self.key(&lookup.customer);
        let mut deadline = None;
        loop {
            let seen = shared.fetcher.store.get(&key);
            let now = shared.clock.moment();
            let look = Look { key: &key, seen: seen.as_ref(), lookup, span, now };
            let reason = match shared.rules.plan(seen.as_ref(), lookup, now) {
                Plan::Serve { entry, refresh } => {
                    if refresh {
                        self.refresh_in_background(&look, api);
                    }
                    let detail = lookup.detail(&entry, now);
                    return Ok(shared.hit(&entry, detail, lookup, now));
                }
                Plan::Fetch(reason) => reason,
                Plan::NotCached => {
                    shared.counts.miss.inc();
                    return Err(LookupError::NotCached);
                }
                Plan::NotFound => {
                    shared.counts.not_found.inc();
                    return Err(JuspayError::CustomerNotFound.into());
                }
            };
            if let Some(error) = self.remembered_failure(&look, api) {
                return shared.instead(&reason, error.into(), false, lookup);
            }
            let deadline = *deadline.get_or_insert(now.monotonic.plus(shared.deadline));
            if let Some(answered) = self.travel(&look, &reason, deadline, api).await {
                return answered;
            }
        }
    }

    /// How long the customer's requests get the same error, where it is one that is remembered or
    /// that holds all customers.
    #[must_use]
    pub fn retry_after(
        &self,
        error: &LookupError,
        customer: &CustomerId,
        api: &Rc<dyn CustomerApi>,
    ) -> Option<Duration> {
        let Shared { fetcher, clock, .. } = &*self.shared;
        match error {
            LookupError::Juspay(error) if !error.is_remembered() => error.hold(),
            LookupError::Juspay(_) | LookupError::NoNewToken(_) => {
                fetcher.failures.wait(&self.key(customer), api.recoveries(), clock.monotonic())
            }
            LookupError::NotCached | LookupError::Overloaded | LookupError::TooManyAtOnce => None,
        }
    }

    /// The error of the customer's last fetch, while it isn't repeated.
    fn remembered_failure(
        &self,
        look: &Look<'_>,
        api: &Rc<dyn CustomerApi>,
    ) -> Option<JuspayError> {
        let Shared { fetcher, clock, .. } = &*self.shared;
        let (want_token, now) = (look.lookup.want_token, clock.monotonic());
        fetcher.failures.remembered(look.key, want_token, api.recoveries(), now)
    }

    /// Joins or starts a fetch and waits for it; `None` when that led nowhere and memory is to be
    /// looked into again.
    async fn travel(
        &self,
        look: &Look<'_>,
        reason: &FetchReason,
        deadline: Monotonic,
        api: &Rc<dyn CustomerApi>,
    ) -> Option<Result<Found, LookupError>> {
        let (shared, lookup) = (&self.shared, look.lookup);
        let _permit = match shared.waiting.try_acquire(&lookup.customer) {
            Ok(permit) => permit,
            Err(full) => return Some(shared.instead(reason, full.into(), false, lookup)),
        };
        let (flight, collapsed) = match self.board(look, reason, api) {
            Boarded::On(flight, collapsed) => (flight, collapsed),
            // One has landed since we looked: look again.
            Boarded::Missed => return None,
            Boarded::Full => {
                return Some(shared.instead(reason, LookupError::Overloaded, false, lookup));
            }
            Boarded::Limited(entry, detail) => {
                return Some(Ok(shared.hit(&entry, Some(detail), lookup, look.now)));
            }
        };
        let is_impatient = matches!(reason, FetchReason::BelowNormalFloor(_));
        let patience = look.now.monotonic.plus(PATIENCE);
        let until = if is_impatient { deadline.min(patience) } else { deadline };
        let landing = match clock::timeout_at(&*shared.clock, until, flight.landed()).await {
            // A lost flight is nobody's fault: its worker has stopped. Look again, on this one.
            Some(landing) => landing?,
            // The old token has died meanwhile: now only a new one will do.
            None if until < deadline && reason.fallback(shared.clock.moment()).is_none() => {
                return None;
            }
            None => Landing::Failed(JuspayError::Timeout),
        };
        shared.answer(landing, reason, collapsed, lookup)
    }

    /// Forgets a customer: those who come from now on get a new answer of Juspay's. Tells whether
    /// there was one.
    pub fn purge(&self, customer: &CustomerId) -> bool {
        let Fetcher { flights, store, failures, .. } = &*self.shared.fetcher;
        let key = self.key(customer);
        flights.void(Some(&key), || {
            failures.forget(Some(&key));
            store.remove(&key)
        })
    }

    /// Forgets all customers, and tells how many.
    pub fn purge_all(&self) -> u64 {
        let Fetcher { flights, store, failures, .. } = &*self.shared.fetcher;
        let number = flights.void(None, || {
            failures.forget(None);
            store.clear()
        });
        self.shared.purged.notify_one();
        number
    }

    /// Frees memory of what is dead, again and again: at leisure, with a rest each time; but without
    /// any delay of what a purge of all has removed.
    pub async fn keep_swept(&self, rest: Duration) {
        let Shared { clock, purged, .. } = &*self.shared;
        let mut background = Throttle::background(Arc::clone(clock));
        let mut foreground = Throttle::foreground(Arc::clone(clock));
        loop {
            let at_leisure = async {
                clock.sleep_until(clock.monotonic().plus(rest)).await;
                self.sweep(&mut background).await;
            };
            tokio::select! {
                biased;
                () = purged.notified() => self.sweep(&mut foreground).await,
                () = at_leisure => {}
            }
        }
    }

    /// Frees the memory of tokens that will never be handed out again, and counts the others by
    /// the life they have left. Looks at every one.
    async fn sweep(&self, throttle: &mut Throttle) {
        let Fetcher { flights, store, .. } = &*self.shared.fetcher;
        let mut counts = [0_i64; LIFE_BOUNDS.len()];
        let clearings = store.clearings();
        throttle.start(store.len());
        for (key, slot) in store.all() {
            let now = throttle.tick().await;
            match slot {
                None => flights.while_none_lands(|| store.bury_removed(&key)),
                Some(slot) if slot.is_dead(now) => {
                    flights.while_none_lands(|| store.bury(&key, &slot));
                }
                Some(Slot::Customer(entry)) => {
                    let life = entry.lifetime.remaining(now).as_secs();
                    let counts = counts.iter_mut().zip(LIFE_BOUNDS);
                    for (count, _) in counts.filter(|(_, bound)| life >= *bound) {
                        *count = count.saturating_add(1);
                    }
                }
                Some(Slot::NotFound { .. }) => {}
            }
        }
        flights.while_none_lands(|| store.swept(clearings));
        self.settle();
        self.shared.force_refreshes.sweep();
        self.shared.fetcher.failures.sweep(self.shared.clock.monotonic());
        for (count, bound) in counts.into_iter().zip(LIFE_BOUNDS) {
            let gauge = &self.shared.metrics.cache.token_remaining;
            gauge.with_label_values(&[&bound.to_string()]).set(count);
        }
    }

    /// Counts the customers in memory, for `cache_entries`.
    pub fn settle(&self) {
        let Fetcher { flights, store, .. } = &*self.shared.fetcher;
        // The most of it without the lock, which every fetch needs to land.
        store.catch_up();
        // One that a sweep removes meanwhile would be counted twice.
        flights.while_none_lands(|| store.settle());
    }

    fn key(&self, customer: &CustomerId) -> CustomerKey {
        CustomerKey { merchant: Arc::clone(&self.shared.merchant), customer: customer.clone() }
    }

    /// Starts a fetch that nobody waits for, unless one is under way or has just landed.
    fn refresh_in_background(&self, look: &Look<'_>, api: &Rc<dyn CustomerApi>) {
        let fetcher = &self.shared.fetcher;
        let needed = || fetcher.store.holds(look.key, look.seen);
        if let Boarding::Leader(pilot) = fetcher.flights.board(look.key, needed) {
            let span = look.span.parent().begin("refresh customer", Kind::Internal);
            let lookup = look.lookup.clone().within(&span);
            let flying = Arc::clone(fetcher).fly(pilot, lookup, Rc::clone(api));
            let metrics = Arc::clone(&self.shared.metrics);
            tokio::task::spawn_local(async move {
                let outcome = refresh_outcome(flying.await.as_ref());
                span.set("juspay_bff.refresh.outcome", outcome);
                metrics.cache.refreshes.with_label_values(&[outcome]).inc();
            });
        }
    }

    fn board(&self, look: &Look<'_>, reason: &FetchReason, api: &Rc<dyn CustomerApi>) -> Boarded {
        let Self { shared } = self;
        let fetcher = &shared.fetcher;
        let mut limited = None;
        let (mut permit, mut is_full) = (None, false);
        let boarding = fetcher.flights.board(look.key, || {
            let has_landed = !fetcher.store.holds(look.key, look.seen);
            if has_landed || self.remembered_failure(look, api).is_some() {
                return false;
            }
            permit = Arc::clone(&shared.fetches).try_acquire_owned().ok();
            is_full = permit.is_none();
            if is_full {
                return false;
            }
            // Joining is free; starting a fetch although a good token is there isn't.
            limited = reason
                .replaceable()
                .filter(|_| shared.force_refreshes.spend(&look.lookup.customer).is_err());
            limited.is_none()
        });
        match (boarding, limited) {
            (Boarding::Joined(flight), _) => {
                look.span.link(flight.span());
                Boarded::On(flight, true)
            }
            (Boarding::Leader(pilot), _) => {
                let flight = pilot.flight();
                let lookup = look.lookup.clone().within(look.span);
                let flying = Arc::clone(fetcher).fly(pilot, lookup, Rc::clone(api));
                tokio::task::spawn_local(async move {
                    let _permit = permit;
                    flying.await
                });
                Boarded::On(flight, false)
            }
            (Boarding::Missed, Some((entry, detail))) => {
                Boarded::Limited(Arc::clone(entry), detail)
            }
            (Boarding::Missed, None) if is_full => Boarded::Full,
            (Boarding::Missed, None) => Boarded::Missed,
        }
    }
}

metrics::labels! {
    /// The label of `cache_refreshes_total{outcome}`.
    const fn refresh_outcome(failure: Option<&JuspayError>) in REFRESH_OUTCOMES {
        None => "success",
        Some(JuspayError::CustomerNotFound) => "not_found",
        Some(_) => "failure",
    }
}

/// A look into memory: what was asked for, what was there, and when.
struct Look<'a> {
    key: &'a CustomerKey,
    seen: Option<&'a Slot>,
    lookup: &'a Lookup,
    span: &'a Span,
    now: Moment,
}

/// What came of going to the door.
enum Boarded {
    /// The customer's flight, and whether somebody else flies it.
    On(Arc<Flight<Landing>>, bool),
    /// One has landed since memory was looked into.
    Missed,
    /// As many fetches are under way as may be.
    Full,
    /// The customer has had too many good tokens replaced: this one stays.
    Limited(Arc<Entry>, Detail),
}
