//! The current key set of an issuer, and lookups of keys that it does not have.
//!
//! Reads take no lock. The first request with an unknown `kid` starts a fetch, at most one per
//! cool-down for all requests. A token with an unknown `kid` is invalid in two cases:
//!
//! - A successful fetch that started after the request lacks the `kid`.
//! - Within the cool-down, the token's `iat` is older than the last successful fetch: the issuer
//!   had already published its key.
//!
//! Otherwise the result is `Unavailable`. An invalid signature is treated the same way, because the
//! issuer may have published another key with the same `kid`: the token is invalid if a fetch
//! returns the same set. The lock is held only for lookups in memory, never across an await.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::{
    KeySet,
    refresh_requests::{RefreshReason, RefreshRequests, Stage, StartedFetch},
};
use crate::{
    auth::error::{AuthError, Reason},
    clock::{Clock, Moment, Monotonic, later, timeout_at},
    concurrency::Limit,
};

/// Maximum time that a request waits for a fetch.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Minimum `Retry-After`.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// Minimum cool-down. With less, a waiting request could start several fetches.
const MIN_COOLDOWN: Duration = Duration::from_secs(1);

/// The key set in use.
pub(crate) struct CurrentKeySet {
    pub(crate) set: Arc<KeySet>,
    /// Changes with each new set.
    pub(crate) generation: u64,
    /// When the last successful fetch started.
    pub(super) started: Moment,
    /// When the last successful fetch ended.
    pub(super) fetched: Monotonic,
}

/// Why no key was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyLookupError {
    /// The issuer has no such key.
    Unknown,
    /// Too many requests are waiting.
    TooManyWaiting,
    /// The key may exist, but cannot be fetched now. Contains the time until the next attempt.
    Unavailable(Duration),
}

impl From<KeyLookupError> for AuthError {
    fn from(no_key: KeyLookupError) -> Self {
        match no_key {
            KeyLookupError::Unknown => Reason::UnknownKey.into(),
            KeyLookupError::TooManyWaiting => Self::Overloaded,
            KeyLookupError::Unavailable(retry_after) => Self::KeysUnavailable { retry_after },
        }
    }
}

/// The keys of an issuer. Requests read them; a [`JwksRefresher`](super::JwksRefresher) refreshes
/// them.
pub(crate) struct JwksCache {
    clock: Arc<dyn Clock>,
    cooldown: Duration,
    max_stale: Duration,
    leeway: Duration,
    current: ArcSwapOption<CurrentKeySet>,
    requests: Mutex<RefreshRequests>,
    /// Wakes the refresher.
    refresh_requested: Notify,
    /// Counts finished fetches.
    ended: watch::Sender<u64>,
    waiting: Limit,
}

/// Why a lookup has no result yet.
enum Unresolved {
    Wait,
    RetryLater(Duration),
    /// The token is older than the last fetch, so another fetch cannot find its key.
    TokenIsOlder,
}

