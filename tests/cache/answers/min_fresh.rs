//! `min-fresh=N`: the token should live that long; otherwise the best one is returned.

use super::{
    super::world::{DEAD_FROM, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

const UNMET: Detail = Detail::MinFreshUnmet;

/// More than any token lives.
const TOO_MUCH: u64 = 10_000;

fn at_least(least: u64) -> Asked {
    PLAIN.min_fresh(least)
}

#[test]
fn met_min_fresh_changes_nothing() {
    let behind = Behind(Says::Token(LIFE));
    let refreshed = Ok(hit(REFRESH_FROM));
    let outage = || Ok(below(STALE_FROM, Detail::Outage));
    check_all([
        row(Token(100), at_least(800), NotAsked, Ok(hit(100)), Kept::Old),
        row(Token(100), at_least(0), NotAsked, Ok(hit(100)), Kept::Old),
        row(Token(REFRESH_FROM), at_least(250), behind, refreshed, Kept::New),
        row(Token(STALE_FROM), at_least(100), succeeds(), Ok(new(Forward::Stale)), Kept::New),
        row(Token(STALE_FROM), at_least(100), Silent(PATIENCE), outage(), Kept::Old),
        row(Failed(STALE_FROM), at_least(119), NotAsked, outage(), Kept::Old),
        row(NotFound, at_least(100), NotAsked, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn unmet_min_fresh_fetches_a_new_token() {
    let request = || Ok(new(Forward::Request));
    let stale = || Ok(new(Forward::Stale));
    check_all([
        row(Token(100), at_least(801), succeeds(), request(), Kept::New),
        // Even a young one, if it ever had the life that is wanted: a new one will have it.
        row(Token(YOUNG), at_least(900), succeeds(), request(), Kept::New),
        row(Token(REFRESH_FROM), at_least(500), succeeds(), request(), Kept::New),
        row(Token(REFRESH_TO), at_least(121), succeeds(), request(), Kept::New),
        row(Token(STALE_FROM), at_least(120), succeeds(), stale(), Kept::New),
        row(Token(DEAD_FROM), at_least(500), succeeds(), stale(), Kept::New),
        row(Nothing, at_least(900), succeeds(), Ok(new(Forward::Miss)), Kept::New),
        row(Token(100), at_least(801), gone(), not_found(), Kept::NotFound),
        row(Token(STALE_FROM), at_least(500), gone(), not_found(), Kept::NotFound),
    ]);
}

#[test]
fn unattainable_min_fresh_returns_the_best_token() {
    let ever = at_least(TOO_MUCH);
    let best = |forward| Ok(new(forward).but(UNMET));
    check_all([
        row(Nothing, ever, succeeds(), best(Forward::Miss), Kept::New),
        row(Token(YOUNG + 1), ever, succeeds(), best(Forward::Request), Kept::New),
        row(Token(STALE_FROM), ever, succeeds(), best(Forward::Stale), Kept::New),
        row(Token(DEAD_FROM), ever, succeeds(), best(Forward::Stale), Kept::New),
        // A young one that never had such a life: the next one won't either.
        row(Token(YOUNG), ever, NotAsked, Ok(hit(YOUNG).but(UNMET)), Kept::Old),
        row(Token(0), at_least(901), NotAsked, Ok(hit(0).but(UNMET)), Kept::Old),
    ]);
}

#[test]
fn above_the_rate_limit_the_cached_token_is_the_best() {
    check_all([
        row(Limited(100), at_least(801), NotAsked, Ok(hit(100).but(UNMET)), Kept::Old),
        // Nothing good is replaced here, so it costs nothing.
        row(Limited(STALE_FROM), at_least(500), succeeds(), Ok(new(Forward::Stale)), Kept::New),
        row(Limited(DEAD_FROM), at_least(500), succeeds(), Ok(new(Forward::Stale)), Kept::New),
    ]);
}

#[test]
fn p5_failure_returns_the_cached_token() {
    for error in failures() {
        let failing = || failing(&error);
        let failed = || Err(error.clone().into());
        check_all([
            row(Token(100), at_least(801), failing(), Ok(hit(100).but(UNMET)), Kept::Old),
            row(Token(STALE_TO), at_least(500), failing(), Ok(below(STALE_TO, UNMET)), Kept::Old),
            row(Token(DEAD_FROM), at_least(500), failing(), failed(), Kept::Nothing),
            row(Nothing, at_least(500), failing(), failed(), Kept::Nothing),
        ]);
    }
}

/// A phone that demands more than there is waits as long as for a first token, also below the
/// normal floor: it has said that the old one doesn't do.
#[test]
fn hanging_fetch_is_awaited_until_the_deadline() {
    let at = |age: u64| age + DEADLINE / 1000;
    let unmet = |age| Ok(hit(at(age)).but(UNMET));
    let stale = |age| Ok(below(at(age), UNMET));
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(100), at_least(801), Silent(DEADLINE), unmet(100), Kept::Old),
        row(Token(STALE_FROM), at_least(500), Silent(DEADLINE), stale(STALE_FROM), Kept::Old),
        // It dies meanwhile.
        row(Token(STALE_TO), at_least(500), Silent(DEADLINE), timeout(), Kept::Nothing),
    ]);
}

#[test]
fn p5_after_a_failure_requests_wait_only_for_the_next_fetch() {
    let unmet = Ok(hit(100).but(UNMET));
    let stale = Ok(below(STALE_FROM, UNMET));
    check_all([
        row(Failed(100), at_least(801), NotAsked, unmet, Kept::Old),
        row(Failed(STALE_FROM), at_least(500), NotAsked, stale, Kept::Old),
    ]);
    run(async {
        let world = World::new();
        prepare(&world, Failed(STALE_FROM)).await;
        world.clock.advance(secs(1));
        let phone = world.request(at_least(500).lookup());
        settle().await;
        assert!(!phone.is_finished(), "the next try is waited for");
        world.answers("alice", world.token("tkn_new", LIFE)).await;
        assert_eq!(phone.await.unwrap().unwrap().detail, None);
    });
}
