//! One question a token at a time, however many show it: the others wait for the same answer.
//!
//! A flight is a task that nobody's hanging up cancels, bounded in time; whatever ends it, its
//! [`Pilot`] takes it off the table. Calls are bounded, and so are the requests that wait for them,
//! each token's by a bound of its own. A request that comes after all tokens were forgotten doesn't
//! join a flight that began before.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use prometheus::{Histogram, IntCounterVec};
use tokio::sync::{Semaphore, watch};

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
};

/// Longest time from a question to its answer, with the wait for its turn.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// How long a caller is told to stay away when its token can't be asked about.
const RETRY: Duration = Duration::from_secs(1);

/// Calls at a time. An issuer that answers in 50 ms is asked about 1,280 tokens a second then.
const AT_A_TIME: usize = 64;

/// The outcomes of a question that was answered.
const ACTIVE: &str = "active";
const INACTIVE: &str = "inactive";

/// Where questions are put.
pub(super) struct Desk {
    line: Arc<Line>,
    table: Arc<Mutex<Table>>,
    waiting: FairLimit<Sha256>,
    /// Calls under way, of which each holds a permit.
    flights: Arc<Semaphore>,
}

/// What a flight needs of its own.
struct Line {
    issuer: Box<str>,
    asker: Arc<dyn Asker>,
    calls: Semaphore,
    clock: Arc<dyn Clock>,
    outcomes: IntCounterVec,
    duration: Histogram,
    /// Told once, not at each question.
    failing: AtomicBool,
}

/// An answer about a token that is active.
pub(in crate::auth) struct Told {
    pub(in crate::auth) introspected: Introspected,
    /// When the question was put.
    pub(in crate::auth) asked: Timestamp,
}

type Key = (Sha256, Epoch);
type Landing = Result<Arc<Told>, AuthError>;
type Table = HashMap<Key, watch::Receiver<Option<Landing>>>;

/// The duty to land a flight.
struct Pilot {
    table: Arc<Mutex<Table>>,
    key: Key,
    landing: watch::Sender<Option<Landing>>,
}

impl Desk {
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
        let line = Line {
            issuer: issuer.into(),
            asker,
            calls: Semaphore::new(AT_A_TIME),
            clock: Arc::clone(clock),
            outcomes: metrics.introspections.clone(),
            duration: metrics.introspection_duration.with_label_values(&[issuer]),
            failing: AtomicBool::new(false),
        };
        Self {
            line: Arc::new(line),
            table: Arc::default(),
            waiting: limits.fair(),
            flights: limits.introspections(),
        }
    }

    /// What the issuer says of the token. To be called where local tasks can be spawned.
    pub(super) async fn ask(&self, token: &Token<'_>, epoch: Epoch) -> Landing {
        let _permit = self.waiting.try_acquire(&token.digest)?;
        let mut flight = self.board(token, epoch)?;
        let landed = flight.wait_for(Option::is_some).await;
        // Without a landing the flight's worker has stopped.
        landed.ok().and_then(|landed| landed.clone()).unwrap_or(Err(UNAVAILABLE))
    }

    /// The same outside of the table, with the reason when there is no answer.
    pub(super) async fn probe(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        self.line.bounded(token).await
    }

    fn board(
        &self,
        token: &Token<'_>,
        epoch: Epoch,
    ) -> Result<watch::Receiver<Option<Landing>>, AuthError> {
        let key = (token.digest, epoch);
        let mut table = lock(&self.table);
        if let Some(flight) = table.get(&key) {
            return Ok(flight.clone());
        }
        let permit = Arc::clone(&self.flights).try_acquire_owned();
        let permit = permit.map_err(|_| AuthError::Overloaded)?;
        let (landing, flight) = watch::channel(None);
        table.insert(key, flight.clone());
        drop(table);
        let pilot = Pilot { table: Arc::clone(&self.table), key, landing };
        let line = Arc::clone(&self.line);
        let text: Box<str> = token.text.into();
        tokio::task::spawn_local(async move {
            let _permit = permit;
            pilot.land(line.answer(&text).await);
        });
        Ok(flight)
    }
}

/// Nothing can be said about the token.
pub(in crate::auth) const UNAVAILABLE: AuthError =
    AuthError::KeysUnavailable { retry_after: RETRY };

impl Line {
    /// Asks about a token, counts and times that, and says what comes of it.
    async fn answer(&self, token: &str) -> Landing {
        let asked = self.clock.now();
        let told = {
            let _timer = self.duration.start_timer();
            self.bounded(token).await
        };
        let outcome = match &told {
            Ok(Some(_)) => ACTIVE,
            Ok(None) => INACTIVE,
            Err(error) => error.outcome(),
        };
        self.outcomes.with_label_values(&[&*self.issuer, outcome]).inc();
        self.note(told.as_ref().err());
        match told {
            Ok(Some(introspected)) => Ok(Arc::new(Told { introspected, asked })),
            Ok(None) => Err(Reason::Inactive.into()),
            Err(_) => Err(UNAVAILABLE),
        }
    }

    async fn bounded(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        let deadline = self.clock.monotonic().plus(MAX_WAIT);
        // The client library may panic on what a server sends; those who wait must be answered.
        let exchange = AssertUnwindSafe(self.exchange(token)).catch_unwind();
        timeout_at(&*self.clock, deadline, exchange)
            .await
            .ok_or(AskError::Timeout)?
            .map_err(|_panic| AskError::Panicked)?
    }

    async fn exchange(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        // Never closed.
        let _call = self.calls.acquire().await.map_err(|_| AskError::Unreachable)?;
        let answer = self.asker.ask(token).await?;
        Introspected::parse(&answer).map_err(|_| AskError::Answer)
    }

    fn note(&self, error: Option<&AskError>) {
        let was_failing = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(issuer = &*self.issuer, %error, "token introspection failed");
            }
            None if was_failing => {
                tracing::info!(issuer = &*self.issuer, "token introspection works again");
            }
            Some(_) | None => {}
        }
    }
}

impl Pilot {
    fn land(self, landing: Landing) {
        self.landing.send_replace(Some(landing));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        lock(&self.table).remove(&self.key);
    }
}

/// A thread that panicked with the lock left the table whole: each change is a single one.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
