//! Limits on fetches and on waiting requests. A request that needn't wait always gets its response, and
//! one that would exceed a limit is rejected at once. Joining a fetch needs no fetch permit.

use juspay_bff::{
    cache::{Detail, Lookup, LookupError},
    settings::Settings,
};
use tokio::task::JoinHandle;

use super::world::{
    EXPIRED_FROM, LookupResult, REFRESH_FROM, STALE_FROM, World, lookup, min_fresh, no_cache, run,
    settle, token_of,
};

/// The only permitted fetch, running for another customer.
struct OnlyFetch(JoinHandle<LookupResult>);

impl OnlyFetch {
    async fn end(self, world: &World) {
        world.respond("other", world.token("tkn_other", 900)).await;
        assert_eq!(token_of(self.0.await.unwrap()), "tkn_other");
    }
}

/// A world in which the limit on fetches is reached.
async fn full(customer: &str, age: u64) -> (World, OnlyFetch) {
    let world = World::with(|settings: &mut Settings| {
        settings.server.max_waiting = 1;
        // Three replacements, as by default, but none is added during a test.
        settings.limits.force_refresh_per_customer = Some("3/h".parse().unwrap());
    });
    world.cache_token(customer, "tkn_old", age).await;
    let other = world.start_request("other").await;
    (world, OnlyFetch(other))
}

/// The detail of the response that alice gets without waiting, and the number of calls after the first.
async fn at_once(world: &World, lookup: Lookup) -> (Result<Option<Detail>, LookupError>, usize) {
    let client = world.request(lookup);
    settle().await;
    assert!(client.is_finished());
    let detail = client.await.unwrap().map(|found| found.detail);
    (detail, world.juspay.calls("alice") - 1)
}

#[test]
fn p5_at_the_limit_usable_cached_tokens_are_returned() {
    run(async {
        let (unmet, outage) = (Some(Detail::MinFreshUnmet), Some(Detail::Outage));
        for (age, lookup, detail, calls) in [
            (100, lookup("alice"), None, 0),
            (REFRESH_FROM, lookup("alice"), None, 1),
            (STALE_FROM, lookup("alice"), outage, 0),
            (100, min_fresh("alice", 801), unmet, 0),
            (STALE_FROM, min_fresh("alice", 801), unmet, 0),
        ] {
            let (world, _fetch) = full("alice", age).await;
            assert_eq!(at_once(&world, lookup).await, (Ok(detail), calls), "{age}");
            assert_eq!(world.waiting(), 1, "a rejected request holds no permit");
        }
    });
}

#[test]
fn at_the_limit_requests_that_need_a_fetch_are_rejected_at_once() {
    run(async {
        for (age, lookup) in [
            (EXPIRED_FROM, lookup("alice")),
            (EXPIRED_FROM, min_fresh("alice", 100)),
            (EXPIRED_FROM, no_cache("alice")),
            (100, no_cache("alice")),
            (STALE_FROM, no_cache("alice")),
        ] {
            let (world, fetch) = full("alice", age).await;
            let rejected = (Err(LookupError::Overloaded), 0);
            assert_eq!(at_once(&world, lookup.clone()).await, rejected, "{age}");
            fetch.end(&world).await;
            let client = world.request(lookup);
            settle().await;
            assert!(!client.is_finished() && world.waiting() == 1, "a permit is free again");
            client.abort();
            settle().await;
            assert_eq!(world.waiting(), 0, "a disconnecting client releases its permit");
        }
    });
}

#[test]
fn rejected_request_costs_nothing_of_the_rate_limit() {
    run(async {
        let (world, fetch) = full("alice", 100).await;
        for _ in 0..10 {
            assert_eq!(at_once(&world, no_cache("alice")).await.0, Err(LookupError::Overloaded));
        }
        assert_eq!(world.requests("bypass"), 10, "rejected requests are counted");
        fetch.end(&world).await;
        assert_eq!(world.spend_replacements("alice").await, 3);
    });
}

#[test]
fn p4_joining_a_fetch_takes_no_fetch_permit() {
    run(async {
        let world = World::with(|settings: &mut Settings| settings.server.max_waiting = 1);
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(world.start_request("alice").await);
        }
        assert_eq!((world.juspay.calls("alice"), world.waiting()), (1, 100));
        assert_eq!(LookupError::Overloaded.cause(), Some("max_waiting"));
        assert_eq!(at_once_for(&world, "bob").await, Err(LookupError::Overloaded));
        world.respond("alice", world.token("tkn_1", 900)).await;
        for client in clients {
            assert_eq!(token_of(client.await.unwrap()), "tkn_1");
        }
        let bob = world.start_request("bob").await;
        assert!(!bob.is_finished(), "the fetch permit is free again");
    });
}

#[test]
fn p4_fetch_keeps_its_permit_when_its_clients_disconnect() {
    run(async {
        let world = World::with(|settings: &mut Settings| settings.server.max_waiting = 1);
        world.start_request("alice").await.abort();
        settle().await;
        assert_eq!(world.waiting(), 0);
        assert_eq!(at_once_for(&world, "bob").await, Err(LookupError::Overloaded));
        world.respond("alice", world.token("tkn_1", 900)).await;
        assert!(!world.start_request("bob").await.is_finished());
    });
}

#[test]
fn p4_one_customer_holds_half_of_the_waiting_requests_at_most() {
    run(async {
        let world = World::with(|settings: &mut Settings| {
            settings.server.max_in_flight = 16;
            settings.server.max_waiting = 15;
        });
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(world.start_request("alice").await);
        }
        assert_eq!(at_once_for(&world, "alice").await, Err(LookupError::TooManyAtOnce));
        // The last quarter is reserved for customers without a waiting request.
        for customer in ["b", "b", "b", "b", "c", "d", "e", "f"] {
            clients.push(world.start_request(customer).await);
        }
        assert!(clients.iter().all(|client| !client.is_finished()));
        assert_eq!(world.waiting(), 16);
        assert_eq!(LookupError::MaxInFlight.cause(), Some("max_in_flight"));
        assert_eq!(at_once_for(&world, "c").await, Err(LookupError::MaxInFlight));
        assert_eq!(at_once_for(&world, "g").await, Err(LookupError::MaxInFlight));
        world.respond("b", world.token("tkn_b", 900)).await;
        assert_eq!(world.waiting(), 12);
        assert_eq!(at_once_for(&world, "c").await, Err(LookupError::MaxInFlight));
        assert!(!world.start_request("g").await.is_finished());
        world.respond("alice", world.token("tkn_a", 900)).await;
        assert!(!world.start_request("c").await.is_finished());
    });
}

/// The error that a plain request gets without waiting.
async fn at_once_for(world: &World, customer: &str) -> Result<(), LookupError> {
    let client = world.request(lookup(customer));
    settle().await;
    assert!(client.is_finished());
    client.await.unwrap().map(drop)
}
