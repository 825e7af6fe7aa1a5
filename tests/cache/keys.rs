//! P1 in the cache: a cached customer is returned for no other one.

use super::world::{World, id, run, settle, token_of};
use crate::customer::CustomerKey;

#[test]
fn p1_customers_never_share_a_token() {
    run(async {
        let world = World::new();
        let alice = world.asks("alice").await;
        let other = world.asks("Alice").await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.calls("Alice")), (1, 1));
        world.answers("Alice", world.token("tkn_2", 900)).await;
        world.answers("alice", world.token("tkn_1", 900)).await;
        assert_eq!(token_of(alice.await.unwrap()), "tkn_1");
        assert_eq!(token_of(other.await.unwrap()), "tkn_2");
        assert_eq!((world.hit("alice"), world.hit("Alice")), ("tkn_1".into(), "tkn_2".into()));
        settle().await;
        assert_eq!((world.juspay.calls("alice"), world.juspay.calls("Alice")), (1, 1));
    });
}

#[test]
fn p1_same_customer_id_of_another_merchant_is_another_customer() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", 0).await;
        let key = |merchant: &str| CustomerKey { merchant: merchant.into(), customer: id("alice") };
        assert_eq!(world.cache.key(&id("alice")), key("merchant"));
        assert!(world.cache.shared.fetcher.store.get(&key("merchant")).is_some());
        assert!(world.cache.shared.fetcher.store.get(&key("other")).is_none());
    });
}
