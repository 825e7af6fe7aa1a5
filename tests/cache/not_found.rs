//! `cache.not_found_ttl`: an unknown customer is cached for a short time.

use std::time::Duration;

use super::world::{World, fails, id, run, secs, settle, token_of};
use crate::juspay::JuspayError;

const GONE: JuspayError = JuspayError::CustomerNotFound;

#[test]
fn not_found_is_cached_exactly_for_its_ttl() {
    run(async {
        let world = World::new();
        let phone = world.asks("alice").await;
        world.clock.advance(secs(1));
        world.answers("alice", fails(GONE)).await;
        assert_eq!(phone.await.unwrap().unwrap_err(), GONE);
        assert_eq!((world.requests("miss"), world.requests("not_found")), (1, 0));

        world.clock.advance(Duration::from_nanos(59_999_999_999));
        assert_eq!(world.at_once("alice").expect("no call").unwrap_err(), GONE);
        assert_eq!((world.requests("miss"), world.requests("not_found")), (1, 1));

        world.clock.advance(Duration::from_nanos(1));
        let found = world.fetches("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn wall_clock_does_not_affect_the_ttl() {
    run(async {
        let world = World::new();
        assert!(world.fetches("alice", fails(GONE)).await.is_err());
        world.clock.jump_wall(jiff::SignedDuration::from_hours(1));
        assert_eq!(world.at_once("alice").expect("no call").unwrap_err(), GONE);
    });
}

#[test]
fn ttl_of_zero_disables_caching() {
    run(async {
        let world = World::with(|settings| settings.cache.not_found_ttl = Duration::ZERO);
        assert_eq!(world.fetches("alice", fails(GONE)).await.unwrap_err(), GONE);
        assert_eq!(world.fetches("alice", fails(GONE)).await.unwrap_err(), GONE);
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn purge_removes_not_found() {
    run(async {
        let world = World::new();
        assert!(world.fetches("alice", fails(GONE)).await.is_err());
        assert!(world.cache.purge(&id("alice")));
        let found = world.fetches("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
    });
}

#[test]
fn not_found_concerns_one_customer() {
    run(async {
        let world = World::new();
        assert!(world.fetches("alice", fails(GONE)).await.is_err());
        let _bob = world.asks("bob").await;
        settle().await;
        assert_eq!(world.juspay.calls("bob"), 1);
    });
}
