//! Metrics: each lookup is counted once, by outcome, and each returned token with its remaining life.

use juspay_bff::{
    cache::{Lookup, LookupError},
    juspay::JuspayError,
};

use super::world::{
    EXPIRED_FROM, REFRESH_TO, STALE_FROM, World, failure, lookup, min_fresh, no_cache,
    only_if_cached, run, secs, settle,
};

/// hit, miss, joined, outage, `not_found`, bypass
fn counts(world: &World) -> [u64; 6] {
    ["hit", "miss", "joined", "outage", "not_found", "bypass"].map(|it| world.requests(it))
}

/// The number of returned tokens, and the sum of their remaining lives in seconds.
fn hand_outs(world: &World) -> (u64, f64) {
    let histogram = &world.metrics.cache.hand_out_remaining;
    (histogram.get_sample_count(), histogram.get_sample_sum())
}

#[test]
fn each_lookup_is_counted_once() {
    run(async {
        let world = World::new();
        // A miss and a joining request, then a hit.
        let clients = [world.start_request("alice").await, world.start_request("alice").await];
        world.respond("alice", world.token("tkn_1", 900)).await;
        for client in clients {
            assert!(client.await.unwrap().is_ok());
        }
        world.hit("alice");
        assert_eq!(counts(&world), [1, 1, 1, 0, 0, 0]);
        assert_eq!(hand_outs(&world), (3, 2700.0));

        // A directive replaced a usable token: bypass, whether the fetch succeeded or not.
        world.clock.advance(secs(100));
        for is_failure in [true, false] {
            let success = world.token("tkn_2", 900);
            let reply = if is_failure { failure(JuspayError::Timeout) } else { success };
            let client = world.request(no_cache("alice"));
            settle().await;
            world.respond("alice", reply).await;
            drop(client.await.unwrap());
            world.clock.advance(secs(1));
        }
        assert_eq!(counts(&world), [1, 1, 1, 0, 0, 2]);
        assert_eq!(hand_outs(&world), (4, 3600.0));

        // Without token, so nothing is handed out.
        let without_token = Lookup { want_token: false, ..lookup("alice") };
        assert!(world.request(without_token).await.unwrap().is_ok());
        assert_eq!(counts(&world), [2, 1, 1, 0, 0, 2]);
        assert_eq!(hand_outs(&world), (4, 3600.0));

        // A failure below the floor: outage, whichever detail the response has.
        world.clock.advance(secs(STALE_FROM - 1));
        for lookup in [lookup("alice"), lookup("alice"), min_fresh("alice", 500)] {
            let client = world.request(lookup);
            settle().await;
            if !client.is_finished() {
                world.respond("alice", failure(JuspayError::Timeout)).await;
            }
            assert!(client.await.unwrap().is_ok());
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
        assert!(world.fetch("alice", failure(JuspayError::Timeout)).await.is_err());
        assert_eq!(counts(&world), [0, 1, 0, 0, 0, 0]);
        // The remembered failure, without a call.
        assert!(world.at_once("alice").unwrap().is_err());
        assert_eq!(counts(&world), [0, 2, 0, 0, 0, 0]);
        world.clock.advance(secs(1));
        let result = world.fetch("alice", failure(JuspayError::CustomerNotFound)).await;
        assert!(result.is_err());
        assert_eq!(counts(&world), [0, 3, 0, 0, 0, 0]);
        assert!(world.at_once("alice").unwrap().is_err());
        assert_eq!(counts(&world), [0, 3, 0, 0, 1, 0]);
        let result = world.request(only_if_cached("bob")).await.unwrap();
        assert_eq!(result.unwrap_err(), LookupError::NotCached);
        assert_eq!(counts(&world), [0, 4, 0, 0, 1, 0]);
        assert_eq!(hand_outs(&world), (0, 0.0));
    });
}

#[test]
fn failure_with_a_usable_cached_token_is_a_hit() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 100).await;
        let client = world.request(min_fresh("alice", 801));
        settle().await;
        world.respond("alice", failure(JuspayError::Timeout)).await;
        assert!(client.await.unwrap().is_ok());
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
        world.cache_token("old", "tkn_1", 300).await;
        world.cache_token("alice", "tkn_2", 0).await;
        assert!(world.fetch("unknown", failure(JuspayError::CustomerNotFound)).await.is_err());
        world.sweep();
        assert_eq!(lives(), [2, 2, 2, 2, 2], "exactly 600 s are at least 600 s");
        world.clock.advance(secs(REFRESH_TO - 300));
        world.sweep();
        assert_eq!(lives(), [2, 2, 2, 1, 0]);
        world.clock.advance(secs(EXPIRED_FROM - REFRESH_TO));
        world.sweep();
        assert_eq!(lives(), [1, 1, 1, 1, 0], "an expired token isn't counted");
    });
}
