//! How Juspay is asked when it fails: a bound on calls, a breaker, tries within a budget, and one
//! deadline around all of it.
//!
//! Wraps the client of a worker; what it knows of Juspay's health is shared by all workers. Two
//! latches of their own keep a wrong key (401) or a blocked address (403) from being tried again
//! and again: neither is an outage, and neither opens the breaker.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Answer, CustomerApi, GetCustomer, JuspayError,
    breaker::{Breaker, Rules, State, Ticket},
    window::Window,
};
use crate::{
    clock::{self, Clock, Monotonic},
    metrics::Metrics,
    settings,
};

/// How long a rejected key or address isn't tried again. Shorter than an operator's patience.
const LATCHED_FOR: Duration = Duration::from_secs(5);

/// The first pause before another try; it doubles. A router's reload takes about so long.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// What retries are counted over, and how many there may be in it however few calls there are: a
/// lone call may be tried again.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_RESERVE: f64 = 3.0;

/// Longest `Retry-After` of Juspay's that is honoured for everyone.
const MAX_HOLD: Duration = Duration::from_secs(30);

/// What all workers know of Juspay's health.
#[derive(Debug)]
pub struct Resilience {
    settings: settings::Juspay,
    permits: Semaphore,
    breaker: Breaker,
    credentials: Breaker,
    origin: Breaker,
    budget: Mutex<Window>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
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
    credentials: Ticket,
    origin: Ticket,
}

impl Resilience {
    /// Health as good as can be.
    #[must_use]
    pub fn new(settings: settings::Juspay, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let settings::Breaker { failure_rate, window, min_calls, open_for } = settings.breaker;
        let resilience = Self {
            permits: Semaphore::new(settings.max_in_flight),
            breaker: Breaker::new(Rules { failure_rate, window, min_calls, open_for }),
            credentials: Breaker::latch(LATCHED_FOR),
            origin: Breaker::latch(LATCHED_FOR),
            budget: Mutex::new(Window::new(BUDGET_WINDOW)),
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

    fn admit(&self) -> Result<Admission, JuspayError> {
        let now = self.clock.monotonic();
        Ok(Admission {
            credentials: self
                .credentials
                .admit(now)
                .map_err(|_| JuspayError::RejectedCredentials)?,
            origin: self.origin.admit(now).map_err(|_| JuspayError::RejectedOrigin)?,
            breaker: self.breaker.admit(now).map_err(JuspayError::BreakerOpen)?,
        })
    }

    /// Learns from the end of a try.
    fn learn(&self, admission: Admission, answer: &Result<Answer, JuspayError>) {
        let now = self.clock.monotonic();
        let error = answer.as_ref().err();
        tell_latch(admission.credentials, now, error, &JuspayError::RejectedCredentials);
        tell_latch(admission.origin, now, error, &JuspayError::RejectedOrigin);
        let outage = error.filter(|error| error.is_outage());
        let changed = admission.breaker.ended(now, outage.is_some());
        // An error that isn't an outage may be about one customer: that holds nobody else up.
        let hold = outage.and_then(JuspayError::retry_after).filter(|wait| !wait.is_zero());
        let is_held = hold.is_some_and(|wait| self.breaker.hold(now.plus(wait.min(MAX_HOLD))));
        let changed = if is_held { Some(State::Open) } else { changed };
        match changed {
            Some(State::Open) => tracing::warn!(
                asked_to_wait = hold.map(tracing::field::debug),
                "breaker open: Juspay isn't asked for a while"
            ),
            Some(State::Closed) => tracing::info!("breaker closed: Juspay is asked again"),
            Some(State::HalfOpen) | None => {}
        }
        if let Some(state) = changed {
            self.tell(state);
        }
    }

    fn count_call(&self) {
        self.budget().count(self.clock.monotonic(), false);
    }

    /// When the call may be tried again, if that is of use, in time and within the budget, which
    /// it is charged to.
    fn next_try(
        &self,
        error: &JuspayError,
        backoff: Duration,
        deadline: Monotonic,
    ) -> Option<Monotonic> {
        let now = self.clock.monotonic();
        let wait = error.retry_after().unwrap_or_default().max(jittered(backoff));
        let next = now.plus(wait);
        (error.is_worth_another_try() && next < deadline && self.spend_retry(now)).then_some(next)
    }

    /// Whether the budget has a retry left; if so, it is spent.
    fn spend_retry(&self, now: Monotonic) -> bool {
        let mut budget = self.budget();
        let total = budget.total(now);
        let calls = f64::from(total.all.saturating_sub(total.marked));
        let share = self.settings.retry_budget;
        let allowed = if share > 0.0 { share * calls + BUDGET_RESERVE } else { 0.0 };
        let may = f64::from(total.marked) + 1.0 <= allowed;
        if may {
            budget.count(now, true);
        }
        may
    }

    fn budget(&self) -> MutexGuard<'_, Window> {
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
        let _permit = if let Ok(free) = shared.permits.try_acquire() {
            free
        } else {
            // Refused already? Then not even a place is waited for.
            drop(shared.admit()?);
            shared.permit(request.deadline).await?
        };
        let mut admission = shared.admit()?;
        shared.count_call();
        let mut backoff = FIRST_BACKOFF;
        let mut retries_left = shared.settings.max_retries;
        loop {
            let answer = self.try_once(&request, admission).await;
            let Err(error) = &answer else { return answer };
            if retries_left == 0 {
                return answer;
            }
            let Some(next) = shared.next_try(error, backoff, request.deadline) else {
                return answer;
            };
            tracing::debug!(outcome = error.outcome(), "another try soon: {error}");
            shared.clock.sleep_until(next).await;
            admission = shared.admit()?;
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
}

/// Tells a latch how a call ended, if that says anything about what the latch is for: a timeout
/// doesn't say whether the key is right.
fn tell_latch(
    ticket: Ticket,
    now: Monotonic,
    error: Option<&JuspayError>,
    rejection: &JuspayError,
) {
    if error == Some(rejection) {
        ticket.ended(now, true);
    } else if error.is_none_or(JuspayError::shows_that_we_are_let_in) {
        ticket.ended(now, false);
    }
}

/// From half of `pause` to all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests;
