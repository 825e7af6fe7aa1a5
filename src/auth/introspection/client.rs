//! Introspects tokens, with one call at a time for each token: concurrent requests with it share the call.
//!
//! The calls, their duration, and the requests that wait for them are limited. A request that arrives
//! after the token cache was cleared joins no call that began before.

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
    },
    endpoint::{IntrospectionEndpoint, IntrospectionError},
};
use crate::{
    clock::{Clock, timeout_at},
    concurrency::{FairLimit, Limits},
    metrics::{self, Series as _},
    secret_file::Secret,
    single_flight::{Join, SingleFlight},
};

/// Maximum duration of a call, including the wait for a permit (see [`MAX_CALLS`]).
const MAX_WAIT: Duration = Duration::from_secs(2);

/// `Retry-After` if introspection fails.
const RETRY: Duration = Duration::from_secs(1);

/// Maximum number of concurrent calls. An issuer that responds in 50 ms gets 1,280 calls per second.
const MAX_CALLS: usize = 64;

/// The outcomes of a call with a valid response.
const ACTIVE: &str = "active";
const INACTIVE: &str = "inactive";

/// Introspects tokens at an issuer.
pub(super) struct IntrospectionClient {
    issuer: Arc<Issuer>,
    running: SingleFlight<Sha256, Outcome>,
    waiting: FairLimit<Sha256>,
    /// Limits running and waiting calls.
    permits: Arc<Semaphore>,
}

/// The issuer, shared by all calls.
struct Issuer {
    name: Box<str>,
    endpoint: Arc<dyn IntrospectionEndpoint>,
    calls: Semaphore,
    clock: Arc<dyn Clock>,
    outcomes: IntCounterVec,
    duration: Histogram,
    /// Whether the last call failed. Only changes are logged.
    is_failing: AtomicBool,
}

/// A response about an active token.
pub(in crate::auth) struct IntrospectionResponse {
    pub(in crate::auth) introspected: Introspected,
    /// When the call began.
    pub(in crate::auth) requested_at: Timestamp,
}

type Outcome = Result<Arc<IntrospectionResponse>, AuthError>;

impl IntrospectionClient {
    pub(super) fn new(
        issuer: &str,
        endpoint: Arc<dyn IntrospectionEndpoint>,
        limits: &Limits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        for outcome in IntrospectionError::OUTCOMES.iter().chain(&[ACTIVE, INACTIVE]) {
            metrics.introspections.create(&[issuer, outcome]);
        }
        let issuer = Issuer {
            name: issuer.into(),
            endpoint,
            calls: Semaphore::new(MAX_CALLS),
            clock: Arc::clone(clock),
            outcomes: metrics.introspections.clone(),
            duration: metrics.introspection_duration.with_label_values(&[issuer]),
            is_failing: AtomicBool::new(false),
        };
        Self {
            issuer: Arc::new(issuer),
            running: SingleFlight::default(),
            waiting: limits.fair(),
            permits: limits.introspections(),
        }
    }

    /// Joins or starts a call for the token. Must run where local tasks can be spawned.
    pub(super) async fn introspect(&self, token: &Token<'_>) -> Outcome {
        let _permit = self.waiting.try_acquire(&token.digest)?;
        let permit = || Arc::clone(&self.permits).try_acquire_owned();
        let joined = self.running.join(&token.digest, permit);
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
        // There is no outcome if the worker that made the call has stopped.
        waiter.outcome().await.unwrap_or(Err(UNAVAILABLE))
    }

    /// The secret that authenticates this service to the issuer.
    pub(super) fn secret(&self) -> Option<Arc<Secret>> {
        self.issuer.endpoint.secret()
    }

    /// Makes one call for an operator. Returns the reason if it fails.
    pub(super) async fn probe(
        &self,
        token: &str,
    ) -> Result<Option<Introspected>, IntrospectionError> {
        self.issuer.call(token).await
    }
}

/// The error if introspection fails.
pub(in crate::auth) const UNAVAILABLE: AuthError =
    AuthError::KeysUnavailable { retry_after: RETRY };

impl Issuer {
    /// Makes a call. Counts, times and logs it.
    async fn introspect(&self, token: &str) -> Outcome {
        let requested_at = self.clock.now();
        let start = self.clock.monotonic();
        let result = self.call(token).await;
        self.duration.observe(self.clock.monotonic().since(start).as_secs_f64());
        let outcome = match &result {
            Ok(Some(_)) => ACTIVE,
            Ok(None) => INACTIVE,
            Err(error) => error.outcome(),
        };
        self.outcomes.with_label_values(&[&*self.name, outcome]).inc();
        self.log(result.as_ref().err());
        match result {
            Ok(Some(introspected)) => {
                Ok(Arc::new(IntrospectionResponse { introspected, requested_at }))
            }
            Ok(None) => Err(Reason::Inactive.into()),
            Err(_) => Err(UNAVAILABLE),
        }
    }

    async fn call(&self, token: &str) -> Result<Option<Introspected>, IntrospectionError> {
        let deadline = self.clock.monotonic().plus(MAX_WAIT);
        // The HTTP library may panic on a response.
        let exchange = AssertUnwindSafe(self.exchange(token)).catch_unwind();
        timeout_at(&*self.clock, deadline, exchange)
            .await
            .ok_or(IntrospectionError::Timeout)?
            .map_err(|_panic| IntrospectionError::Panicked)?
    }

    async fn exchange(&self, token: &str) -> Result<Option<Introspected>, IntrospectionError> {
        // Never an error: the semaphore is not closed.
        let _call = self.calls.acquire().await.map_err(|_| IntrospectionError::Unreachable)?;
        let body = self.endpoint.introspect(token).await?;
        Introspected::parse(&body).map_err(|_| IntrospectionError::InvalidResponse)
    }

    /// Logs the first failure, and the first success after failures.
    fn log(&self, error: Option<&IntrospectionError>) {
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
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
