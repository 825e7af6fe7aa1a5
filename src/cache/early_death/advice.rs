//! Recommends a setting when more than 1 % of the tokens die early. Pure: no clock and no lock.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Monotonic;

/// The recommendation is repeated after this time, while it applies.
const PERIOD: Duration = Duration::from_hours(1);

/// After this many tokens, the counts are halved, so that old tokens are forgotten.
const WINDOW: u32 = 2_000;

/// Fewer deaths are no reason for a recommendation.
const MIN_DEATHS: u32 = 5;

/// One of this number of tokens may die early, before the recommendation was given and afterwards.
const TOLERATED: u32 = 100;
const TOLERATED_AFTERWARDS: u32 = 200;

/// Deaths from which the recommendation is derived.
const SAMPLES: usize = 100;

/// A token's age and number of responses when it died early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) age: Duration,
    pub(super) hand_outs: u32,
}

/// Why tokens die early, as far as their ages and responses show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// From this number of responses on: Juspay limits the uses.
    Uses(u32),
    /// From this age on: the life is shorter than reported.
    Age(Duration),
    /// After one or two responses and at any age: apps request new tokens without need.
    Requests,
}

/// The kind of a [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CauseKind {
    Uses,
    Age,
    Requests,
}

impl CauseKind {
    /// From the numbers of responses and the ages that a tenth and half of the dead tokens had at most. Of the
    /// two quantities, the one that varies less is the cause.
    pub(crate) fn of([few, usual]: [f64; 2], [young, usual_age]: [f64; 2]) -> Self {
        if usual <= 2.0 {
            if young * 2.0 >= usual_age { Self::Age } else { Self::Requests }
        } else if young * usual > few * usual_age {
            Self::Age
        } else {
            Self::Uses
        }
    }
}

/// That many of the last tokens have died early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) cause: Cause,
    pub(super) deaths: u32,
    pub(super) tokens: u32,
}

/// The last tokens and their deaths.
#[derive(Debug, Default)]
pub(super) struct Advisor {
    tokens: u32,
    deaths: u32,
    samples: VecDeque<Death>,
    /// When the recommendation was given, until few tokens die early.
    given: Option<Monotonic>,
}

impl Advisor {
    /// A token was fetched.
    pub(super) fn note_token(&mut self) {
        self.tokens += 1;
        if self.tokens >= WINDOW {
            self.tokens /= 2;
            self.deaths /= 2;
        }
        if self.deaths.saturating_mul(TOLERATED_AFTERWARDS) < self.tokens {
            self.given = None;
        }
    }

    /// A token has died early. Returns the recommendation, if it is due.
    pub(super) fn note_death(&mut self, death: Death, now: Monotonic) -> Option<Advice> {
        self.deaths = self.deaths.saturating_add(1);
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(death);
        let tolerated = if self.given.is_some() { TOLERATED_AFTERWARDS } else { TOLERATED };
        let is_common = self.deaths.saturating_mul(tolerated) > self.tokens;
        let is_repeated = self.given.is_some_and(|given| now.since(given) < PERIOD);
        if !is_common || is_repeated || self.deaths < MIN_DEATHS {
            return None;
        }
        self.given = Some(now);
        Some(Advice { cause: self.cause(), deaths: self.deaths, tokens: self.tokens })
    }

    fn cause(&self) -> Cause {
        let hand_outs = self.samples.iter().map(|death| f64::from(death.hand_outs));
        let ages = self.samples.iter().map(|death| death.age.as_secs_f64());
        let hand_outs @ [few, _] = tenth_and_half(hand_outs);
        let ages @ [young, _] = tenth_and_half(ages);
        match CauseKind::of(hand_outs, ages) {
            CauseKind::Age => Cause::Age(Duration::try_from_secs_f64(young).unwrap_or_default()),
            CauseKind::Requests => Cause::Requests,
            CauseKind::Uses => {
                let least = self.samples.iter().map(|death| death.hand_outs);
                let least = least.filter(|number| f64::from(*number) >= few).min();
                Cause::Uses(least.unwrap_or_default())
            }
        }
    }
}

/// The values that a tenth and half of all values are below.
fn tenth_and_half(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    [at(values.len() / 10), at(values.len() / 2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(secs))
    }

    fn death(hand_outs: u32, secs: u64) -> Death {
        Death { age: Duration::from_secs(secs), hand_outs }
    }

    /// An advisor that knows 1,000 tokens, and what it says of these deaths.
    fn advice(deaths: &[(u32, u64)]) -> Vec<Cause> {
        let mut advisor = Advisor::default();
        (0..1000).for_each(|_| advisor.note_token());
        let given = deaths.iter().filter_map(|(hand_outs, secs)| {
            advisor.note_death(death(*hand_outs, *secs), at(0)).map(|advice| advice.cause)
        });
        given.collect()
    }

    fn repeated(deaths: &[(u32, u64)]) -> Vec<(u32, u64)> {
        deaths.iter().copied().cycle().take(15).collect()
    }

    #[test]
    fn one_of_a_hundred_tokens_may_die() {
        let deaths = repeated(&[(5, 300)]);
        assert_eq!(advice(deaths.get(..10).unwrap()), []);
        assert_eq!(advice(deaths.get(..11).unwrap()), [Cause::Uses(5)]);
        assert_eq!(advice(&deaths), [Cause::Uses(5)], "once in a period");
    }

    #[test]
    fn few_deaths_are_no_reason() {
        let mut advisor = Advisor::default();
        (0..5).for_each(|_| advisor.note_token());
        for _ in 0..4 {
            assert_eq!(advisor.note_death(death(5, 300), at(0)), None);
        }
        let advice = advisor.note_death(death(5, 300), at(0)).unwrap();
        assert_eq!(advice, Advice { cause: Cause::Uses(5), deaths: 5, tokens: 5 });
    }

    #[test]
    fn quantity_that_varies_less_is_the_cause() {
        let uses = repeated(&[(5, 60), (6, 200), (5, 400), (7, 600)]);
        assert_eq!(advice(&uses), [Cause::Uses(5)]);
        let age = repeated(&[(2, 310), (9, 305), (4, 330), (14, 340)]);
        assert_eq!(advice(&age), [Cause::Age(Duration::from_secs(305))]);
        let rare = repeated(&[(1, 310), (1, 305), (2, 330), (1, 340)]);
        assert_eq!(advice(&rare), [Cause::Age(Duration::from_secs(305))]);
        let requests = repeated(&[(1, 31), (1, 90), (2, 200), (1, 500)]);
        assert_eq!(advice(&requests), [Cause::Requests]);
    }

    #[test]
    fn advice_is_repeated_hourly_until_deaths_are_rare() {
        let mut advisor = Advisor::default();
        (0..1000).for_each(|_| advisor.note_token());
        let mut given = |deaths: u32, tokens: u32, secs| {
            (0..tokens).for_each(|_| advisor.note_token());
            (0..deaths).filter_map(|_| advisor.note_death(death(5, 300), at(secs))).count()
        };
        assert_eq!(given(20, 0, 0), 1);
        assert_eq!(given(20, 0, 3599), 0);
        assert_eq!(given(1, 0, 3600), 1);
        // Below 1 %, but not below 0.5 %.
        assert_eq!(given(0, 3000, 3700), 0);
        assert_eq!(given(3, 0, 7200), 1);
        // Below 0.5 %: as if it had never been given.
        assert_eq!(given(1, 5000, 14_400), 0);
    }
}
