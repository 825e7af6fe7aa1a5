//! The table of answers: what is in memory, what the phone wants, what Juspay says; what the phone
//! gets, and what is kept. One file a theme; here is what a row says and how it is checked.

mod min_fresh;
mod no_cache;
mod only_if_cached;
mod plain;
mod without_token;

use std::{sync::Arc, time::Duration};

use super::{
    juspay::Reply,
    world::{DEAD_FROM, REFRESH_TO, World, fails, id, lookup, run, secs, settle, token, tokenless},
};
use crate::{
    cache::{Detail, Forward, Freshness, Lookup, LookupError, Source, store::Slot},
    clock::{Clock, later},
    customer::whole_seconds,
    juspay::{ConnectionFailure, InvalidResponse, JuspayError, RejectedBy},
};

/// The life of every good token here.
const LIFE: u64 = 900;

/// The last age at which a token counts as new: `cache.force_refresh_min_age` is 30 s.
const YOUNG: u64 = 29;

/// `juspay.deadline`, and how long one waits who could have a token below the normal floor.
const DEADLINE: u64 = 5_000;
const PATIENCE: u64 = 250;

struct Row {
    cached: Cached,
    asked: Asked,
    juspay: Juspay,
    answer: Result<Good, LookupError>,
    kept: Kept,
}

/// What is in memory. Tokens are `tkn_old`, so many seconds old.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cached {
    Nothing,
    /// Handed out once.
    Token(u64),
    /// Never handed out.
    Unused(u64),
    /// Juspay failed at the last try, just now.
    Failed(u64),
    /// And the phone has asked for new ones too often.
    Limited(u64),
    /// That there is no such customer.
    NotFound,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    want_token: bool,
    freshness: Freshness,
}

/// What Juspay does.
#[derive(Debug, Clone)]
enum Juspay {
    NotAsked,
    /// It's asked, and the phone waits for this.
    Asked(Says),
    /// It's asked behind the answer.
    Behind(Says),
    /// It's asked and says nothing; the phone is answered after so many milliseconds.
    Silent(u64),
}

#[derive(Debug, Clone)]
enum Says {
    /// `tkn_new`, which lives for so many seconds.
    Token(u64),
    Tokenless(InvalidResponse),
    Fails(JuspayError),
}

#[derive(Debug, Clone, Copy)]
struct Good {
    token: Option<&'static str>,
    source: Source,
    detail: Option<Detail>,
    ttl: u64,
    expires_in: Option<u64>,
}

/// What is in memory afterwards, dead tokens swept away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    Old,
    New,
    NotFound,
    Nothing,
}

use Cached::{Failed, Limited, NotFound, Nothing, Token, Unused};
use Juspay::{Asked as AskedFor, Behind, NotAsked, Silent};

const fn row(
    cached: Cached,
    asked: Asked,
    juspay: Juspay,
    answer: Result<Good, LookupError>,
    kept: Kept,
) -> Row {
    Row { cached, asked, juspay, answer, kept }
}

/// Without directives.
const PLAIN: Asked = Asked {
    want_token: true,
    freshness: Freshness { min_fresh: None, no_cache: false, only_if_cached: false },
};

impl Asked {
    fn min_fresh(self, least: u64) -> Self {
        let freshness = Freshness { min_fresh: Some(secs(least)), ..self.freshness };
        Self { freshness, ..self }
    }

    fn no_cache(self) -> Self {
        Self { freshness: Freshness { no_cache: true, ..self.freshness }, ..self }
    }

    fn only_if_cached(self) -> Self {
        Self { freshness: Freshness { only_if_cached: true, ..self.freshness }, ..self }
    }

    fn without_token(self) -> Self {
        Self { want_token: false, ..self }
    }

    fn lookup(self) -> Lookup {
        Lookup { want_token: self.want_token, freshness: self.freshness, ..lookup("alice") }
    }
}

