//! Pauses after failures: a second at first, then twice as long each time, up to 30 seconds, minus
//! jitter.

use std::time::Duration;

use juspay_bff::{cache::Lookup, clock::Clock, juspay::JuspayError};

use super::{
    flaky_upstream::{Behavior, Stage, settle_briefly},
    world::{
        REFRESH_FROM, STALE_FROM, World, failure, id, lookup, min_fresh, no_cache, run, secs,
        settle,
    },
};

/// The pauses between calls while a client sends ten requests per second, starting at a token age.
async fn pauses(stage: &Stage, lookup: &Lookup, age: u64, for_secs: u64) -> Vec<Duration> {
    let client = stage.client(lookup.clone());
    settle_briefly().await;
    assert!(client.await.unwrap().is_ok());
    stage.advance(secs(age)).await;
    stage.juspay.set_behavior(Behavior::fails(JuspayError::Status(500, None)));
    for _ in 0..for_secs * 10 {
        let client = stage.client(lookup.clone());
        settle_briefly().await;
        assert!(client.await.unwrap().is_ok());
        stage.advance(Duration::from_millis(100)).await;
    }
    let calls = stage.juspay.calls(lookup.customer.as_str());
    calls.windows(2).skip(1).map(|pair| pair[1].since(pair[0])).collect()
}

#[test]
fn requests_every_100_ms_make_few_calls() {
    run(async {
        let stage = Stage::new(Behavior::succeeds(900));
        let pauses = pauses(&stage, &lookup("alice"), 680, 180).await;
        for (number, pause) in (0..).zip(&pauses) {
            let most = f64::from(2_u32.pow(number)).min(30.0);
            // The client sends a request only every 100 ms.
            let pause = pause.as_secs_f64();
            assert!(pause >= 0.5 * most && pause <= most + 0.1, "{number}: {pauses:?}");
        }
        // Pauses of half of 1, 2, 4, 8 and 16 s, and then of 15 s.
        assert!((8..=16).contains(&pauses.len()), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause > secs(15)), "{pauses:?}");
    });
}

#[test]
fn pause_is_jittered() {
    run(async {
        let mut firsts = Vec::new();
        for _ in 0..20 {
            let stage = Stage::new(Behavior::succeeds(900));
            firsts.push(pauses(&stage, &lookup("alice"), 680, 40).await[4]);
        }
        firsts.sort_unstable();
        assert!(firsts[19] > firsts[0] + secs(1), "{firsts:?}");
    });
}

/// Otherwise each request would cost a call, because its `min-fresh` is never met.
#[test]
fn min_fresh_does_not_bypass_the_pause() {
    run(async {
        let stage = Stage::with(Behavior::succeeds(900), |settings| {
            settings.limits.force_refresh_per_customer = None;
        });
        let pauses = pauses(&stage, &min_fresh("alice", 500), 680, 180).await;
        assert!((8..=16).contains(&pauses.len()), "{pauses:?}");
    });
}

#[test]
fn success_resets_the_pause() {
    run(async {
        let stage = Stage::new(Behavior::succeeds(900));
        assert!(!pauses(&stage, &lookup("alice"), 680, 100).await.is_empty());
        stage.juspay.set_behavior(Behavior::succeeds(900));
        stage.advance(secs(30)).await;
        assert!(stage.at_once(&lookup("alice")).is_some());
        settle_briefly().await;
        let before = stage.juspay.total_calls();
        stage.juspay.set_behavior(Behavior::fails(JuspayError::Status(500, None)));
        stage.advance(secs(680)).await;
        for _ in 0..=11 {
            assert!(stage.at_once(&lookup("alice")).is_some());
            stage.advance(Duration::from_millis(100)).await;
        }
        assert_eq!(stage.juspay.total_calls() - before, 2, "the pause is a second again");
    });
}

