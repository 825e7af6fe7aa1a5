//! Counters: each lookup once, by outcome, and each hand-out with the remaining life of its token.

use super::world::{DEAD_FROM, REFRESH_TO, STALE_FROM, World, fails, lookup, run, secs, settle};
use crate::{
    cache::{Freshness, Lookup, LookupError},
    juspay::JuspayError,
};

/// hit, miss, joined, outage, `not_found`, bypass
fn counts(world: &World) -> [u64; 6] {
    ["hit", "miss", "joined", "outage", "not_found", "bypass"].map(|it| world.requests(it))
}

fn hand_outs(world: &World) -> (u64, f64) {
    let histogram = &world.metrics.cache.hand_out_remaining;
    (histogram.get_sample_count(), histogram.get_sample_sum())
}

fn no_cache(customer: &str) -> Lookup {
    Lookup { freshness: Freshness { no_cache: true, ..<_>::default() }, ..lookup(customer) }
}

fn at_least(least: u64) -> Lookup {
    let min_fresh = Some(secs(least));
    Lookup { freshness: Freshness { min_fresh, ..<_>::default() }, ..lookup("alice") }
}

fn cached(customer: &str) -> Lookup {
    Lookup { freshness: Freshness { only_if_cached: true, ..<_>::default() }, ..lookup(customer) }
}

#[test]
fn each_lookup_is_counted_once() {
    run(async {
        let world = World::new();
        // [miss, joined], then [hit]
        let phones = [world.asks("alice").await, world.asks("alice").await];
        world.answers("alice", world.token("tkn_1", 900)).await;
        for phone in phones {
            assert!(phone.await.unwrap().is_ok());
        }
        world.hit("alice");
        assert_eq!(counts(&world), [1, 1, 1, 0, 0, 0]);
        assert_eq!(hand_outs(&world), (3, 2700.0));

        // A directive overrode a good one: bypass, whether it went well or not.
        world.clock.advance(secs(100));
        for fails_first in [true, false] {
            let success = world.token("tkn_2", 900);
            let reply = if fails_first { fails(JuspayError::Timeout) } else { success };
            let phone = world.request(no_cache("alice"));
            settle().await;
            world.answers("alice", reply).await;
            drop(phone.await.unwrap());
            world.clock.advance(secs(1));
        }
        assert_eq!(counts(&world), [1, 1, 1, 0, 0, 2]);
        assert_eq!(hand_outs(&world), (4, 3600.0));

        // Not for the token: no hand-out.
        let bare = Lookup { want_token: false, ..lookup("alice") };
        assert!(world.request(bare).await.unwrap().is_ok());
        assert_eq!(counts(&world), [2, 1, 1, 0, 0, 2]);
        assert_eq!(hand_outs(&world), (4, 3600.0));

        // A failure below the floor: outage, whatever is said about the token.
        world.clock.advance(secs(STALE_FROM - 1));
        for question in [lookup("alice"), lookup("alice"), at_least(500)] {
            let phone = world.request(question);
            settle().await;
            if !phone.is_finished() {
                world.answers("alice", fails(JuspayError::Timeout)).await;
            }
            assert!(phone.await.unwrap().is_ok());
        }
        assert_eq!(counts(&world), [2, 1, 1, 3, 0, 2]);
        assert_eq!(hand_outs(&world), (7, 3600.0 + 3.0 * 119.0));
        assert_eq!(world.waiting(), 0);
    });
}

#[test]
fn failures_are_counted() {
    run(async {
        let world = World::new();
        assert!(world.fetches("alice", fails(JuspayError::Timeout)).await.is_err());
        assert_eq!(counts(&world), [0, 1, 0, 0, 0, 0]);
        // The same failure again, without a call.
        assert!(world.at_once("alice").unwrap().is_err());
        assert_eq!(counts(&world), [0, 2, 0, 0, 0, 0]);
        world.clock.advance(secs(1));
        let gone = world.fetches("alice", fails(JuspayError::CustomerNotFound)).await;
        assert!(gone.is_err());
        assert_eq!(counts(&world), [0, 3, 0, 0, 0, 0]);
        assert!(world.at_once("alice").unwrap().is_err());
        assert_eq!(counts(&world), [0, 3, 0, 0, 1, 0]);
        let refused = world.request(cached("bob")).await.unwrap();
        assert_eq!(refused.unwrap_err(), LookupError::NotCached);
        assert_eq!(counts(&world), [0, 4, 0, 0, 1, 0]);
        assert_eq!(hand_outs(&world), (0, 0.0));
    });
}

#[test]
fn failure_with_a_usable_cached_token_is_a_hit() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", 100).await;
        let phone = world.request(at_least(801));
        settle().await;
        world.answers("alice", fails(JuspayError::Timeout)).await;
        assert!(phone.await.unwrap().is_ok());
        assert_eq!(counts(&world), [1, 1, 0, 0, 0, 0]);
    });
}

#[test]
fn cached_tokens_are_counted_by_remaining_life() {
    run(async {
        let world = World::new();
        let lives = || {
            [30, 60, 120, 300, 600].map(|bound: u64| {
                let gauge = &world.metrics.cache.token_remaining;
                gauge.with_label_values(&[&bound.to_string()]).get()
            })
        };
        world.sweep();
        assert_eq!(lives(), [0; 5]);
        world.remembers("old", "tkn_1", 300).await;
        world.remembers("alice", "tkn_2", 0).await;
        assert!(world.fetches("gone", fails(JuspayError::CustomerNotFound)).await.is_err());
        world.sweep();
        assert_eq!(lives(), [2, 2, 2, 2, 2], "exactly 600 s are at least 600 s");
        world.clock.advance(secs(REFRESH_TO - 300));
        world.sweep();
        assert_eq!(lives(), [2, 2, 2, 1, 0]);
        world.clock.advance(secs(DEAD_FROM - REFRESH_TO));
        world.sweep();
        assert_eq!(lives(), [1, 1, 1, 1, 0], "what is dead isn't counted");
    });
}
