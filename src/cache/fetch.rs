//! Fetches a customer from Juspay, validates the response and stores it.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Lookup, Requester,
    backoff::{Failure, Failures},
    early_death::EarlyDeaths,
    lifetime::{Lifetime, LifetimePolicy, ReportedExpiry},
    replication::{HandOuts, Purpose},
    store::{Entry, Slot, Store},
};
use crate::{
    clock::{self, Clock, Moment, Monotonic},
    customer::{ClientAuth, CustomerJson, CustomerKey, FieldSet},
    juspay::{
        CustomerApi, CustomerResponse, GetCustomer, InvalidResponse, JuspayError,
        clock_skew::ClockSkew,
    },
    metrics::Metrics,
    rate_limit::CustomerRateLimit,
    settings,
    shared::{SharedTier, wait::Polls},
    single_flight::{Leader, SingleFlight},
    traces::{Kind, Span},
};

/// Fetches customers, and has the state that a fetch changes.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) store: Store,
    pub(super) early_deaths: Arc<EarlyDeaths>,
    pub(super) fetches: SingleFlight<CustomerKey, FetchOutcome>,
    pub(super) failures: Failures,
    pub(super) tier: Option<Arc<dyn SharedTier>>,
    pub(super) polls: Polls,
    /// Set if there is a shared tier, and a limit on hand-outs.
    pub(super) hand_outs: Option<HandOuts>,
    /// Customers with a running fetch whose token is to be replaced everywhere.
    pub(super) replacements: Mutex<HashSet<CustomerKey>>,
    /// Limits fetches that replace a usable token (`limits.force_refresh_per_customer`), unless the shared
    /// tier does.
    pub(super) force_refreshes: CustomerRateLimit,
    pub(super) policy: LifetimePolicy,
    fields: FieldSet,
    pub(super) not_found_ttl: Duration,
    pub(super) deadline: Duration,
    pub(super) clock: Arc<dyn Clock>,
    skew: ClockSkew,
    /// Whether the warning about short-lived tokens was logged.
    has_warned_of_short_lives: AtomicBool,
}

/// The outcome of a fetch, for all requests that wait for it.
#[derive(Debug, Clone)]
pub(super) enum FetchOutcome {
    /// A customer with a usable token.
    Customer {
        entry: Arc<Entry>,
        stored: bool,
    },
    /// Another replica's customer, with a usable token.
    Shared {
        entry: Arc<Entry>,
        stored: bool,
    },
    /// The call failed, and the shared tier has a token for an outage.
    Fallback {
        entry: Arc<Entry>,
        failure: JuspayError,
    },
    /// The customer has replaced too many usable tokens, on all replicas together. With the token of the
    /// shared tier, unless this process has it.
    Limited(Option<Arc<Entry>>),
    /// A customer without a usable token, for requests that want none.
    Tokenless {
        json: CustomerJson,
        why: InvalidResponse,
    },
    Failed(JuspayError),
}

impl Fetcher {
    pub(super) fn new(
        settings: &settings::Settings,
        tier: Option<Arc<dyn SharedTier>>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let hand_outs = tier.clone().filter(|_| settings.cache.max_hand_outs.is_on());
        let early_deaths = Arc::new(EarlyDeaths::new(settings.cache.max_hand_outs, metrics));
        let force_refreshes = settings.limits.force_refresh_per_customer;
        Self {
            tier,
            hand_outs: hand_outs.map(HandOuts::new),
            polls: Polls::default(),
            replacements: Mutex::default(),
            force_refreshes: CustomerRateLimit::new(force_refreshes, Arc::clone(&clock)),
            store: Store::new(settings.cache.capacity, Arc::clone(&early_deaths), metrics),
            early_deaths,
            fetches: SingleFlight::default(),
            failures: Failures::default(),
            policy: LifetimePolicy::from(&settings.cache),
            fields: settings.response.fields.clone(),
            not_found_ttl: settings.cache.not_found_ttl,
            deadline: settings.juspay.deadline,
            clock,
            skew: ClockSkew::new(metrics.upstream.clock_skew.clone()),
            has_warned_of_short_lives: AtomicBool::new(false),
        }
    }

