//! Detects client auth tokens that die early: an app reports with `no-cache` that a token no longer works,
//! although its life isn't over.
//!
//! Juspay limits how often a token can be used, without saying how often, so the service learns it here. A
//! death is measured by the token's age and by the number of responses with it (hand-outs). `advice`
//! recommends a setting, and `auto_limit` determines the number for `cache.max_hand_outs = "auto"`.

mod advice;
mod auto_limit;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use prometheus::{Histogram, IntCounter, IntGauge};

pub(crate) use self::auto_limit::LOWEST as LOWEST_MAX_HAND_OUTS;
use self::{
    advice::{Advice, Advisor, Cause, Death},
    auto_limit::AutoLimit,
};
use super::{
    Lookup,
    lifetime::Phase,
    store::{Entry, Slot},
};
use crate::{
    clock::{Moment, Monotonic},
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
    has_died: AtomicBool,
}

/// Counts tokens that die early, and adjusts the limit on hand-outs.
#[derive(Debug)]
pub(super) struct EarlyDeaths {
    limit: Arc<HandOutLimit>,
    state: Mutex<State>,
    tokens: IntCounter,
    ages: Histogram,
    hand_outs: Histogram,
    shown_limit: IntGauge,
}

#[derive(Debug, Default)]
struct State {
    advisor: Advisor,
    /// Set with `cache.max_hand_outs = "auto"`.
    auto: Option<AutoLimit>,
}

impl EarlyDeaths {
    pub(super) fn new(max_hand_outs: MaxHandOuts, metrics: &Metrics) -> Self {
        let (number, auto) = match max_hand_outs {
            MaxHandOuts::Number(number) => (number, None),
            MaxHandOuts::Auto => (auto_limit::START, Some(AutoLimit::default())),
        };
        let metrics = &metrics.cache;
        let deaths = Self {
            limit: Arc::default(),
            state: Mutex::new(State { advisor: Advisor::default(), auto }),
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

    /// Notes a token that Juspay has just issued, and the token that it replaces.
    pub(super) fn note_fetched(&self, entry: &Entry, replaced: Option<&Slot>, now: Moment) {
        if !entry.json.has_token() {
            return;
        }
        if let Some(Slot::Customer(replaced)) = replaced
            && let Some(predecessor) = Predecessor::of(replaced, now)
        {
            entry.set_predecessor(predecessor);
        }
        self.tokens.inc();
        let mut state = self.state();
        state.advisor.note_token();
        if let Some(auto) = &mut state.auto {
            let before = auto.number();
            auto.note_token(now.monotonic);
            self.note_change(before, auto.number());
        }
    }

    /// Notes that a token is no longer cached.
    pub(super) fn note_end(&self, entry: &Entry) {
        if let Some(auto) = &mut self.state().auto {
            auto.note_end(entry.hand_outs(), entry.born());
        }
    }

    /// Notes a request with `no-cache`: the phone's token no longer works. That is this token, if it was
    /// returned before and a fetch replaces it (otherwise it is so young that it satisfies the request), and
    /// its predecessor, if this one was never returned. Each token dies once.
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
        let hand_outs = entry.hand_outs();
        let is_usable = matches!(entry.lifetime.phase(now), Phase::Fresh | Phase::Refresh);
        if hand_outs > 0 {
            if is_usable && is_replaced && entry.begin_death() {
                self.note_death(entry.born(), hand_outs, now);
            }
        } else if let Some(predecessor) = entry.predecessor()
            && now.monotonic < predecessor.end
            && !predecessor.has_died.swap(true, Ordering::Relaxed)
        {
            self.note_death(predecessor.born, predecessor.hand_outs, now);
        }
    }

    fn note_death(&self, born: Monotonic, hand_outs: u32, now: Moment) {
        let age = now.monotonic.since(born);
        self.ages.observe(age.as_secs_f64());
        self.hand_outs.observe(hand_outs.into());
        let mut state = self.state();
        let advice = state.advisor.note_death(Death { age, hand_outs }, now.monotonic);
        let mut number = self.limit.number.load(Ordering::Relaxed);
        let is_auto = state.auto.is_some();
        if let Some(auto) = &mut state.auto {
            auto.note_death(hand_outs, born, now.monotonic);
            self.note_change(number, auto.number());
            number = auto.number();
        }
        drop(state);
        if let Some(advice) = advice {
            advice.log(number, is_auto);
        }
    }

    fn note_change(&self, before: u32, number: u32) {
        if before != number {
            self.set_limit(number, number < auto_limit::START);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Predecessor {
    /// The replaced token, if phones have it and expect it to work.
    fn of(replaced: &Entry, now: Moment) -> Option<Self> {
        let is_alive = replaced.hand_outs() > 0 && !replaced.lifetime.ttl(now).is_zero();
        (is_alive && !replaced.has_died()).then(|| Self {
            born: replaced.born(),
            hand_outs: replaced.hand_outs(),
            end: now.monotonic.plus(replaced.lifetime.ttl(now)),
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
