//! `cache.max_hand_outs = "auto"` with a Juspay that rejects a token after a hidden number of uses. An SDK uses
//! a token three times for each response. What the SDKs see counts, not what the cache notices.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use juspay_bff::{
    cache::Lookup,
    clock::{Clock as _, Monotonic},
    settings::MaxHandOuts,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    flaky_upstream::{Behavior, Stage, settle_briefly},
    world::{lookup, no_cache, run, token},
};

const CUSTOMERS: u32 = 300;
const USES: u32 = 3;

/// Of Juspay's responses: below the 250 ms that a request waits for a new token, and above.
const LATENCY: Duration = Duration::from_millis(200);
const HIGH_LATENCY: Duration = Duration::from_millis(400);

/// The steps in which time passes while a request waits.
const STEP: Duration = Duration::from_millis(50);

/// The tokens with which "auto" learns, and all tokens.
const LEARNING: u64 = 1_000;
const ALL: u64 = 11_000;

/// Customers, and the uses of their tokens.
struct Simulation {
    stage: Stage,
    random: StdRng,
    hidden_limit: u32,
    uses: HashMap<String, u32>,
    /// Tokens that an SDK saw rejected.
    rejections: u64,
    /// The next request of each customer, and how many requests the customer's visit has after it.
    next: BinaryHeap<Reverse<(Monotonic, u32, u32)>>,
}

/// How many tokens died: while "auto" learned, and later. And the number that it found.
#[derive(Debug)]
struct Deaths {
    learning: u64,
    later: u64,
    number: i64,
}

impl Simulation {
    fn new(hidden_limit: u32, seed: u64, max_hand_outs: MaxHandOuts, latency: Duration) -> Self {
        let behavior = Behavior::Succeeds { life: 900, after: latency };
        let stage = Stage::with(behavior, |settings| {
            settings.cache.max_hand_outs = max_hand_outs;
            // Without time for a refresh by age, whose jitter no seed determines.
            settings.cache.refresh_ahead = settings.cache.min_remaining;
        });
        let now = stage.world.clock.monotonic();
        let mut random = StdRng::seed_from_u64(seed);
        let first = |customer| {
            let start = now.plus(Duration::from_secs_f64(random.random_range(0.0..600.0)));
            Reverse((start, customer, 0))
        };
        let next = (0..CUSTOMERS).map(first).collect();
        let uses = HashMap::new();
        Self { stage, random, hidden_limit, uses, rejections: 0, next }
    }

    async fn run(mut self) -> Deaths {
        let mut learning = None;
        loop {
            let tokens = self.stage.world.metrics.cache.tokens.get();
            if tokens >= LEARNING {
                learning = learning.or(Some(self.rejections));
            }
            if tokens >= ALL {
                let learning = learning.unwrap_or_default();
                let later = self.rejections - learning;
                let number = self.stage.world.metrics.cache.max_hand_outs.get();
                return Deaths { learning, later, number };
            }
            self.step().await;
        }
    }

    /// The next request. One in ten is repeated at once, by another part of the app.
    async fn step(&mut self) {
        let Reverse((at, customer, left)) = self.next.pop().unwrap();
        let name = format!("customer_{customer}");
        self.wait_until(at).await;
        if !self.request(lookup(&name)).await {
            self.request(no_cache(&name)).await;
        }
        let now = self.stage.world.clock.monotonic();
        let (pause, left) = match left {
            _ if self.random.random_bool(0.1) => (0.05, left),
            0 => (-180.0 * self.random.random::<f64>().ln(), self.random.random_range(0..4)),
            left => (self.random.random_range(2.0..15.0), left - 1),
        };
        self.next.push(Reverse((now.plus(Duration::from_secs_f64(pause)), customer, left)));
    }

    async fn wait_until(&self, at: Monotonic) {
        let now = self.stage.world.clock.monotonic();
        if at > now {
            self.stage.advance(at.since(now)).await;
        }
    }

    /// A request and the uses of its token. Returns whether the token worked.
    async fn request(&mut self, lookup: Lookup) -> bool {
        let found = if let Some(found) = self.stage.at_once(&lookup) {
            found
        } else {
            let client = self.stage.client(lookup);
            settle_briefly().await;
            while !client.is_finished() {
                self.stage.advance(STEP).await;
            }
            client.await.unwrap()
        };
        // A refresh that the request has started begins now.
        settle_briefly().await;
        let token = token(&found.unwrap()).unwrap();
        let uses = self.uses.entry(token).or_default();
        let uses_before = *uses;
        *uses += USES;
        let works = *uses <= self.hidden_limit;
        // The same token may be rejected again.
        self.rejections += u64::from(!works && uses_before <= self.hidden_limit);
        works
    }
}

#[test]
fn fewer_than_one_of_a_thousand_tokens_die_once_auto_has_learned() {
    for (hidden_limit, seed) in [(12, 1), (12, 2), (20, 3), (30, 4)] {
        let deaths = run(Simulation::new(hidden_limit, seed, MaxHandOuts::Auto, LATENCY).run());
        println!("{hidden_limit} uses, seed {seed}: {deaths:?}");
        assert!(deaths.later * 1000 < ALL - LEARNING, "{hidden_limit}: {deaths:?}");
        assert!(deaths.learning > 0 && deaths.learning < 50, "{hidden_limit}: {deaths:?}");
        assert!(deaths.number < i64::from(hidden_limit / USES), "{hidden_limit}: {deaths:?}");
    }
}

/// Requests that wait for 250 ms get the used-up token: the rate in docs/operations.md.
#[test]
fn slow_juspay_costs_tokens() {
    for (hidden_limit, seed) in [(12, 1), (20, 3), (30, 4)] {
        let simulation = Simulation::new(hidden_limit, seed, MaxHandOuts::Auto, HIGH_LATENCY);
        let deaths = run(simulation.run());
        println!("{hidden_limit} uses, seed {seed}, {HIGH_LATENCY:?}: {deaths:?}");
        assert!(deaths.number < i64::from(hidden_limit / USES), "{hidden_limit}: {deaths:?}");
    }
}

/// The simulation itself: without "auto", the same tokens die.
#[test]
fn tokens_die_with_a_number_above_the_hidden_limit() {
    let deaths = run(Simulation::new(12, 1, MaxHandOuts::Number(10), LATENCY).run());
    assert!(deaths.later * 5 > ALL - LEARNING, "{deaths:?}");
}
