//! Fetches a customer from Juspay, validates the response and stores it.

use std::{
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::{
    Lookup, Requester,
    backoff::{Failure, Failures},
    lifetime::{Lifetime, LifetimePolicy, ReportedExpiry},
    store::{Entry, Slot, Store},
};
use crate::{
    clock::{self, Clock, Moment},
    customer::{ClientAuth, CustomerJson, CustomerKey, FieldSet},
    juspay::{
        CustomerApi, CustomerResponse, GetCustomer, InvalidResponse, JuspayError,
        clock_skew::ClockSkew,
    },
    metrics::Metrics,
    settings,
    single_flight::{Leader, SingleFlight},
    traces::{Kind, Span},
};

/// Fetches customers, and has the state that a fetch changes.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) store: Store,
    pub(super) fetches: SingleFlight<CustomerKey, FetchOutcome>,
    pub(super) failures: Failures,
    policy: LifetimePolicy,
    fields: FieldSet,
    not_found_ttl: Duration,
    deadline: Duration,
    clock: Arc<dyn Clock>,
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
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            store: Store::new(settings.cache.capacity, metrics),
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

    /// Fetches the customer and finishes the computation. Returns the failure, if it failed.
    pub(super) fn fetch(
        self: Arc<Self>,
        leader: Leader<CustomerKey, FetchOutcome>,
        lookup: Lookup,
        api: Rc<dyn CustomerApi>,
    ) -> impl Future<Output = Option<JuspayError>> {
        let span = lookup.trace.begin("fetch customer", Kind::Internal);
        leader.set_span(span.place());
        async move {
            leader.start().await;
            let requester = lookup.requester.clone();
            // Read first: an event during the fetch may end the cause of its failure.
            let recoveries = api.recoveries();
            let outcome = self.call(lookup.within(&span), &*api).await;
            let failure = outcome.failure();
            end_span(&span, failure.as_ref());
            if let Some(failure) = &failure {
                log_failure(failure, requester.as_deref());
            }
            leader.finish(
                |key, may_store| {
                    if may_store { self.store(key, outcome, recoveries) } else { outcome }
                },
            );
            failure
        }
    }

    async fn call(&self, lookup: Lookup, api: &dyn CustomerApi) -> FetchOutcome {
        let sent = self.clock.moment();
        let deadline = sent.monotonic.plus(self.deadline);
        let Lookup { customer, traceparent, trace, .. } = lookup;
        let request = GetCustomer {
            customer,
            traceparent,
            trace,
            attempt: 1,
            deadline,
            call_deadline: deadline,
        };
        // The waiting requests get a panic as an error. Otherwise, each would repeat the fetch.
        let call = AssertUnwindSafe(async {
            match api.get_customer(request).await {
                Ok(response) => self.validate(&response, sent),
                Err(error) => FetchOutcome::Failed(error),
            }
        });
        match clock::timeout_at(&*self.clock, deadline, call.catch_unwind()).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_panic)) => FetchOutcome::Failed(JuspayError::Aborted),
            None => FetchOutcome::Failed(JuspayError::Timeout),
        }
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
                self.store.put(key, Slot::Customer(Arc::clone(&entry)));
                return FetchOutcome::Customer { entry, stored: true };
            }
            FetchOutcome::Failed(JuspayError::CustomerNotFound) => {
                self.failures.note_success(key);
                self.store.put(key, Slot::NotFound { until: now.plus(self.not_found_ttl) });
            }
            FetchOutcome::Tokenless { .. } | FetchOutcome::Failed(_) => {
                let lacks_only_token = matches!(outcome, FetchOutcome::Tokenless { .. });
                if let Some(error) = outcome.failure() {
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
    fn failure(&self) -> Option<JuspayError> {
        match self {
            Self::Customer { .. } => None,
            Self::Tokenless { why, .. } => Some((*why).into()),
            Self::Failed(error) => Some(error.clone()),
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
fn end_span(span: &Span, failure: Option<&JuspayError>) {
    span.set("juspay_bff.fetch.outcome", failure.map_or("success", JuspayError::outcome));
    if let Some(failure) = failure.filter(|why| **why != JuspayError::CustomerNotFound) {
        span.fail(failure.outcome());
    }
    span.end();
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
    if !is_skipped {
        tracing::warn!(
            outcome = failure.outcome(),
            cause = failure.cause(),
            request_id = requester.map(Requester::request_id),
            customer_ref = requester.and_then(Requester::customer_ref).map(tracing::field::display),
            "call to Juspay failed: {failure}"
        );
    }
}
