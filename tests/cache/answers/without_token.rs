//! `options.get_client_auth_token=false`: no floor, and no token needed.

use super::{
    super::world::{DEAD_FROM, FRESH_TO, REFRESH_TO, STALE_FROM, STALE_TO},
    *,
};

const BARE: Asked = Asked { want_token: false, ..PLAIN };

/// The old object, whatever became of its token.
fn old(ttl: u64) -> Good {
    Good { ttl, ..bare(hit(0)) }
}

fn fetched(forward: Forward) -> Good {
    bare(new(forward))
}

/// A good answer but for its token.
fn not_stored(forward: Forward) -> Good {
    let source = Source::Fetched { forward, collapsed: false, stored: false };
    Good { source, ttl: 0, ..bare(hit(0)) }
}

fn none() -> Result<Good, LookupError> {
    Err(LookupError::NotCached)
}

#[test]
fn plain_requests_without_token() {
    let null = || Says::Tokenless(InvalidResponse::NoToken);
    let no_expiry = AskedFor(Says::Tokenless(InvalidResponse::NoExpiry));
    let short = AskedFor(Says::Token(34));
    let unstored = || Ok(not_stored(Forward::Miss));
    check_all([
        row(Token(FRESH_TO), BARE, NotAsked, Ok(old(180)), Kept::Old),
        row(Token(REFRESH_TO), BARE, Behind(Says::Token(LIFE)), Ok(old(0)), Kept::New),
        row(Token(REFRESH_TO), BARE, Behind(null()), Ok(old(0)), Kept::Old),
        row(Token(STALE_FROM), BARE, NotAsked, Ok(old(0)), Kept::Old),
        row(Failed(STALE_FROM), BARE, NotAsked, Ok(old(0)), Kept::Old),
        row(Token(DEAD_FROM), BARE, NotAsked, Ok(old(0)), Kept::Nothing),
        row(Nothing, BARE, succeeds(), Ok(fetched(Forward::Miss)), Kept::New),
        row(Nothing, BARE, AskedFor(null()), unstored(), Kept::Nothing),
        row(Nothing, BARE, no_expiry, unstored(), Kept::Nothing),
        row(Nothing, BARE, short, unstored(), Kept::Nothing),
        row(Nothing, BARE, gone(), not_found(), Kept::NotFound),
        row(NotFound, BARE, NotAsked, not_found(), Kept::NotFound),
    ]);
}

/// There is no token whose life could be too short.
#[test]
fn min_fresh_is_ignored_without_token() {
    let ever = BARE.min_fresh(10_000);
    check_all([
        row(Token(100), ever, NotAsked, Ok(old(680)), Kept::Old),
        row(Token(STALE_FROM), ever, NotAsked, Ok(old(0)), Kept::Old),
        row(Nothing, ever, succeeds(), Ok(fetched(Forward::Miss)), Kept::New),
    ]);
}

/// A new object is wanted here, so whether anybody has had the token doesn't matter.
#[test]
fn no_cache_fetches_a_new_object() {
    let anew = BARE.no_cache();
    let limited = Ok(old(750).but(Detail::RefreshLimited));
    let null = AskedFor(Says::Tokenless(InvalidResponse::NoToken));
    check_all([
        row(Token(YOUNG), anew, NotAsked, Ok(old(751)), Kept::Old),
        row(Token(YOUNG + 1), anew, succeeds(), Ok(fetched(Forward::Request)), Kept::New),
        row(Unused(YOUNG + 1), anew, succeeds(), Ok(fetched(Forward::Request)), Kept::New),
        row(Token(100), anew, null, Ok(not_stored(Forward::Request)), Kept::Old),
        row(Limited(YOUNG + 1), anew, NotAsked, limited, Kept::Old),
        row(Token(STALE_FROM), anew, succeeds(), Ok(fetched(Forward::Stale)), Kept::New),
        row(Token(DEAD_FROM), anew, succeeds(), Ok(fetched(Forward::Stale)), Kept::New),
        row(Token(100), anew, gone(), not_found(), Kept::NotFound),
        row(Token(100), anew, Silent(DEADLINE), Err(JuspayError::Timeout.into()), Kept::Old),
    ]);
}

#[test]
fn only_if_cached_returns_any_cached_object() {
    let cached = BARE.only_if_cached();
    check_all([
        row(Token(100), cached, NotAsked, Ok(old(680)), Kept::Old),
        row(Token(STALE_TO), cached, NotAsked, Ok(old(0)), Kept::Old),
        row(Token(DEAD_FROM), cached, NotAsked, Ok(old(0)), Kept::Nothing),
        row(Nothing, cached, NotAsked, none(), Kept::Nothing),
        row(Token(100), cached.no_cache(), NotAsked, none(), Kept::Old),
        row(Unused(100), cached.no_cache(), NotAsked, none(), Kept::Old),
        row(NotFound, cached, NotAsked, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn failures_are_reported_except_of_the_token() {
    for error in failures().into_iter().filter(|error| !lacks_only_the_token(error)) {
        let failed = || Err(error.clone().into());
        check_all([
            row(Nothing, BARE, failing(&error), failed(), Kept::Nothing),
            row(Token(DEAD_FROM), BARE.no_cache(), failing(&error), failed(), Kept::Nothing),
        ]);
    }
}
