//! Wraps a worker's client with a concurrency limit, a circuit breaker, a hold, and retries within a
//! budget. All of it ends by the deadline that the caller's request contains. Only Get Customer is retried.
//!
//! All workers share this state. After a wrong key (401) or a blocked address (403), the hold stops
//! calls; neither counts as an outage or opens the breaker. Breaker, hold and retry budget count
//! different customers, so that one customer's failures never affect other customers' calls. Each
//! customer's failures are remembered by the cache, not here.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::{
    CustomerApi, CustomerResponse, GetCustomer, JuspayError, Operation,
    breaker::{Breaker, BreakerPermit, BreakerRules, BreakerState, CallResult},
    hold::{Hold, HoldChange, HoldPermit},
    sliding_window::{CustomerHash, CustomerHasher, CustomerWindow, Window},
};
use crate::{
    clock::{self, Clock, Monotonic},
    customer::CustomerId,
    metrics::Metrics,
    settings,
};

/// The pause before the first retry; it doubles with each one. A router's reload takes about this
/// long.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// Window of the retry budget. [`BUDGET_RESERVE`] retries are allowed in it even with few calls, so
/// that a single call can be retried.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_RESERVE: f64 = 3.0;

/// Upper limit of a `Retry-After` from Juspay that applies to all customers.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Juspay's health, shared by all workers.
#[derive(Debug)]
pub struct Resilience {
    settings: settings::Juspay,
    permits: Semaphore,
    breaker: Breaker,
    /// How often the breaker has closed.
    recoveries: AtomicU64,
    hold: Hold,
    /// Until when Juspay's rate limit stops calls, as far as this process has met it.
    rate_limited_until: watch::Sender<Option<Monotonic>>,
    budget: Mutex<Budget>,
    hasher: CustomerHasher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Calls and retries in the window.
#[derive(Debug)]
struct Budget {
    /// Retries are marked.
    calls: Window,
    /// Customers with a retried call. Only one of a customer's calls is retried, so that one
    /// customer can't use up the budget.
    retried: CustomerWindow,
}

/// A worker's client, wrapped.
#[derive(Debug, Clone)]
pub struct ResilientClient {
    shared: Arc<Resilience>,
    inner: Rc<dyn CustomerApi>,
}

/// Permissions of the hold and the breaker for one attempt.
struct Admission {
    breaker: BreakerPermit,
    hold: HoldPermit,
}

impl Resilience {
    /// Starts with a closed breaker and no hold.
    #[must_use]
    pub fn new(settings: settings::Juspay, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let settings::Breaker { failure_rate, window, min_calls, open_for } = settings.breaker;
        let resilience = Self {
            permits: Semaphore::new(settings.max_in_flight),
            breaker: Breaker::new(BreakerRules { failure_rate, window, min_calls, open_for }),
            recoveries: AtomicU64::default(),
            rate_limited_until: watch::Sender::new(None),
            hold: Hold::default(),
            budget: Mutex::new(Budget {
                calls: Window::new(BUDGET_WINDOW),
                retried: CustomerWindow::new(BUDGET_WINDOW),
            }),
            hasher: CustomerHasher::default(),
            settings,
            clock,
            metrics,
        };
        resilience.set_state_gauge(BreakerState::Closed);
        resilience
    }

    /// Updates the gauge of the breaker's state, which may change with time alone.
    pub fn refresh_metrics(&self) {
        self.set_state_gauge(self.breaker.state(self.clock.monotonic()));
    }

    fn set_state_gauge(&self, state: BreakerState) {
        for (name, each) in [
            ("closed", BreakerState::Closed),
            ("open", BreakerState::Open),
            ("half_open", BreakerState::HalfOpen),
        ] {
            let gauge = self.metrics.upstream.breaker_state.with_label_values(&[name]);
            gauge.set(i64::from(each == state));
        }
    }

    /// Receives the time until which Juspay's rate limit stops calls, each time it does.
    #[must_use]
    pub fn rate_limits(&self) -> watch::Receiver<Option<Monotonic>> {
        self.rate_limited_until.subscribe()
    }

    /// Stops calls because of the rate limit that another replica met.
    pub fn hold(&self, wait: Duration) {
        let wait = wait.min(MAX_RETRY_AFTER);
        if !wait.is_zero() && self.breaker.hold(self.clock.monotonic().plus(wait)) {
            self.report_state(Some(BreakerState::Open), Some(wait));
        }
    }

