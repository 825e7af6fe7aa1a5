//! P4: one call per customer, even if clients disconnect, and one result for all waiting requests.

use juspay_bff::{
    cache::{Forward, Lookup, Source},
    clock::Clock,
    juspay::JuspayError,
};

use super::world::{REFRESH_FROM, World, failure, lookup, run, secs, settle, token, token_of};

#[test]
fn p4_two_hundred_concurrent_lookups_make_one_call() {
    run(async {
        let world = World::new();
        let clients: Vec<_> = (0..200).map(|_| world.client(lookup("alice"))).collect();
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
        assert_eq!(world.waiting(), 200);

        world.respond("alice", world.token("tkn_1", 900)).await;
        let mut leaders = 0;
        for client in clients {
            let found = client.await.unwrap().unwrap();
            assert_eq!(token(&found).as_deref(), Some("tkn_1"));
            let led = Source::Fetched { forward: Forward::Miss, collapsed: false, stored: true };
            let joined = Source::Fetched { forward: Forward::Miss, collapsed: true, stored: true };
            assert!(found.source == led || found.source == joined, "{:?}", found.source);
            leaders += usize::from(found.source == led);
        }
        assert_eq!(leaders, 1);
        assert_eq!(world.juspay.calls("alice"), 1);
        assert_eq!(world.waiting(), 0);
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 199));

        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!(world.requests("hit"), 1);
    });
}

#[test]
fn p4_disconnecting_client_does_not_cancel_the_call_of_others() {
    run(async {
        let world = World::new();
        let leader = world.start_request("alice").await;
        let waiter = world.start_request("alice").await;
        leader.abort();
        settle().await;
        let later = world.start_request("alice").await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.running("alice")), (1, 1));
        assert_eq!(world.waiting(), 2);

        world.respond("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(waiter.await.unwrap()), "tkn_1");
        assert_eq!(token_of(later.await.unwrap()), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn p4_result_is_stored_when_every_client_has_disconnected() {
    run(async {
        let world = World::new();
        world.start_request("alice").await.abort();
        settle().await;
        assert_eq!(world.waiting(), 0);
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn p4_three_hundred_disconnecting_clients_start_no_further_call() {
    run(async {
        let world = World::new();
        for _ in 0..300 {
            let client = world.client(lookup("alice"));
            tokio::task::yield_now().await;
            client.abort();
            assert!(world.at_once("alice").is_none(), "a client that disconnects at once");
        }
        settle().await;
        assert_eq!((world.juspay.calls("alice"), world.waiting()), (1, 0));

        let next = world.start_request("alice").await;
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(next.await.unwrap()), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn p4_all_waiting_requests_get_the_failure_of_a_fetch() {
    run(async {
        let world = World::new();
        let clients: Vec<_> = (0..50).map(|_| world.client(lookup("alice"))).collect();
        settle().await;
        world.respond("alice", failure(JuspayError::Status(503, None))).await;
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap_err(), JuspayError::Status(503, None));
        }
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1, "no waiting request called Juspay");
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 49));

        world.clock.advance(std::time::Duration::from_secs(1));
        let found = world.fetch("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn p4_hanging_call_ends_at_the_deadline() {
    run(async {
        let world = World::new();
        let ms = std::time::Duration::from_millis;
        let first = world.start_request("alice").await;
        world.clock.advance(ms(2000));
        let second = world.start_request("alice").await;
        world.clock.advance(ms(2999));
        settle().await;
        assert!(!first.is_finished() && !second.is_finished(), "one millisecond is left");
        assert_eq!(world.juspay.running("alice"), 1);

        world.clock.advance(ms(1));
        settle().await;
        assert!(first.is_finished() && second.is_finished(), "the fetch's deadline applies to all");
        assert_eq!(first.await.unwrap().unwrap_err(), JuspayError::Timeout);
        assert_eq!(second.await.unwrap().unwrap_err(), JuspayError::Timeout);
        assert_eq!(world.juspay.running("alice"), 0, "the call was dropped");
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 1));
        assert_eq!(world.waiting(), 0);

        world.clock.advance(ms(1000));
        let found = world.fetch("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn p4_customers_do_not_wait_for_each_other() {
    run(async {
        let world = World::new();
        let alice = world.start_request("alice").await;
        let bob = world.fetch("bob", world.token("tkn_b", 900)).await;
        assert_eq!(token_of(bob), "tkn_b");
        assert!(!alice.is_finished());
    });
}

#[test]
fn p4_requests_after_the_end_join_a_running_refresh() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        world.clock.jump_wall(jiff::SignedDuration::from_secs(200));
        let client = world.start_request("alice").await;
        assert_eq!(world.juspay.calls("alice"), 2, "the refresh, and no other call");
        world.clock.jump_wall(jiff::SignedDuration::from_secs(-200));
        world.respond("alice", world.token("tkn_2", 900)).await;
        let found = client.await.unwrap().unwrap();
        assert_eq!(
            found.source,
            Source::Fetched { forward: Forward::Stale, collapsed: true, stored: true }
        );
        assert_eq!(token(&found).as_deref(), Some("tkn_2"));
        assert_eq!(world.juspay.max_running("alice"), 1);
    });
}

#[test]
fn call_has_the_deadline_and_the_trace_of_the_request_that_started_it() {
    run(async {
        let world = World::new();
        let traced =
            |parent: &str| Lookup { traceparent: Some(parent.to_owned()), ..lookup("alice") };
        let _leader = world.client(traced("first"));
        let _joined = world.client(traced("second"));
        settle().await;
        let request = world.juspay.last_request("alice");
        assert_eq!(request.traceparent.as_deref(), Some("first"));
        assert_eq!(request.deadline, world.clock.monotonic().plus(secs(5)));
    });
}
