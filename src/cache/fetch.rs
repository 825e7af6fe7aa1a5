//! Through the door: Juspay is asked, its answer judged, and what is worth it put into memory.

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
    failures::{Failure, Failures},
    flight::{Flights, Pilot},
    lifetime::{Lifetime, LifetimePolicy, ReportedExpiry},
    store::{Entry, Slot, Store},
};
use crate::{
    clock::{self, Clock, Moment},
    customer::{ClientAuth, CustomerJson, CustomerKey, FieldSet},
    juspay::{
        CustomerApi, CustomerResponse, GetCustomer, InvalidResponse, JuspayError, skew::ClockSkew,
    },
    metrics::Metrics,
    settings,
    traces::{Kind, Span},
};

/// Memory, the door, and what is known about judging answers.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) store: Store,
    pub(super) flights: Flights<Landing>,
    pub(super) failures: Failures,
    policy: LifetimePolicy,
    fields: FieldSet,
    not_found_ttl: Duration,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    skew: ClockSkew,
    /// Told once that tokens live shorter than the settings are meant for.
    has_told_of_short_lives: AtomicBool,
}

/// What a flight brings to all who wait for it.
#[derive(Debug, Clone)]
pub(super) enum Landing {
    /// A customer with a good token.
    Customer { entry: Arc<Entry>, stored: bool },
    /// A customer whose token can't be used: good for those who want none.
    Tokenless { json: CustomerJson, why: InvalidResponse },
    /// Nothing.
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
            flights: Flights::default(),
            failures: Failures::default(),
            policy: LifetimePolicy::from(&settings.cache),
            fields: settings.response.fields.clone(),
            not_found_ttl: settings.cache.not_found_ttl,
            deadline: settings.juspay.deadline,
            clock,
            skew: ClockSkew::new(metrics.upstream.clock_skew.clone()),
            has_told_of_short_lives: AtomicBool::new(false),
        }
    }

    /// Asks Juspay and lands the flight, whatever happens. Gives the failure, if it was one.
    pub(super) fn fly(
        self: Arc<Self>,
        mut pilot: Pilot<Landing>,
        lookup: Lookup,
        api: Rc<dyn CustomerApi>,
    ) -> impl Future<Output = Option<JuspayError>> {
        let span = lookup.trace.begin("fetch customer", Kind::Internal);
        pilot.note_span(span.place());
        async move {
            pilot.take_off().await;
            let requester = lookup.requester.clone();
            // An event during the fetch may have ended the cause of its failure.
            let recoveries = api.recoveries();
            let landing = self.ask(lookup.within(&span), &*api).await;
            let failure = landing.failure();
            note(&span, failure.as_ref());
            if let Some(why) = &failure {
                tell(why, requester.as_deref());
            }
            pilot.land(
                |key, may_store| {
                    if may_store { self.keep(key, landing, recoveries) } else { landing }
                },
            );
            failure
        }
    }

    async fn ask(&self, lookup: Lookup, api: &dyn CustomerApi) -> Landing {
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
        // A panic is a bug of ours, but it must not leave those who wait without an answer, nor
        // have them ask again and again.
        let asked = AssertUnwindSafe(async {
            match api.get_customer(request).await {
                Ok(answer) => self.judge(&answer, sent),
                Err(error) => Landing::Failed(error),
            }
        });
        match clock::timeout_at(&*self.clock, deadline, asked.catch_unwind()).await {
            Some(Ok(landing)) => landing,
            Some(Err(_panic)) => Landing::Failed(JuspayError::Aborted),
            None => Landing::Failed(JuspayError::Timeout),
        }
    }

    /// Reads how long the answer's token may be handed out, and writes the phone's JSON.
    fn judge(&self, answer: &CustomerResponse, sent: Moment) -> Landing {
        let received = self.clock.now();
        if let Some(date) = answer.date {
            let skew = clock::skew(date, sent.wall, received);
            self.skew.record(skew, self.clock.monotonic());
        }
        match self.timed(answer, sent, received) {
            Ok((auth, lifetime)) => {
                let json = answer.customer.to_json(&self.fields, Some(&auth));
                let entry = Arc::new(Entry::new(json, lifetime, sent.monotonic));
                Landing::Customer { entry, stored: false }
            }
            Err(why) => {
                Landing::Tokenless { json: answer.customer.to_json(&self.fields, None), why }
            }
        }
    }

    /// The token with the expiry that phones are told, and its lifetime.
    fn timed(
        &self,
        answer: &CustomerResponse,
        sent: Moment,
        received: Timestamp,
    ) -> Result<(ClientAuth, Lifetime), InvalidResponse> {
        let auth = answer.auth.as_ref().map_err(|why| *why)?;
        let report = ReportedExpiry { expiry: auth.expiry, date: answer.date, sent, received };
        let lifetime = Lifetime::new(&self.policy, &report, rand::random())
            .ok_or_else(|| too_short(&self.policy, &report))?;
        if lifetime.has_reduced_floor(&self.policy)
            && !self.has_told_of_short_lives.swap(true, Ordering::Relaxed)
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

    /// Puts into memory what is worth it. A failure leaves there what was there, and is remembered.
    fn keep(&self, key: &CustomerKey, landing: Landing, recoveries: u64) -> Landing {
        let now = self.clock.monotonic();
        match landing {
            Landing::Customer { entry, .. } => {
                self.failures.note_success(key);
                self.store.put(key, Slot::Customer(Arc::clone(&entry)));
                return Landing::Customer { entry, stored: true };
            }
            Landing::Failed(JuspayError::CustomerNotFound) => {
                self.failures.note_success(key);
                self.store.put(key, Slot::NotFound { until: now.plus(self.not_found_ttl) });
            }
            Landing::Tokenless { .. } | Landing::Failed(_) => {
                let lacks_only_token = matches!(landing, Landing::Tokenless { .. });
                if let Some(error) = landing.failure() {
                    let failure = Failure { error, lacks_only_token };
                    self.failures.note(key, failure, recoveries, now);
                }
                self.store.note_failure(key, now);
            }
        }
        landing
    }
}

