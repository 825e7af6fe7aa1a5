//! `only-if-cached`: the cached customer or an error, without waiting for Juspay.

use super::{
    super::world::{EXPIRED_FROM, FRESH_TO, REFRESH_FROM, REFRESH_TO, STALE_FROM},
    *,
};

fn only_if_cached() -> Request {
    PLAIN.only_if_cached()
}

fn not_cached() -> Result<Expected, LookupError> {
    Err(LookupError::NotCached)
}

#[test]
fn usable_token_is_returned_and_refreshed_as_usual() {
    let background = || Background(Outcome::Token(LIFE));
    check_all([
        row(Token(0), only_if_cached(), NotCalled, Ok(hit(0)), Kept::Old),
        row(Token(FRESH_TO), only_if_cached(), NotCalled, Ok(hit(FRESH_TO)), Kept::Old),
        row(Token(REFRESH_FROM), only_if_cached(), background(), Ok(hit(REFRESH_FROM)), Kept::New),
        row(Token(REFRESH_TO), only_if_cached(), background(), Ok(hit(REFRESH_TO)), Kept::New),
    ]);
}

/// Below the normal floor, a token is returned only in an outage, and only a fetch could detect one.
#[test]
fn request_without_usable_token_is_not_cached() {
    check_all([
        row(Nothing, only_if_cached(), NotCalled, not_cached(), Kept::Nothing),
        row(Token(STALE_FROM), only_if_cached(), NotCalled, not_cached(), Kept::Old),
        row(Token(EXPIRED_FROM), only_if_cached(), NotCalled, not_cached(), Kept::Nothing),
        row(NotFound, only_if_cached(), NotCalled, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn p5_token_above_outage_floor_is_returned_after_a_failure() {
    let outage = Ok(below_floor(STALE_FROM, Detail::Outage));
    let unmet = Ok(below_floor(STALE_FROM, Detail::MinFreshUnmet));
    check_all([
        row(Failed(STALE_FROM), only_if_cached(), NotCalled, outage, Kept::Old),
        row(Failed(STALE_FROM), only_if_cached().min_fresh(500), NotCalled, unmet, Kept::Old),
        row(Failed(EXPIRED_FROM), only_if_cached(), NotCalled, not_cached(), Kept::Nothing),
    ]);
    run(async {
        let world = Failed(STALE_FROM).world().await;
        world.clock.advance(secs(1));
        for request in [only_if_cached(), only_if_cached().min_fresh(500)] {
            assert!(world.request(request.lookup()).await.unwrap().is_ok(), "{request:?}");
        }
    });
}

#[test]
fn with_no_cache_only_a_new_token_is_returned() {
    let both = only_if_cached().no_cache();
    check_all([
        row(Token(YOUNG), both, NotCalled, Ok(hit(YOUNG)), Kept::Old),
        row(Unused(600), both, NotCalled, Ok(hit(600)), Kept::Old),
        row(Token(YOUNG + 1), both, NotCalled, not_cached(), Kept::Old),
        row(Limited(YOUNG + 1), both, NotCalled, not_cached(), Kept::Old),
        row(Token(STALE_FROM), both, NotCalled, not_cached(), Kept::Old),
        row(Failed(STALE_FROM), both, NotCalled, not_cached(), Kept::Old),
        row(Nothing, both, NotCalled, not_cached(), Kept::Nothing),
    ]);
}

#[test]
fn with_min_fresh_the_cached_token_is_returned() {
    let both = |least| only_if_cached().min_fresh(least);
    let unmet = Ok(hit(100).with_detail(Detail::MinFreshUnmet));
    let refreshed = Ok(hit(REFRESH_FROM).with_detail(Detail::MinFreshUnmet));
    let background = Background(Outcome::Token(LIFE));
    check_all([
        row(Token(100), both(800), NotCalled, Ok(hit(100)), Kept::Old),
        row(Token(100), both(801), NotCalled, unmet, Kept::Old),
        row(Token(REFRESH_FROM), both(801), background, refreshed, Kept::New),
        row(Token(STALE_FROM), both(60), NotCalled, not_cached(), Kept::Old),
        row(Token(STALE_FROM), both(500), NotCalled, not_cached(), Kept::Old),
        row(Nothing, both(60), NotCalled, not_cached(), Kept::Nothing),
    ]);
}
