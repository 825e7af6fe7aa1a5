//! The creation of a missing customer as a part of its fetch: under the same lease and deadline, and not
//! canceled by a disconnecting client.

use std::{rc::Rc, sync::Arc, time::Duration};

use juspay_bff::{
    cache::Lookup,
    customer::{MobileNumber, NewCustomer},
    juspay::{
        CustomerApi, InvalidResponse, JuspayError,
        creation::{CreatingClient, Creation},
    },
    shared::Content,
};
use tokio::task::JoinHandle;

use super::{
    fake_tier::FakeTier,
    world::{
        LookupResult, World, failure, juspay_error, lookup, run, secs, settle, token_of, tokenless,
    },
};

const NOT_FOUND: JuspayError = JuspayError::CustomerNotFound;

/// A request of a customer that can be created. It waits for Juspay.
async fn start_request(world: &World) -> JoinHandle<LookupResult> {
    let creation = Creation::new(None, Arc::new(world.clock.clone()), Arc::clone(&world.metrics));
    let client = CreatingClient::new(Arc::new(creation), Rc::new(world.juspay.clone()));
    let (cache, api) = (world.cache.clone(), Rc::new(client) as Rc<dyn CustomerApi>);
    let mobile_number = MobileNumber::parse("+919810012345");
    let new_customer = Some(Arc::new(NewCustomer::new(mobile_number, None, None, None)));
    let lookup = Lookup { new_customer, ..lookup("alice") };
    let client =
        tokio::task::spawn_local(
            async move { cache.get(&lookup, &api).await.map_err(juspay_error) },
        );
    settle().await;
    client
}

#[test]
fn p4_customer_is_created_under_the_lease_of_its_fetch() {
    run(async {
        let tier = Arc::new(FakeTier::default());
        let world = World::with_tier(|_| {}, Some(Arc::<FakeTier>::clone(&tier) as _));
        let client = start_request(&world).await;
        world.respond("alice", failure(NOT_FOUND)).await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.creations("alice")), (2, 1));
        let joined = world.start_request("alice").await;
        for renewals in 1..=2 {
            world.clock.advance(Duration::from_millis(500));
            settle().await;
            assert_eq!(tier.renewals(), renewals);
        }
        world.respond("alice", world.token("tkn_1", 900)).await;
        for client in [client, joined] {
            assert_eq!(token_of(client.await.unwrap()), "tkn_1");
        }
        assert_eq!((tier.requests().len(), tier.failures().len()), (1, 0));
        assert!(matches!(tier.stored()[..], [Content::Customer { .. }]));
        assert_eq!((world.juspay.calls("alice"), world.juspay.max_running("alice")), (2, 1));
    });
}

#[test]
fn p4_disconnect_does_not_cancel_a_creation() {
    run(async {
        let world = World::new();
        let client = start_request(&world).await;
        world.respond("alice", failure(NOT_FOUND)).await;
        client.abort();
        settle().await;
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!((world.juspay.calls("alice"), world.juspay.creations("alice")), (2, 1));
    });
}

#[test]
fn creation_ends_at_the_deadline_of_its_fetch() {
    run(async {
        let world = World::new();
        let client = start_request(&world).await;
        world.clock.advance(secs(3));
        world.respond("alice", failure(NOT_FOUND)).await;
        world.clock.advance(Duration::from_millis(1999));
        settle().await;
        assert!(!client.is_finished());
        world.clock.advance(Duration::from_millis(1));
        settle().await;
        assert_eq!(client.await.unwrap().unwrap_err(), JuspayError::Timeout);
    });
}

#[test]
fn customer_that_was_created_without_token_is_requested_again() {
    run(async {
        let world = World::new();
        let client = start_request(&world).await;
        world.respond("alice", failure(NOT_FOUND)).await;
        world.respond("alice", tokenless(InvalidResponse::NoToken)).await;
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(client.await.unwrap()), "tkn_1");

        // What Juspay answers then does not undo the creation.
        for again in [NOT_FOUND, JuspayError::Status(500, None)] {
            let world = World::new();
            let client = start_request(&world).await;
            world.respond("alice", failure(NOT_FOUND)).await;
            world.respond("alice", tokenless(InvalidResponse::NoToken)).await;
            world.respond("alice", failure(again)).await;
            assert_eq!(client.await.unwrap().unwrap_err(), InvalidResponse::NoToken.into());
        }
    });
}

#[test]
fn creation_is_followed_by_a_get_only_if_the_customer_may_exist() {
    let rows = [
        (JuspayError::Timeout, true),
        (JuspayError::Status(502, None), true),
        (InvalidResponse::Json.into(), true),
        (InvalidResponse::Truncated.into(), true),
        (InvalidResponse::OtherCustomer.into(), false),
        (InvalidResponse::MalformedIdentity.into(), false),
        (InvalidResponse::Redirect.into(), false),
        (JuspayError::Status(500, None), false),
        (JuspayError::Status(400, None), false),
        (JuspayError::TooManyRequests(None), false),
        (JuspayError::BreakerOpen(secs(1)), false),
        (JuspayError::Saturated, false),
    ];
    for (error, may_exist) in rows {
        run(async {
            let world = World::new();
            let client = start_request(&world).await;
            world.respond("alice", failure(NOT_FOUND)).await;
            world.respond("alice", failure(error.clone())).await;
            assert_eq!(client.is_finished(), !may_exist, "{error:?}");
            if may_exist {
                // The error of the creation, not of the second Get Customer.
                world.respond("alice", failure(NOT_FOUND)).await;
            }
            assert_eq!(client.await.unwrap().unwrap_err(), error);
            assert_eq!(world.juspay.creations("alice"), 1, "{error:?}");
        });
    }
}
