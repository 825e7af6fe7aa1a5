//! `no-cache`: a new token, because the SDK rejects the old one.

use super::{
    super::world::{DEAD_FROM, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

fn new_token() -> Asked {
    PLAIN.no_cache()
}

#[test]
fn new_token_is_fetched() {
    let request = || Ok(new(Forward::Request));
    let stale = || Ok(new(Forward::Stale));
    check_all([
        row(Token(YOUNG + 1), new_token(), succeeds(), request(), Kept::New),
        row(Token(REFRESH_TO), new_token(), succeeds(), request(), Kept::New),
        row(Token(STALE_FROM), new_token(), succeeds(), stale(), Kept::New),
        row(Unused(STALE_FROM), new_token(), succeeds(), stale(), Kept::New),
        row(Token(DEAD_FROM), new_token(), succeeds(), stale(), Kept::New),
        row(Nothing, new_token(), succeeds(), Ok(new(Forward::Miss)), Kept::New),
    ]);
}

#[test]
fn young_or_unused_token_satisfies_no_cache() {
    let behind = Behind(Says::Token(LIFE));
    check_all([
        row(Token(0), new_token(), NotAsked, Ok(hit(0)), Kept::Old),
        row(Token(YOUNG), new_token(), NotAsked, Ok(hit(YOUNG)), Kept::Old),
        row(Unused(600), new_token(), NotAsked, Ok(hit(600)), Kept::Old),
        row(Unused(REFRESH_TO), new_token(), behind, Ok(hit(REFRESH_TO)), Kept::New),
        // As new as it is, the phone wants more life in it.
        row(
            Token(YOUNG),
            new_token().min_fresh(900),
            succeeds(),
            Ok(new(Forward::Request)),
            Kept::New,
        ),
    ]);
}

#[test]
fn above_the_rate_limit_the_cached_token_is_returned() {
    let limited = |age| Ok(hit(age).but(Detail::RefreshLimited));
    let stale = || Ok(new(Forward::Stale));
    check_all([
        row(Limited(YOUNG + 1), new_token(), NotAsked, limited(YOUNG + 1), Kept::Old),
        row(Limited(REFRESH_TO), new_token(), NotAsked, limited(REFRESH_TO), Kept::Old),
        row(Limited(YOUNG), new_token(), NotAsked, Ok(hit(YOUNG)), Kept::Old),
        row(Limited(STALE_FROM), new_token(), succeeds(), stale(), Kept::New),
        row(Limited(DEAD_FROM), new_token(), succeeds(), stale(), Kept::New),
    ]);
}

/// 503, or 504 when Juspay was too slow; what is known of how long to wait is passed on.
fn no_new_token(error: &JuspayError) -> LookupError {
    use JuspayError::{BreakerOpen, Saturated, Timeout, TooManyRequests};
    let is_told = matches!(error, Timeout | TooManyRequests(_) | BreakerOpen(_) | Saturated);
    if is_told { error.clone().into() } else { LookupError::NoNewToken(error.clone()) }
}

#[test]
fn failure_is_reported_and_the_cached_token_is_kept() {
    for error in failures() {
        let failing = || failing(&error);
        let refused = || Err(no_new_token(&error));
        let failed = || Err(error.clone().into());
        check_all([
            row(Token(YOUNG + 1), new_token(), failing(), refused(), Kept::Old),
            row(Token(REFRESH_FROM), new_token(), failing(), refused(), Kept::Old),
            row(Token(STALE_TO), new_token(), failing(), refused(), Kept::Old),
            // There is nothing that could stay: as for a first token.
            row(Token(DEAD_FROM), new_token(), failing(), failed(), Kept::Nothing),
            row(Nothing, new_token(), failing(), failed(), Kept::Nothing),
        ]);
    }
}

#[test]
fn hanging_fetch_is_awaited_until_the_deadline() {
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(100), new_token(), Silent(DEADLINE), timeout(), Kept::Old),
        row(Token(STALE_FROM), new_token(), Silent(DEADLINE), timeout(), Kept::Old),
    ]);
}

/// A failed fetch isn't repeated for a while, whatever the phone wants; the old token stays.
#[test]
fn failure_is_repeated_without_a_call() {
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Failed(100), new_token(), NotAsked, timeout(), Kept::Old),
        row(Failed(STALE_FROM), new_token(), NotAsked, timeout(), Kept::Old),
    ]);
}

#[test]
fn unknown_customer_is_not_found_and_removed() {
    check_all([
        row(Token(100), new_token(), gone(), not_found(), Kept::NotFound),
        row(Token(STALE_FROM), new_token(), gone(), not_found(), Kept::NotFound),
        row(Nothing, new_token(), gone(), not_found(), Kept::NotFound),
        row(NotFound, new_token(), NotAsked, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn joining_a_running_fetch_costs_nothing_of_the_rate_limit() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_old", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_old");
        let phones: Vec<_> = (0..10).map(|_| world.request(new_token().lookup())).collect();
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
fn only_starting_a_replacement_of_a_usable_token_costs_the_rate_limit() {
    run(async {
        for (age, left) in [(100, 2), (STALE_FROM, 3)] {
            let world = World::new();
            world.remembers("alice", "tkn_old", age).await;
            let asked =
                [new_token(), new_token(), PLAIN.min_fresh(899), PLAIN.min_fresh(899).no_cache()];
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
