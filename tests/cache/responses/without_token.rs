//! `options.get_client_auth_token=false`: no floor, and no token needed.

use super::{
    super::world::{EXPIRED_FROM, FRESH_TO, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

const NO_TOKEN: Request = Request { want_token: false, ..PLAIN };

/// The cached object, whether its token has expired or not.
fn old(ttl: u64) -> Expected {
    Expected { ttl, ..without_token(hit(0)) }
}

fn fetched_object(forward: Forward) -> Expected {
    without_token(fetched(forward))
}

/// The object from a response without a usable token.
fn not_stored(forward: Forward) -> Expected {
    let source = Source::Fetched { forward, collapsed: false, stored: false };
    Expected { source, ttl: 0, ..without_token(hit(0)) }
}

fn not_cached() -> Result<Expected, LookupError> {
    Err(LookupError::NotCached)
}

#[test]
fn plain_requests_without_token() {
    let null = || Outcome::Tokenless(InvalidResponse::NoToken);
    let no_expiry = Called(Outcome::Tokenless(InvalidResponse::NoExpiry));
    let short = Called(Outcome::Token(34));
    let unstored = || Ok(not_stored(Forward::Miss));
    check_all([
        row(Token(FRESH_TO), NO_TOKEN, NotCalled, Ok(old(180)), Kept::Old),
        row(Token(REFRESH_TO), NO_TOKEN, Background(Outcome::Token(LIFE)), Ok(old(0)), Kept::New),
        row(Token(REFRESH_TO), NO_TOKEN, Background(null()), Ok(old(0)), Kept::Old),
        row(Token(STALE_FROM), NO_TOKEN, NotCalled, Ok(old(0)), Kept::Old),
        row(Failed(STALE_FROM), NO_TOKEN, NotCalled, Ok(old(0)), Kept::Old),
        row(Token(EXPIRED_FROM), NO_TOKEN, NotCalled, Ok(old(0)), Kept::Nothing),
        row(Nothing, NO_TOKEN, succeeds(), Ok(fetched_object(Forward::Miss)), Kept::New),
        row(Nothing, NO_TOKEN, Called(null()), unstored(), Kept::Nothing),
        row(Nothing, NO_TOKEN, no_expiry, unstored(), Kept::Nothing),
        row(Nothing, NO_TOKEN, short, unstored(), Kept::Nothing),
        row(Nothing, NO_TOKEN, unknown(), not_found(), Kept::NotFound),
        row(NotFound, NO_TOKEN, NotCalled, not_found(), Kept::NotFound),
    ]);
}

/// Without token, there is no remaining life to compare.
#[test]
fn min_fresh_is_ignored_without_token() {
    let unattainable = NO_TOKEN.min_fresh(10_000);
    check_all([
        row(Token(100), unattainable, NotCalled, Ok(old(680)), Kept::Old),
        row(Token(STALE_FROM), unattainable, NotCalled, Ok(old(0)), Kept::Old),
        row(Nothing, unattainable, succeeds(), Ok(fetched_object(Forward::Miss)), Kept::New),
    ]);
}

/// The client wants a new object, so an unused token doesn't satisfy the request.
#[test]
fn no_cache_fetches_a_new_object() {
    let no_cache = NO_TOKEN.no_cache();
    let request = || Ok(fetched_object(Forward::Request));
    let stale = || Ok(fetched_object(Forward::Stale));
    let limited = Ok(old(750).with_detail(Detail::RefreshLimited));
    let null = Called(Outcome::Tokenless(InvalidResponse::NoToken));
    check_all([
        row(Token(YOUNG), no_cache, NotCalled, Ok(old(751)), Kept::Old),
        row(Token(YOUNG + 1), no_cache, succeeds(), request(), Kept::New),
        row(Unused(YOUNG + 1), no_cache, succeeds(), request(), Kept::New),
        row(Token(100), no_cache, null, Ok(not_stored(Forward::Request)), Kept::Old),
        row(Limited(YOUNG + 1), no_cache, NotCalled, limited, Kept::Old),
        row(Token(STALE_FROM), no_cache, succeeds(), stale(), Kept::New),
        row(Token(EXPIRED_FROM), no_cache, succeeds(), stale(), Kept::New),
        row(Token(100), no_cache, unknown(), not_found(), Kept::NotFound),
        row(Token(100), no_cache, Hangs(DEADLINE), Err(JuspayError::Timeout.into()), Kept::Old),
    ]);
}

#[test]
fn only_if_cached_returns_any_cached_object() {
    let cached = NO_TOKEN.only_if_cached();
    check_all([
        row(Token(100), cached, NotCalled, Ok(old(680)), Kept::Old),
        row(Token(STALE_TO), cached, NotCalled, Ok(old(0)), Kept::Old),
        row(Token(EXPIRED_FROM), cached, NotCalled, Ok(old(0)), Kept::Nothing),
        row(Nothing, cached, NotCalled, not_cached(), Kept::Nothing),
        row(Token(100), cached.no_cache(), NotCalled, not_cached(), Kept::Old),
        row(Unused(100), cached.no_cache(), NotCalled, not_cached(), Kept::Old),
        row(NotFound, cached, NotCalled, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn failures_are_reported_except_of_the_token() {
    for error in failures().into_iter().filter(|error| !lacks_only_the_token(error)) {
        let failed = || Err(error.clone().into());
        check_all([
            row(Nothing, NO_TOKEN, failing(&error), failed(), Kept::Nothing),
            row(Token(EXPIRED_FROM), NO_TOKEN.no_cache(), failing(&error), failed(), Kept::Nothing),
        ]);
    }
}
