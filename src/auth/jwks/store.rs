//! An issuer's current key set, and what is done about a `kid` that isn't in it.
//!
//! Reading takes no lock. An unknown `kid` may cause one fetch a cool-down, whoever asks and for
//! however many; it proves a token invalid only when a successful fetch that began after it was
//! asked for lacks it. A signature that doesn't fit is treated alike, for its `kid` may stand for
//! another key by now: it proves a token invalid when such a fetch has found the set as it was.
//! Within the cool-down, a token whose own `iat` is older than the last successful fetch is invalid
//! too: the issuer had published its key by then. All else leaves the question open. The lock is
//! held for look-ups in memory, never across a wait.

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::{
    KeySet,
    demand::{Demand, Flight, Question, Stage},
};
use crate::{
    clock::{Clock, Moment, Monotonic, later, timeout_at},
    concurrency::ConcurrencyLimit,
};

/// Longest time that a request waits for a fetch.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Shortest time that a caller is told to stay away.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// Shortest cool-down taken: with less, a request could go on asking until it has waited enough.
const MIN_COOLDOWN: Duration = Duration::from_secs(1);

/// A key set in use.
pub(crate) struct Current {
    pub(crate) set: Arc<KeySet>,
    /// Another number, another set.
    pub(crate) generation: u64,
    /// When the last successful fetch began.
    pub(super) begun: Moment,
    /// When the last successful fetch ended.
    pub(super) fetched: Monotonic,
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer has no such key.
    Unknown,
    /// Too many requests are waiting.
    NoRoom,
    /// It can't be told now.
    Unavailable(Duration),
}

/// An issuer's keys: read by requests, refreshed by its keeper.
pub(crate) struct KeyStore {
    clock: Arc<dyn Clock>,
    cooldown: Duration,
    max_stale: Duration,
    leeway: Duration,
    current: ArcSwapOption<Current>,
    demand: Mutex<Demand>,
    /// Wakes the keeper.
    asked: Notify,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
    waiting: ConcurrencyLimit,
}

/// What becomes of a request whose question is open.
enum Open {
    Wait,
    Later(Duration),
    /// No fetch can answer it otherwise than the last one: the token is older than that.
    Settled,
}

