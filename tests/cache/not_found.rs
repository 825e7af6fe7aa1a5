//! `cache.not_found_ttl`: an unknown customer is cached for a short time.

use std::time::Duration;

use juspay_bff::juspay::JuspayError;

use super::world::{World, failure, id, run, secs, settle, token_of};

const NOT_FOUND: JuspayError = JuspayError::CustomerNotFound;

#[test]
fn not_found_is_cached_exactly_for_its_ttl() {
    run(async {
        let world = World::new();
        let client = world.start_request("alice").await;
        world.clock.advance(secs(1));
        world.respond("alice", failure(NOT_FOUND)).await;
        assert_eq!(client.await.unwrap().unwrap_err(), NOT_FOUND);
        assert_eq!((world.requests("miss"), world.requests("not_found")), (1, 0));

        world.clock.advance(Duration::from_nanos(59_999_999_999));
        assert_eq!(
            world.at_once("alice").expect("a result without a call").unwrap_err(),
            NOT_FOUND
        );
        assert_eq!((world.requests("miss"), world.requests("not_found")), (1, 1));

        world.clock.advance(Duration::from_nanos(1));
        let found = world.fetch("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn wall_clock_does_not_affect_the_ttl() {
    run(async {
        let world = World::new();
        assert!(world.fetch("alice", failure(NOT_FOUND)).await.is_err());
        world.clock.jump_wall(jiff::SignedDuration::from_hours(1));
        assert_eq!(
            world.at_once("alice").expect("a result without a call").unwrap_err(),
            NOT_FOUND
        );
    });
}

#[test]
fn ttl_of_zero_disables_caching() {
    run(async {
        let world = World::with(|settings| settings.cache.not_found_ttl = Duration::ZERO);
        assert_eq!(world.fetch("alice", failure(NOT_FOUND)).await.unwrap_err(), NOT_FOUND);
        assert_eq!(world.fetch("alice", failure(NOT_FOUND)).await.unwrap_err(), NOT_FOUND);
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn purge_removes_not_found() {
    run(async {
        let world = World::new();
        assert!(world.fetch("alice", failure(NOT_FOUND)).await.is_err());
        assert!(world.cache.purge(&id("alice")));
        let found = world.fetch("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
    });
}

#[test]
fn not_found_concerns_one_customer() {
    run(async {
        let world = World::new();
        assert!(world.fetch("alice", failure(NOT_FOUND)).await.is_err());
        let _bob = world.start_request("bob").await;
        settle().await;
        assert_eq!(world.juspay.calls("bob"), 1);
    });
}