    /// Fetches the customer and finishes the computation, with the permit of the waiting request. Returns the
    /// failure, if it failed.
    pub(super) fn fetch(
        self: Arc<Self>,
        leader: Leader<CustomerKey, FetchOutcome>,
        lookup: Lookup,
        purpose: Purpose,
        permit: Option<OwnedSemaphorePermit>,
        api: Rc<dyn CustomerApi>,
    ) -> impl Future<Output = Option<JuspayError>> {
        let span = lookup.trace.begin("fetch customer", Kind::Internal);
        leader.set_span(span.place());
        async move {
            leader.start().await;
            // Read first: an event during the fetch may end the cause of its failure.
            let recoveries = api.recoveries();
            let lookup = lookup.within(&span);
            let (outcome, obligation) = self.obtain(lookup, &purpose, &*api).await;
            let failure = outcome.failure();
            end_span(&span, &outcome);
            let mut published = None;
            leader.finish(|key, may_store| {
                let outcome =
                    if may_store { self.store(key, outcome, recoveries) } else { outcome };
                published = obligation.map(|it| (it, key.clone(), outcome.clone()));
                outcome
            });
            drop(permit);
            self.early_deaths.log_change();
            if let Some((obligation, key, outcome)) = published {
                self.publish(obligation, &key, &outcome).await;
            }
            failure
        }
    }

    pub(super) async fn call(
        &self,
        lookup: Lookup,
        api: &dyn CustomerApi,
        deadline: Monotonic,
    ) -> FetchOutcome {
        let sent = self.clock.moment();
        let Lookup { customer, new_customer, traceparent, trace, requester, .. } = lookup;
        let request = GetCustomer {
            customer,
            new_customer,
            traceparent,
            trace,
            attempt: 1,
            deadline,
            call_deadline: deadline,
        };
        // The waiting requests get a panic as an error. Otherwise, each would repeat the fetch.
        let call = AssertUnwindSafe(async {
            match api.get_customer(request).await {
                Ok(response) => {
                    if response.is_new {
                        log_creation(requester.as_deref());
                    }
                    self.validate(&response, sent)
                }
                Err(error) => FetchOutcome::Failed(error),
            }
        });
        let outcome = match clock::timeout_at(&*self.clock, deadline, call.catch_unwind()).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_panic)) => FetchOutcome::Failed(JuspayError::Aborted),
            None => FetchOutcome::Failed(JuspayError::Timeout),
        };
        if let Some(failure) = outcome.failure() {
            log_failure(&failure, requester.as_deref());
        }
        outcome
    }

    /// Determines the token's lifetime, and writes the client's JSON.
    fn validate(&self, response: &CustomerResponse, sent: Moment) -> FetchOutcome {
        let received = self.clock.now();
        if let Some(date) = response.date {
            let skew = clock::skew(date, sent.wall, received);
            self.skew.record(skew, self.clock.monotonic());
        }
        match self.client_auth(response, sent, received) {
            Ok((auth, lifetime)) => {
                let json = response.customer.to_json(&self.fields, Some(&auth));
                // A purge of all after this line also invalidates the fetch.
                let generation = self.store.generation();
                let entry = Entry::new(json, lifetime, sent.monotonic, generation);
                FetchOutcome::Customer { entry: Arc::new(entry), stored: false }
            }
            Err(why) => {
                FetchOutcome::Tokenless { json: response.customer.to_json(&self.fields, None), why }
            }
        }
    }

    /// The token with the expiry that clients see, and its lifetime.
    fn client_auth(
        &self,
        response: &CustomerResponse,
        sent: Moment,
        received: Timestamp,
    ) -> Result<(ClientAuth, Lifetime), InvalidResponse> {
        let auth = response.auth.as_ref().map_err(|why| *why)?;
        let report = ReportedExpiry { expiry: auth.expiry, date: response.date, sent, received };
        let lifetime = Lifetime::new(&self.policy, &report, rand::random())
            .ok_or_else(|| too_short(&self.policy, &report))?;
        if lifetime.has_reduced_floor(&self.policy)
            && !self.has_warned_of_short_lives.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                life = ?lifetime.total(),
                "client auth tokens live less than four times cache.min_remaining; using a quarter \
                 of their lifetime as the minimum instead, or cache.outage_min_remaining if that is \
                 longer; lower cache.min_remaining to remove this warning"
            );
        }
        Ok((ClientAuth { token: auth.token.clone(), expiry: lifetime.expiry() }, lifetime))
    }

    /// Stores the customer. A failed fetch keeps the stored one, and is remembered.
    fn store(&self, key: &CustomerKey, outcome: FetchOutcome, recoveries: u64) -> FetchOutcome {
        let now = self.clock.monotonic();
        match outcome {
            FetchOutcome::Customer { entry, .. } => {
                self.failures.note_success(key);
                let replaced = self.store.get(key);
                self.early_deaths.note_fetched(&entry, replaced.as_ref(), self.clock.moment());
                self.store.put(key, Slot::Customer(Arc::clone(&entry)));
                return FetchOutcome::Customer { entry, stored: true };
            }
            FetchOutcome::Shared { entry, .. } => {
                self.failures.note_success(key);
                self.store.put(key, Slot::Customer(Arc::clone(&entry)));
                return FetchOutcome::Shared { entry, stored: true };
            }
            FetchOutcome::Limited(value) => {
                let is_needed =
                    self.store.get(key).is_none_or(|it| it.is_expired(self.clock.moment()));
                if let Some(entry) = value.as_ref().filter(|_| is_needed) {
                    self.store.put(key, Slot::Customer(Arc::clone(entry)));
                }
                return FetchOutcome::Limited(value);
            }
            FetchOutcome::Failed(JuspayError::CustomerNotFound) => {
                self.failures.note_success(key);
                self.store.put(key, Slot::NotFound { until: now.plus(self.not_found_ttl) });
            }
            FetchOutcome::Tokenless { .. }
            | FetchOutcome::Failed(_)
            | FetchOutcome::Fallback { .. } => {
                if let FetchOutcome::Fallback { entry, .. } = &outcome {
                    self.store.put(key, Slot::Customer(Arc::clone(entry)));
                }
                let lacks_only_token = matches!(outcome, FetchOutcome::Tokenless { .. });
                if let Some(error) = outcome.failure() {
                    if error.is_about_missing_customer() {
                        self.store.remove(key);
                    }
                    let failure = Failure { error, lacks_only_token };
                    self.failures.note(key, failure, recoveries, now);
                }
                self.store.note_failure(key, now);
            }
        }
        outcome
    }
}

