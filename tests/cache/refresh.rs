//! Refresh-ahead: no request waits for it, and one fetch is enough.

use super::world::{FRESH_TO, REFRESH_FROM, World, fails, run, secs, settle, tokenless};
use crate::juspay::{InvalidResponse, JuspayError};

#[test]
fn many_hits_start_one_refresh() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", REFRESH_FROM).await;
        for _ in 0..50 {
            assert_eq!(world.hit("alice"), "tkn_1");
        }
        settle().await;
        assert_eq!(world.hit("alice"), "tkn_1", "while the new one is fetched");
        assert_eq!(world.juspay.calls("alice"), 2);
        assert_eq!(world.waiting(), 0);
        assert_eq!(world.refreshes("success"), 0);

        world.answers("alice", world.token("tkn_2", 900)).await;
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
        world.remembers("alice", "tkn_1", FRESH_TO).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn failed_refresh_keeps_the_cached_token() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", REFRESH_FROM).await;
        let replies = [
            fails(JuspayError::Timeout),
            tokenless(InvalidResponse::NoToken),
            world.token("tkn_short", 34),
        ];
        for (number, reply) in (1..).zip(replies) {
            assert_eq!(world.hit("alice"), "tkn_1");
            settle().await;
            world.answers("alice", reply).await;
            assert_eq!(world.refreshes("failure"), number);
            // The next one is put off, for a second at first and then twice as long each time.
            assert_eq!(world.hit("alice"), "tkn_1");
            settle().await;
            assert_eq!(world.juspay.under_way("alice"), 0);
            world.clock.advance(secs(4));
        }
        assert_eq!((world.refreshes("success"), world.refreshes("not_found")), (0, 0));
    });
}

#[test]
fn refresh_of_an_unknown_customer_removes_the_cached_token() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        world.answers("alice", fails(JuspayError::CustomerNotFound)).await;
        let gone = world.at_once("alice").expect("no call").unwrap_err();
        assert_eq!(gone, JuspayError::CustomerNotFound);
        assert_eq!(world.refreshes("not_found"), 1);
        assert_eq!((world.refreshes("success"), world.refreshes("failure")), (0, 0));
    });
}

#[test]
fn fetch_with_a_waiting_request_is_not_counted_as_refresh() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", 0).await;
        let found = world.fetches("bob", fails(JuspayError::Timeout)).await;
        assert!(found.is_err());
        for outcome in ["success", "failure", "not_found"] {
            assert_eq!(world.refreshes(outcome), 0, "{outcome}");
        }
    });
}
