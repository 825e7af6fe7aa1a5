//! `cache.max_hand_outs = "auto"`: lowers the number of responses after which a token is replaced, until
//! fewer than 0.1 % of the tokens die early because of their uses.
//!
//! Juspay's limit on the uses shows as a number of responses from which on most tokens die. An app that
//! requests new tokens without need does so after any number of responses, mostly after one. So a death counts
//! only after `FIRST_COUNTED` responses, and only as far as such deaths are more frequent than after two and
//! three responses. One death of each customer counts in a period, so that no customer can lower the number
//! for the others. Pure: no clock and no lock.

use std::collections::HashSet;

use crate::clock::Monotonic;

/// The first number.
pub(crate) const START: u32 = 10;

/// The lowest number. With the number n, a token is returned n + 1 times.
pub(crate) const LOWEST: u32 = 2;

/// Deaths after fewer responses don't count: a lower number would not prevent them.
const FIRST_COUNTED: usize = LOWEST as usize + 2;

/// Deaths after fewer responses are ignored. Those between show how often apps request tokens without need.
const FIRST_NOTED: usize = 2;

/// Responses that are counted apart. Tokens with more count as tokens with this many.
const MOST: usize = 40;

/// Deaths, each of another customer, that are needed to lower the number.
const MIN_DEATHS: f64 = 4.0;

/// Deaths at one number of responses, and their share of the tokens with at least as many, that make it the
/// deadly number. With replicas that notice the deaths of each other's tokens, the share is half of the real one.
const MIN_DEADLY: f64 = 5.0;
const DEADLY_SHARE: f64 = 1.0 / 3.0;

/// Logarithm of how much more likely the deaths are with two frequencies, after few responses and after many,
/// than with one. Needed for a fall below the deadly number, and for a fall by one.
const EVIDENCE: f64 = 2.5;
const EVIDENCE_FOR_A_STEP: f64 = 7.0;

/// Customers that are remembered in a period, in at most 200 kB. With more, further deaths do not count.
const MAX_CUSTOMERS: usize = 10_000;

/// The share of tokens that may die early.
const TARGET: f64 = 0.001;

/// After this many tokens, the counts are halved, so that old tokens are forgotten, and a new period begins.
const WINDOW: u32 = 10_000;

/// After this many tokens with few deaths, the number rises by one. Doubles whenever it has to be
/// lowered after a rise.
const TOKENS_BEFORE_RISE: u64 = 20_000;

/// The number, and the counts of tokens fetched since its last change.
#[derive(Debug)]
pub(super) struct AutoLimit {
    number: u32,
    /// When the counts began, except for the first ones.
    since: Option<Monotonic>,
    tokens: u32,
    /// Tokens by their responses at the end, and by their responses when they died early.
    ended: [u32; MOST],
    died: [u32; MOST],
    /// Hashes of the customers with a death in this period.
    customers: HashSet<u64>,
    tokens_since_change: u64,
    tokens_before_rise: u64,
    has_risen: bool,
}

/// A token that has died early.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadToken {
    /// A hash of the customer.
    pub(super) customer: u64,
    pub(super) hand_outs: u32,
    pub(super) born: Monotonic,
    /// Whether [`AutoLimit::note_end`] has counted it. If not, it never will.
    pub(super) has_ended: bool,
}

impl Default for AutoLimit {
    fn default() -> Self {
        Self {
            number: START,
            since: None,
            tokens: 0,
            ended: [0; MOST],
            died: [0; MOST],
            customers: HashSet::new(),
            tokens_since_change: 0,
            tokens_before_rise: TOKENS_BEFORE_RISE,
            has_risen: false,
        }
    }
}

impl AutoLimit {
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// A token was fetched. May raise the number.
    pub(super) fn note_token(&mut self, now: Monotonic) {
        self.tokens += 1;
        self.tokens_since_change = self.tokens_since_change.saturating_add(1);
        if self.tokens >= WINDOW {
            let counts = self.ended.iter_mut().chain(&mut self.died);
            counts.chain([&mut self.tokens]).for_each(|count| *count /= 2);
            self.customers.clear();
        }
        let is_due = self.tokens_since_change >= self.tokens_before_rise && self.number < START;
        if is_due && self.deaths_by_use() <= f64::from(self.tokens) * TARGET / 4.0 {
            self.change(self.number + 1, now);
            self.has_risen = true;
        }
    }

    /// A token is no longer cached, and has not died.
    pub(super) fn note_end(&mut self, hand_outs: u32, born: Monotonic) {
        if self.is_recent(born) {
            add(&mut self.ended, hand_outs);
        }
    }

    /// A token has died early. May lower the number.
    pub(super) fn note_death(&mut self, token: &DeadToken, now: Monotonic) {
        let is_noted = usize::try_from(token.hand_outs).is_ok_and(|number| number >= FIRST_NOTED);
        if !is_noted || !self.is_recent(token.born) || !self.is_first(token.customer) {
            return;
        }
        add(&mut self.died, token.hand_outs);
        if !token.has_ended {
            add(&mut self.ended, token.hand_outs);
        }
        if let Some(number) = self.lower_number() {
            if self.has_risen {
                self.tokens_before_rise = self.tokens_before_rise.saturating_mul(2);
            }
            self.change(number, now);
        }
    }

