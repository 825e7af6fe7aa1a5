//! Pauses after failures: a second at first, then twice as long each time, up to 30 seconds, minus
//! jitter.

use std::time::Duration;

use super::{
    flaky_upstream::{Behavior, Stage, brief},
    world::{REFRESH_FROM, STALE_FROM, World, fails, id, lookup, run, secs, settle},
};
use crate::{
    cache::{Freshness, Lookup},
    clock::Clock,
    juspay::JuspayError,
};

/// The pauses between calls while one asks ten times a second, from an age on.
async fn pauses(stage: &Stage, lookup: &Lookup, age: u64, for_secs: u64) -> Vec<Duration> {
    let phone = stage.phone(lookup.clone());
    brief().await;
    assert!(phone.await.unwrap().is_ok());
    stage.pass(secs(age)).await;
    stage.juspay.behaves(Behavior::fails(JuspayError::Status(500, None)));
    for _ in 0..for_secs * 10 {
        let phone = stage.phone(lookup.clone());
        brief().await;
        assert!(phone.await.unwrap().is_ok());
        stage.pass(Duration::from_millis(100)).await;
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
            // The phone asks each 100 ms only.
            let taken = pause.as_secs_f64();
            assert!(taken >= 0.5 * most && taken <= most + 0.1, "{number}: {pauses:?}");
        }
        // Half of 1 + 2 + 4 + 8 + 16, and then 15 s each.
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
        let freshness = Freshness { min_fresh: Some(secs(500)), ..Freshness::default() };
        let wants_more = Lookup { freshness, ..lookup("alice") };
        let pauses = pauses(&stage, &wants_more, 680, 180).await;
        assert!((8..=16).contains(&pauses.len()), "{pauses:?}");
    });
}

#[test]
fn success_resets_the_pause() {
    run(async {
        let stage = Stage::new(Behavior::succeeds(900));
        assert!(!pauses(&stage, &lookup("alice"), 680, 100).await.is_empty());
        stage.juspay.behaves(Behavior::succeeds(900));
        stage.pass(secs(30)).await;
        assert!(stage.at_once(&lookup("alice")).is_some());
        brief().await;
        let before = stage.juspay.all_calls();
        stage.juspay.behaves(Behavior::fails(JuspayError::Status(500, None)));
        stage.pass(secs(680)).await;
        for _ in 0..=11 {
            assert!(stage.at_once(&lookup("alice")).is_some());
            stage.pass(Duration::from_millis(100)).await;
        }
        assert_eq!(stage.juspay.all_calls() - before, 2, "a second's pause again");
    });
}

#[test]
fn failed_first_fetch_is_not_repeated_for_a_second() {
    run(async {
        let world = World::new();
        let error = JuspayError::Timeout;
        assert_eq!(world.fetches("alice", fails(error.clone())).await.unwrap_err(), error);
        let told = world.cache.retry_after(&error.clone().into(), &id("alice"), &world.api());
        let wait = told.expect("a wait");
        assert!(wait <= secs(1) && wait >= secs(1) / 2, "{wait:?}");
        for freshness in [
            Freshness::default(),
            Freshness { no_cache: true, ..Freshness::default() },
            Freshness { min_fresh: Some(secs(500)), ..Freshness::default() },
        ] {
            let phone = world.phone(Lookup { freshness, ..lookup("alice") });
            assert_eq!(phone.await.unwrap().unwrap_err(), error, "{freshness:?}");
        }
        assert_eq!(world.juspay.calls("alice"), 1);
        let _bob = world.asks("bob").await;
        assert_eq!(world.juspay.calls("bob"), 1, "another customer is another matter");
        world.clock.advance(wait);
        assert!(world.fetches("alice", world.token("tkn_1", 900)).await.is_ok());
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
            assert!(world.fetches("alice", fails(JuspayError::Timeout)).await.is_err());
            purge();
            let phone = world.asks("alice").await;
            purge();
            world.answers("alice", fails(JuspayError::Timeout)).await;
            assert!(phone.await.unwrap().is_err());
            assert!(world.fetches("alice", world.token("tkn_1", 900)).await.is_ok());
        }
    });
}

#[test]
fn pause_after_a_failed_first_fetch_grows_while_others_succeed() {
    run(async {
        let mut stage = Stage::new(Behavior::fails(JuspayError::Status(500, None)));
        for others_succeed in [true, false] {
            let odd = format!("odd{others_succeed}");
            for n in 0..600 {
                let phone = stage.phone(lookup(&odd));
                brief().await;
                assert!(phone.await.unwrap().is_err());
                if others_succeed {
                    stage.juspay.behaves(Behavior::succeeds(900));
                    let other = stage.phone(lookup(&format!("c{n}")));
                    brief().await;
                    assert!(other.await.unwrap().is_ok());
                    stage.juspay.behaves(Behavior::fails(JuspayError::Status(500, None)));
                }
                stage.pass(Duration::from_millis(100)).await;
            }
            let calls = stage.juspay.calls(&odd).len();
            // Pauses of 1, 2, 4, 8, 16 and 30 s, or of a second, all of them or half.
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
        let phone = stage.phone(lookup("alice"));
        brief().await;
        assert!(phone.await.unwrap().is_ok());
        for _ in 0..900 {
            stage.world.sweep();
            stage.pass(secs(1)).await;
        }
        assert_eq!(stage.juspay.all_calls(), 1);
    });
}

#[test]
fn pause_begins_at_the_failure() {
    run(async {
        for age in [REFRESH_FROM, STALE_FROM] {
            let world = World::new();
            world.remembers("alice", "tkn_1", age).await;
            let _phone = world.asks("alice").await;
            world.clock.advance(secs(4));
            world.answers("alice", fails(JuspayError::Timeout)).await;
            let failed = world.clock.monotonic();
            while world.juspay.under_way("alice") == 0 {
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
