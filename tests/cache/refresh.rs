//! Refresh-ahead: no request waits for it, and one fetch is enough.

use juspay_bff::juspay::{InvalidResponse, JuspayError};

use super::world::{FRESH_TO, REFRESH_FROM, World, failure, run, secs, settle, tokenless};

#[test]
fn many_hits_start_one_refresh() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", REFRESH_FROM).await;
        for _ in 0..50 {
            assert_eq!(world.hit("alice"), "tkn_1");
        }
        settle().await;
        assert_eq!(world.hit("alice"), "tkn_1", "during the fetch");
        assert_eq!(world.juspay.calls("alice"), 2);
        assert_eq!(world.waiting(), 0);
        assert_eq!(world.refreshes("success"), 0);

        world.respond("alice", world.token("tkn_2", 900)).await;
        assert_eq!(world.hit("alice"), "tkn_2");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2);
        assert_eq!((world.requests("hit"), world.requests("miss")), (52, 1));
        assert_eq!(world.refreshes("success"), 1);
        assert_eq!((world.refreshes("failure"), world.refreshes("not_found")), (0, 0));
    });
}

#[test]
fn fresh_token_is_not_refreshed() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", FRESH_TO).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn failed_refresh_keeps_the_cached_token() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", REFRESH_FROM).await;
        let replies = [
            failure(JuspayError::Timeout),
            tokenless(InvalidResponse::NoToken),
            world.token("tkn_short", 34),
        ];
        for (number, reply) in (1..).zip(replies) {
            assert_eq!(world.hit("alice"), "tkn_1");
            settle().await;
            world.respond("alice", reply).await;
            assert_eq!(world.refreshes("failure"), number);
            // The next refresh has to wait: a second at first, then twice as long each time.
            assert_eq!(world.hit("alice"), "tkn_1");
            settle().await;
            assert_eq!(world.juspay.running("alice"), 0);
            world.clock.advance(secs(4));
        }
        assert_eq!((world.refreshes("success"), world.refreshes("not_found")), (0, 0));
    });
}

#[test]
fn refresh_of_an_unknown_customer_removes_the_cached_token() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        world.respond("alice", failure(JuspayError::CustomerNotFound)).await;
        let error = world.at_once("alice").expect("a result without a call").unwrap_err();
        assert_eq!(error, JuspayError::CustomerNotFound);
        assert_eq!(world.refreshes("not_found"), 1);
        assert_eq!((world.refreshes("success"), world.refreshes("failure")), (0, 0));
    });
}

#[test]
fn fetch_with_a_waiting_request_is_not_counted_as_refresh() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 0).await;
        let found = world.fetch("bob", failure(JuspayError::Timeout)).await;
        assert!(found.is_err());
        for outcome in ["success", "failure", "not_found"] {
            assert_eq!(world.refreshes(outcome), 0, "{outcome}");
        }
    });
}