    /// All tokens were purged: their ends are unknown. Starts the counts again, with the same number.
    pub(super) fn note_purge(&mut self, now: Monotonic) {
        let Self { number, tokens_since_change, tokens_before_rise, has_risen, .. } = *self;
        *self = Self {
            number,
            since: Some(now),
            tokens_since_change,
            tokens_before_rise,
            has_risen,
            ..Self::default()
        };
    }

    /// Tokens fetched before the last change were returned as often as another number allowed.
    fn is_recent(&self, born: Monotonic) -> bool {
        self.since.is_none_or(|since| born >= since)
    }

    /// Whether this is the customer's first death in this period.
    fn is_first(&mut self, customer: u64) -> bool {
        self.customers.len() < MAX_CUSTOMERS && self.customers.insert(customer)
    }

    /// The number that the deaths require, if it is lower.
    fn lower_number(&self) -> Option<u32> {
        let is_frequent = self.deaths_by_use() >= f64::from(self.tokens) * TARGET;
        if !is_frequent || self.number <= LOWEST {
            return None;
        }
        // With the number n, a token is returned at least n + 1 times.
        let (number, needed) = match self.deadly() {
            Some(deadly) => (deadly.saturating_sub(2), EVIDENCE),
            None => (u32::MAX, EVIDENCE_FOR_A_STEP),
        };
        (self.evidence() >= needed).then(|| number.clamp(LOWEST, self.number - 1))
    }

    fn change(&mut self, number: u32, now: Monotonic) {
        let tokens_before_rise = self.tokens_before_rise;
        *self = Self { number, since: Some(now), tokens_before_rise, ..Self::default() };
    }

    /// How many responses tokens had, summed over tokens, for responses from `from` to `to`.
    fn exposure(&self, from: usize, to: usize) -> f64 {
        let tokens = sum(self.ended.iter().skip(from));
        let counts = self.ended.iter().take(to).skip(from);
        let (exposure, _) = counts.fold((0.0, tokens), |(exposure, tokens), ended| {
            (exposure + tokens, tokens - f64::from(*ended))
        });
        exposure
    }

    /// Deaths after two or three responses: apps cause them, not uses.
    fn background(&self) -> f64 {
        sum(self.died.iter().take(FIRST_COUNTED).skip(FIRST_NOTED))
    }

    /// Deaths after more responses, if they are as frequent as those after two or three.
    fn expected(&self) -> f64 {
        let exposure = self.exposure(FIRST_NOTED, FIRST_COUNTED);
        let frequency = if exposure > 0.0 { (self.background() / exposure).min(1.0) } else { 0.0 };
        frequency * self.exposure(FIRST_COUNTED, MOST)
    }

    fn deaths_after_many(&self) -> f64 {
        sum(self.died.iter().skip(FIRST_COUNTED))
    }

    fn deaths_by_use(&self) -> f64 {
        self.deaths_after_many() - self.expected()
    }

    /// How much more likely the deaths are if they are more frequent after many responses, as a logarithm.
    fn evidence(&self) -> f64 {
        let (few, many) = (self.background(), self.deaths_after_many());
        let exposure = self.exposure(FIRST_NOTED, MOST);
        let share = self.exposure(FIRST_COUNTED, MOST) / exposure;
        let deaths = few + many;
        if many < MIN_DEATHS || exposure <= 0.0 || many <= deaths * share {
            return 0.0;
        }
        let ratio = log_likelihood_ratio(many, deaths * share)
            + log_likelihood_ratio(few, deaths * (1.0 - share));
        // The evidence is judged after each death, so it is high by chance at some time.
        ratio - deaths.ln() / 2.0
    }

    /// The first number of responses with which tokens usually died, if there is one.
    fn deadly(&self) -> Option<u32> {
        let mut numbers = (0..).zip(&self.died).enumerate().skip(FIRST_COUNTED);
        let deadly = numbers.find(|(index, (_, died))| {
            let died = f64::from(**died);
            died >= MIN_DEADLY && died >= sum(self.ended.iter().skip(*index)) * DEADLY_SHARE
        });
        deadly.map(|(_, (number, _))| number)
    }
}

fn add(counts: &mut [u32; MOST], hand_outs: u32) {
    let index = usize::try_from(hand_outs).unwrap_or(MOST).min(MOST - 1);
    if let Some(count) = counts.get_mut(index) {
        *count = count.saturating_add(1);
    }
}

fn log_likelihood_ratio(count: f64, expected: f64) -> f64 {
    if count > 0.0 { count * (count / expected).ln() } else { 0.0 }
}

fn sum<'c>(counts: impl IntoIterator<Item = &'c u32>) -> f64 {
    counts.into_iter().map(|count| f64::from(*count)).sum()
}

#[cfg(test)]
mod tests;
