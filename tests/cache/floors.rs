//! P3: no token is returned with less remaining life than its floor, by the more conservative clock,
//! however long the request waited and however the clocks jumped meanwhile.

use std::pin::pin;

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use juspay_bff::{
    cache::{Detail, Forward, Lookup, Source},
    juspay::{InvalidResponse, JuspayError},
};

use super::world::{
    EXPIRED_FROM, FRESH_TO, LookupResult, REFRESH_FROM, REFRESH_TO, STALE_FROM, World, failure,
    juspay_error, lookup, run, secs, settle, token, token_of,
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

const TOO_SHORT: JuspayError = JuspayError::InvalidResponse(InvalidResponse::TooShortLived);

/// A long deadline, so that tokens can age during their fetch.
fn with_long_deadline() -> World {
    World::with(|settings| settings.juspay.deadline = secs(120))
}

#[test]
fn p3_phases_begin_at_the_exact_second() {
    run(async {
        for (age, is_returned_at_once, starts_fetch, is_fallback) in [
            (0, true, false, true),
            (FRESH_TO, true, false, true),
            (REFRESH_FROM, true, true, true),
            (REFRESH_TO, true, true, true),
            (STALE_FROM, false, true, true),
            (EXPIRED_FROM - 1, false, true, true),
            (EXPIRED_FROM, false, true, false),
        ] {
            let world = World::new();
            world.cache_token("alice", "tkn_1", age).await;
            assert_eq!(world.at_once("alice").is_some(), is_returned_at_once, "{age}");
            settle().await;
            assert_eq!(world.juspay.running("alice") == 1, starts_fetch, "{age}");

            let client = world.start_request("alice").await;
            assert_eq!(client.is_finished(), is_returned_at_once, "{age}");
            if starts_fetch {
                world.respond("alice", failure(JuspayError::Timeout)).await;
            }
            let token = client.await.unwrap().ok().and_then(|found| token(&found));
            assert_eq!(token.as_deref() == Some("tkn_1"), is_fallback, "{age}");
        }
    });
}

#[test]
fn p3_last_second_above_the_floor_is_reported_exactly() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", REFRESH_TO).await;
        let found = world.at_once("alice").unwrap().unwrap();
        assert_eq!((found.ttl, found.expires_in), (secs(0), Some(secs(120))));
        world.clock.advance(std::time::Duration::from_nanos(1));
        assert!(world.at_once("alice").is_none());
    });
}

#[test]
fn p3_token_that_expires_during_the_fetch_is_not_returned() {
    run(async {
        // The life begins when the request is sent: of 36 s, 30 remain after 6 s, and 29 after 7 s.
        for (elapsed, expected) in [(6, Ok(secs(30))), (7, Err(TOO_SHORT))] {
            let world = with_long_deadline();
            let client = world.start_request("alice").await;
            world.clock.advance(secs(elapsed));
            world.respond("alice", world.token("tkn_1", 36)).await;
            let found = client.await.unwrap();
            assert_eq!(found.map(|found| found.expires_in.unwrap()), expected, "{elapsed}");
            assert_eq!(world.juspay.calls("alice"), 1, "no second call");
        }
    });
}

/// The result of a request that runs `slept` seconds after its fetch has finished.
async fn late_result(world: &World, lookup: Lookup, slept: u64) -> LookupResult {
    let api = world.api();
    let mut request = pin!(world.cache.get(&lookup, &api));
    assert!(request.as_mut().now_or_never().is_none());
    settle().await;
    world.respond("alice", world.token("tkn_1", 900)).await;
    world.clock.advance(secs(slept));
    if let Some(found) = request.as_mut().now_or_never() {
        return found.map_err(juspay_error);
    }
    settle().await;
    world.respond("alice", world.token("tkn_2", 900)).await;
    request.await.map_err(juspay_error)
}

#[test]
fn request_without_token_accepts_an_expired_one() {
    run(async {
        for slept in [781, 871] {
            let world = World::with(|settings| settings.juspay.deadline = secs(3600));
            let lookup = Lookup { want_token: false, ..lookup("alice") };
            let found = late_result(&world, lookup, slept).await.unwrap();
            assert_eq!((token(&found), found.expires_in), (None, None), "{slept}");
            assert!(matches!(found.source, Source::Fetched { .. }), "not looked up again: {slept}");
            assert_eq!(world.juspay.calls("alice"), 1, "{slept}");
        }
    });
}

