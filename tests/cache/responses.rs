//! The response to every kind of request: what is cached, what the client wants and what Juspay returns,
//! and then what the client gets and what stays cached. One file per directive has the rows; this file
//! defines and checks them.

mod min_fresh;
mod no_cache;
mod only_if_cached;
mod plain;
mod without_token;

use std::time::Duration;

use jiff::Timestamp;
use juspay_bff::{
    cache::{Detail, Forward, Freshness, Lookup, LookupError, Source},
    clock::{Clock, later},
    customer::whole_seconds,
    juspay::{ConnectionFailure, InvalidResponse, JuspayError, NotCreated, RejectedBy},
};

use super::{
    fake_juspay::Reply,
    world::{
        EXPIRED_FROM, REFRESH_TO, World, customer, failure, lookup, run, secs, settle, token,
        tokenless,
    },
};

/// The life of every usable token here, in seconds.
const LIFE: u64 = 900;

/// The last age at which a token counts as new: `cache.force_refresh_min_age` is 30 s.
const YOUNG: u64 = 29;

/// `juspay.deadline`, in milliseconds.
const DEADLINE: u64 = 5_000;

/// How long a request waits if there is a usable token below the normal floor, in milliseconds.
const PATIENCE: u64 = 250;

/// The first name in the object of `tkn_new`. Other objects have another.
const NEW_NAME: &str = "New";

struct Row {
    cached: Cached,
    request: Request,
    juspay: Juspay,
    response: Result<Expected, LookupError>,
    kept: Kept,
}

/// What is cached. Tokens are `tkn_old`, with their age in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cached {
    Nothing,
    /// Returned once.
    Token(u64),
    /// Never returned.
    Unused(u64),
    /// The last fetch has just failed.
    Failed(u64),
    /// The customer has used up its replacements.
    Limited(u64),
    /// Juspay reported that the customer doesn't exist.
    NotFound,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    want_token: bool,
    freshness: Freshness,
}

/// What happens at Juspay.
#[derive(Debug, Clone)]
enum Juspay {
    NotCalled,
    /// A call, and the request waits for it.
    Called(Outcome),
    /// A call in the background.
    Background(Outcome),
    /// A call without a response. The client gets its response after this time in milliseconds.
    Hangs(u64),
}

#[derive(Debug, Clone)]
enum Outcome {
    /// `tkn_new`, with its life in seconds.
    Token(u64),
    Tokenless(InvalidResponse),
    Error(JuspayError),
}

#[derive(Debug, Clone, Copy)]
struct Expected {
    token: Option<&'static str>,
    source: Source,
    detail: Option<Detail>,
    ttl: u64,
    expires_in: Option<u64>,
}

/// What is cached afterwards, without expired tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    Old,
    New,
    NotFound,
    Nothing,
}

use Cached::{Failed, Limited, NotFound, Nothing, Token, Unused};
use Juspay::{Background, Called, Hangs, NotCalled};

const fn row(
    cached: Cached,
    request: Request,
    juspay: Juspay,
    response: Result<Expected, LookupError>,
    kept: Kept,
) -> Row {
    Row { cached, request, juspay, response, kept }
}

/// Without directives.
const PLAIN: Request = Request {
    want_token: true,
    freshness: Freshness {
        min_fresh: None,
        no_cache: false,
        must_be_new: false,
        only_if_cached: false,
    },
};