impl Landing {
    fn failure(&self) -> Option<JuspayError> {
        match self {
            Self::Customer { .. } => None,
            Self::Tokenless { why, .. } => Some((*why).into()),
            Self::Failed(error) => Some(error.clone()),
        }
    }
}

/// Why a token lives too short.
fn too_short(policy: &LifetimePolicy, report: &ReportedExpiry) -> InvalidResponse {
    match report.lost_to_clock_skew(policy) {
        Some(seconds) => InvalidResponse::ClockAhead(seconds),
        None => InvalidResponse::TooShortLived,
    }
}

/// Ends the span of a flight before those who waited for it are answered.
fn note(span: &Span, failure: Option<&JuspayError>) {
    span.set("juspay_bff.fetch.outcome", failure.map_or("success", JuspayError::outcome));
    if let Some(why) = failure.filter(|why| **why != JuspayError::CustomerNotFound) {
        span.fail(why.outcome());
    }
    span.end();
}

/// Logs a failure that nobody has logged yet and that is news, with the request that started the
/// fetch.
fn tell(failure: &JuspayError, requester: Option<&dyn Requester>) {
    let is_told_or_no_news = matches!(
        failure,
        JuspayError::CustomerNotFound
            | JuspayError::RejectedCredentials(_)
            | JuspayError::RejectedOrigin(_)
            | JuspayError::BreakerOpen(_)
    );
    if !is_told_or_no_news {
        tracing::warn!(
            outcome = failure.outcome(),
            cause = failure.cause(),
            request_id = requester.map(Requester::request_id),
            customer_ref = requester.and_then(Requester::customer_ref).map(tracing::field::display),
            "call to Juspay failed: {failure}"
        );
    }
}
