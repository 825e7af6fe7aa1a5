//! The number for tokens that die by use, and for apps that request new tokens without need. Each step of a
//! test is a token's whole life.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// The customers who are not named take turns.
const CUSTOMERS: u64 = 100_000;

struct Tokens {
    auto: AutoLimit,
    now: Duration,
    number: u64,
}

impl Tokens {
    fn new() -> Self {
        Self { auto: AutoLimit::default(), now: Duration::ZERO, number: 0 }
    }

    fn now(&self) -> Monotonic {
        Monotonic::new(self.now)
    }

    /// A token that dies with its `death`th response, unless it has fewer. A phone sends the requests that the
    /// number allows, and `more`.
    fn token(&mut self, death: u32, more: u32) -> bool {
        self.number += 1;
        self.token_of(self.number % CUSTOMERS, death, more)
    }

    fn token_of(&mut self, customer: u64, death: u32, more: u32) -> bool {
        self.now += Duration::from_secs(1);
        let born = self.now();
        self.auto.note_token(born);
        let hand_outs = (self.auto.number() + 1 + more).min(death);
        let dies = hand_outs >= death;
        if dies {
            let token = DeadToken { customer, hand_outs, born, has_ended: false };
            self.auto.note_death(&token, born);
        } else {
            self.auto.note_end(hand_outs, born);
        }
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

/// The customer's tokens die with their `death`th response, for one of `others` tokens of other customers.
fn number_with_one_bad_customer(death: u32, others: u32) -> u32 {
    let mut tokens = Tokens::new();
    for index in 0..20_000 {
        if index % others == 0 {
            tokens.token_of(CUSTOMERS, death, 0);
        }
        tokens.tokens(1, 100);
    }
    tokens.auto.number()
}

#[test]
fn one_customer_changes_nothing() {
    for death in 2..=11 {
        for others in [1, 10, 100] {
            assert_eq!(number_with_one_bad_customer(death, others), START, "{death}, {others}");
        }
    }
}

#[test]
fn several_customers_are_needed() {
    let number = |customers: u64| {
        let mut tokens = Tokens::new();
        (0..100).for_each(|index| _ = tokens.token_of(index % customers, 7, 0));
        tokens.auto.number()
    };
    assert_eq!((number(8), number(12)), (START, 5));
}

#[test]
fn number_of_remembered_customers_is_limited() {
    let mut tokens = Tokens::new();
    // Deaths after two responses never lower the number.
    for customer in 0..50_000 {
        let born = tokens.now();
        let token = DeadToken { customer, hand_outs: 2, born, has_ended: false };
        tokens.auto.note_death(&token, born);
    }
    assert_eq!(tokens.auto.customers.len(), MAX_CUSTOMERS);
    assert!(tokens.auto.died.iter().sum::<u32>() <= 10_000);
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

/// Tokens before the number falls, if each request has `no-cache` with this probability in per mille.
fn tokens_before_a_fall(per_mille: u32, seed: u64, customers: u64) -> Option<u32> {
    let mut tokens = Tokens::new();
    let mut random = StdRng::seed_from_u64(seed);
    (0..20_000).find(|_| {
        let death = (1..=11).find(|_| random.random_ratio(per_mille, 1000)).unwrap_or(9999);
        tokens.token_of(random.random_range(0..customers), death, 0);
        tokens.auto.number() < START
    })
}

#[test]
fn apps_that_sometimes_request_new_tokens_change_nothing() {
    for per_mille in [1, 2, 5, 10, 20, 50] {
        for seed in 0..20 {
            let customers = if seed % 2 == 0 { 100_000 } else { 100 };
            let fall = tokens_before_a_fall(per_mille, seed, customers);
            assert_eq!(fall, None, "{per_mille} per mille, seed {seed}, {customers} customers");
        }
    }
}

/// Such a flow looks like a limit on uses (docs/operations.md).
#[test]
fn apps_that_request_new_tokens_at_a_fixed_request_lower_the_number() {
    let mut tokens = Tokens::new();
    for _ in 0..100 {
        tokens.tokens(19, 100);
        tokens.tokens(1, 5);
    }
    assert!(tokens.auto.number() < START);
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
fn deaths_on_other_replicas_do_not_hide_the_deadly_number() {
    let mut tokens = Tokens::new();
    // Each death is reported to one of three replicas.
    for index in 0..60 {
        if tokens.auto.number() < START {
            break;
        }
        let born = tokens.now();
        tokens.auto.note_token(born);
        if index % 3 == 0 {
            let token = DeadToken { customer: index, hand_outs: 7, born, has_ended: false };
            tokens.auto.note_death(&token, born);
        }
        if index % 3 == 1 {
            tokens.auto.note_end(7, born);
        }
    }
    assert_eq!(tokens.auto.number(), 5);
}

#[test]
fn tokens_older_than_a_change_or_a_purge_do_not_count() {
    let mut tokens = Tokens::new();
    let old = tokens.now();
    tokens.tokens(20, 11);
    assert_eq!(tokens.auto.number(), 9);
    tokens.auto.note_purge(tokens.now());
    for customer in 0..100 {
        let token = DeadToken { customer, hand_outs: 11, born: old, has_ended: false };
        tokens.auto.note_death(&token, tokens.now());
        tokens.auto.note_end(11, old);
    }
    assert_eq!(tokens.auto.number(), 9);
    assert_eq!((sum(&tokens.auto.ended), sum(&tokens.auto.died)), (0.0, 0.0));
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
    assert_eq!((tokens.auto.number(), deaths), (5, 3 * 9), "after 20, 40 and 80 thousand tokens");
    // Juspay no longer limits the uses.
    tokens.tokens(1_000_000, 100);
    assert_eq!(tokens.auto.number(), START);
}