#[test]
fn p3_slow_waiting_request_gets_no_expired_or_stale_token() {
    run(async {
        for (slept, expected, calls) in [
            (780, Ok(secs(120)), 1),
            (781, Ok(secs(900)), 2),
            (870, Ok(secs(900)), 2),
            (871, Err(TOO_SHORT), 1),
        ] {
            let world = World::with(|settings| settings.juspay.deadline = secs(3600));
            let found = late_result(&world, lookup("alice"), slept).await;
            assert_eq!(found.map(|found| found.expires_in.unwrap()), expected, "{slept}");
            assert_eq!(world.juspay.calls("alice"), calls, "{slept}");
        }
    });
}

#[test]
fn p3_waiting_request_past_its_deadline_gets_the_stale_token_with_a_detail() {
    run(async {
        let world = World::new();
        let found = late_result(&world, lookup("alice"), 781).await.unwrap();
        assert_eq!((found.detail, found.expires_in), (Some(Detail::Outage), Some(secs(119))));
        assert_eq!((found.source, found.ttl), (Source::Hit, secs(89)));
        settle().await;
        assert_eq!(world.juspay.running("alice"), 1, "the next fetch is running");
    });
}

#[test]
fn p3_request_without_token_gets_the_object_at_any_age() {
    run(async {
        let world = with_long_deadline();
        let client = world.client(Lookup { want_token: false, ..lookup("alice") });
        settle().await;
        world.clock.advance(secs(7));
        world.respond("alice", world.token("tkn_1", 36)).await;
        let found = client.await.unwrap().unwrap();
        assert_eq!((token(&found), found.expires_in), (None, None));
    });
}

#[test]
fn p3_forward_jump_of_the_wall_clock_ends_the_token() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 0).await;
        world.clock.jump_wall(HOUR);
        let found = world.fetch("alice", world.token("tkn_2", 900)).await;
        assert_eq!(token_of(found), "tkn_2");
    });
}

#[test]
fn p3_backward_jump_of_the_wall_clock_extends_nothing() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 0).await;
        world.clock.jump_wall(-HOUR);
        let found = world.at_once("alice").unwrap().unwrap();
        assert_eq!((found.ttl, found.expires_in), (secs(780), Some(secs(900))));
        world.clock.advance(secs(STALE_FROM));
        let found = world.fetch("alice", world.token("tkn_2", 900)).await.unwrap();
        assert_eq!(
            found.source,
            Source::Fetched { forward: Forward::Stale, collapsed: false, stored: true }
        );
    });
}

#[test]
fn p3_jump_of_the_wall_clock_during_the_fetch_extends_nothing() {
    run(async {
        for (jump, expected) in [(-HOUR, Ok(secs(898))), (HOUR, Err(TOO_SHORT))] {
            let world = World::new();
            let client = world.start_request("alice").await;
            world.clock.advance(secs(2));
            world.clock.jump_wall(jump);
            world.respond("alice", world.token("tkn_1", 900)).await;
            let found = client.await.unwrap();
            assert_eq!(found.map(|found| found.expires_in.unwrap()), expected, "{jump}");

            world.clock.advance(secs(STALE_FROM));
            let found = world.fetch("alice", world.token("tkn_2", 900)).await;
            assert_eq!(token_of(found), "tkn_2", "{jump}");
        }
    });
}

#[test]
fn p3_token_with_too_short_a_life_is_rejected() {
    run(async {
        let world = World::new();
        let found = world.fetch("alice", world.token("tkn_1", 34)).await;
        assert_eq!(found.unwrap_err(), TOO_SHORT);
        assert_eq!(world.entries(), 0);
        world.clock.advance(secs(1));
        let found = world.fetch("alice", world.token("tkn_2", 35)).await.unwrap();
        assert_eq!((found.ttl, found.expires_in), (secs(5), Some(secs(35))));
    });
}

#[test]
fn p3_life_is_limited_by_max_token_life() {
    run(async {
        let world = World::new();
        let found = world.fetch("alice", world.token("tkn_1", 86_400)).await.unwrap();
        assert_eq!(found.expires_in, Some(secs(900)));
        let text = String::from_utf8(found.body.to_vec()).unwrap();
        assert!(text.contains(r#""client_auth_token_expiry":"2026-01-01T00:15:00Z""#), "{text}");
    });
}
