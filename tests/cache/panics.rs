//! P4 when a fetch panics: all waiting requests get the same error, and the next fetch works.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::{
    blocking_clock::BlockingClock,
    juspay::Reply,
    world::{World, lookup, run, secs, token_of},
};
use crate::juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError};

#[test]
fn p4_all_waiting_requests_get_the_error_of_a_panicking_call() {
    run(async {
        let world = World::new();
        let first = world.asks("alice").await;
        let second = world.asks("alice").await;
        world.answers("alice", Reply::Panics).await;
        assert_eq!(first.await.unwrap().unwrap_err(), JuspayError::Aborted);
        assert_eq!(second.await.unwrap().unwrap_err(), JuspayError::Aborted);
        assert_eq!(world.juspay.calls("alice"), 1);

        world.clock.advance(secs(1));
        let found = world.fetches("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
    });
}

#[test]
fn p4_all_waiting_requests_get_the_error_of_a_panic_over_a_response() {
    run(async {
        let mut world = World::new();
        let clock = BlockingClock::new(&world);
        world.cache = clock.cache(&world);
        let phones = [world.asks("alice").await, world.asks("alice").await];
        // The wall clock is read when a response is validated.
        clock.set_broken(true);
        world.answers("alice", world.token("tkn_1", 900)).await;
        clock.set_broken(false);
        for phone in phones {
            assert_eq!(phone.await.unwrap().unwrap_err(), JuspayError::Aborted);
        }
        assert_eq!(world.juspay.calls("alice"), 1, "nobody asked again");
    });
}

/// Panics before it returns a future.
#[derive(Debug)]
struct Panicking;

impl CustomerApi for Panicking {
    fn get_customer(
        &self,
        _: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        panic!("on purpose")
    }
}

#[test]
fn p4_panic_before_a_call_is_awaited_is_an_error() {
    run(async {
        let world = World::new();
        let api: Rc<dyn CustomerApi> = Rc::new(Panicking);
        let error = world.cache.get(&lookup("alice"), &api).await.unwrap_err();
        assert_eq!(error, JuspayError::Aborted.into());
        world.clock.advance(secs(1));
        assert!(world.fetches("alice", world.token("tkn_1", 900)).await.is_ok());
    });
}