impl Good {
    fn but(self, detail: Detail) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

/// The old token above its normal end, at that age.
fn hit(age: u64) -> Good {
    let (token, expires_in) = (Some("tkn_old"), Some(LIFE - age));
    Good { token, source: Source::Hit, detail: None, ttl: REFRESH_TO - age, expires_in }
}

/// The old token below its normal end, at that age.
fn below(age: u64, detail: Detail) -> Good {
    let ttl = DEAD_FROM - 1 - age;
    Good { ttl, detail: Some(detail), expires_in: Some(LIFE - age), ..hit(0) }
}

fn new(forward: Forward) -> Good {
    let source = Source::Fetched { forward, collapsed: false, stored: true };
    Good { token: Some("tkn_new"), source, ..hit(0) }
}

/// The object without a token.
fn bare(good: Good) -> Good {
    Good { token: None, expires_in: None, ..good }
}

fn succeeds() -> Juspay {
    AskedFor(Says::Token(LIFE))
}

fn gone() -> Juspay {
    AskedFor(Says::Fails(JuspayError::CustomerNotFound))
}

fn not_found() -> Result<Good, LookupError> {
    Err(JuspayError::CustomerNotFound.into())
}

/// Juspay fails in that way.
fn failing(error: &JuspayError) -> Juspay {
    AskedFor(match error {
        JuspayError::InvalidResponse(InvalidResponse::TooShortLived) => Says::Token(34),
        JuspayError::InvalidResponse(why) if lacks_only_the_token(error) => Says::Tokenless(*why),
        JuspayError::InvalidResponse(_)
        | JuspayError::CustomerNotFound
        | JuspayError::RejectedCredentials(_)
        | JuspayError::RejectedOrigin(_)
        | JuspayError::TooManyRequests(_)
        | JuspayError::Status(..)
        | JuspayError::Connection(_)
        | JuspayError::Timeout
        | JuspayError::BreakerOpen(_)
        | JuspayError::Saturated
        | JuspayError::Aborted => Says::Fails(error.clone()),
    })
}

/// Whether the object is all right, so that it does for those who want no token.
fn lacks_only_the_token(error: &JuspayError) -> bool {
    use InvalidResponse::{NoExpiry, NoToken, TooShortLived};
    matches!(error, JuspayError::InvalidResponse(NoToken | NoExpiry | TooShortLived))
}

/// Every kind of failure.
fn failures() -> Vec<JuspayError> {
    use InvalidResponse::{
        Http, Interim, Json, MalformedIdentity, MalformedToken, NoExpiry, NoToken, OtherCustomer,
        Redirect, Status, TooLarge, TooShortLived, Truncated,
    };
    let mut failures = vec![
        JuspayError::RejectedCredentials(RejectedBy::Juspay),
        JuspayError::RejectedOrigin(RejectedBy::Unknown),
        JuspayError::TooManyRequests(None),
        JuspayError::TooManyRequests(Some(secs(7))),
        JuspayError::Status(500, None),
        JuspayError::Status(503, Some(secs(7))),
        JuspayError::Status(400, None),
        JuspayError::Connection(ConnectionFailure::Connect),
        JuspayError::Connection(ConnectionFailure::Broken),
        JuspayError::Timeout,
        JuspayError::BreakerOpen(secs(5)),
        JuspayError::Saturated,
        JuspayError::Aborted,
    ];
    let invalid = [
        Interim,
        Status,
        Redirect,
        Http,
        Truncated,
        TooLarge,
        Json,
        OtherCustomer,
        MalformedIdentity,
        MalformedToken,
        NoToken,
        NoExpiry,
        TooShortLived,
    ];
    failures.extend(invalid.map(Into::into));
    failures
}

/// Checks rows, each in a world of its own.
fn check_all(rows: impl IntoIterator<Item = Row>) {
    for row in rows {
        run(check(row));
    }
}

async fn check(row: Row) {
    let name = format!("{:?}, {:?}, Juspay {:?}", row.cached, row.asked, row.juspay);
    let world = World::new();
    prepare(&world, row.cached).await;
    let old = world.in_memory("alice");
    let (before, asked_at) = (world.juspay.calls("alice"), world.clock.now());

    let phone = world.request(row.asked.lookup());
    settle().await;
    let waits = matches!(row.juspay, AskedFor(_) | Silent(_));
    assert_eq!(phone.is_finished(), !waits, "{name}: who waits");
    let calls = usize::from(!matches!(row.juspay, NotAsked));
    assert_eq!(world.juspay.calls("alice") - before, calls, "{name}: calls");
    match row.juspay {
        NotAsked => {}
        AskedFor(says) | Behind(says) => world.answers("alice", says.reply(&world)).await,
        Silent(millis) => {
            world.clock.advance(Duration::from_millis(millis - 1));
            settle().await;
            assert!(!phone.is_finished(), "{name}: a millisecond early");
            world.clock.advance(Duration::from_millis(1));
            settle().await;
        }
    }
    assert!(phone.is_finished(), "{name}: answered");
    match (phone.await.unwrap(), row.answer) {
        (Ok(found), Ok(good)) => {
            let known = (good.token.map(str::to_owned), good.source, good.detail);
            assert_eq!((token(&found), found.source, found.detail), known, "{name}");
            let known = (good.ttl, good.expires_in);
            // Half seconds pass in rows where Juspay is silent.
            let told = (ceil(found.ttl), found.expires_in.map(ceil));
            assert_eq!(told, known, "{name}: ttl and life");
            if found.source != Source::Hit {
                assert_eq!(found.body, new_body(&world, asked_at, good), "{name}");
            }
        }
        (Err(error), Err(expected)) => assert_eq!(error, expected, "{name}"),
        (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
    }
    world.sweep();
    assert_eq!(kept(&world, old.as_ref()), row.kept, "{name}: kept");
    if world.juspay.under_way("alice") > 0 {
        // Whoever didn't wait for it has started it all the same.
        world.answers("alice", world.token("tkn_late", LIFE)).await;
        assert_eq!(world.hit("alice"), "tkn_late", "{name}");
    }
    assert_eq!(world.juspay.most_at_once("alice").max(1), 1, "{name}: P4");
}

async fn prepare(world: &World, cached: Cached) {
    let asks = |asked: Asked, reply: Reply| async move {
        let phone = world.request(asked.lookup());
        settle().await;
        world.answers("alice", reply).await;
        phone.await.unwrap()
    };
    match cached {
        Nothing => {}
        NotFound => drop(asks(PLAIN, fails(JuspayError::CustomerNotFound)).await.unwrap_err()),
        Unused(age) => {
            let reply = world.token("tkn_old", LIFE);
            assert!(asks(PLAIN.without_token(), reply).await.is_ok());
            world.clock.advance(secs(age));
        }
        Token(age) | Failed(age) | Limited(age) => {
            world.remembers("alice", "tkn_old", age).await;
            if matches!(cached, Failed(_)) {
                let failed = asks(PLAIN.no_cache(), fails(JuspayError::Timeout)).await;
                assert!(failed.is_err());
            }
            if matches!(cached, Limited(_)) {
                while world.cache.shared.force_refreshes.spend(&id("alice")).is_ok() {}
            }
        }
    }
}

impl Says {
    fn reply(self, world: &World) -> Reply {
        match self {
            Self::Token(life) => world.token("tkn_new", life),
            Self::Tokenless(why) => tokenless(why),
            Self::Fails(error) => fails(error),
        }
    }
}

fn new_body(world: &World, asked_at: jiff::Timestamp, good: Good) -> String {
    let juspay = good.token.map_or_else(String::new, |token| {
        let expiry = whole_seconds(later(asked_at, secs(LIFE)));
        format!(
            r#","juspay":{{"client_auth_token":"{token}","client_auth_token_expiry":"{expiry}"}}"#
        )
    });
    assert_eq!(world.clock.now(), asked_at, "nobody was slow");
    format!(r#"{{"id":"cst_1","first_name":"A"{juspay}}}"#)
}

fn ceil(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1000)).unwrap()
}

fn kept(world: &World, old: Option<&Slot>) -> Kept {
    match (world.in_memory("alice"), old) {
        (None, _) => Kept::Nothing,
        (Some(Slot::NotFound { .. }), _) => Kept::NotFound,
        (Some(Slot::Customer(entry)), Some(Slot::Customer(old))) if Arc::ptr_eq(&entry, old) => {
            Kept::Old
        }
        (Some(Slot::Customer(_)), _) => Kept::New,
    }
}
