//! P3: no token is returned with less life than its floor, by the more conservative clock, whatever a
//! request waited for and whatever the clocks did meanwhile.

use std::pin::pin;

use futures_util::FutureExt as _;
use jiff::SignedDuration;

use super::world::{
    Answered, DEAD_FROM, FRESH_TO, REFRESH_FROM, REFRESH_TO, STALE_FROM, World, lookup, of_juspay,
    run, secs, settle, token, token_of,
};
use crate::{
    cache::{Detail, Forward, Lookup, Source, lifetime::Phase, store::Slot},
    clock::Clock,
    juspay::{InvalidResponse, JuspayError},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

const TOO_SHORT: JuspayError = JuspayError::InvalidResponse(InvalidResponse::TooShortLived);

/// A cache that gives Juspay time enough to have tokens grow old on the way.
fn patient() -> World {
    World::with(|settings| settings.juspay.deadline = secs(120))
}

#[test]
fn p3_phases_begin_at_the_exact_second() {
    run(async {
        for (age, phase) in [
            (0, Phase::Fresh),
            (FRESH_TO, Phase::Fresh),
            (REFRESH_FROM, Phase::Refresh),
            (REFRESH_TO, Phase::Refresh),
            (STALE_FROM, Phase::Stale),
            (DEAD_FROM - 1, Phase::Stale),
            (DEAD_FROM, Phase::Expired),
        ] {
            let world = World::new();
            world.remembers("alice", "tkn_1", age).await;
            let Some(Slot::Customer(entry)) = world.in_memory("alice") else { panic!("forgotten") };
            assert_eq!(entry.lifetime.phase(world.clock.moment()), phase, "{age}");
            let handed_out = world.at_once("alice").is_some();
            assert_eq!(handed_out, matches!(phase, Phase::Fresh | Phase::Refresh), "{age}");
        }
    });
}

#[test]
fn p3_last_second_above_the_floor_is_reported_exactly() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", REFRESH_TO).await;
        let found = world.at_once("alice").unwrap().unwrap();
        assert_eq!((found.ttl, found.expires_in), (secs(0), Some(secs(120))));
        world.clock.advance(std::time::Duration::from_nanos(1));
        assert!(world.at_once("alice").is_none());
    });
}

#[test]
fn p3_token_that_expires_during_the_fetch_is_not_returned() {
    run(async {
        // The life counts from the sending: 36 s of it leave 30 after 6 s, and 29 after 7.
        for (held, answer) in [(6, Ok(secs(30))), (7, Err(TOO_SHORT))] {
            let world = patient();
            let phone = world.asks("alice").await;
            world.clock.advance(secs(held));
            world.answers("alice", world.token("tkn_1", 36)).await;
            let found = phone.await.unwrap();
            assert_eq!(found.map(|found| found.expires_in.unwrap()), answer, "{held}");
            assert_eq!(world.juspay.calls("alice"), 1, "no second try");
        }
    });
}

/// What a phone gets whose request was asked, but not answered, for so long after the token came.
async fn slow_to_wake(world: &World, question: Lookup, slept: u64) -> Answered {
    let api = world.api();
    let mut slow = pin!(world.cache.get(&question, &api));
    assert!(slow.as_mut().now_or_never().is_none());
    settle().await;
    world.answers("alice", world.token("tkn_1", 900)).await;
    world.clock.advance(secs(slept));
    if let Some(found) = slow.as_mut().now_or_never() {
        return found.map_err(of_juspay);
    }
    settle().await;
    world.answers("alice", world.token("tkn_2", 900)).await;
    slow.await.map_err(of_juspay)
}

#[test]
fn request_without_token_accepts_an_expired_one() {
    run(async {
        for slept in [781, 871] {
            let world = World::with(|settings| settings.juspay.deadline = secs(3600));
            let question = Lookup { want_token: false, ..lookup("alice") };
            let found = slow_to_wake(&world, question, slept).await.unwrap();
            assert_eq!((token(&found), found.expires_in), (None, None), "{slept}");
            assert!(matches!(found.source, Source::Fetched { .. }), "no second look: {slept}");
            assert_eq!(world.juspay.calls("alice"), 1, "{slept}");
        }
    });
}

