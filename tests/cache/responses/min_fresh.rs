//! `min-fresh=N`: the token should live for N more seconds. If none does, the best one is returned.

use super::{
    super::world::{EXPIRED_FROM, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

const UNMET: Detail = Detail::MinFreshUnmet;

/// Longer than any token lives.
const TOO_MUCH: u64 = 10_000;

fn min_fresh(secs: u64) -> Request {
    PLAIN.min_fresh(secs)
}

#[test]
fn met_min_fresh_changes_nothing() {
    let background = Background(Outcome::Token(LIFE));
    let refreshed = Ok(hit(REFRESH_FROM));
    let outage = || Ok(below_floor(STALE_FROM, Detail::Outage));
    check_all([
        row(Token(100), min_fresh(800), NotCalled, Ok(hit(100)), Kept::Old),
        row(Token(100), min_fresh(0), NotCalled, Ok(hit(100)), Kept::Old),
        row(Token(REFRESH_FROM), min_fresh(250), background, refreshed, Kept::New),
        row(Token(STALE_FROM), min_fresh(100), succeeds(), Ok(fetched(Forward::Stale)), Kept::New),
        row(Token(STALE_FROM), min_fresh(100), Hangs(PATIENCE), outage(), Kept::Old),
        row(Failed(STALE_FROM), min_fresh(119), NotCalled, outage(), Kept::Old),
        row(NotFound, min_fresh(100), NotCalled, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn unmet_min_fresh_fetches_a_new_token() {
    let request = || Ok(fetched(Forward::Request));
    let stale = || Ok(fetched(Forward::Stale));
    check_all([
        row(Token(100), min_fresh(801), succeeds(), request(), Kept::New),
        // Even a young token is replaced if its total life was long enough: the next one's will be, too.
        row(Token(YOUNG), min_fresh(900), succeeds(), request(), Kept::New),
        row(Token(REFRESH_FROM), min_fresh(500), succeeds(), request(), Kept::New),
        row(Token(REFRESH_TO), min_fresh(121), succeeds(), request(), Kept::New),
        row(Token(STALE_FROM), min_fresh(120), succeeds(), stale(), Kept::New),
        row(Token(EXPIRED_FROM), min_fresh(500), succeeds(), stale(), Kept::New),
        row(Nothing, min_fresh(900), succeeds(), Ok(fetched(Forward::Miss)), Kept::New),
        row(Token(100), min_fresh(801), unknown(), not_found(), Kept::NotFound),
        row(Token(STALE_FROM), min_fresh(500), unknown(), not_found(), Kept::NotFound),
    ]);
}

#[test]
fn unattainable_min_fresh_returns_the_best_token() {
    let unattainable = min_fresh(TOO_MUCH);
    let best = |forward| Ok(fetched(forward).with_detail(UNMET));
    check_all([
        row(Nothing, unattainable, succeeds(), best(Forward::Miss), Kept::New),
        row(Token(YOUNG + 1), unattainable, succeeds(), best(Forward::Request), Kept::New),
        row(Token(STALE_FROM), unattainable, succeeds(), best(Forward::Stale), Kept::New),
        row(Token(EXPIRED_FROM), unattainable, succeeds(), best(Forward::Stale), Kept::New),
        // A young token whose total life was too short is kept: the next one's would be, too.
        row(Token(YOUNG), unattainable, NotCalled, Ok(hit(YOUNG).with_detail(UNMET)), Kept::Old),
        row(Token(0), min_fresh(901), NotCalled, Ok(hit(0).with_detail(UNMET)), Kept::Old),
    ]);
}

#[test]
fn above_the_rate_limit_the_cached_token_is_the_best() {
    let stale = || Ok(fetched(Forward::Stale));
    check_all([
        row(Limited(100), min_fresh(801), NotCalled, Ok(hit(100).with_detail(UNMET)), Kept::Old),
        // No usable token is replaced, so the rate limit doesn't apply.
        row(Limited(STALE_FROM), min_fresh(500), succeeds(), stale(), Kept::New),
        row(Limited(EXPIRED_FROM), min_fresh(500), succeeds(), stale(), Kept::New),
    ]);
}

#[test]
fn p5_failure_returns_the_cached_token() {
    for error in failures() {
        let failing = || failing(&error);
        let failed = || Err(error.clone().into());
        let unmet = Ok(hit(100).with_detail(UNMET));
        let stale = Ok(below_floor(STALE_TO, UNMET));
        check_all([
            row(Token(100), min_fresh(801), failing(), unmet, Kept::Old),
            row(Token(STALE_TO), min_fresh(500), failing(), stale, Kept::Old),
            row(Token(EXPIRED_FROM), min_fresh(500), failing(), failed(), Kept::Nothing),
            row(Nothing, min_fresh(500), failing(), failed(), Kept::Nothing),
        ]);
    }
}

/// An unmet `min-fresh` waits as long as for a first token, also below the normal floor, because the
/// client doesn't want the cached token.
#[test]
fn hanging_fetch_is_awaited_until_the_deadline() {
    let at = |age: u64| age + DEADLINE / 1000;
    let unmet = |age| Ok(hit(at(age)).with_detail(UNMET));
    let stale = |age| Ok(below_floor(at(age), UNMET));
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(100), min_fresh(801), Hangs(DEADLINE), unmet(100), Kept::Old),
        row(Token(STALE_FROM), min_fresh(500), Hangs(DEADLINE), stale(STALE_FROM), Kept::Old),
        // The cached token expires meanwhile.
        row(Token(STALE_TO), min_fresh(500), Hangs(DEADLINE), timeout(), Kept::Nothing),
    ]);
}

#[test]
fn p5_after_a_failure_requests_wait_only_for_the_next_fetch() {
    let unmet = Ok(hit(100).with_detail(UNMET));
    let stale = Ok(below_floor(STALE_FROM, UNMET));
    check_all([
        row(Failed(100), min_fresh(801), NotCalled, unmet, Kept::Old),
        row(Failed(STALE_FROM), min_fresh(500), NotCalled, stale, Kept::Old),
    ]);
    run(async {
        let world = Failed(STALE_FROM).world().await;
        world.clock.advance(secs(1));
        let client = world.request(min_fresh(500).lookup());
        settle().await;
        assert!(!client.is_finished(), "the request waits for the next fetch");
        world.respond("alice", world.token("tkn_new", LIFE)).await;
        assert_eq!(client.await.unwrap().unwrap().detail, None);
    });
}
