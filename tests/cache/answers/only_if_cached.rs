//! `only-if-cached`: the cached customer or none, without waiting for Juspay.

use super::{
    super::world::{DEAD_FROM, FRESH_TO, REFRESH_FROM, REFRESH_TO, STALE_FROM},
    *,
};

fn cached() -> Asked {
    PLAIN.only_if_cached()
}

fn none() -> Result<Good, LookupError> {
    Err(LookupError::NotCached)
}

#[test]
fn usable_token_is_returned_and_refreshed_as_usual() {
    let behind = || Behind(Says::Token(LIFE));
    check_all([
        row(Token(0), cached(), NotAsked, Ok(hit(0)), Kept::Old),
        row(Token(FRESH_TO), cached(), NotAsked, Ok(hit(FRESH_TO)), Kept::Old),
        row(Token(REFRESH_FROM), cached(), behind(), Ok(hit(REFRESH_FROM)), Kept::New),
        row(Token(REFRESH_TO), cached(), behind(), Ok(hit(REFRESH_TO)), Kept::New),
    ]);
}

/// Below the normal end a token is good for outages, and only a fetch could tell of one.
#[test]
fn request_without_usable_token_is_not_cached() {
    check_all([
        row(Nothing, cached(), NotAsked, none(), Kept::Nothing),
        row(Token(STALE_FROM), cached(), NotAsked, none(), Kept::Old),
        row(Token(DEAD_FROM), cached(), NotAsked, none(), Kept::Nothing),
        row(NotFound, cached(), NotAsked, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn p5_token_above_outage_floor_is_returned_after_a_failure() {
    let outage = Ok(below(STALE_FROM, Detail::Outage));
    let unmet = Ok(below(STALE_FROM, Detail::MinFreshUnmet));
    check_all([
        row(Failed(STALE_FROM), cached(), NotAsked, outage, Kept::Old),
        row(Failed(STALE_FROM), cached().min_fresh(500), NotAsked, unmet, Kept::Old),
        row(Failed(DEAD_FROM), cached(), NotAsked, none(), Kept::Nothing),
    ]);
    run(async {
        let world = World::new();
        prepare(&world, Failed(STALE_FROM)).await;
        world.clock.advance(secs(1));
        for asked in [cached(), cached().min_fresh(500)] {
            assert!(world.request(asked.lookup()).await.unwrap().is_ok(), "{asked:?}");
        }
    });
}

#[test]
fn with_no_cache_only_a_new_token_is_returned() {
    let both = cached().no_cache();
    check_all([
        row(Token(YOUNG), both, NotAsked, Ok(hit(YOUNG)), Kept::Old),
        row(Unused(600), both, NotAsked, Ok(hit(600)), Kept::Old),
        row(Token(YOUNG + 1), both, NotAsked, none(), Kept::Old),
        row(Limited(YOUNG + 1), both, NotAsked, none(), Kept::Old),
        row(Token(STALE_FROM), both, NotAsked, none(), Kept::Old),
        row(Failed(STALE_FROM), both, NotAsked, none(), Kept::Old),
        row(Nothing, both, NotAsked, none(), Kept::Nothing),
    ]);
}

#[test]
fn with_min_fresh_the_cached_token_is_returned() {
    let both = |least| cached().min_fresh(least);
    let unmet = Ok(hit(100).but(Detail::MinFreshUnmet));
    let refreshed = Ok(hit(REFRESH_FROM).but(Detail::MinFreshUnmet));
    let behind = Behind(Says::Token(LIFE));
    check_all([
        row(Token(100), both(800), NotAsked, Ok(hit(100)), Kept::Old),
        row(Token(100), both(801), NotAsked, unmet, Kept::Old),
        row(Token(REFRESH_FROM), both(801), behind, refreshed, Kept::New),
        row(Token(STALE_FROM), both(60), NotAsked, none(), Kept::Old),
        row(Token(STALE_FROM), both(500), NotAsked, none(), Kept::Old),
        row(Nothing, both(60), NotAsked, none(), Kept::Nothing),
    ]);
}
