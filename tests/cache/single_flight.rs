//! P4: one call per customer, although clients disconnect, and one response for all waiting requests.

use super::world::{REFRESH_FROM, World, fails, lookup, run, secs, settle, token, token_of};
use crate::{
    cache::{Forward, Lookup, Source},
    clock::Clock,
    juspay::JuspayError,
};

#[test]
fn p4_two_hundred_concurrent_lookups_make_one_call() {
    run(async {
        let world = World::new();
        let phones: Vec<_> = (0..200).map(|_| world.phone(lookup("alice"))).collect();
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1);
        assert_eq!(world.waiting(), 200);

        world.answers("alice", world.token("tkn_1", 900)).await;
        let mut leaders = 0;
        for phone in phones {
            let found = phone.await.unwrap().unwrap();
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
fn p4_disconnecting_client_leaves_the_call_to_the_others() {
    run(async {
        let world = World::new();
        let leader = world.asks("alice").await;
        let waiter = world.asks("alice").await;
        leader.abort();
        settle().await;
        let later = world.asks("alice").await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.under_way("alice")), (1, 1));
        assert_eq!(world.waiting(), 2);

        world.answers("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(waiter.await.unwrap()), "tkn_1");
        assert_eq!(token_of(later.await.unwrap()), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn p4_result_is_stored_when_every_client_has_disconnected() {
    run(async {
        let world = World::new();
        world.asks("alice").await.abort();
        settle().await;
        assert_eq!(world.waiting(), 0);
        world.answers("alice", world.token("tkn_1", 900)).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn p4_three_hundred_disconnecting_clients_start_no_further_call() {
    run(async {
        let world = World::new();
        for _ in 0..300 {
            let phone = world.phone(lookup("alice"));
            tokio::task::yield_now().await;
            phone.abort();
            assert!(world.at_once("alice").is_none(), "a phone that hangs up at once");
        }
        settle().await;
        assert_eq!((world.juspay.calls("alice"), world.waiting()), (1, 0));

        let next = world.asks("alice").await;
        world.answers("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(next.await.unwrap()), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 1);
    });
}

#[test]
fn p4_all_waiting_requests_get_the_failure_of_a_fetch() {
    run(async {
        let world = World::new();
        let phones: Vec<_> = (0..50).map(|_| world.phone(lookup("alice"))).collect();
        settle().await;
        world.answers("alice", fails(JuspayError::Status(503, None))).await;
        for phone in phones {
            assert_eq!(phone.await.unwrap().unwrap_err(), JuspayError::Status(503, None));
        }
        settle().await;
        assert_eq!(world.juspay.calls("alice"), 1, "none was set loose on Juspay");
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 49));

        world.clock.advance(std::time::Duration::from_secs(1));
        let found = world.fetches("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn p4_hanging_call_ends_at_the_deadline() {
    run(async {
        let world = World::new();
        let ms = std::time::Duration::from_millis;
        let first = world.asks("alice").await;
        world.clock.advance(ms(2000));
        let second = world.asks("alice").await;
        world.clock.advance(ms(2999));
        settle().await;
        assert!(!first.is_finished() && !second.is_finished(), "one millisecond is left");
        assert_eq!(world.juspay.under_way("alice"), 1);

        world.clock.advance(ms(1));
        settle().await;
        assert!(first.is_finished() && second.is_finished(), "the fetch's deadline is everyone's");
        assert_eq!(first.await.unwrap().unwrap_err(), JuspayError::Timeout);
        assert_eq!(second.await.unwrap().unwrap_err(), JuspayError::Timeout);
        assert_eq!(world.juspay.under_way("alice"), 0, "the call was dropped");
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 1));
        assert_eq!(world.waiting(), 0);

        world.clock.advance(ms(1000));
        let found = world.fetches("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(found), "tkn_1");
        assert_eq!(world.juspay.calls("alice"), 2);
    });
}

#[test]
fn p4_customers_do_not_wait_for_each_other() {
    run(async {
        let world = World::new();
        let alice = world.asks("alice").await;
        let bob = world.fetches("bob", world.token("tkn_b", 900)).await;
        assert_eq!(token_of(bob), "tkn_b");
        assert!(!alice.is_finished());
    });
}

#[test]
fn p4_requests_after_the_end_join_a_running_refresh() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        world.clock.jump_wall(jiff::SignedDuration::from_secs(200));
        let phone = world.asks("alice").await;
        assert_eq!(world.juspay.calls("alice"), 2, "the refresh is the call");
        world.clock.jump_wall(jiff::SignedDuration::from_secs(-200));
        world.answers("alice", world.token("tkn_2", 900)).await;
        let found = phone.await.unwrap().unwrap();
        assert_eq!(
            found.source,
            Source::Fetched { forward: Forward::Stale, collapsed: true, stored: true }
        );
        assert_eq!(token(&found).as_deref(), Some("tkn_2"));
        assert_eq!(world.juspay.most_at_once("alice"), 1);
    });
}

#[test]
fn call_has_the_deadline_and_the_trace_of_the_request_that_started_it() {
    run(async {
        let world = World::new();
        let traced =
            |parent: &str| Lookup { traceparent: Some(parent.to_owned()), ..lookup("alice") };
        let _leader = world.phone(traced("first"));
        let _joined = world.phone(traced("second"));
        settle().await;
        let request = world.juspay.last_request("alice");
        assert_eq!(request.traceparent.as_deref(), Some("first"));
        assert_eq!(request.deadline, world.clock.monotonic().plus(secs(5)));
    });
}