    /// Discards the rejections of one customer, or of the API key and this server's address.
    pub fn discard_rejections(&self, customer: Option<&CustomerId>) {
        match customer {
            Some(customer) => self.hold.forget(self.hasher.hash(customer)),
            None => self.hold.end(),
        }
    }

    fn admit(&self, customer: CustomerHash) -> Result<Admission, JuspayError> {
        let now = self.clock.monotonic();
        Ok(Admission {
            hold: self.hold.admit(customer, now)?,
            breaker: self.breaker.admit(customer, now).map_err(JuspayError::BreakerOpen)?,
        })
    }

    /// Records the result of an attempt.
    fn record_result(
        &self,
        admission: Admission,
        response: &Result<CustomerResponse, JuspayError>,
    ) {
        let now = self.clock.monotonic();
        let error = response.as_ref().err();
        match admission.hold.finish(now, error) {
            Some(HoldChange::Started) => tracing::warn!(
                "Juspay rejected calls (401 or 403) of several customers; sending one call at a time \
                 until Juspay accepts one; check the API key and Juspay's address allow-list \
                 (juspay-bff doctor)"
            ),
            Some(HoldChange::Ended) => {
                tracing::info!(
                    "Juspay accepts calls again after rejecting them (401 or 403); sending concurrent calls again"
                );
            }
            None => {}
        }
        let outage = error.filter(|error| error.is_outage());
        let asked_to_wait = outage
            .and_then(JuspayError::retry_after)
            .map(|wait| wait.min(MAX_RETRY_AFTER))
            .filter(|wait| !wait.is_zero());
        let end = outage.map_or(CallResult::Healthy, |_| CallResult::Outage(asked_to_wait));
        let customer = admission.breaker.customer();
        // Only a rate limit may apply to all customers, unless it was a probe of a suspect.
        let is_limit = matches!(error, Some(JuspayError::TooManyRequests(_)))
            && !admission.breaker.is_suspect_probe();
        let report_state = admission.breaker.finish(now, end);
        let limit = asked_to_wait.filter(|_| is_limit).map(|wait| now.plus(wait));
        let is_held = limit.is_some_and(|until| self.breaker.rate_limited(customer, now, until));
        if is_held {
            self.rate_limited_until.send_replace(limit);
        }
        self.report_state(
            if is_held { Some(BreakerState::Open) } else { report_state },
            asked_to_wait,
        );
    }

    /// Logs a changed state of the breaker and sets its gauge.
    fn report_state(&self, state: Option<BreakerState>, asked_to_wait: Option<Duration>) {
        match state {
            Some(BreakerState::Open) => tracing::warn!(
                asked_to_wait = asked_to_wait.map(tracing::field::debug),
                "circuit breaker opened; not calling Juspay"
            ),
            Some(BreakerState::Closed) => {
                self.recoveries.fetch_add(1, Ordering::Relaxed);
                tracing::info!("circuit breaker closed; calling Juspay again");
            }
            Some(BreakerState::HalfOpen) | None => {}
        }
        if let Some(state) = state {
            self.set_state_gauge(state);
        }
    }

    fn count_call(&self) {
        self.budget().calls.count(self.clock.monotonic(), false);
    }

    /// When to retry, or `None` if a retry can't help, would miss the deadline or exceeds the
    /// budget. A retry is charged to the budget.
    fn next_attempt(
        &self,
        error: &JuspayError,
        backoff: Duration,
        request: &GetCustomer,
    ) -> Option<Monotonic> {
        let now = self.clock.monotonic();
        let wait = error.retry_after().unwrap_or_default().max(clock::jittered(backoff));
        let next = now.plus(wait);
        let is_useful = error.is_retryable() && next < request.deadline;
        (is_useful && self.spend_retry(request, now)).then_some(next)
    }

