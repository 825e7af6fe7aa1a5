//! P4 when a fetch panics: all waiting requests get the same error, and the next fetch works.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use juspay_bff::juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError};

use super::{
    blocking_clock::BlockingClock,
    fake_juspay::Reply,
    world::{World, lookup, run, secs, token_of},
};

#[test]
fn p4_all_waiting_requests_get_the_error_of_a_panicking_call() {
    run(async {
        let world = World::new();
        let first = world.start_request("alice").await;
        let second = world.start_request("alice").await;
        world.respond("alice", Reply::Panics).await;
        assert_eq!(first.await.unwrap().unwrap_err(), JuspayError::Aborted);
        assert_eq!(second.await.unwrap().unwrap_err(), JuspayError::Aborted);
        assert_eq!(world.juspay.calls("alice"), 1);

        world.clock.advance(secs(1));
        let found = world.fetch("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
    });
}

#[test]
fn p4_all_waiting_requests_get_the_error_of_a_panic_over_a_response() {
    run(async {
        let mut world = World::new();
        let clock = BlockingClock::new(&world);
        world.cache = clock.cache(&world);
        let clients = [world.start_request("alice").await, world.start_request("alice").await];
        // The wall clock is read when a response is validated.
        clock.set_broken(true);
        world.respond("alice", world.token("tkn_1", 900)).await;
        clock.set_broken(false);
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap_err(), JuspayError::Aborted);
        }
        assert_eq!(world.juspay.calls("alice"), 1, "no request fetches again");
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
        assert!(world.fetch("alice", world.token("tkn_1", 900)).await.is_ok());
    });
}
