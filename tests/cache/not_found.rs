//! `cache.not_found_ttl`: an unknown customer is cached for a short time. The same customer when it can't be
//! created.

use std::{sync::Arc, time::Duration};

use juspay_bff::{
    cache::Lookup,
    customer::{NewCustomer, NewCustomerField},
    juspay::{JuspayError, NotCreated},
};

use super::world::{REFRESH_FROM, World, failure, id, lookup, run, secs, settle, token_of};

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

#[test]
fn customer_that_is_missing_and_not_created_loses_the_cached_token() {
    let rejected = NotCreated::RejectedField(NewCustomerField::MobileNumber);
    for (why, remembered_for) in
        [(NotCreated::NoMobileNumber, 1), (rejected, 30), (NotCreated::Limited(secs(5)), 5)]
    {
        run(async {
            let error = JuspayError::from(why);
            let world = World::new();
            world.cache_token("alice", "tkn_1", REFRESH_FROM).await;
            assert_eq!(world.hit("alice"), "tkn_1");
            settle().await;
            world.respond("alice", failure(error.clone())).await;
            let result = world.at_once("alice").expect("a remembered error");
            assert_eq!(result.unwrap_err(), error);
            assert!(!world.is_cached("alice"));
            world.clock.advance(secs(remembered_for));
            let found = world.fetch("alice", world.token("tkn_2", 900)).await;
            assert_eq!(token_of(found), "tkn_2");
        });
    }
}

#[test]
fn call_has_what_the_customer_is_created_from() {
    run(async {
        let world = World::new();
        let new_customer = Arc::new(NewCustomer::default());
        let with_values = Some(Arc::clone(&new_customer));
        let _client = world.client(Lookup { new_customer: with_values, ..lookup("alice") });
        settle().await;
        let sent = world.juspay.last_request("alice").new_customer.expect("the values");
        assert!(Arc::ptr_eq(&sent, &new_customer));
    });
}