#[test]
fn p3_slow_waiting_request_gets_no_expired_or_stale_token() {
    run(async {
        for (slept, answer, calls) in [
            (780, Ok(secs(120)), 1),
            (781, Ok(secs(900)), 2),
            (870, Ok(secs(900)), 2),
            (871, Err(TOO_SHORT), 1),
        ] {
            let world = World::with(|settings| settings.juspay.deadline = secs(3600));
            let found = slow_to_wake(&world, lookup("alice"), slept).await;
            assert_eq!(found.map(|found| found.expires_in.unwrap()), answer, "{slept}");
            assert_eq!(world.juspay.calls("alice"), calls, "{slept}");
        }
    });
}

#[test]
fn p3_waiting_request_past_its_deadline_gets_the_stale_token_with_a_detail() {
    run(async {
        let world = World::new();
        let found = slow_to_wake(&world, lookup("alice"), 781).await.unwrap();
        assert_eq!((found.detail, found.expires_in), (Some(Detail::Outage), Some(secs(119))));
        assert_eq!((found.source, found.ttl), (Source::Hit, secs(89)));
        settle().await;
        assert_eq!(world.juspay.under_way("alice"), 1, "the next one is on its way");
    });
}

#[test]
fn p3_request_without_token_gets_the_object_at_any_age() {
    run(async {
        let world = patient();
        let mut question = lookup("alice");
        question.want_token = false;
        let phone = world.phone(question);
        settle().await;
        world.clock.advance(secs(7));
        world.answers("alice", world.token("tkn_1", 36)).await;
        let found = phone.await.unwrap().unwrap();
        assert_eq!((token(&found), found.expires_in), (None, None));
    });
}

#[test]
fn p3_forward_jump_of_the_wall_clock_ends_the_token() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", 0).await;
        world.clock.jump_wall(HOUR);
        let found = world.fetches("alice", world.token("tkn_2", 900)).await;
        assert_eq!(token_of(found), "tkn_2");
    });
}

#[test]
fn p3_backward_jump_of_the_wall_clock_extends_nothing() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", 0).await;
        world.clock.jump_wall(-HOUR);
        let found = world.at_once("alice").unwrap().unwrap();
        assert_eq!((found.ttl, found.expires_in), (secs(780), Some(secs(900))));
        world.clock.advance(secs(STALE_FROM));
        let found = world.fetches("alice", world.token("tkn_2", 900)).await.unwrap();
        assert_eq!(
            found.source,
            Source::Fetched { forward: Forward::Stale, collapsed: false, stored: true }
        );
    });
}

#[test]
fn p3_jump_of_the_wall_clock_during_the_fetch_extends_nothing() {
    run(async {
        for (jump, answer) in [(-HOUR, Ok(secs(898))), (HOUR, Err(TOO_SHORT))] {
            let world = World::new();
            let phone = world.asks("alice").await;
            world.clock.advance(secs(2));
            world.clock.jump_wall(jump);
            world.answers("alice", world.token("tkn_1", 900)).await;
            let found = phone.await.unwrap();
            assert_eq!(found.map(|found| found.expires_in.unwrap()), answer, "{jump}");

            world.clock.advance(secs(STALE_FROM));
            let found = world.fetches("alice", world.token("tkn_2", 900)).await;
            assert_eq!(token_of(found), "tkn_2", "{jump}");
        }
    });
}

#[test]
fn p3_token_with_too_short_a_life_is_rejected() {
    run(async {
        let world = World::new();
        let found = world.fetches("alice", world.token("tkn_1", 34)).await;
        assert_eq!(found.unwrap_err(), TOO_SHORT);
        assert!(world.in_memory("alice").is_none());
        world.clock.advance(secs(1));
        let found = world.fetches("alice", world.token("tkn_2", 35)).await.unwrap();
        assert_eq!((found.ttl, found.expires_in), (secs(5), Some(secs(35))));
    });
}

#[test]
fn p3_life_is_limited_by_max_token_life() {
    run(async {
        let world = World::new();
        let found = world.fetches("alice", world.token("tkn_1", 86_400)).await.unwrap();
        assert_eq!(found.expires_in, Some(secs(900)));
        let text = String::from_utf8(found.body.to_vec()).unwrap();
        assert!(text.contains(r#""client_auth_token_expiry":"2026-01-01T00:15:00Z""#), "{text}");
    });
}