#[test]
fn failed_first_fetch_is_not_repeated_for_a_second() {
    run(async {
        let world = World::new();
        let error = JuspayError::Timeout;
        assert_eq!(world.fetch("alice", failure(error.clone())).await.unwrap_err(), error);
        let wait = world.cache.retry_after(&error.clone().into(), &id("alice"), &world.api());
        let wait = wait.expect("a wait");
        assert!(wait <= secs(1) && wait >= secs(1) / 2, "{wait:?}");
        for lookup in [lookup("alice"), no_cache("alice"), min_fresh("alice", 500)] {
            let freshness = lookup.freshness;
            let client = world.client(lookup);
            assert_eq!(client.await.unwrap().unwrap_err(), error, "{freshness:?}");
        }
        assert_eq!(world.juspay.calls("alice"), 1);
        let _bob = world.start_request("bob").await;
        assert_eq!(world.juspay.calls("bob"), 1, "other customers have no pause");
        world.clock.advance(wait);
        assert!(world.fetch("alice", world.token("tkn_1", 900)).await.is_ok());
    });
}

#[test]
fn purge_ends_the_pause_even_during_a_fetch() {
    run(async {
        for all in [false, true] {
            let world = World::new();
            let purge = || {
                if all {
                    world.cache.purge_all();
                } else {
                    world.cache.purge(&id("alice"));
                }
            };
            assert!(world.fetch("alice", failure(JuspayError::Timeout)).await.is_err());
            purge();
            let client = world.start_request("alice").await;
            purge();
            world.respond("alice", failure(JuspayError::Timeout)).await;
            assert!(client.await.unwrap().is_err());
            assert!(world.fetch("alice", world.token("tkn_1", 900)).await.is_ok());
        }
    });
}

#[test]
fn pause_after_a_failed_first_fetch_grows_while_others_succeed() {
    run(async {
        let mut stage = Stage::new(Behavior::fails(JuspayError::Status(500, None)));
        for others_succeed in [true, false] {
            let failing = format!("failing{others_succeed}");
            for n in 0..600 {
                let client = stage.client(lookup(&failing));
                settle_briefly().await;
                assert!(client.await.unwrap().is_err());
                if others_succeed {
                    stage.juspay.set_behavior(Behavior::succeeds(900));
                    let other = stage.client(lookup(&format!("c{n}")));
                    settle_briefly().await;
                    assert!(other.await.unwrap().is_ok());
                    stage.juspay.set_behavior(Behavior::fails(JuspayError::Status(500, None)));
                }
                stage.advance(Duration::from_millis(100)).await;
            }
            let calls = stage.juspay.calls(&failing).len();
            // Pauses of 1, 2, 4, 8, 16 and 30 s, or of 1 s each; jitter shortens a pause by up to half.
            let expected = if others_succeed { 5..=8 } else { 54..=120 };
            assert!(expected.contains(&calls), "{others_succeed}: {calls}");
            stage = Stage::new(Behavior::fails(JuspayError::Status(500, None)));
        }
    });
}

#[test]
fn idle_customers_are_not_refreshed() {
    run(async {
        let stage = Stage::new(Behavior::succeeds(900));
        let client = stage.client(lookup("alice"));
        settle_briefly().await;
        assert!(client.await.unwrap().is_ok());
        for _ in 0..900 {
            stage.world.sweep();
            stage.advance(secs(1)).await;
        }
        assert_eq!(stage.juspay.total_calls(), 1);
    });
}

#[test]
fn pause_begins_at_the_failure() {
    run(async {
        for age in [REFRESH_FROM, STALE_FROM] {
            let world = World::new();
            world.cache_token("alice", "tkn_1", age).await;
            let _client = world.start_request("alice").await;
            world.clock.advance(secs(4));
            world.respond("alice", failure(JuspayError::Timeout)).await;
            let failed = world.clock.monotonic();
            while world.juspay.running("alice") == 0 {
                assert!(world.at_once("alice").is_some(), "no wait");
                settle().await;
                world.clock.advance(Duration::from_millis(10));
            }
            let pause = world.clock.monotonic().since(failed);
            let expected = Duration::from_millis(500)..=Duration::from_millis(1010);
            assert!(expected.contains(&pause), "{pause:?}");
        }
    });
}
