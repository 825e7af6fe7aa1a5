//! How Juspay is called when it fails: a bound on calls, a breaker, retries within a budget, and one
//! deadline around all of it.
//!
//! Wraps the client of a worker; what it knows of Juspay's health is shared by all workers. A hold
//! keeps a wrong key (401) or a blocked address (403) from being tried again and again: neither is an
//! outage, and neither opens the breaker. Breaker, hold and budget count different customers, so
//! that one customer's failures never affect another's calls; the cache remembers each customer's
//! failures.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Answer, CustomerApi, GetCustomer, JuspayError,
    breaker::{Breaker, CallEnd, Rules, State, Ticket},
    hold::{Change, Hold, Pass},
    window::{CustomerHash, CustomerHasher, CustomerWindow, Window},
};
use crate::{
    clock::{self, Clock, Monotonic},
    customer::CustomerId,
    metrics::Metrics,
    settings,
};

/// The first pause before another try; it doubles. A router's reload takes about so long.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// What retries are counted over, and how many there may be in it however few calls there are: a
/// lone call may be tried again.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_RESERVE: f64 = 3.0;

/// Longest `Retry-After` of Juspay that is honored for all customers.
const MAX_HOLD: Duration = Duration::from_secs(30);

/// What all workers know of Juspay's health.
#[derive(Debug)]
pub struct Resilience {
    settings: settings::Juspay,
    permits: Semaphore,
    breaker: Breaker,
    /// How often the breaker has closed.
    recoveries: AtomicU64,
    hold: Hold,
    budget: Mutex<Budget>,
    hasher: CustomerHasher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Calls and retries of the last seconds.
#[derive(Debug)]
struct Budget {
    /// Retries are marked.
    calls: Window,
    /// Customers with a call that was retried. One such call each, so that one customer can't use up
    /// the retries of all.
    retried: CustomerWindow,
}

/// A worker's client, with care.
#[derive(Debug, Clone)]
pub struct Resilient {
    shared: Arc<Resilience>,
    inner: Rc<dyn CustomerApi>,
}

/// Permission for one try from each that can refuse it.
struct Admission {
    breaker: Ticket,
    hold: Pass,
}

impl Resilience {
    /// Health as good as can be.
    #[must_use]
    pub fn new(settings: settings::Juspay, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let settings::Breaker { failure_rate, window, min_calls, open_for } = settings.breaker;
        let resilience = Self {
            permits: Semaphore::new(settings.max_in_flight),
            breaker: Breaker::new(Rules { failure_rate, window, min_calls, open_for }),
            recoveries: AtomicU64::default(),
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
        resilience.tell(State::Closed);
        resilience
    }

    /// Shows the breaker's state, which time alone may have changed.
    pub fn refresh_metrics(&self) {
        self.tell(self.breaker.state(self.clock.monotonic()));
    }

    fn tell(&self, state: State) {
        for (name, each) in
            [("closed", State::Closed), ("open", State::Open), ("half_open", State::HalfOpen)]
        {
            let gauge = self.metrics.upstream.breaker_state.with_label_values(&[name]);
            gauge.set(i64::from(each == state));
        }
    }

    /// Forgets what is held against one customer, or against the API key and this service's address.
    pub fn forget_rejections(&self, customer: Option<&CustomerId>) {
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

    /// Learns from the end of a try.
    fn learn(&self, admission: Admission, answer: &Result<Answer, JuspayError>) {
        let now = self.clock.monotonic();
        let error = answer.as_ref().err();
        match admission.hold.ended(now, error) {
            Some(Change::Started) => tracing::warn!(
                "Juspay rejected calls for different customers; limiting calls to one at a time"
            ),
            Some(Change::Ended) => {
                tracing::info!("Juspay accepts calls again; no longer limiting calls");
            }
            None => {}
        }
        let outage = error.filter(|error| error.is_outage());
        let asked_to_wait = outage
            .and_then(JuspayError::retry_after)
            .map(|wait| wait.min(MAX_HOLD))
            .filter(|wait| !wait.is_zero());
        let end = outage.map_or(CallEnd::Healthy, |_| CallEnd::Outage(asked_to_wait));
        let customer = admission.breaker.customer();
        // Only a rate limit may be about all customers, unless it is met again by a customer whose calls
        // failed before.
        let is_limit = matches!(error, Some(JuspayError::TooManyRequests(_)))
            && !admission.breaker.is_suspects();
        let changed = admission.breaker.ended(now, end);
        let limit = asked_to_wait.filter(|_| is_limit).map(|wait| now.plus(wait));
        let is_held = limit.is_some_and(|until| self.breaker.rate_limited(customer, now, until));
        self.changed(if is_held { Some(State::Open) } else { changed }, asked_to_wait);
    }

    /// Reports another state of the breaker.
    fn changed(&self, state: Option<State>, asked_to_wait: Option<Duration>) {
        match state {
            Some(State::Open) => tracing::warn!(
                asked_to_wait = asked_to_wait.map(tracing::field::debug),
                "circuit breaker opened; not calling Juspay"
            ),
            Some(State::Closed) => {
                self.recoveries.fetch_add(1, Ordering::Relaxed);
                tracing::info!("circuit breaker closed; calling Juspay again");
            }
            Some(State::HalfOpen) | None => {}
        }
        if let Some(state) = state {
            self.tell(state);
        }
    }

    fn count_call(&self) {
        self.budget().calls.count(self.clock.monotonic(), false);
    }

    /// When the call may be tried again, if that is of use, in time and within the budget, which
    /// it is charged to.
    fn next_try(
        &self,
        error: &JuspayError,
        backoff: Duration,
        request: &GetCustomer,
    ) -> Option<Monotonic> {
        let now = self.clock.monotonic();
        let wait = error.retry_after().unwrap_or_default().max(clock::jittered(backoff));
        let next = now.plus(wait);
        let is_of_use = error.is_worth_another_try() && next < request.deadline;
        (is_of_use && self.spend_retry(request, now)).then_some(next)
    }

    /// Whether the budget has a retry left for the call; if so, it is spent.
    fn spend_retry(&self, request: &GetCustomer, now: Monotonic) -> bool {
        let customer = self.hasher.hash(&request.customer);
        let mut budget = self.budget();
        let total = budget.calls.total(now);
        let calls = f64::from(total.all.saturating_sub(total.marked));
        let share = self.settings.retry_budget;
        let allowed = if share > 0.0 { share * calls + BUDGET_RESERVE } else { 0.0 };
        let is_same_call = request.attempt > 1;
        let may = f64::from(total.marked) + 1.0 <= allowed
            && (is_same_call || !budget.retried.contains(customer, now));
        if may {
            budget.calls.count(now, true);
            budget.retried.count(customer, now, true);
        }
        may
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the calls under way, waited for half of the time at most: what comes later
    /// would only time out.
    async fn permit(&self, deadline: Monotonic) -> Result<SemaphorePermit<'_>, JuspayError> {
        let now = self.clock.monotonic();
        let half = deadline.since(now).checked_div(2).unwrap_or_default();
        clock::before(&*self.clock, now.plus(half), self.permits.acquire())
            .await
            .and_then(Result::ok)
            .ok_or(JuspayError::Saturated)
    }
}

impl Resilient {
    /// A worker's client with what all workers know.
    #[must_use]
    pub fn new(shared: Arc<Resilience>, inner: Rc<dyn CustomerApi>) -> Self {
        Self { shared, inner }
    }

    async fn call(self, mut request: GetCustomer) -> Result<Answer, JuspayError> {
        let shared = &*self.shared;
        let customer = shared.hasher.hash(&request.customer);
        shared.hold.note_key_changes(self.inner.recoveries());
        let _permit = if let Ok(free) = shared.permits.try_acquire() {
            free
        } else {
            // Refused already? Then not even a place is waited for.
            drop(shared.admit(customer)?);
            shared.permit(request.deadline).await?
        };
        let mut admission = shared.admit(customer)?;
        shared.count_call();
        let mut backoff = FIRST_BACKOFF;
        let mut retries_left = shared.settings.max_retries;
        loop {
            let answer = self.try_once(&request, admission).await;
            let Err(error) = &answer else { return answer };
            if retries_left == 0 {
                return answer;
            }
            let Some(next) = shared.next_try(error, backoff, &request) else {
                return answer;
            };
            tracing::debug!(outcome = error.outcome(), "retrying the call to Juspay: {error}");
            shared.clock.sleep_until(next).await;
            admission = shared.admit(customer)?;
            shared.metrics.upstream.retries.inc();
            retries_left = retries_left.saturating_sub(1);
            request.attempt = request.attempt.saturating_add(1);
            backoff = backoff.saturating_mul(2);
        }
    }

    async fn try_once(
        &self,
        request: &GetCustomer,
        admission: Admission,
    ) -> Result<Answer, JuspayError> {
        let shared = &*self.shared;
        let end = shared.clock.monotonic().plus(shared.settings.try_timeout);
        let deadline = end.min(request.deadline);
        let mut attempt = Attempt { shared, admission: Some(admission), deadline };
        let answer = self.inner.get_customer(GetCustomer { deadline, ..request.clone() }).await;
        attempt.ended(&answer);
        answer
    }
}

/// A try under way.
struct Attempt<'r> {
    shared: &'r Resilience,
    admission: Option<Admission>,
    deadline: Monotonic,
}

impl Attempt<'_> {
    fn ended(&mut self, answer: &Result<Answer, JuspayError>) {
        if let Some(admission) = self.admission.take() {
            self.shared.learn(admission, answer);
        }
    }
}

/// Whoever asked has a timer of its own for the same deadline. Where that one is first, it was a
/// timeout all the same; given up before, the try was never made.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.admission.is_some() && self.shared.clock.monotonic() >= self.deadline {
            self.ended(&Err(JuspayError::Timeout));
        }
    }
}

impl CustomerApi for Resilient {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<Answer, JuspayError>> {
        Box::pin(self.clone().call(request))
    }

    fn recoveries(&self) -> u64 {
        self.shared.recoveries.load(Ordering::Relaxed).wrapping_add(self.inner.recoveries())
    }
}

#[cfg(test)]
mod tests;
