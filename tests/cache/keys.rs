//! P1 in the cache: a cached customer is never returned for another one.

use super::world::{World, run, settle, token_of};

#[test]
fn p1_customers_never_share_a_token() {
    run(async {
        let world = World::new();
        let alice = world.start_request("alice").await;
        let other = world.start_request("Alice").await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.calls("Alice")), (1, 1));
        world.respond("Alice", world.token("tkn_2", 900)).await;
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(alice.await.unwrap()), "tkn_1");
        assert_eq!(token_of(other.await.unwrap()), "tkn_2");
        assert_eq!((world.hit("alice"), world.hit("Alice")), ("tkn_1".into(), "tkn_2".into()));
        settle().await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.calls("Alice")), (1, 1));
    });
}
