//! Eviction of entries: expired ones by this server's clock, and the excess over `cache.capacity`.

use std::pin::pin;

use futures_util::FutureExt as _;
use juspay_bff::juspay::JuspayError;

use super::world::{EXPIRED_FROM, STALE_TO, World, failure, lookup, run, secs, settle};

#[test]
fn expired_tokens_are_evicted_by_the_server_clock() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_a", 10).await;
        world.cache_token("bob", "tkn_b", 0).await;
        world.sweep();
        assert_eq!(world.metrics.cache.entries.get(), 2);

        world.clock.advance(secs(STALE_TO - 10));
        world.sweep();
        assert!(world.is_cached("alice"), "the last second above the outage floor");

        world.clock.advance(secs(1));
        world.sweep();
        assert!(!world.is_cached("alice"));
        assert!(world.is_cached("bob"));
        assert_eq!(world.metrics.cache.entries.get(), 1);
        assert_eq!((world.evictions("expired"), world.evictions("removed")), (1, 0));

        world.clock.advance(secs(10_000));
        world.sweep();
        assert!(!world.is_cached("bob"));
        assert_eq!(world.metrics.cache.entries.get(), 0);
        assert_eq!((world.evictions("expired"), world.evictions("removed")), (2, 0));
    });
}

#[test]
fn not_found_is_evicted_after_its_ttl() {
    run(async {
        let world = World::new();
        assert!(world.fetch("alice", failure(JuspayError::CustomerNotFound)).await.is_err());
        world.clock.advance(secs(59));
        world.sweep();
        assert_eq!(world.entries(), 1);
        world.clock.advance(secs(1));
        world.sweep();
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn sweeps_repeat_and_a_purge_of_all_frees_memory_at_once() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_a", 0).await;
        let cache = world.cache.clone();
        let mut sweeping = pin!(cache.keep_swept(secs(5)));
        let mut entries_after = |time| {
            world.clock.advance(secs(time));
            assert!(sweeping.as_mut().now_or_never().is_none(), "it has no end");
            world.entries()
        };
        assert_eq!(entries_after(0), 1);
        world.cache.purge_all();
        assert_eq!(entries_after(0), 0);

        for customer in ["bob", "carol"] {
            world.cache_token(customer, "tkn", 0).await;
            assert_eq!(
                [entries_after(0), entries_after(5), entries_after(10_000)],
                [1, 1, 0],
                "{customer}"
            );
        }
    });
}

#[test]
fn tokens_also_expire_on_the_wall_clock() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_a", 0).await;
        world.clock.jump_wall(jiff::SignedDuration::from_hours(1));
        world.sweep();
        assert!(!world.is_cached("alice"));
    });
}

#[test]
fn expired_token_may_be_evicted_during_its_replacement() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", EXPIRED_FROM).await;
        let client = world.start_request("alice").await;
        world.sweep();
        world.respond("alice", world.token("tkn_2", 900)).await;
        assert!(client.await.unwrap().is_ok());
        world.sweep();
        assert_eq!(world.hit("alice"), "tkn_2");
    });
}

#[test]
fn entry_gauge_is_updated_on_demand() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_a", 0).await;
        world.cache_token("bob", "tkn_b", EXPIRED_FROM).await;
        world.cache.update_entry_gauge();
        assert_eq!(
            world.metrics.cache.entries.get(),
            2,
            "expired ones are evicted by the next sweep"
        );
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
            let client = world.client(lookup(customer));
            settle().await;
            world.respond(customer, world.token("tkn_1", 900)).await;
            assert!(client.await.unwrap().is_ok());
        }
        world.sweep();
        let cached = customers.iter().filter(|customer| world.is_cached(customer)).count();
        assert_eq!(cached, 20);
        assert_eq!(world.metrics.cache.entries.get(), 20);
        assert_eq!(world.evictions("size"), 180);
        assert_eq!((world.evictions("expired"), world.evictions("removed")), (0, 0));
    });
}