impl Request {
    fn min_fresh(self, life: u64) -> Self {
        let freshness = Freshness { min_fresh: Some(secs(life)), ..self.freshness };
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

impl Expected {
    fn with_detail(self, detail: Detail) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

/// The cached token above the normal floor, at that age.
fn hit(age: u64) -> Expected {
    let (token, expires_in) = (Some("tkn_old"), Some(LIFE - age));
    Expected { token, source: Source::Hit, detail: None, ttl: REFRESH_TO - age, expires_in }
}

/// The cached token below the normal floor, at that age.
fn below_floor(age: u64, detail: Detail) -> Expected {
    let ttl = EXPIRED_FROM - 1 - age;
    Expected { ttl, detail: Some(detail), expires_in: Some(LIFE - age), ..hit(0) }
}

fn fetched(forward: Forward) -> Expected {
    let source = Source::Fetched { forward, collapsed: false, stored: true };
    Expected { token: Some("tkn_new"), source, ..hit(0) }
}

/// The object without a token.
fn without_token(expected: Expected) -> Expected {
    Expected { token: None, expires_in: None, ..expected }
}

fn succeeds() -> Juspay {
    Called(Outcome::Token(LIFE))
}

fn unknown() -> Juspay {
    Called(Outcome::Error(JuspayError::CustomerNotFound))
}

fn not_found() -> Result<Expected, LookupError> {
    Err(JuspayError::CustomerNotFound.into())
}

/// A call that fails with this error.
fn failing(error: &JuspayError) -> Juspay {
    Called(match error {
        JuspayError::InvalidResponse(InvalidResponse::TooShortLived) => Outcome::Token(34),
        JuspayError::InvalidResponse(why) if lacks_only_the_token(error) => {
            Outcome::Tokenless(*why)
        }
        JuspayError::InvalidResponse(_)
        | JuspayError::CustomerNotFound
        | JuspayError::NotCreated(_)
        | JuspayError::RejectedCredentials(_)
        | JuspayError::RejectedOrigin(_)
        | JuspayError::TooManyRequests(_)
        | JuspayError::Status(..)
        | JuspayError::Connection(_)
        | JuspayError::Timeout
        | JuspayError::BreakerOpen(_)
        | JuspayError::Saturated
        | JuspayError::Aborted => Outcome::Error(error.clone()),
    })
}

/// Whether the object is valid, so that requests without token get it.
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
        JuspayError::NotCreated(NotCreated::Exists),
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

/// Checks each row in a new world.
fn check_all(rows: impl IntoIterator<Item = Row>) {
    for row in rows {
        run(check(row));
    }
}

async fn check(row: Row) {
    let name = format!("{:?}, {:?}, Juspay {:?}", row.cached, row.request, row.juspay);
    let world = row.cached.world().await;
    let (calls_before, sent) = (world.juspay.calls("alice"), world.clock.now());

    let client = world.request(row.request.lookup());
    settle().await;
    let waits = matches!(row.juspay, Called(_) | Hangs(_));
    assert_eq!(client.is_finished(), !waits, "{name}: whether the request waits");
    let calls = usize::from(!matches!(row.juspay, NotCalled));
    assert_eq!(world.juspay.calls("alice") - calls_before, calls, "{name}: calls");
    match row.juspay {
        NotCalled => {}
        Called(outcome) | Background(outcome) => {
            world.respond("alice", outcome.reply(&world)).await;
        }
        Hangs(millis) => {
            world.clock.advance(Duration::from_millis(millis - 1));
            settle().await;
            assert!(!client.is_finished(), "{name}: a millisecond early");
            world.clock.advance(Duration::from_millis(1));
            settle().await;
        }
    }
    assert!(client.is_finished(), "{name}: response");
    match (client.await.unwrap(), row.response) {
        (Ok(found), Ok(expected)) => {
            let result = (token(&found), found.source, found.detail);
            let token = expected.token.map(str::to_owned);
            assert_eq!(result, (token, expected.source, expected.detail), "{name}");
            // Rows in which Juspay hangs may take a fraction of a second.
            let result = (ceil(found.ttl), found.expires_in.map(ceil));
            assert_eq!(result, (expected.ttl, expected.expires_in), "{name}: ttl and life");
            if found.source != Source::Hit {
                assert_eq!(found.body, new_body(&world, sent, expected), "{name}");
            }
        }
        (Err(error), Err(expected)) => assert_eq!(error, expected, "{name}"),
        (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
    }
    world.sweep();
    let is_running = world.juspay.running("alice") > 0;
    assert_eq!(kept(&world).await, row.kept, "{name}: kept");
    if is_running {
        // The fetch continues although no request waits for it.
        world.respond("alice", world.token("tkn_late", LIFE)).await;
        assert_eq!(world.hit("alice"), "tkn_late", "{name}");
    }
    assert_eq!(world.juspay.max_running("alice").max(1), 1, "{name}: P4");
}

impl Cached {
    /// A world in which this is cached.
    async fn world(self) -> World {
        let is_limited = matches!(self, Limited(_));
        let world = if is_limited { World::with_force_refresh_rate("1/h") } else { World::new() };
        let fetch = async |request: Request, reply: Reply| {
            let client = world.request(request.lookup());
            settle().await;
            world.respond("alice", reply).await;
            client.await.unwrap()
        };
        match self {
            Nothing => {}
            NotFound => {
                let result = fetch(PLAIN, failure(JuspayError::CustomerNotFound)).await;
                assert!(result.is_err());
            }
            Unused(age) => {
                let reply = world.token("tkn_old", LIFE);
                assert!(fetch(PLAIN.without_token(), reply).await.is_ok());
                world.clock.advance(secs(age));
            }
            Token(age) => world.cache_token("alice", "tkn_old", age).await,
            Failed(age) => {
                world.cache_token("alice", "tkn_old", age).await;
                let result = fetch(PLAIN.no_cache(), failure(JuspayError::Timeout)).await;
                assert!(result.is_err());
            }
            Limited(age) => {
                // The only replacement replaces this token.
                world.cache_token("alice", "tkn_older", YOUNG + 1).await;
                let reply = world.token("tkn_old", LIFE);
                assert!(fetch(PLAIN.no_cache(), reply).await.is_ok());
                world.clock.advance(secs(age));
            }
        }
        world
    }
}

impl Outcome {
    fn reply(self, world: &World) -> Reply {
        let mut reply = match self {
            Self::Token(life) => world.token("tkn_new", life),
            Self::Tokenless(why) => tokenless(why),
            Self::Error(error) => failure(error),
        };
        if let Reply::Returns(Ok(response)) = &mut reply {
            response.customer = customer(NEW_NAME);
        }
        reply
    }
}

/// The body with the new object.
fn new_body(world: &World, sent: Timestamp, expected: Expected) -> String {
    let juspay = expected.token.map_or_else(String::new, |token| {
        let expiry = whole_seconds(later(sent, secs(LIFE)));
        format!(
            r#","juspay":{{"client_auth_token":"{token}","client_auth_token_expiry":"{expiry}"}}"#
        )
    });
    assert_eq!(world.clock.now(), sent, "no time passes during the fetch");
    format!(r#"{{"id":"cst_1","first_name":"{NEW_NAME}"{juspay}}}"#)
}

fn ceil(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1000)).unwrap()
}

/// What is cached, as a request with `only-if-cached` and without token gets it.
async fn kept(world: &World) -> Kept {
    let lookup = PLAIN.without_token().only_if_cached().lookup();
    let kept = match world.request(lookup).await.unwrap() {
        Ok(found) => {
            let is_new = found.body == format!(r#"{{"id":"cst_1","first_name":"{NEW_NAME}"}}"#);
            if is_new { Kept::New } else { Kept::Old }
        }
        Err(LookupError::NotCached) => Kept::Nothing,
        Err(error) => {
            assert_eq!(error, JuspayError::CustomerNotFound.into());
            Kept::NotFound
        }
    };
    assert_eq!(world.entries(), i64::from(kept != Kept::Nothing));
    kept
}
