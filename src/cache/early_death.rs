//! Detects client auth tokens that die early: an app reports with `no-cache` that a token no longer works,
//! although its life isn't over.
//!
//! Juspay limits how often a token can be used, without saying how often, so the service learns it here. A
//! death is measured by the token's age and by the number of responses with it (hand-outs). `advice`
//! recommends a setting, and `auto_limit` determines the number for `cache.max_hand_outs = "auto"`.

mod advice;
mod auto_limit;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use prometheus::{Histogram, IntCounter, IntGauge};

pub(crate) use self::advice::CauseKind;
pub(crate) use self::auto_limit::{LOWEST as LOWEST_MAX_HAND_OUTS, START as FIRST_MAX_HAND_OUTS};
use self::{
    advice::{Advice, Advisor, Cause, Death},
    auto_limit::{AutoLimit, DeadToken},
};
use super::{
    Lookup,
    lifetime::Phase,
    store::{Entry, Slot},
};
use crate::{
    clock::{Moment, Monotonic},
    customer::CustomerId,
    metrics::Metrics,
    settings::MaxHandOuts,
};

/// The number of responses after which a token is replaced. Every hit reads it; 0 disables the
/// replacement.
#[derive(Debug, Default)]
pub(super) struct HandOutLimit {
    number: AtomicU32,
    /// Whether "auto" has lowered the number, so that tokens die soon after it.
    is_learned: AtomicBool,
}

impl HandOutLimit {
    /// Whether a token with this many responses is to be replaced.
    pub(super) fn is_reached(&self, hand_outs: impl FnOnce() -> u32) -> bool {
        let number = self.number.load(Ordering::Relaxed);
        number > 0 && hand_outs() >= number
    }

    /// Whether a token with this many responses has probably no uses left.
    pub(super) fn is_exceeded(&self, hand_outs: u32) -> bool {
        hand_outs > self.number.load(Ordering::Relaxed) && self.is_learned.load(Ordering::Relaxed)
    }
}

/// A token that was replaced while it should still have lived. Phones may still have it.
#[derive(Debug)]
pub(super) struct Predecessor {
    born: Monotonic,
    hand_outs: u32,
    /// Its normal end.
    end: Monotonic,
    /// Whether "auto" has counted its end, as this process fetched it.
    has_ended: bool,
    has_died: AtomicBool,
}

/// Counts tokens that die early, and adjusts the limit on hand-outs.
#[derive(Debug)]
pub(super) struct EarlyDeaths {
    limit: Arc<HandOutLimit>,
    advisor: Mutex<Advisor>,
    /// Set with `cache.max_hand_outs = "auto"`.
    auto: Option<Mutex<AutoLimit>>,
    /// The limit that the log has.
    logged_limit: AtomicU32,
    /// Secret, so that customers whose hashes are equal can't be found.
    hasher: RandomState,
    tokens: IntCounter,
    ages: Histogram,
    hand_outs: Histogram,
    shown_limit: IntGauge,
}

/// A token that has died early, and whether "auto" has counted its end.
struct Died<'c> {
    customer: &'c CustomerId,
    born: Monotonic,
    hand_outs: u32,
    has_ended: bool,
}

impl EarlyDeaths {
    pub(super) fn new(max_hand_outs: MaxHandOuts, metrics: &Metrics) -> Self {
        let (number, auto) = match max_hand_outs {
            MaxHandOuts::Number(number) => (number, None),
            MaxHandOuts::Auto => (auto_limit::START, Some(Mutex::default())),
        };
        let metrics = &metrics.cache;
        let deaths = Self {
            limit: Arc::default(),
            advisor: Mutex::default(),
            auto,
            logged_limit: AtomicU32::new(number),
            hasher: RandomState::new(),
            tokens: metrics.tokens.clone(),
            ages: metrics.early_death_age.clone(),
            hand_outs: metrics.early_death_hand_outs.clone(),
            shown_limit: metrics.max_hand_outs.clone(),
        };
        deaths.set_limit(number, false);
        deaths
    }