impl KeyStore {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        cooldown: Duration,
        max_stale: Duration,
        leeway: Duration,
        waiting: ConcurrencyLimit,
    ) -> Self {
        Self {
            clock,
            cooldown: cooldown.max(MIN_COOLDOWN),
            max_stale,
            leeway,
            current: ArcSwapOption::empty(),
            demand: Mutex::default(),
            asked: Notify::new(),
            ended: watch::Sender::new(0),
            waiting,
        }
    }

    /// The set in use, unless it was fetched too long ago.
    pub(crate) fn usable(&self, now: Monotonic) -> Option<Arc<Current>> {
        self.current.load_full().filter(|current| now.since(current.fetched) <= self.max_stale)
    }

    /// The generation of the set in use, unless that was fetched too long ago.
    pub(crate) fn generation(&self, now: Monotonic) -> Option<u64> {
        let current = self.current.load();
        let current = current.as_ref()?;
        (now.since(current.fetched) <= self.max_stale).then_some(current.generation)
    }

    /// The set that a token with this `kid` can be checked with; fetched when need be. `issued` is
    /// the token's unverified `iat`.
    pub(crate) async fn for_kid(
        &self,
        kid: Option<&str>,
        issued: Option<Timestamp>,
    ) -> Result<Arc<Current>, NoKey> {
        if let Some(current) = self.holding(kid, self.clock.monotonic()) {
            return Ok(current);
        }
        let told = |demand: &Demand, now| {
            if let Some(current) = self.holding(kid, now) {
                return Some(Ok(current));
            }
            let is_lacking = self.usable(now).is_some() && demand.lacks(kid, now, self.cooldown);
            is_lacking.then_some(Err(NoKey::Unknown))
        };
        self.settled(Question::Kid(kid), issued, told).await?
    }

    /// Another set for a token that the `doubted` one can't prove; fetched when need be. `None` when
    /// the doubted one still is the issuer's, or was when the token was older than its fetch by its
    /// unverified `iat`, `issued`.
    pub(crate) async fn instead_of(
        &self,
        doubted: &Current,
        issued: Option<Timestamp>,
    ) -> Result<Option<Arc<Current>>, NoKey> {
        let told = |demand: &Demand, now| {
            let current = self.usable(now)?;
            if current.generation != doubted.generation {
                return Some(Some(current));
            }
            demand.confirms(doubted.generation, now, self.cooldown).then_some(None)
        };
        match self.settled(Question::Doubt, issued, told).await {
            Err(NoKey::Unknown) => Ok(None),
            settled => settled,
        }
    }

    /// What is `told` by what is in memory, if need be after a fetch.
    async fn settled<T>(
        &self,
        question: Question<'_>,
        issued: Option<Timestamp>,
        told: impl Fn(&Demand, Monotonic) -> Option<T>,
    ) -> Result<T, NoKey> {
        let deadline = self.clock.monotonic().plus(MAX_WAIT);
        let mut ended = self.ended.subscribe();
        loop {
            ended.mark_unchanged();
            match self.ask(question, issued, &told) {
                Ok(told) => return Ok(told),
                Err(Open::Settled) => return Err(NoKey::Unknown),
                Err(Open::Later(wait)) => return Err(NoKey::Unavailable(wait.max(MIN_RETRY))),
                Err(Open::Wait) => {}
            }
            let _permit = self.waiting.try_acquire().ok_or(NoKey::NoRoom)?;
            if timeout_at(&*self.clock, deadline, ended.changed()).await.is_none() {
                let wait = self.lock().rest(self.clock.monotonic(), self.cooldown);
                return Err(NoKey::Unavailable(wait.max(MIN_RETRY)));
            }
        }
    }

    /// The set in use, when it can decide about `kid`.
    fn holding(&self, kid: Option<&str>, now: Monotonic) -> Option<Arc<Current>> {
        self.usable(now).filter(|current| kid.is_none_or(|kid| current.set.knows(kid)))
    }

    /// Looks behind the lock, so that no fetch ends unseen, and asks for one if that's due.
    fn ask<T>(
        &self,
        question: Question<'_>,
        issued: Option<Timestamp>,
        told: impl Fn(&Demand, Monotonic) -> Option<T>,
    ) -> Result<T, Open> {
        let mut demand = self.lock();
        let now = self.clock.monotonic();
        if let Some(told) = told(&demand, now) {
            return Ok(told);
        }
        if demand.stage == Stage::InFlight {
            return Err(Open::Wait);
        }
        if demand.stage == Stage::Idle {
            let rest = demand.rest(now, self.cooldown);
            if !rest.is_zero() {
                let is_older = issued.is_some_and(|issued| self.was_published(issued));
                return Err(if is_older { Open::Settled } else { Open::Later(rest) });
            }
            demand.caused = Some(now);
            demand.stage = Stage::Asked;
            self.asked.notify_one();
        }
        demand.want(question);
        Err(Open::Wait)
    }

    /// Whether the key of a token that was issued then is in the set in use, if it is the issuer's:
    /// it was published before the token was signed, and that set was asked for after. A clock that
    /// was set back since doesn't make the fetch any later.
    fn was_published(&self, issued: Timestamp) -> bool {
        let now = self.clock.moment();
        self.usable(now.monotonic).is_some_and(|current| {
            let begun = current.begun;
            let elapsed = now.monotonic.since(begun.monotonic);
            let by_monotonic = now.wall.checked_sub(elapsed).unwrap_or(Timestamp::MIN);
            later(issued, self.leeway) < begun.wall.min(by_monotonic)
        })
    }

    /// Has the keys fetched at once, whatever the cool-down.
    pub(crate) fn fetch_now(&self) {
        let mut demand = self.lock();
        if demand.stage == Stage::Idle {
            demand.stage = Stage::Asked;
            self.asked.notify_one();
        }
    }

    /// Completes once a request asks for a fetch.
    pub(super) async fn fetch_is_asked_for(&self) {
        loop {
            self.asked.notified().await;
            // A scheduled fetch may have served the request in the meantime.
            if self.lock().stage == Stage::Asked {
                return;
            }
        }
    }

    /// A fetch begins; it serves all that has been asked for till now.
    pub(super) fn begin(&self) -> Flight {
        self.lock().begin(self.clock.moment())
    }

    /// A fetch has succeeded, with another set or, when `set` is `None`, with the same one.
    pub(super) fn succeed(&self, flight: Flight, set: Option<KeySet>) {
        let now = self.clock.monotonic();
        let mut demand = self.lock();
        let last = self.current.load_full();
        let generation = last.as_ref().map_or(0, |last| last.generation);
        let next = match (set, last) {
            (Some(set), _) => Some(Current {
                set: Arc::new(set),
                generation: generation.wrapping_add(1),
                begun: flight.begun,
                fetched: now,
            }),
            (None, last) => {
                let begun = flight.begun;
                let again = |last: Arc<Current>| Current {
                    set: Arc::clone(&last.set),
                    generation,
                    begun,
                    fetched: now,
                };
                last.map(again)
            }
        };
        if let Some(next) = next {
            demand.remember(flight, &next, now, self.cooldown);
            self.current.store(Some(Arc::new(next)));
        }
        self.end(demand);
    }

    /// A fetch has failed; the last good set stays.
    pub(super) fn fail(&self, _flight: Flight) {
        self.end(self.lock());
    }

    fn end(&self, mut demand: MutexGuard<'_, Demand>) {
        demand.stage = Stage::Idle;
        drop(demand);
        self.ended.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Demand> {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
