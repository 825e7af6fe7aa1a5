//! Asks the issuer about a token, once at a time for each token: further requests with it wait for
//! the same response.
//!
//! Calls are limited in number and time, and so are the requests that wait for them. A request that
//! arrives after the token cache was cleared joins no call that began before.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use prometheus::{Histogram, IntCounterVec};
use tokio::sync::Semaphore;

use super::{
    super::{
        credentials::Token,
        digest::Sha256,
        error::{AuthError, Reason},
        jwt::Introspected,
        token_cache::Epoch,
    },
    ask::{AskError, Asker},
};
use crate::{
    clock::{Clock, timeout_at},
    concurrency::{FairLimit, Limits},
    metrics::{self, Series as _},
    single_flight::{Join, SingleFlight},
};

/// Limit on the time of a call, including the wait for [`MAX_CALLS`].
const MAX_WAIT: Duration = Duration::from_secs(2);

/// `Retry-After` of the error if the issuer can't be asked.
const RETRY: Duration = Duration::from_secs(1);

/// Limit on concurrent calls. An issuer that responds in 50 ms gets 1,280 calls per second.
const MAX_CALLS: usize = 64;

/// The outcomes of a call with a valid response.
const ACTIVE: &str = "active";
const INACTIVE: &str = "inactive";

/// Introspects tokens at an issuer.
pub(super) struct IntrospectionClient {
    issuer: Arc<Issuer>,
    running: SingleFlight<(Sha256, Epoch), Outcome>,
    waiting: FairLimit<Sha256>,
    /// Limits running and waiting calls.
    permits: Arc<Semaphore>,
}

/// What a call needs.
struct Issuer {
    name: Box<str>,
    asker: Arc<dyn Asker>,
    calls: Semaphore,
    clock: Arc<dyn Clock>,
    outcomes: IntCounterVec,
    duration: Histogram,
    /// The failure was logged.
    failing: AtomicBool,
}

/// A response about an active token.
pub(in crate::auth) struct IntrospectionResponse {
    pub(in crate::auth) introspected: Introspected,
    /// When the request was sent.
    pub(in crate::auth) asked: Timestamp,
}

type Outcome = Result<Arc<IntrospectionResponse>, AuthError>;

impl IntrospectionClient {
    pub(super) fn new(
        issuer: &str,
        asker: Arc<dyn Asker>,
        limits: &Limits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        for outcome in AskError::OUTCOMES.iter().chain(&[ACTIVE, INACTIVE]) {
            metrics.introspections.create(&[issuer, outcome]);
        }
        let issuer = Issuer {
            name: issuer.into(),
            asker,
            calls: Semaphore::new(MAX_CALLS),
            clock: Arc::clone(clock),
            outcomes: metrics.introspections.clone(),
            duration: metrics.introspection_duration.with_label_values(&[issuer]),
            failing: AtomicBool::new(false),
        };
        Self {
            issuer: Arc::new(issuer),
            running: SingleFlight::default(),
            waiting: limits.fair(),
            permits: limits.introspections(),
        }
    }

    /// Joins or starts a call about the token. Must run where local tasks can be spawned.
    pub(super) async fn introspect(&self, token: &Token<'_>, epoch: Epoch) -> Outcome {
        let _permit = self.waiting.try_acquire(&token.digest)?;
        let permit = || Arc::clone(&self.permits).try_acquire_owned();
        let joined = self.running.join(&(token.digest, epoch), permit);
        let waiter = match joined.map_err(|_| AuthError::Overloaded)? {
            Join::Waiter(waiter) => waiter,
            Join::Leader(leader, permit) => {
                let waiter = leader.waiter();
                let issuer = Arc::clone(&self.issuer);
                let text = Box::<str>::from(token.text);
                tokio::task::spawn_local(async move {
                    let _permit = permit;
                    let outcome = issuer.introspect(&text).await;
                    leader.finish(|_, _| outcome);
                });
                waiter
            }
        };
        // Without an outcome, the worker that called has stopped.
        waiter.outcome().await.unwrap_or(Err(UNAVAILABLE))
    }

    /// One call for an operator, with the reason if it fails.
    pub(super) async fn probe(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        self.issuer.call(token).await
    }
}

/// The issuer can't be asked.
pub(in crate::auth) const UNAVAILABLE: AuthError =
    AuthError::KeysUnavailable { retry_after: RETRY };

impl Issuer {
    /// Calls the issuer, and counts, times and logs the call.
    async fn introspect(&self, token: &str) -> Outcome {
        let asked = self.clock.now();
        let result = {
            let _timer = self.duration.start_timer();
            self.call(token).await
        };
        let outcome = match &result {
            Ok(Some(_)) => ACTIVE,
            Ok(None) => INACTIVE,
            Err(error) => error.outcome(),
        };
        self.outcomes.with_label_values(&[&*self.name, outcome]).inc();
        self.log(result.as_ref().err());
        match result {
            Ok(Some(introspected)) => Ok(Arc::new(IntrospectionResponse { introspected, asked })),
            Ok(None) => Err(Reason::Inactive.into()),
            Err(_) => Err(UNAVAILABLE),
        }
    }

    async fn call(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        let deadline = self.clock.monotonic().plus(MAX_WAIT);
        // The HTTP library may panic on a response. The waiting requests get that as an error.
        let exchange = AssertUnwindSafe(self.exchange(token)).catch_unwind();
        timeout_at(&*self.clock, deadline, exchange)
            .await
            .ok_or(AskError::Timeout)?
            .map_err(|_panic| AskError::Panicked)?
    }

    async fn exchange(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        // The semaphore is never closed.
        let _call = self.calls.acquire().await.map_err(|_| AskError::Unreachable)?;
        let answer = self.asker.ask(token).await?;
        Introspected::parse(&answer).map_err(|_| AskError::Answer)
    }

    /// Logs when the calls begin to fail, and when they succeed again.
    fn log(&self, error: Option<&AskError>) {
        let was_failing = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(issuer = &*self.name, %error, "token introspection failed");
            }
            None if was_failing => {
                tracing::info!(issuer = &*self.name, "token introspection works again");
            }
            Some(_) | None => {}
        }
    }
}