    pub(super) fn limit(&self) -> Arc<HandOutLimit> {
        Arc::clone(&self.limit)
    }

    /// Notes a token that Juspay has just issued, and the token that it replaces. A lock is held, so the caller
    /// calls [`Self::log_change`] later.
    pub(super) fn note_fetched(&self, entry: &Entry, replaced: Option<&Slot>, now: Moment) {
        if !entry.json.has_token() {
            return;
        }
        if let Some(Slot::Customer(replaced)) = replaced
            && let Some(predecessor) = Predecessor::of(replaced, now)
        {
            entry.set_predecessor(predecessor);
        }
        entry.set_fetched_here();
        self.tokens.inc();
        lock(&self.advisor).note_token();
        if let Some(auto) = &self.auto {
            let mut auto = lock(auto);
            auto.note_token(now.monotonic);
            self.set_limit(auto.number(), auto.number() < auto_limit::START);
        }
    }

    /// Notes that a token is no longer cached. With other replicas, the one that fetched it counts its end, or
    /// the one that notices its death.
    pub(super) fn note_end(&self, entry: &Entry) {
        if let Some(auto) = &self.auto
            && entry.is_fetched_here()
            && !entry.has_died()
        {
            lock(auto).note_end(entry.hand_outs(), entry.born());
        }
    }

    /// Notes that all tokens were purged.
    pub(super) fn note_purge(&self, now: Monotonic) {
        if let Some(auto) = &self.auto {
            lock(auto).note_purge(now);
        }
    }

    /// Notes a request with `no-cache`: the phone's token no longer works. That is this token, if it was
    /// returned before and a fetch replaces it (otherwise it is so young that it satisfies the request), and
    /// its predecessor, if this one was never returned. Each token dies once. After the predecessor's end, a
    /// phone that still had the predecessor may report that.
    pub(super) fn note_no_cache(
        &self,
        entry: &Entry,
        lookup: &Lookup,
        is_replaced: bool,
        now: Moment,
    ) {
        // A request for headers doesn't come from the SDK.
        if !lookup.freshness.no_cache || !lookup.want_token || !lookup.want_body {
            return;
        }
        let customer = &lookup.customer;
        let hand_outs = entry.hand_outs();
        let is_usable = matches!(entry.lifetime.phase(now), Phase::Fresh | Phase::Refresh);
        let predecessor = entry.predecessor();
        let is_other_possible = predecessor.is_some_and(|it| it.end <= now.monotonic);
        if hand_outs > 0 {
            if is_usable && is_replaced && !is_other_possible && entry.begin_death() {
                let born = entry.born();
                self.note_death(&Died { customer, born, hand_outs, has_ended: false }, now);
            }
        } else if let Some(predecessor) = predecessor
            && !is_other_possible
            && !predecessor.has_died.swap(true, Ordering::Relaxed)
        {
            let Predecessor { born, hand_outs, has_ended, .. } = *predecessor;
            self.note_death(&Died { customer, born, hand_outs, has_ended }, now);
        }
    }

    fn note_death(&self, token: &Died<'_>, now: Moment) {
        let Died { customer, born, hand_outs, has_ended } = *token;
        let age = now.monotonic.since(born);
        self.ages.observe(age.as_secs_f64());
        self.hand_outs.observe(hand_outs.into());
        let advice = lock(&self.advisor).note_death(Death { age, hand_outs }, now.monotonic);
        if let Some(auto) = &self.auto {
            let customer = self.hasher.hash_one(customer);
            let mut auto = lock(auto);
            auto.note_death(&DeadToken { customer, hand_outs, born, has_ended }, now.monotonic);
            self.set_limit(auto.number(), auto.number() < auto_limit::START);
        }
        self.log_change();
        if let Some(advice) = advice {
            let number = self.limit.number.load(Ordering::Relaxed);
            advice.log(number, self.auto.is_some());
        }
    }

