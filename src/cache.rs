//! Customers by key, with their client auth tokens: from memory, or fetched once.
//!
//! `lookup` has the parameters and results, `plan` decides how to respond, `fetch` fetches from Juspay,
//! `replication` fetches through the shared tier, `store` has the cached customers, `link` finds one again
//! without a lookup, `backoff` remembers failed fetches, [`lifetime`] determines how long a token is
//! valid, and `early_death` learns from tokens that stop working earlier. The cache knows no HTTP, and
//! reads the time only from its [`Clock`].

mod backoff;
mod early_death;
mod fetch;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
pub mod lifetime;
mod link;
mod lookup;
mod plan;
mod replication;
mod store;
#[cfg(test)]
mod tests;

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

pub(crate) use self::early_death::{CauseKind, FIRST_MAX_HAND_OUTS, LOWEST_MAX_HAND_OUTS};
use self::{
    fetch::{FetchOutcome, Fetcher},
    lookup::Counts,
    plan::{FetchReason, Plan, PlanRules, need_newer_than},
    replication::{Purpose, Unshared},
    store::{Entry, Slot},
};
pub use self::{
    link::CachedLink,
    lookup::{
        Detail, Forward, Found, Freshness, Lookup, LookupError, Requester, Source,
        outcome as lookup_outcome,
    },
};
use crate::{
    clock::{self, Clock, Moment, Monotonic, Throttle},
    concurrency::{FairLimit, Limits},
    customer::{CustomerId, CustomerKey},
    juspay::{CustomerApi, JuspayError, NotCreated},
    metrics::{self, Metrics, Series as _},
    revocation,
    settings::{self, Rate},
    shared::{News, SharedTier, Version},
    single_flight::{Join, Waiter},
    traces::{Kind, Parent, Span},
};

/// How long a request waits for a fetch if there is a usable token below the normal floor, or with no uses
/// left.
const PATIENCE: Duration = Duration::from_millis(250);

/// The bounds of `cache_token_remaining_seconds`.
const LIFE_BOUNDS: [u64; 5] = [30, 60, 120, 300, 600];

/// The attribute of a lookup's span.
const OUTCOME: &str = "juspay_bff.cache.outcome";

/// Begins the span of a lookup.
fn lookup_span(trace: &Parent) -> Span {
    trace.begin("look up customer", Kind::Internal)
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// The customers that it removed from this process.
    pub number: u64,
    /// Whether the shared tier was reached, if there is one. If not, other replicas may still have them.
    pub is_shared: Option<bool>,
}

/// The cached customers, shared by all workers.
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
    /// `limits.force_refresh_per_customer`
    force_refresh_rate: Option<Rate>,
    unshared: Unshared,
    waiting: FairLimit<CustomerId>,
    /// Limits fetches that requests wait for (`server.max_waiting`).
    fetch_permits: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    counts: Counts,
    metrics: Arc<Metrics>,
}

