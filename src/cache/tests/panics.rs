//! P4 when a fetch panics: a bug, but one answer for all who wait, and the door stays usable.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::{
    juspay::Reply,
    trapped_clock::TrappedClock,
    world::{World, lookup, run, secs, token_of},
};
use crate::juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError};

#[test]
fn p4_a_panicking_call_is_told_to_all_who_wait() {
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
fn p4_a_panic_of_ours_over_an_answer_is_told_to_all_who_wait() {
    run(async {
        let mut world = World::new();
        let clock = TrappedClock::new(&world);
        world.cache = clock.cache(&world);
        let phones = [world.asks("alice").await, world.asks("alice").await];
        // The wall clock is read when an answer is judged.
        clock.set_broken(true);
        world.answers("alice", world.token("tkn_1", 900)).await;
        clock.set_broken(false);
        for phone in phones {
            assert_eq!(phone.await.unwrap().unwrap_err(), JuspayError::Aborted);
        }
        assert_eq!(world.juspay.calls("alice"), 1, "nobody asked again");
    });
}

/// Panics before there is anything to wait for.
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
fn p4_a_call_that_panics_before_it_is_awaited_is_told_too() {
    run(async {
        let world = World::new();
        let api: Rc<dyn CustomerApi> = Rc::new(Panicking);
        let error = world.cache.get(&lookup("alice"), &api).await.unwrap_err();
        assert_eq!(error, JuspayError::Aborted.into());
        world.clock.advance(secs(1));
        assert!(world.fetches("alice", world.token("tkn_1", 900)).await.is_ok());
    });
}
