//! `cache.max_hand_outs`: Juspay limits the uses of a token, so an often returned token is replaced in
//! the background.

use std::time::Duration;

use juspay_bff::{cache::Lookup, juspay::JuspayError, settings::MaxHandOuts};

use super::world::{World, failure, lookup, run, secs, settle, token};

/// A token that was returned ten times and is 30 s old.
async fn used() -> World {
    let world = World::new();
    world.cache_token("alice", "tkn_1", 30).await;
    for _ in 1..10 {
        assert_eq!(world.hit("alice"), "tkn_1");
    }
    settle().await;
    assert_eq!(world.juspay.calls("alice"), 1, "no replacement yet");
    world
}

#[test]
fn often_returned_token_is_replaced_in_the_background() {
    run(async {
        let world = used().await;
        for _ in 0..5 {
            assert_eq!(world.hit("alice"), "tkn_1", "without waiting for the replacement");
        }
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2);
        world.respond("alice", world.token("tkn_2", 900)).await;
        assert_eq!(world.hit("alice"), "tkn_2");
        assert_eq!(world.refreshes("success"), 1);
    });
}

#[test]
fn replacement_waits_for_the_minimum_age() {
    run(async {
        let world = used().await;
        world.hit("alice");
        settle().await;
        world.respond("alice", world.token("tkn_2", 900)).await;
        for _ in 0..290 {
            assert_eq!(world.hit("alice"), "tkn_2");
            settle().await;
            world.clock.advance(secs(1) / 10);
        }
        assert_eq!(world.juspay.calls("alice"), 2);
        world.clock.advance(Duration::from_nanos(999_999_999));
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2, "a nanosecond early");
        world.clock.advance(Duration::from_nanos(1));
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 3);
    });
}

#[test]
fn failed_replacement_backs_off() {
    run(async {
        let world = used().await;
        world.hit("alice");
        settle().await;
        world.respond("alice", failure(JuspayError::Timeout)).await;
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.running("alice"), 0);
        world.clock.advance(secs(1));
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.running("alice"), 1);
    });
}

#[test]
fn zero_disables_the_replacement() {
    run(async {
        let world = World::with(|settings| settings.cache.max_hand_outs = MaxHandOuts::Number(0));
        world.cache_token("alice", "tkn_1", 30).await;
        for _ in 0..500 {
            world.hit("alice");
        }
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn waiting_requests_count_as_hand_outs() {
    run(async {
        let world = World::new();
        let clients: Vec<_> = (0..10).map(|_| world.client(lookup("alice"))).collect();
        settle().await;
        world.respond("alice", world.token("tkn_1", 900)).await;
        for client in clients {
            assert!(client.await.unwrap().is_ok());
        }
        world.clock.advance(secs(30));
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn requests_for_the_headers_alone_do_not_count_as_hand_outs() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 30).await;
        let head = Lookup { want_body: false, ..lookup("alice") };
        let count = || world.metrics.cache.hand_out_remaining.get_sample_count();
        let before = count();
        for _ in 0..50 {
            let found = world.request(head.clone()).await.unwrap().unwrap();
            assert!(
                found.expires_in.is_some(),
                "its headers are those of a response with the token"
            );
        }
        assert_eq!((world.juspay.calls("alice"), count()), (1, before));
        for _ in 1..10 {
            world.hit("alice");
        }
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn requests_without_token_do_not_count_as_hand_outs() {
    run(async {
        let world = World::new();
        let without_token = Lookup { want_token: false, ..lookup("alice") };
        let first = world.request(without_token.clone());
        settle().await;
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert!(first.await.unwrap().is_ok());
        world.clock.advance(secs(30));
        for _ in 0..50 {
            let found = world.request(without_token.clone()).await.unwrap().unwrap();
            assert_eq!(token(&found), None);
        }
        for _ in 0..10 {
            assert_eq!(world.hit("alice"), "tkn_1");
        }
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
        world.hit("alice");
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}