impl JwksCache {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        cooldown: Duration,
        max_stale: Duration,
        leeway: Duration,
        waiting: Limit,
    ) -> Self {
        Self {
            clock,
            cooldown: cooldown.max(MIN_COOLDOWN),
            max_stale,
            leeway,
            current: ArcSwapOption::empty(),
            requests: Mutex::default(),
            refresh_requested: Notify::new(),
            ended: watch::Sender::new(0),
            waiting,
        }
    }

    /// The current set, if it is not older than `max_stale`.
    pub(crate) fn usable(&self, now: Monotonic) -> Option<Arc<CurrentKeySet>> {
        self.current.load_full().filter(|current| now.since(current.fetched) <= self.max_stale)
    }

    /// The generation of the current set, if it is not older than `max_stale`.
    pub(crate) fn generation(&self, now: Monotonic) -> Option<u64> {
        let current = self.current.load();
        let current = current.as_ref()?;
        (now.since(current.fetched) <= self.max_stale).then_some(current.generation)
    }

    /// The key set for a token with this `kid`, fetched if necessary. `issued` is the token's
    /// unproven `iat`.
    pub(crate) async fn for_kid(
        &self,
        kid: Option<&str>,
        issued: Option<Timestamp>,
    ) -> Result<Arc<CurrentKeySet>, KeyLookupError> {
        if let Some(current) = self.usable_for(kid, self.clock.monotonic()) {
            return Ok(current);
        }
        let lookup = |requests: &RefreshRequests, now| {
            if let Some(current) = self.usable_for(kid, now) {
                return Some(Ok(current));
            }
            let is_missing =
                self.usable(now).is_some() && requests.is_missing(kid, now, self.cooldown);
            is_missing.then_some(Err(KeyLookupError::Unknown))
        };
        self.resolve(RefreshReason::Kid(kid), issued, lookup).await?
    }

    /// Returns a newer set after the `rejected` one did not verify a token, fetching it if
    /// necessary. `None` if the issuer still publishes the same set, or did when the token was
    /// issued by its unproven `iat` (`issued`).
    pub(crate) async fn refetch_if_unchanged(
        &self,
        rejected: &CurrentKeySet,
        issued: Option<Timestamp>,
    ) -> Result<Option<Arc<CurrentKeySet>>, KeyLookupError> {
        let lookup = |requests: &RefreshRequests, now| {
            let current = self.usable(now)?;
            if current.generation != rejected.generation {
                return Some(Some(current));
            }
            requests.is_confirmed(rejected.generation, now, self.cooldown).then_some(None)
        };
        match self.resolve(RefreshReason::Revalidate, issued, lookup).await {
            Err(KeyLookupError::Unknown) => Ok(None),
            other => other,
        }
    }

    /// Returns the result of `lookup`, waiting for a fetch if it has none.
    async fn resolve<T>(
        &self,
        reason: RefreshReason<'_>,
        issued: Option<Timestamp>,
        lookup: impl Fn(&RefreshRequests, Monotonic) -> Option<T>,
    ) -> Result<T, KeyLookupError> {
        let deadline = self.clock.monotonic().plus(MAX_WAIT);
        let mut ended = self.ended.subscribe();
        loop {
            ended.mark_unchanged();
            match self.resolve_or_request(reason, issued, &lookup) {
                Ok(found) => return Ok(found),
                Err(Unresolved::TokenIsOlder) => return Err(KeyLookupError::Unknown),
                Err(Unresolved::RetryLater(wait)) => {
                    return Err(KeyLookupError::Unavailable(wait.max(MIN_RETRY)));
                }
                Err(Unresolved::Wait) => {}
            }
            let _permit = self.waiting.try_acquire().ok_or(KeyLookupError::TooManyWaiting)?;
            if timeout_at(&*self.clock, deadline, ended.changed()).await.is_none() {
                let wait = self.lock().remaining_cooldown(self.clock.monotonic(), self.cooldown);
                return Err(KeyLookupError::Unavailable(wait.max(MIN_RETRY)));
            }
        }
    }

    /// The current set, if a token with this `kid` may be signed with one of its keys.
    fn usable_for(&self, kid: Option<&str>, now: Monotonic) -> Option<Arc<CurrentKeySet>> {
        self.usable(now).filter(|current| kid.is_none_or(|kid| current.set.may_have_kid(kid)))
    }

    /// Checks `lookup` while it holds the lock, so that no finished fetch is missed, and requests
    /// a fetch if the cool-down allows it.
    fn resolve_or_request<T>(
        &self,
        reason: RefreshReason<'_>,
        issued: Option<Timestamp>,
        lookup: impl Fn(&RefreshRequests, Monotonic) -> Option<T>,
    ) -> Result<T, Unresolved> {
        let mut requests = self.lock();
        let now = self.clock.monotonic();
        if let Some(found) = lookup(&requests, now) {
            return Ok(found);
        }
        if requests.stage == Stage::InFlight {
            return Err(Unresolved::Wait);
        }
        if requests.stage == Stage::Idle {
            let remaining = requests.remaining_cooldown(now, self.cooldown);
            if !remaining.is_zero() {
                let is_older = issued.is_some_and(|issued| self.key_was_published(issued));
                return Err(if is_older {
                    Unresolved::TokenIsOlder
                } else {
                    Unresolved::RetryLater(remaining)
                });
            }
            requests.last_request = Some(now);
            requests.stage = Stage::Requested;
            self.refresh_requested.notify_one();
        }
        requests.add(reason);
        Err(Unresolved::Wait)
    }

    /// Whether the issuer had published the key of a token with this `iat` before the current set
    /// was fetched. Uses the earlier of both clocks, so a clock that was set back does not make the
    /// fetch look later.
    fn key_was_published(&self, issued: Timestamp) -> bool {
        let now = self.clock.moment();
        self.usable(now.monotonic).is_some_and(|current| {
            let started = current.started;
            let elapsed = now.monotonic.since(started.monotonic);
            let by_monotonic = now.wall.checked_sub(elapsed).unwrap_or(Timestamp::MIN);
            later(issued, self.leeway) < started.wall.min(by_monotonic)
        })
    }

    /// Requests a fetch now, regardless of the cool-down.
    pub(crate) fn fetch_now(&self) {
        let mut requests = self.lock();
        if requests.stage == Stage::Idle {
            requests.stage = Stage::Requested;
            self.refresh_requested.notify_one();
        }
    }

    /// Completes when a request needs a fetch.
    pub(super) async fn wait_for_request(&self) {
        loop {
            self.refresh_requested.notified().await;
            // A scheduled fetch may have served the request in the meantime.
            if self.lock().stage == Stage::Requested {
                return;
            }
        }
    }

    /// Starts a fetch. It serves all requests so far.
    pub(super) fn begin(&self) -> StartedFetch {
        self.lock().begin(self.clock.moment())
    }

    /// Ends a successful fetch. `set` is `None` if the document has not changed.
    pub(super) fn succeed(&self, fetch: StartedFetch, set: Option<KeySet>) {
        let now = self.clock.monotonic();
        let mut requests = self.lock();
        let last = self.current.load_full();
        let generation = last.as_ref().map_or(0, |last| last.generation);
        let next = match (set, last) {
            (Some(set), _) => Some(CurrentKeySet {
                set: Arc::new(set),
                generation: generation.wrapping_add(1),
                started: fetch.started,
                fetched: now,
            }),
            (None, last) => {
                let started = fetch.started;
                let again = |last: Arc<CurrentKeySet>| CurrentKeySet {
                    set: Arc::clone(&last.set),
                    generation,
                    started,
                    fetched: now,
                };
                last.map(again)
            }
        };
        if let Some(next) = next {
            requests.remember(fetch, &next, now, self.cooldown);
            self.current.store(Some(Arc::new(next)));
        }
        self.end(requests);
    }

    /// Ends a failed fetch. The current set stays.
    pub(super) fn fail(&self, _fetch: StartedFetch) {
        self.end(self.lock());
    }

    fn end(&self, mut requests: MutexGuard<'_, RefreshRequests>) {
        requests.stage = Stage::Idle;
        drop(requests);
        self.ended.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, RefreshRequests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