impl CustomerCache {
    /// An empty cache.
    #[must_use]
    pub fn new(
        settings: &settings::Settings,
        limits: &Limits,
        tier: Option<Arc<dyn SharedTier>>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.cache.refreshes.initialize(REFRESH_OUTCOMES.iter().copied());
        let fetcher = Fetcher::new(settings, tier, Arc::clone(&clock), &metrics);
        let shared = Shared {
            merchant: settings.juspay.merchant_id.as_str().into(),
            rules: PlanRules::new(&settings.cache, fetcher.early_deaths.limit()),
            deadline: settings.juspay.deadline,
            fetcher: Arc::new(fetcher),
            force_refresh_rate: settings.limits.force_refresh_per_customer,
            unshared: Unshared::default(),
            waiting: limits.fair(),
            fetch_permits: Arc::clone(&limits.fetches),
            clock,
            counts: Counts::new(&metrics),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Looks up the customer, and fetches it from Juspay if needed.
    ///
    /// Must run on a `LocalSet`: a fetch runs there in its own task, so dropping this future doesn't
    /// cancel it.
    ///
    /// # Errors
    /// If no cached token is usable and the fetch fails.
    pub async fn get(
        &self,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> Result<Found, LookupError> {
        let span = lookup_span(&lookup.trace);
        let found = self.look_up(lookup, &span, api).await;
        span.set(OUTCOME, lookup_outcome(&found));
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
            let cached = shared.fetcher.store.get(&key);
            let now = shared.clock.moment();
            let attempt = Attempt { key: &key, cached: cached.as_ref(), lookup, span, now };
            let reason = match shared.rules.plan(cached.as_ref(), lookup, now) {
                Plan::Serve { entry, refresh } => {
                    if refresh {
                        self.refresh_in_background(&attempt, &entry, api);
                    }
                    shared.fetcher.early_deaths.note_no_cache(&entry, lookup, false, now);
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
            if let Some(error) = self.remembered_failure(&attempt, api) {
                return shared.not_fetched(&reason, error.into(), false, lookup);
            }
            let deadline = *deadline.get_or_insert(now.monotonic.plus(shared.deadline));
            if let Some(result) = self.fetch_or_join(&attempt, &reason, deadline, api).await {
                return result;
            }
        }
    }

    /// How long the customer's requests get the same error, if it is remembered for the customer or
    /// holds for all customers.
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
            LookupError::NotCached
            | LookupError::RefreshLimited(_)
            | LookupError::Overloaded
            | LookupError::MaxInFlight
            | LookupError::TooManyAtOnce => None,
        }
    }

    /// The error of the customer's last fetch, during the pause after it.
    fn remembered_failure(
        &self,
        attempt: &Attempt<'_>,
        api: &Rc<dyn CustomerApi>,
    ) -> Option<JuspayError> {
        let Shared { fetcher, clock, .. } = &*self.shared;
        let (lookup, now) = (attempt.lookup, clock.monotonic());
        let error =
            fetcher.failures.remembered(attempt.key, lookup.want_token, api.recoveries(), now)?;
        // Another access token may have the missing claim.
        let lacked_claims = error == JuspayError::NotCreated(NotCreated::NoMobileNumber);
        let has_claims = lookup.new_customer.as_ref().is_some_and(|new| new.is_complete());
        (!(lacked_claims && has_claims)).then_some(error)
    }

    /// Starts or joins a fetch and waits for it. `None`: look up the customer again.
    async fn fetch_or_join(
        &self,
        attempt: &Attempt<'_>,
        reason: &FetchReason,
        deadline: Monotonic,
        api: &Rc<dyn CustomerApi>,
    ) -> Option<Result<Found, LookupError>> {
        let (shared, lookup) = (&self.shared, attempt.lookup);
        let _permit = match shared.waiting.try_acquire(&lookup.customer) {
            Ok(permit) => permit,
            Err(full) => return Some(shared.not_fetched(reason, full.into(), false, lookup)),
        };
        let (waiter, collapsed) = match self.join(attempt, reason, api) {
            Ok(joined) => joined,
            Err(NotStarted::NotNeeded) => return None,
            Err(NotStarted::Overloaded) => {
                return Some(shared.not_fetched(reason, LookupError::Overloaded, false, lookup));
            }
            Err(NotStarted::Limited(entry, detail, wait)) => {
                return Some(shared.limited((&entry, detail), wait, lookup, attempt.now));
            }
        };
        let is_impatient =
            matches!(reason, FetchReason::BelowNormalFloor(_) | FetchReason::UsedUp(_));
        let patience = attempt.now.monotonic.plus(PATIENCE);
        let until = if is_impatient { deadline.min(patience) } else { deadline };
        let outcome = match clock::timeout_at(&*shared.clock, until, waiter.outcome()).await {
            // Without an outcome, the worker that fetched has stopped: fetch on this one.
            Some(outcome) => outcome?,
            // The fallback has expired meanwhile: wait for a new token.
            None if until < deadline && reason.fallback(shared.clock.moment()).is_none() => {
                return None;
            }
            None => FetchOutcome::Failed(JuspayError::Timeout),
        };
        shared.fetched(outcome, reason, collapsed, lookup)
    }

    /// Joins the running fetch or starts one. Returns also whether another request started it.
    fn join(
        &self,
        attempt: &Attempt<'_>,
        reason: &FetchReason,
        api: &Rc<dyn CustomerApi>,
    ) -> Result<(Waiter<FetchOutcome>, bool), NotStarted> {
        let Shared { fetcher, fetch_permits, .. } = &*self.shared;
        let permit = || {
            let is_replaced = !fetcher.store.holds(attempt.key, attempt.cached);
            if is_replaced || self.remembered_failure(attempt, api).is_some() {
                return Err(NotStarted::NotNeeded);
            }
            let permit = Arc::clone(fetch_permits).try_acquire_owned();
            let permit = permit.map_err(|_| NotStarted::Overloaded)?;
            // Last, because it costs the customer one of its replacements. Joining costs none. With a shared
            // tier, its limit applies.
            if let Some((entry, detail)) = reason.replaceable().filter(|_| fetcher.tier.is_none()) {
                let spent = fetcher.force_refreshes.spend(&attempt.lookup.customer);
                spent.map_err(|wait| NotStarted::Limited(Arc::clone(entry), detail, wait))?;
            }
            Ok(permit)
        };
        let joined = fetcher.fetches.join(attempt.key, permit)?;
        if let FetchReason::NoCache(entry, _) = reason {
            fetcher.early_deaths.note_no_cache(entry, attempt.lookup, true, attempt.now);
        }
        match joined {
            Join::Waiter(waiter) => {
                if attempt.lookup.freshness.no_cache {
                    fetcher.note_replacement(attempt.key);
                }
                attempt.span.link(waiter.span());
                Ok((waiter, true))
            }
            Join::Leader(leader, permit) => {
                let waiter = leader.waiter();
                let lookup = attempt.lookup.clone().within(attempt.span);
                let purpose = self.shared.purpose(reason, attempt);
                let fetcher = Arc::clone(fetcher);
                let fetch = fetcher.fetch(leader, lookup, purpose, Some(permit), Rc::clone(api));
                tokio::task::spawn_local(fetch);
                Ok((waiter, false))
            }
        }
    }

    /// Starts a fetch that no request waits for, unless one is running or has just finished.
    fn refresh_in_background(
        &self,
        attempt: &Attempt<'_>,
        entry: &Entry,
        api: &Rc<dyn CustomerApi>,
    ) {
        let fetcher = &self.shared.fetcher;
        let permit = || fetcher.store.holds(attempt.key, attempt.cached).then_some(()).ok_or(());
        if let Ok(Join::Leader(leader, ())) = fetcher.fetches.join(attempt.key, permit) {
            let span = attempt.span.parent().begin("refresh customer", Kind::Internal);
            let lookup = attempt.lookup.clone().within(&span);
            let need = need_newer_than(entry, attempt.now);
            let purpose = Purpose { need, ..Purpose::default() };
            let fetch = Arc::clone(fetcher).fetch(leader, lookup, purpose, None, Rc::clone(api));
            let metrics = Arc::clone(&self.shared.metrics);
            tokio::task::spawn_local(async move {
                let outcome = refresh_outcome(fetch.await.as_ref());
                span.set("juspay_bff.refresh.outcome", outcome);
                metrics.cache.refreshes.with_label_values(&[outcome]).inc();
            });
        }
    }

    /// Removes a customer here and in the shared tier, and announces it, so that later requests on any
    /// replica fetch it again.
    pub async fn purge_everywhere(&self, customer: &CustomerId) -> Purged {
        let number = u64::from(self.purge(customer));
        let is_shared = self.purge_shared(customer, true).await;
        Purged { number, is_shared }
    }

    /// Removes a customer from the shared tier, without announcing it: for what every replica learns by
    /// itself.
    pub async fn purge_unannounced(&self, customer: &CustomerId) {
        self.purge_shared(customer, false).await;
    }

    /// Returns whether the shared tier was reached, if there is one. If not, the purge is repeated.
    async fn purge_shared(&self, customer: &CustomerId, is_announced: bool) -> Option<bool> {
        let tier = self.shared.fetcher.tier.as_ref()?;
        let mut purged = tier.purge(customer).await;
        if is_announced {
            let announced = tier.announce(News::Purged(customer.clone())).await;
            purged = purged.and(announced);
        }
        // A look-up may have found it in the tier meanwhile.
        self.purge(customer);
        if purged.is_err() {
            self.shared.unshared.add_purge(Some(customer));
        }
        Some(purged.is_ok())
    }

    /// Removes all customers here and in the shared tier, and announces it.
    pub async fn purge_all_everywhere(&self) -> Purged {
        let number = self.purge_all();
        Purged { number, is_shared: self.purge_all_shared().await }
    }

    async fn purge_all_shared(&self) -> Option<bool> {
        let purged = self.shared.fetcher.tier.as_ref()?.purge_all().await;
        self.purge_all();
        if purged.is_err() {
            self.shared.unshared.add_purge(None);
        }
        Some(purged.is_ok())
    }

    /// Waits until the shared tier has not learned of a purge or a revocation.
    pub async fn has_unshared(&self) {
        self.shared.unshared.added().await;
    }

    /// Repeats the purges that the shared tier has not learned. Returns whether it has learned all.
    pub async fn repeat_purges(&self) -> bool {
        let (all, customers) = self.shared.unshared.take_purges();
        if all {
            return self.purge_all_shared().await.unwrap_or(true);
        }
        let mut is_done = true;
        for customer in customers {
            is_done &= self.purge_shared(&customer, true).await.unwrap_or(true);
        }
        is_done
    }

    /// Whether the shared tier has not learned of a revocation since the last call.
    #[must_use]
    pub fn take_unshared_revocation(&self) -> bool {
        self.shared.unshared.take_revocation()
    }

    /// Removes the customer's token if it is older than this version, because it no longer works.
    pub fn forget_older(&self, customer: &CustomerId, version: Version) {
        self.shared.fetcher.forget_older(&self.key(customer), version);
    }

    /// Announces a revocation to the other replicas. Returns whether the shared tier has it. If not, the next
    /// [`Self::take_unshared_revocation`] is true.
    pub async fn announce_revocation(&self, entry: &revocation::Entry) -> bool {
        let Some(tier) = &self.shared.fetcher.tier else { return false };
        let announced = tier.announce(News::Revoked(entry.to_json(), entry.expires)).await;
        if announced.is_err() {
            self.shared.unshared.add_revocation();
        }
        announced.is_ok()
    }

    /// Reports hand-outs to the shared tier until dropped; without one, does nothing.
    pub async fn report_hand_outs(&self) {
        if let Some(hand_outs) = &self.shared.fetcher.hand_outs {
            hand_outs.run(&*self.shared.clock).await;
        }
    }

    /// Removes a customer from this process. Returns whether it was cached.
    pub fn purge(&self, customer: &CustomerId) -> bool {
        let Fetcher { fetches, store, failures, .. } = &*self.shared.fetcher;
        let key = self.key(customer);
        fetches.invalidate(Some(&key), || {
            failures.forget(Some(&key));
            store.remove(&key)
        })
    }

    /// Removes all customers from this process, and returns their number. Their memory is free when this
    /// returns, or after the next pause of a running sweep.
    pub fn purge_all(&self) -> u64 {
        let Fetcher { fetches, store, failures, early_deaths, .. } = &*self.shared.fetcher;
        let removed = fetches.invalidate(None, || {
            failures.forget(None);
            early_deaths.note_purge(self.shared.clock.monotonic());
            self.set_token_remaining([0; LIFE_BOUNDS.len()]);
            store.clear()
        });
        removed.count()
    }

    /// Sweeps the cache repeatedly, with a pause after each sweep.
    pub async fn keep_swept(&self, pause: Duration) {
        let clock = &self.shared.clock;
        let mut throttle = Throttle::background(Arc::clone(clock));
        loop {
            clock.sleep_until(clock.monotonic().plus(pause)).await;
            self.sweep(&mut throttle).await;
        }
    }

    /// Evicts expired entries, and counts the others by the remaining life of their token.
    pub async fn sweep(&self, throttle: &mut Throttle) {
        let Fetcher { fetches, store, failures, .. } = &*self.shared.fetcher;
        self.shared.fetcher.force_refreshes.sweep();
        failures.sweep(self.shared.clock.monotonic());
        let generation = store.generation();
        let slots = store.slots();
        let mut counts = [0_i64; LIFE_BOUNDS.len()];
        throttle.start(slots.entry_count());
        for (key, slot) in slots.iter() {
            let now = throttle.tick().await;
            if store.generation() != generation {
                // All were purged. Return, as this function keeps them in memory.
                return;
            }
            if slot.is_expired(now) {
                fetches.while_none_finishes(|| store.evict(&key, &slot));
            } else if let Slot::Customer(entry) = slot {
                let life = entry.lifetime.remaining(now).as_secs();
                let counts = counts.iter_mut().zip(LIFE_BOUNDS);
                for (count, _) in counts.filter(|(_, bound)| life >= *bound) {
                    *count += 1;
                }
            }
        }
        drop(slots);
        self.update_entry_gauge();
        fetches.while_none_finishes(|| {
            if store.generation() == generation {
                self.set_token_remaining(counts);
            }
        });
    }

    /// Updates `cache_entries`.
    pub fn update_entry_gauge(&self) {
        let Fetcher { fetches, store, .. } = &*self.shared.fetcher;
        let slots = store.slots();
        slots.run_pending_tasks();
        // No purge of all runs at the same time.
        fetches.while_none_finishes(|| store.count_entries(&slots));
    }

    fn set_token_remaining(&self, counts: [i64; LIFE_BOUNDS.len()]) {
        let gauge = &self.shared.metrics.cache.token_remaining;
        for (count, bound) in counts.into_iter().zip(LIFE_BOUNDS) {
            gauge.with_label_values(&[&bound.to_string()]).set(count);
        }
    }

    fn key(&self, customer: &CustomerId) -> CustomerKey {
        CustomerKey { merchant: Arc::clone(&self.shared.merchant), customer: customer.clone() }
    }
}

impl Shared {
    fn purpose(&self, reason: &FetchReason, attempt: &Attempt<'_>) -> Purpose {
        let Attempt { lookup, now, .. } = attempt;
        // Without a token here, the tier may have one that `no-cache` replaces.
        let may_replace = reason.replaceable().is_some() || lookup.freshness.no_cache;
        Purpose {
            need: reason.need(&self.rules, lookup, *now),
            charge: self.force_refresh_rate.filter(|_| may_replace),
            is_replacement: lookup.freshness.no_cache,
            lacks_fallback: matches!(reason, FetchReason::NothingUsable(_)),
            can_be_limited: reason.replaceable().is_some(),
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

/// One pass of a lookup, with the slot that it found in the store.
struct Attempt<'a> {
    key: &'a CustomerKey,
    cached: Option<&'a Slot>,
    lookup: &'a Lookup,
    span: &'a Span,
    now: Moment,
}

/// Why a lookup joins no fetch and starts none.
enum NotStarted {
    /// A fetch has finished since the lookup read the store.
    NotNeeded,
    /// The limit on fetches is reached.
    Overloaded,
    /// The customer has replaced too many usable tokens; the next one may be replaced after this time.
    Limited(Arc<Entry>, Detail, Duration),
}
