//! Limits on fetches and on waiting requests: a request that needn't wait is always answered, and one
//! that would exceed a limit is rejected at once. Joining a fetch is free, within a limit per customer.

use tokio::task::JoinHandle;

use super::world::{
    Answered, DEAD_FROM, REFRESH_FROM, STALE_FROM, World, id, lookup, run, secs, settle, token_of,
};
use crate::{
    cache::{Detail, Freshness, Lookup, LookupError},
    settings::Settings,
};

/// The only permitted fetch, running for another customer.
struct OnlyFetch(JoinHandle<Answered>);

impl OnlyFetch {
    async fn end(self, world: &World) {
        world.answers("other", world.token("tkn_other", 900)).await;
        assert_eq!(token_of(self.0.await.unwrap()), "tkn_other");
    }
}

/// A world in which the limit on fetches is reached.
async fn full(customer: &str, age: u64) -> (World, OnlyFetch) {
    let world = World::with(|settings: &mut Settings| settings.server.max_waiting = 1);
    world.remembers(customer, "tkn_old", age).await;
    let other = world.asks("other").await;
    (world, OnlyFetch(other))
}

fn new_token() -> Lookup {
    Lookup { freshness: Freshness { no_cache: true, ..<_>::default() }, ..lookup("alice") }
}

fn at_least(least: u64) -> Lookup {
    let min_fresh = Some(secs(least));
    Lookup { freshness: Freshness { min_fresh, ..<_>::default() }, ..lookup("alice") }
}

async fn at_once(world: &World, lookup: Lookup) -> (Result<Option<Detail>, LookupError>, usize) {
    let phone = world.request(lookup);
    settle().await;
    assert!(phone.is_finished());
    let answer = phone.await.unwrap().map(|found| found.detail);
    (answer, world.juspay.calls("alice") - 1)
}

#[test]
fn p5_at_the_limit_usable_cached_tokens_are_returned() {
    run(async {
        let (unmet, outage) = (Some(Detail::MinFreshUnmet), Some(Detail::Outage));
        for (age, question, answer, calls) in [
            (100, lookup("alice"), None, 0),
            (REFRESH_FROM, lookup("alice"), None, 1),
            (STALE_FROM, lookup("alice"), outage, 0),
            (100, at_least(801), unmet, 0),
            (STALE_FROM, at_least(801), unmet, 0),
        ] {
            let (world, _fetch) = full("alice", age).await;
            assert_eq!(at_once(&world, question).await, (Ok(answer), calls), "{age}");
            assert_eq!(world.waiting(), 1, "refused, one holds no place");
        }
    });
}

#[test]
fn at_the_limit_requests_that_need_a_fetch_are_rejected_at_once() {
    run(async {
        for (age, question) in [
            (DEAD_FROM, lookup("alice")),
            (DEAD_FROM, at_least(100)),
            (DEAD_FROM, new_token()),
            (100, new_token()),
            (STALE_FROM, new_token()),
        ] {
            let (world, fetch) = full("alice", age).await;
            let refused = (Err(LookupError::Overloaded), 0);
            assert_eq!(at_once(&world, question.clone()).await, refused, "{age}");
            fetch.end(&world).await;
            let phone = world.request(question);
            settle().await;
            assert!(!phone.is_finished() && world.waiting() == 1, "there is room again");
            phone.abort();
            settle().await;
            assert_eq!(world.waiting(), 0, "who hangs up leaves its place");
        }
    });
}

#[test]
fn rejected_request_costs_nothing_of_the_rate_limit() {
    run(async {
        let (world, _fetch) = full("alice", 100).await;
        for _ in 0..10 {
            assert_eq!(at_once(&world, new_token()).await.0, Err(LookupError::Overloaded));
        }
        let limit = &world.cache.shared.force_refreshes;
        assert_eq!(limit.spend(&id("alice")), Ok(()));
        assert_eq!(world.requests("bypass"), 10, "and is counted all the same");
    });
}

#[test]
fn p4_joining_a_fetch_takes_no_fetch_permit() {
    run(async {
        let world = World::with(|settings: &mut Settings| settings.server.max_waiting = 1);
        let mut phones = Vec::new();
        for _ in 0..100 {
            phones.push(world.asks("alice").await);
        }
        assert_eq!((world.juspay.calls("alice"), world.waiting()), (1, 100));
        assert_eq!(at_once_for(&world, "bob").await, Err(LookupError::Overloaded));
        world.answers("alice", world.token("tkn_1", 900)).await;
        for phone in phones {
            assert_eq!(token_of(phone.await.unwrap()), "tkn_1");
        }
        let bob = world.asks("bob").await;
        assert!(!bob.is_finished(), "there is room for a fetch again");
    });
}

#[test]
fn p4_fetch_keeps_its_permit_when_its_clients_disconnect() {
    run(async {
        let world = World::with(|settings: &mut Settings| settings.server.max_waiting = 1);
        world.asks("alice").await.abort();
        settle().await;
        assert_eq!(world.waiting(), 0);
        assert_eq!(at_once_for(&world, "bob").await, Err(LookupError::Overloaded));
        world.answers("alice", world.token("tkn_1", 900)).await;
        assert!(!world.asks("bob").await.is_finished());
    });
}

#[test]
fn p4_one_customer_holds_half_of_the_waiting_requests_at_most() {
    run(async {
        let world = World::with(|settings: &mut Settings| {
            settings.server.max_in_flight = 16;
            settings.server.max_waiting = 15;
        });
        let mut phones = Vec::new();
        for _ in 0..8 {
            phones.push(world.asks("alice").await);
        }
        assert_eq!(at_once_for(&world, "alice").await, Err(LookupError::TooManyAtOnce));
        // The last quarter is for customers that wait for nothing yet.
        for customer in ["b", "b", "b", "b", "c", "d", "e", "f"] {
            phones.push(world.asks(customer).await);
        }
        assert!(phones.iter().all(|phone| !phone.is_finished()));
        assert_eq!(world.waiting(), 16);
        assert_eq!(at_once_for(&world, "c").await, Err(LookupError::Overloaded));
        assert_eq!(at_once_for(&world, "g").await, Err(LookupError::Overloaded));
        world.answers("b", world.token("tkn_b", 900)).await;
        assert_eq!(world.waiting(), 12);
        assert_eq!(at_once_for(&world, "c").await, Err(LookupError::Overloaded));
        assert!(!world.asks("g").await.is_finished());
        world.answers("alice", world.token("tkn_a", 900)).await;
        assert!(!world.asks("c").await.is_finished());
    });
}

/// The error that a plain request gets without waiting.
async fn at_once_for(world: &World, customer: &str) -> Result<(), LookupError> {
    let phone = world.request(lookup(customer));
    settle().await;
    assert!(phone.is_finished());
    phone.await.unwrap().map(drop)
}
