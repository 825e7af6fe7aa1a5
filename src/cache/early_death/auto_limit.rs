//! `cache.max_hand_outs = "auto"`: lowers the number of responses after which a token is replaced, until
//! fewer than 0.1 % of the tokens die early because of their uses.
//!
//! Juspay's limit on the uses shows as a number of responses from which on most tokens die. An app that
//! requests new tokens without need shows at any number, mostly after one response. So a death counts only
//! after `FIRST_COUNTED` responses, and only as far as such deaths are more frequent than after two and three
//! responses. Pure: no clock and no lock.

use crate::clock::Monotonic;

/// The first number.
pub(super) const START: u32 = 10;

/// The lowest number. With the number n, a token is returned n + 1 times.
pub(crate) const LOWEST: u32 = 2;

/// Deaths after fewer responses don't count: a lower number would not prevent them.
const FIRST_COUNTED: usize = LOWEST as usize + 2;

/// Responses that are counted apart. Tokens with more count as tokens with this many.
const MOST: usize = 40;

/// Deaths, beyond the expected ones, and standard deviations that are needed to lower the number.
const MIN_DEATHS: f64 = 3.0;

/// The share of tokens that may die early.
const TARGET: f64 = 0.001;

/// After this many tokens, the counts are halved, so that old tokens are forgotten.
const WINDOW: u32 = 10_000;

/// After this many tokens with few deaths, the number rises by one. Doubles whenever it has to be
/// lowered after a rise.
const TOKENS_BEFORE_RISE: u64 = 20_000;

/// The number, and what tokens fetched since its last change tell of it.
#[derive(Debug)]
pub(super) struct AutoLimit {
    number: u32,
    changed: Option<Monotonic>,
    tokens: u32,
    /// Tokens by their responses at the end, and by their responses when they died early.
    ended: [u32; MOST],
    died: [u32; MOST],
    tokens_since_change: u64,
    tokens_before_rise: u64,
    has_risen: bool,
}

impl Default for AutoLimit {
    fn default() -> Self {
        Self {
            number: START,
            changed: None,
            tokens: 0,
            ended: [0; MOST],
            died: [0; MOST],
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
        }
        let is_due = self.tokens_since_change >= self.tokens_before_rise && self.number < START;
        if is_due && self.deaths_by_use() <= f64::from(self.tokens) * TARGET / 4.0 {
            self.change(self.number + 1, now);
            self.has_risen = true;
        }
    }

    /// A token is no longer cached.
    pub(super) fn note_end(&mut self, hand_outs: u32, born: Monotonic) {
        self.count(|counts| &mut counts.ended, hand_outs, born);
    }

    /// A token has died early. May lower the number.
    pub(super) fn note_death(&mut self, hand_outs: u32, born: Monotonic, now: Monotonic) {
        self.count(|counts| &mut counts.died, hand_outs, born);
        let is_frequent = self.deaths_by_use() >= f64::from(self.tokens) * TARGET;
        if is_frequent && self.is_significant() && self.number > LOWEST {
            // With the number n, a token is returned at least n + 1 times.
            let number = self.deadly().map_or(u32::MAX, |deadly| deadly.saturating_sub(2));
            if self.has_risen {
                self.tokens_before_rise = self.tokens_before_rise.saturating_mul(2);
            }
            self.change(number.clamp(LOWEST, self.number - 1), now);
        }
    }

    /// Tokens fetched before the last change tell nothing of the number.
    fn count(
        &mut self,
        counts: impl FnOnce(&mut Self) -> &mut [u32; MOST],
        hand_outs: u32,
        born: Monotonic,
    ) {
        if self.changed.is_none_or(|changed| born >= changed) {
            let index = usize::try_from(hand_outs).unwrap_or(MOST).min(MOST - 1);
            if let Some(count) = counts(self).get_mut(index) {
                *count = count.saturating_add(1);
            }
        }
    }

    fn change(&mut self, number: u32, now: Monotonic) {
        let tokens_before_rise = self.tokens_before_rise;
        let changed = Some(now);
        *self = Self { number, changed, tokens_before_rise, ..Self::default() };
    }

    /// How many responses tokens had, summed over tokens, for responses from `from` to `to`.
    fn exposure(&self, from: usize, to: usize) -> f64 {
        (from..to).map(|number| sum(self.ended.iter().skip(number))).sum()
    }

    /// Deaths after two or three responses: apps cause them, not uses.
    fn background(&self) -> f64 {
        sum(self.died.iter().take(FIRST_COUNTED).skip(2))
    }

    /// Deaths after more responses, if they are as frequent as `background` deaths after two or three.
    fn expected(&self, background: f64) -> f64 {
        let exposure = self.exposure(2, FIRST_COUNTED);
        let frequency = if exposure > 0.0 { (background / exposure).min(1.0) } else { 0.0 };
        frequency * self.exposure(FIRST_COUNTED, MOST)
    }

    fn deaths_after_many(&self) -> f64 {
        sum(self.died.iter().skip(FIRST_COUNTED))
    }

    fn deaths_by_use(&self) -> f64 {
        self.deaths_after_many() - self.expected(self.background())
    }

    /// Whether chance doesn't explain the deaths: three more than expected, and three standard deviations.
    fn is_significant(&self) -> bool {
        // The background is uncertain as well.
        let background = self.background();
        let expected = self.expected(background + 1.0 + background.sqrt());
        self.deaths_after_many() >= expected + MIN_DEATHS * (1.0 + expected.sqrt())
    }

    /// The first number of responses with which most tokens died, if there is one.
    fn deadly(&self) -> Option<u32> {
        let mut numbers = (0..).zip(&self.died).enumerate().skip(FIRST_COUNTED);
        let deadly = numbers.find(|(index, (_, died))| {
            let died = f64::from(**died);
            died >= MIN_DEATHS && died >= sum(self.ended.iter().skip(*index)) / 2.0
        });
        deadly.map(|(_, (number, _))| number)
    }
}

fn sum<'c>(counts: impl IntoIterator<Item = &'c u32>) -> f64 {
    counts.into_iter().map(|count| f64::from(*count)).sum()
}

#[cfg(test)]
mod tests;