impl FetchOutcome {
    pub(super) fn failure(&self) -> Option<JuspayError> {
        match self {
            Self::Customer { .. } | Self::Shared { .. } | Self::Limited(_) => None,
            Self::Tokenless { why, .. } => Some((*why).into()),
            Self::Failed(error) | Self::Fallback { failure: error, .. } => Some(error.clone()),
        }
    }
}

/// Why a token's life is too short.
fn too_short(policy: &LifetimePolicy, report: &ReportedExpiry) -> InvalidResponse {
    match report.lost_to_clock_skew(policy) {
        Some(seconds) => InvalidResponse::ClockAhead(seconds),
        None => InvalidResponse::TooShortLived,
    }
}

/// Ends the span of a fetch before the waiting requests get the outcome.
fn end_span(span: &Span, outcome: &FetchOutcome) {
    let failure = outcome.failure();
    let success = match outcome {
        FetchOutcome::Shared { .. } => "shared",
        FetchOutcome::Limited(_) => "limited",
        FetchOutcome::Customer { .. }
        | FetchOutcome::Tokenless { .. }
        | FetchOutcome::Fallback { .. }
        | FetchOutcome::Failed(_) => "success",
    };
    let failure = failure.as_ref();
    span.set("juspay_bff.fetch.outcome", failure.map_or(success, JuspayError::outcome));
    if let Some(failure) = failure.filter(|why| **why != JuspayError::CustomerNotFound) {
        span.fail(failure.outcome());
    }
    span.end();
}

/// Logs that a missing customer was created, with the request that caused it.
fn log_creation(requester: Option<&dyn Requester>) {
    tracing::info!(
        request_id = requester.map(Requester::request_id),
        customer_ref = requester.and_then(Requester::customer_ref).map(tracing::field::display),
        "customer created at Juspay"
    );
}

/// Logs a failed call with the request that started it. Failures that the Juspay client logs, and
/// unknown customers, are skipped.
fn log_failure(failure: &JuspayError, requester: Option<&dyn Requester>) {
    let is_skipped = matches!(
        failure,
        JuspayError::CustomerNotFound
            | JuspayError::RejectedCredentials(_)
            | JuspayError::RejectedOrigin(_)
            | JuspayError::BreakerOpen(_)
    );
    if let JuspayError::NotCreated(why) = failure {
        tracing::warn!(
            cause = failure.cause(),
            request_id = requester.map(Requester::request_id),
            customer_ref = requester.and_then(Requester::customer_ref).map(tracing::field::display),
            "customer not created: {why}"
        );
    } else if !is_skipped {
        tracing::warn!(
            outcome = failure.outcome(),
            cause = failure.cause(),
            request_id = requester.map(Requester::request_id),
            customer_ref = requester.and_then(Requester::customer_ref).map(tracing::field::display),
            "call to Juspay failed: {failure}"
        );
    }
}