    /// Charges a retry to the budget, if the budget allows it.
    fn spend_retry(&self, request: &GetCustomer, now: Monotonic) -> bool {
        let customer = self.hasher.hash(&request.customer);
        let mut budget = self.budget();
        let total = budget.calls.total(now);
        let calls = f64::from(total.all - total.marked);
        let share = self.settings.retry_budget;
        let allowed = if share > 0.0 { share * calls + BUDGET_RESERVE } else { 0.0 };
        let is_same_call = request.attempt > 1;
        let is_allowed = f64::from(total.marked) + 1.0 <= allowed
            && (is_same_call || !budget.retried.contains(customer, now));
        if is_allowed {
            budget.calls.count(now, true);
            budget.retried.count(customer, now, true);
        }
        is_allowed
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit of the concurrency limit, for at most half of the remaining time: a call
    /// that starts later would only time out.
    async fn wait_for_permit(
        &self,
        deadline: Monotonic,
    ) -> Result<SemaphorePermit<'_>, JuspayError> {
        let now = self.clock.monotonic();
        let half = deadline.since(now) / 2;
        clock::timeout_at(&*self.clock, now.plus(half), self.permits.acquire())
            .await
            .and_then(Result::ok)
            .ok_or(JuspayError::Saturated)
    }
}

impl ResilientClient {
    /// Wraps a worker's client.
    #[must_use]
    pub fn new(shared: Arc<Resilience>, inner: Rc<dyn CustomerApi>) -> Self {
        Self { shared, inner }
    }

    async fn call(
        self,
        mut request: GetCustomer,
        operation: Operation,
    ) -> Result<CustomerResponse, JuspayError> {
        let shared = &*self.shared;
        let customer = shared.hasher.hash(&request.customer);
        shared.hold.note_changes(self.inner.recoveries());
        let _permit = if let Ok(free) = shared.permits.try_acquire() {
            free
        } else {
            // A call that would be rejected doesn't wait for a permit.
            drop(shared.admit(customer)?);
            shared.wait_for_permit(request.deadline).await?
        };
        let mut admission = shared.admit(customer)?;
        shared.count_call();
        let mut backoff = FIRST_BACKOFF;
        let mut retries_left = match operation {
            Operation::Get => shared.settings.max_retries,
            Operation::Create => 0,
        };
        loop {
            let response = self.try_once(&request, operation, admission).await;
            let Err(error) = &response else { return response };
            if retries_left == 0 {
                return response;
            }
            let Some(next) = shared.next_attempt(error, backoff, &request) else {
                return response;
            };
            tracing::debug!(outcome = error.outcome(), "retrying the call to Juspay: {error}");
            shared.clock.sleep_until(next).await;
            admission = shared.admit(customer)?;
            shared.metrics.upstream.retries.inc();
            retries_left -= 1;
            request.attempt += 1;
            backoff = backoff.saturating_mul(2);
        }
    }

    async fn try_once(
        &self,
        request: &GetCustomer,
        operation: Operation,
        admission: Admission,
    ) -> Result<CustomerResponse, JuspayError> {
        let shared = &*self.shared;
        let end = shared.clock.monotonic().plus(shared.settings.try_timeout);
        let deadline = end.min(request.deadline);
        let mut attempt = Attempt { shared, admission: Some(admission), deadline };
        let request = GetCustomer { deadline, ..request.clone() };
        let response = match operation {
            Operation::Get => self.inner.get_customer(request).await,
            Operation::Create => self.inner.create_customer(request).await,
        };
        attempt.finish(&response);
        response
    }
}

/// An attempt in progress.
struct Attempt<'r> {
    shared: &'r Resilience,
    admission: Option<Admission>,
    deadline: Monotonic,
}

impl Attempt<'_> {
    fn finish(&mut self, response: &Result<CustomerResponse, JuspayError>) {
        if let Some(admission) = self.admission.take() {
            self.shared.record_result(admission, response);
        }
    }
}

/// The caller has its own timer for the same deadline. If it fires first, the attempt still counts
/// as timed out. An attempt dropped before its deadline counts as not made.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.admission.is_some() && self.shared.clock.monotonic() >= self.deadline {
            self.finish(&Err(JuspayError::Timeout));
        }
    }
}

impl CustomerApi for ResilientClient {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        Box::pin(self.clone().call(request, Operation::Get))
    }

    fn create_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        Box::pin(self.clone().call(request, Operation::Create))
    }

    fn recoveries(&self) -> u64 {
        self.shared.recoveries.load(Ordering::Relaxed).wrapping_add(self.inner.recoveries())
    }
}
