//! `no-cache`: a new token, because the SDK rejects the old one.

use super::{
    super::world::{EXPIRED_FROM, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

fn no_cache() -> Request {
    PLAIN.no_cache()
}

#[test]
fn new_token_is_fetched() {
    let request = || Ok(fetched(Forward::Request));
    let stale = || Ok(fetched(Forward::Stale));
    check_all([
        row(Token(YOUNG + 1), no_cache(), succeeds(), request(), Kept::New),
        row(Token(REFRESH_TO), no_cache(), succeeds(), request(), Kept::New),
        row(Token(STALE_FROM), no_cache(), succeeds(), stale(), Kept::New),
        row(Unused(STALE_FROM), no_cache(), succeeds(), stale(), Kept::New),
        row(Token(EXPIRED_FROM), no_cache(), succeeds(), stale(), Kept::New),
        row(Nothing, no_cache(), succeeds(), Ok(fetched(Forward::Miss)), Kept::New),
    ]);
}

#[test]
fn young_or_unused_token_satisfies_no_cache() {
    let background = Background(Outcome::Token(LIFE));
    let with_min_fresh = no_cache().min_fresh(900);
    let request = Ok(fetched(Forward::Request));
    check_all([
        row(Token(0), no_cache(), NotCalled, Ok(hit(0)), Kept::Old),
        row(Token(YOUNG), no_cache(), NotCalled, Ok(hit(YOUNG)), Kept::Old),
        row(Unused(600), no_cache(), NotCalled, Ok(hit(600)), Kept::Old),
        row(Unused(REFRESH_TO), no_cache(), background, Ok(hit(REFRESH_TO)), Kept::New),
        // The token is new, but `min-fresh` requires a longer life.
        row(Token(YOUNG), with_min_fresh, succeeds(), request, Kept::New),
    ]);
}

#[test]
fn above_the_rate_limit_the_cached_token_is_returned() {
    let limited = |age| Ok(hit(age).with_detail(Detail::RefreshLimited));
    let stale = || Ok(fetched(Forward::Stale));
    check_all([
        row(Limited(YOUNG + 1), no_cache(), NotCalled, limited(YOUNG + 1), Kept::Old),
        row(Limited(REFRESH_TO), no_cache(), NotCalled, limited(REFRESH_TO), Kept::Old),
        row(Limited(YOUNG), no_cache(), NotCalled, Ok(hit(YOUNG)), Kept::Old),
        row(Limited(STALE_FROM), no_cache(), succeeds(), stale(), Kept::New),
        row(Limited(EXPIRED_FROM), no_cache(), succeeds(), stale(), Kept::New),
    ]);
}

/// The expected error. Errors that say when to retry are returned unchanged.
fn no_new_token(error: &JuspayError) -> LookupError {
    use JuspayError::{BreakerOpen, Saturated, Timeout, TooManyRequests};
    let is_unchanged = matches!(error, Timeout | TooManyRequests(_) | BreakerOpen(_) | Saturated);
    if is_unchanged { error.clone().into() } else { LookupError::NoNewToken(error.clone()) }
}

#[test]
fn failure_is_reported_and_the_cached_token_is_kept() {
    for error in failures() {
        let failing = || failing(&error);
        let no_new_token = || Err(no_new_token(&error));
        let failed = || Err(error.clone().into());
        check_all([
            row(Token(YOUNG + 1), no_cache(), failing(), no_new_token(), Kept::Old),
            row(Token(REFRESH_FROM), no_cache(), failing(), no_new_token(), Kept::Old),
            row(Token(STALE_TO), no_cache(), failing(), no_new_token(), Kept::Old),
            // Without a usable token, the error is that of a first fetch.
            row(Token(EXPIRED_FROM), no_cache(), failing(), failed(), Kept::Nothing),
            row(Nothing, no_cache(), failing(), failed(), Kept::Nothing),
        ]);
    }
}

#[test]
fn hanging_fetch_is_awaited_until_the_deadline() {
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(100), no_cache(), Hangs(DEADLINE), timeout(), Kept::Old),
        row(Token(STALE_FROM), no_cache(), Hangs(DEADLINE), timeout(), Kept::Old),
    ]);
}

/// A failed fetch isn't repeated before its pause ends, whatever the directives. The old token is kept.
#[test]
fn failure_is_repeated_without_a_call() {
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Failed(100), no_cache(), NotCalled, timeout(), Kept::Old),
        row(Failed(STALE_FROM), no_cache(), NotCalled, timeout(), Kept::Old),
    ]);
}

#[test]
fn unknown_customer_is_not_found_and_removed() {
    check_all([
        row(Token(100), no_cache(), unknown(), not_found(), Kept::NotFound),
        row(Token(STALE_FROM), no_cache(), unknown(), not_found(), Kept::NotFound),
        row(Nothing, no_cache(), unknown(), not_found(), Kept::NotFound),
        row(NotFound, no_cache(), NotCalled, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn joining_a_running_fetch_costs_nothing_of_the_rate_limit() {
    run(async {
        let world = World::with_force_refresh_rate("3/h");
        world.cache_token("alice", "tkn_old", REFRESH_FROM).await;
        assert_eq!(world.hit("alice"), "tkn_old");
        let clients: Vec<_> = (0..10).map(|_| world.request(no_cache().lookup())).collect();
        settle().await;
        world.respond("alice", world.token("tkn_new", LIFE)).await;
        for client in clients {
            let found = client.await.unwrap().unwrap();
            let source =
                Source::Fetched { forward: Forward::Request, collapsed: true, stored: true };
            assert_eq!((found.source, found.detail), (source, None));
            assert_eq!(token(&found).as_deref(), Some("tkn_new"));
        }
        assert_eq!(world.juspay.calls("alice"), 2);
        assert_eq!(world.spend_replacements("alice").await, 3);
    });
}

#[test]
fn only_starting_a_replacement_of_a_usable_token_costs_the_rate_limit() {
    run(async {
        for (age, left) in [(100, 2), (STALE_FROM, 3)] {
            let world = World::with_force_refresh_rate("3/h");
            world.cache_token("alice", "tkn_old", age).await;
            let requests =
                [no_cache(), no_cache(), PLAIN.min_fresh(899), PLAIN.min_fresh(899).no_cache()];
            let clients = requests.map(|request| world.request(request.lookup()));
            settle().await;
            world.respond("alice", world.token("tkn_new", LIFE)).await;
            for client in clients {
                assert_eq!(token(&client.await.unwrap().unwrap()).as_deref(), Some("tkn_new"));
            }
            assert_eq!(world.spend_replacements("alice").await, left, "{age}");
        }
    });
}
