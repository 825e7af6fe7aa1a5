//! A purge removes cached customers and invalidates running fetches.

use juspay_bff::{
    cache::{Forward, Source},
    juspay::JuspayError,
};

use super::world::{REFRESH_FROM, World, failure, id, run, secs, settle, token, token_of};

const NOT_STORED: Source =
    Source::Fetched { forward: Forward::Miss, collapsed: false, stored: false };

fn purge_one(world: &World) {
    world.cache.purge(&id("alice"));
}

fn purge_all(world: &World) {
    world.cache.purge_all();
}

#[test]
fn purge_during_fetch_discards_the_result() {
    run(async {
        for purge in [purge_one, purge_all] {
            let world = World::new();
            let client = world.start_request("alice").await;
            purge(&world);
            world.respond("alice", world.token("tkn_1", 900)).await;
            let found = client.await.unwrap().unwrap();
            assert_eq!(token(&found).as_deref(), Some("tkn_1"));
            assert_eq!(found.source, NOT_STORED);
            assert_eq!(world.entries(), 0);

            let found = world.fetch("alice", world.token("tkn_2", 900)).await;
            assert_eq!(token_of(found), "tkn_2");
            assert_eq!(world.hit("alice"), "tkn_2");
        }
    });
}

#[test]
fn p4_request_after_a_purge_waits_for_the_running_call_and_starts_a_new_one() {
    run(async {
        for purge in [purge_one, purge_all] {
            let world = World::new();
            let before = world.start_request("alice").await;
            purge(&world);
            let after = world.start_request("alice").await;
            let also_after = world.start_request("alice").await;
            assert_eq!(world.juspay.calls("alice"), 1, "one call at a time");

            world.respond("alice", world.token("tkn_1", 900)).await;
            assert_eq!(token_of(before.await.unwrap()), "tkn_1");
            assert!(!after.is_finished(), "it started after the purge");
            assert_eq!(world.juspay.calls("alice"), 2);

            world.respond("alice", world.token("tkn_2", 900)).await;
            assert_eq!(token_of(after.await.unwrap()), "tkn_2");
            assert_eq!(token_of(also_after.await.unwrap()), "tkn_2");
            assert_eq!(world.hit("alice"), "tkn_2");
            assert_eq!((world.juspay.calls("alice"), world.juspay.max_running("alice")), (2, 1));
        }
    });
}

#[test]
fn p4_next_call_starts_when_the_invalidated_one_times_out() {
    run(async {
        let world = World::new();
        let before = world.start_request("alice").await;
        purge_one(&world);
        world.clock.advance(secs(3));
        let after = world.start_request("alice").await;
        world.clock.advance(secs(2));
        settle().await;
        assert_eq!(before.await.unwrap().unwrap_err(), JuspayError::Timeout);
        assert_eq!(world.juspay.calls("alice"), 2);
        world.respond("alice", world.token("tkn_2", 900)).await;
        assert_eq!(token_of(after.await.unwrap()), "tkn_2");
        assert_eq!(world.juspay.max_running("alice"), 1);
    });
}

#[test]
fn request_that_waits_for_an_invalidated_fetch_keeps_its_deadline() {
    run(async {
        let world = World::new();
        let _before = world.start_request("alice").await;
        world.clock.advance(secs(4));
        purge_one(&world);
        let after = world.start_request("alice").await;
        world.clock.advance(secs(1));
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2, "the first call has timed out");
        world.clock.advance(secs(4));
        settle().await;
        assert_eq!(after.await.unwrap().unwrap_err(), JuspayError::Timeout);
        assert_eq!(world.requests("miss"), 2, "a timeout is also a miss");
        assert_eq!(world.juspay.running("alice"), 1, "the call has one second left");
        world.respond("alice", world.token("tkn_2", 900)).await;
        assert_eq!(world.hit("alice"), "tkn_2");
    });
}

#[test]
fn repeated_purges_keep_one_call_at_a_time() {
    run(async {
        let world = World::new();
        let mut clients = vec![world.start_request("alice").await];
        for number in 1..=5 {
            purge_all(&world);
            clients.push(world.start_request("alice").await);
            purge_one(&world);
            clients.push(world.start_request("alice").await);
            assert_eq!(world.juspay.calls("alice"), number);
            world.respond("alice", world.token(&format!("tkn_{number}"), 900)).await;
        }
        world.respond("alice", world.token("tkn_6", 900)).await;
        let mut tokens = Vec::new();
        for client in clients {
            tokens.push(token_of(client.await.unwrap()));
        }
        let expected = [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6].map(|number| format!("tkn_{number}"));
        assert_eq!(tokens, expected, "no token from before the purge");
        assert_eq!(world.hit("alice"), "tkn_6");
        assert_eq!(world.juspay.max_running("alice"), 1);
    });
}

#[test]
fn purge_during_refresh_discards_the_result() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        assert!(world.cache.purge(&id("alice")));
        world.respond("alice", world.token("tkn_2", 900)).await;
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn purge_discards_a_running_not_found() {
    run(async {
        let world = World::new();
        let client = world.start_request("alice").await;
        purge_one(&world);
        world.respond("alice", failure(JuspayError::CustomerNotFound)).await;
        assert_eq!(client.await.unwrap().unwrap_err(), JuspayError::CustomerNotFound);
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn purge_reports_what_it_removed() {
    run(async {
        let world = World::new();
        assert!(!world.cache.purge(&id("alice")));
        assert_eq!(world.cache.purge_all(), 0);
        for customer in ["alice", "bob", "carol"] {
            world.cache_token(customer, "tkn_1", 0).await;
        }
        assert!(world.cache.purge(&id("alice")));
        assert!(!world.cache.purge(&id("alice")));
        assert_eq!(world.evictions("removed"), 1);
        assert_eq!(world.hit("bob"), "tkn_1", "untouched");
        assert_eq!(world.cache.purge_all(), 2);
        assert_eq!((world.evictions("removed"), world.evictions("expired")), (3, 0));
        assert!(world.at_once("bob").is_none() && world.at_once("carol").is_none());
    });
}

#[test]
fn purge_of_one_customer_keeps_the_fetches_of_others() {
    run(async {
        let world = World::new();
        let client = world.start_request("bob").await;
        purge_one(&world);
        world.respond("bob", world.token("tkn_b", 900)).await;
        assert!(client.await.unwrap().is_ok());
        assert_eq!(world.hit("bob"), "tkn_b");
    });
}
