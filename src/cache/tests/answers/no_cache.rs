//! `no-cache`: a new token, as the SDK won't have the old one any more.

use super::{
    super::world::{DEAD_FROM, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

fn anew() -> Asked {
    PLAIN.no_cache()
}

#[test]
fn while_juspay_is_well_a_new_one_comes() {
    let request = || Ok(new(Forward::Request));
    let stale = || Ok(new(Forward::Stale));
    check_all([
        row(Token(YOUNG + 1), anew(), well(), request(), Kept::New),
        row(Token(REFRESH_TO), anew(), well(), request(), Kept::New),
        row(Token(STALE_FROM), anew(), well(), stale(), Kept::New),
        row(Unused(STALE_FROM), anew(), well(), stale(), Kept::New),
        row(Token(DEAD_FROM), anew(), well(), stale(), Kept::New),
        row(Nothing, anew(), well(), Ok(new(Forward::Miss)), Kept::New),
    ]);
}

#[test]
fn a_young_one_or_one_that_nobody_has_had_is_new() {
    let behind = Behind(Says::Token(LIFE));
    check_all([
        row(Token(0), anew(), NotAsked, Ok(hit(0)), Kept::Old),
        row(Token(YOUNG), anew(), NotAsked, Ok(hit(YOUNG)), Kept::Old),
        row(Unused(600), anew(), NotAsked, Ok(hit(600)), Kept::Old),
        row(Unused(REFRESH_TO), anew(), behind, Ok(hit(REFRESH_TO)), Kept::New),
        // As new as it is, the phone wants more life in it.
        row(Token(YOUNG), anew().min_fresh(900), well(), Ok(new(Forward::Request)), Kept::New),
    ]);
}

#[test]
fn past_the_limit_the_old_one_stays_while_it_is_good() {
    let limited = |age| Ok(hit(age).but(Detail::RefreshLimited));
    let stale = || Ok(new(Forward::Stale));
    check_all([
        row(Limited(YOUNG + 1), anew(), NotAsked, limited(YOUNG + 1), Kept::Old),
        row(Limited(REFRESH_TO), anew(), NotAsked, limited(REFRESH_TO), Kept::Old),
        row(Limited(YOUNG), anew(), NotAsked, Ok(hit(YOUNG)), Kept::Old),
        row(Limited(STALE_FROM), anew(), well(), stale(), Kept::New),
        row(Limited(DEAD_FROM), anew(), well(), stale(), Kept::New),
    ]);
}

/// 503, or 504 when Juspay was too slow; what is known of how long to wait is passed on.
fn no_new_token(error: &JuspayError) -> LookupError {
    use JuspayError::{BreakerOpen, Saturated, Timeout, TooManyRequests};
    let is_told = matches!(error, Timeout | TooManyRequests(_) | BreakerOpen(_) | Saturated);
    if is_told { error.clone().into() } else { LookupError::NoNewToken(error.clone()) }
}

#[test]
fn a_failure_of_any_kind_is_told_and_the_old_one_stays() {
    for error in failures() {
        let failing = || failing(&error);
        let refused = || Err(no_new_token(&error));
        let failed = || Err(error.clone().into());
        check_all([
            row(Token(YOUNG + 1), anew(), failing(), refused(), Kept::Old),
            row(Token(REFRESH_FROM), anew(), failing(), refused(), Kept::Old),
            row(Token(STALE_TO), anew(), failing(), refused(), Kept::Old),
            // There is nothing that could stay: as for a first token.
            row(Token(DEAD_FROM), anew(), failing(), failed(), Kept::Nothing),
            row(Nothing, anew(), failing(), failed(), Kept::Nothing),
        ]);
    }
}

#[test]
fn a_silent_juspay_is_waited_for_until_the_deadline() {
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(100), anew(), Silent(DEADLINE), timeout(), Kept::Old),
        row(Token(STALE_FROM), anew(), Silent(DEADLINE), timeout(), Kept::Old),
    ]);
}

/// A failed fetch isn't repeated for a while, whatever the phone wants; the old token stays.
#[test]
fn after_a_failure_the_same_error_comes_without_a_call() {
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Failed(100), anew(), NotAsked, timeout(), Kept::Old),
        row(Failed(STALE_FROM), anew(), NotAsked, timeout(), Kept::Old),
    ]);
}

#[test]
fn a_customer_that_juspay_does_not_know_is_404_and_removed() {
    check_all([
        row(Token(100), anew(), gone(), not_found(), Kept::NotFound),
        row(Token(STALE_FROM), anew(), gone(), not_found(), Kept::NotFound),
        row(Nothing, anew(), gone(), not_found(), Kept::NotFound),
        row(NotFound, anew(), NotAsked, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn a_flight_in_the_air_brings_a_new_one_and_costs_nothing() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_old", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_old");
        let phones: Vec<_> = (0..10).map(|_| world.request(anew().lookup())).collect();
        settle().await;
        world.answers("alice", world.token("tkn_new", LIFE)).await;
        for phone in phones {
            let found = phone.await.unwrap().unwrap();
            let source =
                Source::Fetched { forward: Forward::Request, collapsed: true, stored: true };
            assert_eq!((found.source, found.detail), (source, None));
            assert_eq!(token(&found).as_deref(), Some("tkn_new"));
        }
        assert_eq!(world.juspay.calls("alice"), 2);
        let spend = || world.cache.shared.force_refreshes.spend(&id("alice"));
        assert!((0..3).all(|_| spend().is_ok()) && spend().is_err(), "all three are left");
    });
}

#[test]
fn only_who_starts_the_fetch_of_a_good_tokens_successor_pays() {
    run(async {
        for (age, left) in [(100, 2), (STALE_FROM, 3)] {
            let world = World::new();
            world.remembers("alice", "tkn_old", age).await;
            let asked = [anew(), anew(), PLAIN.min_fresh(899), PLAIN.min_fresh(899).no_cache()];
            let phones = asked.map(|asked| world.request(asked.lookup()));
            settle().await;
            world.answers("alice", world.token("tkn_new", LIFE)).await;
            for phone in phones {
                assert_eq!(token(&phone.await.unwrap().unwrap()).as_deref(), Some("tkn_new"));
            }
            let limit = &world.cache.shared.force_refreshes;
            let spent = (0..5).filter(|_| limit.spend(&id("alice")).is_ok()).count();
            assert_eq!(spent, left, "{age}");
        }
    });
}
