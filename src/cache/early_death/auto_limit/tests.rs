//! The number for tokens that die by use, and for apps that request new tokens without need. Each step of a
//! test is a token's whole life.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

struct Tokens {
    auto: AutoLimit,
    now: Duration,
}

impl Tokens {
    fn new() -> Self {
        Self { auto: AutoLimit::default(), now: Duration::ZERO }
    }

    fn now(&self) -> Monotonic {
        Monotonic::new(self.now)
    }

    /// A token that dies with its `death`th response, unless it has fewer. A phone sends the requests that the
    /// number allows, and `more`.
    fn token(&mut self, death: u32, more: u32) -> bool {
        self.now += Duration::from_secs(1);
        let born = self.now();
        self.auto.note_token(born);
        let hand_outs = self.auto.number() + 1 + more;
        let dies = hand_outs >= death;
        if dies {
            self.auto.note_death(death, born, born);
        }
        self.auto.note_end(hand_outs.min(death), born);
        dies
    }

    fn tokens(&mut self, number: u32, death: u32) -> u32 {
        (0..number).map(|_| u32::from(self.token(death, 0))).sum()
    }
}

#[test]
fn number_falls_below_the_deadly_one_at_once() {
    for (death, number) in [(11, 9), (7, 5), (5, 3), (4, 2)] {
        let mut tokens = Tokens::new();
        let deaths = tokens.tokens(1000, death);
        assert!(deaths < 20, "{death}: {deaths} deaths");
        assert_eq!(tokens.auto.number(), number, "{death}");
    }
}

#[test]
fn number_falls_further_while_requests_during_refreshes_kill_tokens() {
    let mut tokens = Tokens::new();
    for index in 0..4000 {
        tokens.token(5, u32::from(index % 100 == 0));
    }
    assert_eq!(tokens.auto.number(), 2);
}

#[test]
fn few_deaths_of_many_tokens_change_nothing() {
    let mut tokens = Tokens::new();
    tokens.tokens(2000, 100);
    for _ in 0..20 {
        tokens.tokens(2000, 100);
        tokens.tokens(1, 6);
    }
    assert_eq!(tokens.auto.number(), START);
}

#[test]
fn apps_that_always_request_new_tokens_change_nothing() {
    let mut tokens = Tokens::new();
    for _ in 0..1000 {
        tokens.tokens(4, 100);
        tokens.tokens(3, 1);
        tokens.tokens(1, 2);
    }
    assert_eq!(tokens.auto.number(), START);
}

#[test]
fn apps_that_sometimes_request_new_tokens_change_nothing() {
    let mut tokens = Tokens::new();
    // Each request has `no-cache` with a probability of one percent.
    let mut random = StdRng::seed_from_u64(1);
    let mut death = || (1..9999).find(|_| random.random_ratio(1, 100)).unwrap_or(9999);
    for _ in 0..50_000 {
        tokens.token(death(), 0);
    }
    assert_eq!(tokens.auto.number(), START);
}

#[test]
fn uses_are_seen_beside_apps_that_request_new_tokens() {
    let mut tokens = Tokens::new();
    for _ in 0..500 {
        tokens.tokens(5, 7);
        tokens.tokens(5, 1);
    }
    assert_eq!(tokens.auto.number(), 5);
}

#[test]
fn tokens_older_than_a_change_tell_nothing() {
    let mut tokens = Tokens::new();
    let old = tokens.now();
    tokens.tokens(20, 11);
    assert_eq!(tokens.auto.number(), 9);
    for _ in 0..100 {
        tokens.auto.note_death(11, old, tokens.now());
        tokens.auto.note_end(11, old);
    }
    assert_eq!(tokens.auto.number(), 9);
}

#[test]
fn number_rises_after_many_tokens_and_ever_more_carefully() {
    let mut tokens = Tokens::new();
    tokens.tokens(20, 7);
    assert_eq!(tokens.auto.number(), 5);
    let mut deaths = 0;
    for _ in 0..200_000 {
        deaths += u32::from(tokens.token(7, 0));
    }
    assert_eq!((tokens.auto.number(), deaths), (5, 3 * 10), "after 20, 40 and 80 thousand tokens");
    // Juspay no longer limits the uses.
    tokens.tokens(1_000_000, 100);
    assert_eq!(tokens.auto.number(), START);
}
