//! Room for those who wait is bounded: who doesn't have to wait is answered whoever does, and who
//! would have to is refused at once.

use super::world::{DEAD_FROM, REFRESH_FROM, STALE_FROM, World, id, lookup, run, secs, settle};
use crate::{
    cache::{Detail, Freshness, Lookup, LookupError},
    settings::Settings,
    waiting::{Place, WaitingRoom},
};

/// A world with all places taken.
async fn full(customer: &str, age: u64) -> (World, Place) {
    let world = World::with(|settings: &mut Settings| settings.server.max_waiting = 1);
    world.remembers(customer, "tkn_old", age).await;
    let room = WaitingRoom::new(world.metrics.http.waiting.clone(), 1);
    let place = room.enter().expect("the only place");
    (world, place)
}

fn anew() -> Lookup {
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
fn p5_hits_are_served_and_what_can_be_served_from_memory_is() {
    run(async {
        let (unmet, outage) = (Some(Detail::MinFreshUnmet), Some(Detail::Outage));
        for (age, question, answer, calls) in [
            (100, lookup("alice"), None, 0),
            (REFRESH_FROM, lookup("alice"), None, 1),
            (STALE_FROM, lookup("alice"), outage, 0),
            (100, at_least(801), unmet, 0),
            (STALE_FROM, at_least(801), unmet, 0),
        ] {
            let (world, place) = full("alice", age).await;
            assert_eq!(at_once(&world, question).await, (Ok(answer), calls), "{age}");
            assert_eq!(world.waiting(), 1, "refused, one holds no place");
            drop(place);
        }
    });
}

#[test]
fn who_would_have_to_wait_is_refused_at_once() {
    run(async {
        for (age, question) in [
            (DEAD_FROM, lookup("alice")),
            (DEAD_FROM, at_least(100)),
            (DEAD_FROM, anew()),
            (100, anew()),
            (STALE_FROM, anew()),
        ] {
            let (world, place) = full("alice", age).await;
            let refused = (Err(LookupError::Overloaded), 0);
            assert_eq!(at_once(&world, question.clone()).await, refused, "{age}");
            drop(place);
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
fn a_refused_one_costs_nothing_of_the_limit() {
    run(async {
        let (world, _place) = full("alice", 100).await;
        for _ in 0..10 {
            assert_eq!(at_once(&world, anew()).await.0, Err(LookupError::Overloaded));
        }
        let limit = &world.cache.shared.force_refreshes;
        assert_eq!(limit.spend(&id("alice")), Ok(()));
        assert_eq!(world.requests("bypass"), 10, "and is counted all the same");
    });
}