    /// Logs the limit if it has changed.
    pub(super) fn log_change(&self) {
        let number = self.limit.number.load(Ordering::Relaxed);
        let before = self.logged_limit.swap(number, Ordering::Relaxed);
        if before != number {
            let direction = if number < before { "lowered" } else { "raised" };
            tracing::info!(
                max_hand_outs = number,
                before,
                "cache.max_hand_outs = \"auto\" {direction} the number of responses after which a client auth \
                 token is replaced"
            );
        }
    }

    fn set_limit(&self, number: u32, is_learned: bool) {
        self.limit.number.store(number, Ordering::Relaxed);
        self.limit.is_learned.store(is_learned, Ordering::Relaxed);
        self.shown_limit.set(number.into());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Predecessor {
    /// The replaced token, if phones have it and expect it to work.
    fn of(replaced: &Entry, now: Moment) -> Option<Self> {
        let is_alive = replaced.hand_outs() > 0 && !replaced.lifetime.ttl(now).is_zero();
        (is_alive && !replaced.has_died()).then(|| Self {
            born: replaced.born(),
            hand_outs: replaced.hand_outs(),
            end: now.monotonic.plus(replaced.lifetime.ttl(now)),
            has_ended: replaced.is_fetched_here(),
            has_died: AtomicBool::new(false),
        })
    }
}

impl Advice {
    /// Logs the recommendation. `number` is the current `cache.max_hand_outs`.
    fn log(self, number: u32, is_auto: bool) {
        let Self { cause, deaths, tokens } = self;
        let share =
            format!("{deaths} of the last {tokens} client auth tokens stopped working early");
        match cause {
            Cause::Uses(hand_outs) if is_auto && number > LOWEST_MAX_HAND_OUTS => tracing::warn!(
                deaths,
                tokens,
                hand_outs,
                max_hand_outs = number,
                "{share}, from {hand_outs} responses on; cache.max_hand_outs = \"auto\" lowers the number"
            ),
            Cause::Uses(hand_outs) if is_auto => tracing::warn!(
                deaths,
                tokens,
                hand_outs,
                max_hand_outs = number,
                "{share}, from {hand_outs} responses on, and cache.max_hand_outs = \"auto\" is at its minimum; \
                 check whether apps request new tokens without session_expired"
            ),
            Cause::Uses(hand_outs) => tracing::warn!(
                deaths,
                tokens,
                hand_outs,
                max_hand_outs = number,
                "{share}, from {hand_outs} responses on; set cache.max_hand_outs to {} or \"auto\"",
                recommended(hand_outs, number)
            ),
            Cause::Age(age) => {
                let secs = age.as_secs();
                tracing::warn!(
                    deaths,
                    tokens,
                    age_secs = secs,
                    "{share}, from an age of {secs} s on: they live for less time than Juspay reports; set \
                     cache.max_token_life to \"{}s\", with a shorter cache.refresh_ahead if necessary",
                    (secs - secs % 10).max(10)
                );
            }
            Cause::Requests => tracing::warn!(
                deaths,
                tokens,
                "{share}, after one or two responses and at any age; check whether apps send no-cache only \
                 after session_expired"
            ),
        }
    }
}

/// The number with which a token is replaced before it has `hand_outs` responses: with the number n, it is
/// returned once more than n times.
fn recommended(hand_outs: u32, number: u32) -> u32 {
    let below = if number > 0 { number.saturating_sub(1) } else { u32::MAX };
    hand_outs.saturating_sub(2).min(below).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommended_number_is_below_the_deadly_one_and_the_current_one() {
        for ((hand_outs, number), expected) in
            [((5, 10), 3), ((11, 10), 9), ((12, 10), 9), ((5, 0), 3), ((2, 1), 1), ((3, 0), 1)]
        {
            assert_eq!(recommended(hand_outs, number), expected, "{hand_outs} {number}");
        }
    }
}
