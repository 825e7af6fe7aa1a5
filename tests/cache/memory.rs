//! Eviction of entries: by this service's clock, and by number.

use std::pin::pin;

use futures_util::FutureExt as _;

use super::world::{DEAD_FROM, STALE_TO, World, fails, lookup, run, secs, settle};
use crate::juspay::JuspayError;

#[test]
fn expired_tokens_are_evicted_by_our_clock() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_a", 10).await;
        world.remembers("bob", "tkn_b", 0).await;
        world.sweep();
        assert_eq!(world.metrics.cache.entries.get(), 2);

        world.clock.advance(secs(STALE_TO - 10));
        world.sweep();
        assert!(world.in_memory("alice").is_some(), "its last second above the outage floor");

        world.clock.advance(secs(1));
        world.sweep();
        assert!(world.in_memory("alice").is_none());
        assert!(world.in_memory("bob").is_some());
        assert_eq!(world.metrics.cache.entries.get(), 1);
        assert_eq!((world.evictions("expired"), world.evictions("removed")), (1, 0));

        world.clock.advance(secs(10_000));
        world.sweep();
        assert!(world.in_memory("bob").is_none());
        assert_eq!(world.metrics.cache.entries.get(), 0);
        assert_eq!((world.evictions("expired"), world.evictions("removed")), (2, 0));
    });
}

#[test]
fn not_found_is_evicted_after_its_ttl() {
    run(async {
        let world = World::new();
        assert!(world.fetches("alice", fails(JuspayError::CustomerNotFound)).await.is_err());
        world.clock.advance(secs(59));
        world.sweep();
        assert!(world.in_memory("alice").is_some());
        world.clock.advance(secs(1));
        world.sweep();
        assert!(world.in_memory("alice").is_none());
    });
}

#[test]
fn sweeps_repeat_and_a_purge_of_all_frees_memory_at_once() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_a", 0).await;
        let cache = world.cache.clone();
        let mut sweeping = pin!(cache.keep_swept(secs(5)));
        let mut left = |advanced| {
            world.clock.advance(secs(advanced));
            assert!(sweeping.as_mut().now_or_never().is_none(), "it never ends");
            cache.update_entry_gauge();
            cache.shared.fetcher.store.slots().entry_count()
        };
        assert_eq!(left(0), 1);
        world.cache.purge_all();
        assert_eq!(left(0), 0);

        for customer in ["bob", "carol"] {
            world.remembers(customer, "tkn", 0).await;
            assert_eq!([left(0), left(5), left(10_000)], [1, 1, 0], "{customer}");
        }
    });
}

#[test]
fn tokens_also_expire_on_the_wall_clock() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_a", 0).await;
        world.clock.jump_wall(jiff::SignedDuration::from_hours(1));
        world.sweep();
        assert!(world.in_memory("alice").is_none());
    });
}

#[test]
fn expired_token_may_be_evicted_during_its_replacement() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_1", DEAD_FROM).await;
        let phone = world.asks("alice").await;
        world.sweep();
        world.answers("alice", world.token("tkn_2", 900)).await;
        assert!(phone.await.unwrap().is_ok());
        world.sweep();
        assert_eq!(world.hit("alice"), "tkn_2");
    });
}

#[test]
fn entry_gauge_is_updated_on_demand() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_a", 0).await;
        world.remembers("bob", "tkn_b", DEAD_FROM).await;
        world.cache.update_entry_gauge();
        assert_eq!(world.metrics.cache.entries.get(), 2, "dead ones stay until they are swept");
        world.cache.purge_all();
        assert_eq!(world.metrics.cache.entries.get(), 0);
    });
}

#[test]
fn number_of_customers_is_limited_by_capacity() {
    run(async {
        let world = World::with(|settings| settings.cache.capacity = 20);
        let customers: Vec<_> = (0..200).map(|number| format!("c{number}")).collect();
        for customer in &customers {
            let phone = world.phone(lookup(customer));
            settle().await;
            world.answers(customer, world.token("tkn_1", 900)).await;
            assert!(phone.await.unwrap().is_ok());
        }
        world.sweep();
        let here = customers.iter().filter(|customer| world.in_memory(customer).is_some()).count();
        assert_eq!(here, 20);
        assert_eq!(world.metrics.cache.entries.get(), 20);
        assert_eq!(world.evictions("size"), 180);
        assert_eq!((world.evictions("expired"), world.evictions("removed")), (0, 0));
    });
}
