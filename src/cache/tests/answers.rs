//! The table of answers: what is in memory, what Juspay says, what the phone gets, what is kept.

use std::sync::Arc;

use super::world::{
    DEAD_FROM, FRESH_TO, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO, World, fails, lookup, run,
    secs, settle, tokenless,
};
use crate::{
    cache::{Forward, Lookup, Source, store::Slot},
    clock::{Clock, later},
    customer::whole_seconds,
    juspay::{ConnectionFailure, InvalidAnswer, JuspayError},
};

/// The life of every good token here.
const LIFE: u64 = 900;

struct Row {
    cached: Cached,
    want_token: bool,
    juspay: Juspay,
    answer: Result<Good, JuspayError>,
    kept: Kept,
    /// How often Juspay is asked.
    calls: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cached {
    Nothing,
    /// `tkn_old`, so many seconds old.
    Token(u64),
    /// That there is no such customer.
    NotFound,
}

#[derive(Debug, Clone, PartialEq)]
enum Juspay {
    NotAsked,
    /// `tkn_new`, which lives for so many seconds.
    Token(u64),
    Tokenless(InvalidAnswer),
    Fails(JuspayError),
}

impl Juspay {
    fn that_means(error: &JuspayError) -> Self {
        use InvalidAnswer::{NoExpiry, NoToken, TooShortLived};
        if let JuspayError::InvalidAnswer(why) = error {
            match why {
                TooShortLived => return Self::Token(34),
                NoToken | NoExpiry => return Self::Tokenless(*why),
                InvalidAnswer::Interim
                | InvalidAnswer::Status
                | InvalidAnswer::Redirect
                | InvalidAnswer::Http
                | InvalidAnswer::Truncated
                | InvalidAnswer::TooLarge
                | InvalidAnswer::Json
                | InvalidAnswer::OtherCustomer => {}
            }
        }
        Self::Fails(error.clone())
    }
}

struct Good {
    token: Option<&'static str>,
    source: Source,
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

#[test]
fn the_table_of_answers() {
    for (number, row) in table().into_iter().enumerate() {
        let name = format!(
            "row {number}: {:?}, token={}, Juspay {:?}",
            row.cached, row.want_token, row.juspay
        );
        run(check(&name, row));
    }
}

fn table() -> Vec<Row> {
    let mut rows = with_token();
    rows.extend(without_token());
    for error in failures() {
        rows.extend(failing(error));
    }
    rows
}

/// Juspay does well, or isn't asked, or knows no such customer.
fn with_token() -> Vec<Row> {
    use Cached::{NotFound, Nothing, Token};
    let ask = |cached, juspay, answer, kept, calls| Row {
        cached,
        want_token: true,
        juspay,
        answer,
        kept,
        calls,
    };
    let hit = |age| Ok(old(age, REFRESH_TO - age));
    let well = || Juspay::Token(LIFE);
    let gone = || Juspay::Fails(JuspayError::CustomerNotFound);
    let not_found = || Err(JuspayError::CustomerNotFound);
    vec![
        ask(Token(0), Juspay::NotAsked, hit(0), Kept::Old, 0),
        ask(Token(FRESH_TO), Juspay::NotAsked, hit(FRESH_TO), Kept::Old, 0),
        ask(Token(REFRESH_FROM), well(), hit(REFRESH_FROM), Kept::New, 1),
        ask(Token(REFRESH_TO), well(), hit(REFRESH_TO), Kept::New, 1),
        ask(Token(STALE_FROM), well(), Ok(new(true)), Kept::New, 1),
        ask(Token(STALE_TO), well(), Ok(new(true)), Kept::New, 1),
        ask(Token(DEAD_FROM), well(), Ok(new(true)), Kept::New, 1),
        ask(Token(10 * LIFE), well(), Ok(new(true)), Kept::New, 1),
        ask(Nothing, well(), Ok(new(false)), Kept::New, 1),
        ask(Nothing, gone(), not_found(), Kept::NotFound, 1),
        ask(Token(REFRESH_FROM), gone(), hit(REFRESH_FROM), Kept::NotFound, 1),
        ask(Token(STALE_FROM), gone(), not_found(), Kept::NotFound, 1),
        ask(Token(DEAD_FROM), gone(), not_found(), Kept::NotFound, 1),
        ask(NotFound, Juspay::NotAsked, not_found(), Kept::NotFound, 0),
    ]
}

/// `options.get_client_auth_token=false`: no floor, and no token needed.
fn without_token() -> Vec<Row> {
    use Cached::{NotFound, Nothing, Token};
    let ask = |cached, juspay, answer, kept, calls| Row {
        cached,
        want_token: false,
        juspay,
        answer,
        kept,
        calls,
    };
    let hit = |ttl| Ok(Good { token: None, source: Source::Hit, ttl, expires_in: None });
    let well = || Juspay::Token(LIFE);
    let bare = |stored, ttl| {
        let source = Source::Fetched { forward: Forward::Miss, collapsed: false, stored };
        Ok(Good { token: None, source, ttl, expires_in: None })
    };
    let not_found = || Err(JuspayError::CustomerNotFound);
    let gone = || Juspay::Fails(JuspayError::CustomerNotFound);
    let null = Juspay::Tokenless(InvalidAnswer::NoToken);
    let no_expiry = Juspay::Tokenless(InvalidAnswer::NoExpiry);
    vec![
        ask(Token(FRESH_TO), Juspay::NotAsked, hit(180), Kept::Old, 0),
        ask(Token(REFRESH_TO), well(), hit(0), Kept::New, 1),
        ask(Token(REFRESH_TO), null.clone(), hit(0), Kept::Old, 1),
        ask(Token(STALE_FROM), Juspay::NotAsked, hit(0), Kept::Old, 0),
        ask(Token(DEAD_FROM), Juspay::NotAsked, hit(0), Kept::Nothing, 0),
        ask(Nothing, well(), bare(true, 780), Kept::New, 1),
        ask(Nothing, null, bare(false, 0), Kept::Nothing, 1),
        ask(Nothing, no_expiry, bare(false, 0), Kept::Nothing, 1),
        ask(Nothing, Juspay::Token(34), bare(false, 0), Kept::Nothing, 1),
        ask(Nothing, gone(), not_found(), Kept::NotFound, 1),
        ask(NotFound, Juspay::NotAsked, not_found(), Kept::NotFound, 0),
    ]
}

/// One kind of failure, whatever is in memory.
fn failing(error: JuspayError) -> Vec<Row> {
    use Cached::{Nothing, Token};
    let juspay = Juspay::that_means(&error);
    let ask = |cached, answer, kept| {
        let juspay = juspay.clone();
        Row { cached, want_token: true, juspay, answer, kept, calls: 1 }
    };
    let mut rows = vec![
        ask(Token(REFRESH_FROM), Ok(old(REFRESH_FROM, REFRESH_TO - REFRESH_FROM)), Kept::Old),
        ask(Token(DEAD_FROM), Err(error.clone()), Kept::Nothing),
        ask(Nothing, Err(error.clone()), Kept::Nothing),
    ];
    if matches!(juspay, Juspay::Fails(_)) {
        rows.push(Row { want_token: false, ..ask(Nothing, Err(error), Kept::Nothing) });
    }
    rows
}

fn failures() -> Vec<JuspayError> {
    use InvalidAnswer::{Json, NoExpiry, NoToken, OtherCustomer, TooShortLived};
    let mut failures = vec![
        JuspayError::RejectedCredentials,
        JuspayError::RejectedOrigin,
        JuspayError::TooManyRequests(None),
        JuspayError::Status(500, None),
        JuspayError::Status(400, None),
        JuspayError::Connection(ConnectionFailure::Broken),
        JuspayError::Timeout,
        JuspayError::Aborted,
    ];
    failures.extend([Json, OtherCustomer, NoToken, NoExpiry, TooShortLived].map(Into::into));
    failures
}

fn old(age: u64, ttl: u64) -> Good {
    let expires_in = Some(LIFE - age);
    Good { token: Some("tkn_old"), source: Source::Hit, ttl, expires_in }
}

fn new(stale: bool) -> Good {
    let forward = if stale { Forward::Stale } else { Forward::Miss };
    let source = Source::Fetched { forward, collapsed: false, stored: true };
    Good { token: Some("tkn_new"), source, ttl: 780, expires_in: Some(LIFE) }
}

async fn check(name: &str, row: Row) {
    let world = World::new();
    match row.cached {
        Cached::Nothing => {}
        Cached::Token(age) => world.remembers("alice", "tkn_old", age).await,
        Cached::NotFound => {
            let reply = fails(JuspayError::CustomerNotFound);
            assert!(world.fetches("alice", reply).await.is_err());
        }
    }
    let old = world.in_memory("alice");
    let (before, asked) = (world.juspay.calls("alice"), world.clock.now());

    let lookup = Lookup { want_token: row.want_token, ..lookup("alice") };
    let phone = world.phone(lookup);
    settle().await;
    let waits = matches!(&row.answer, Ok(Good { source: Source::Fetched { .. }, .. }) | Err(_))
        && row.calls > 0;
    assert_eq!(phone.is_finished(), !waits, "{name}: who waits");
    match row.juspay {
        Juspay::NotAsked => {}
        Juspay::Token(life) => world.answers("alice", world.token("tkn_new", life)).await,
        Juspay::Tokenless(why) => world.answers("alice", tokenless(why)).await,
        Juspay::Fails(error) => world.answers("alice", fails(error)).await,
    }

    match (phone.await.unwrap(), row.answer) {
        (Ok(found), Ok(good)) => {
            let juspay = good.token.map_or_else(String::new, |token| {
                let expiry = later(asked, secs(good.expires_in.unwrap()));
                let expiry = whole_seconds(expiry);
                format!(
                    r#","juspay":{{"client_auth_token":"{token}","client_auth_token_expiry":"{expiry}"}}"#
                )
            });
            assert_eq!(
                found.body,
                format!(r#"{{"id":"cst_1","first_name":"A"{juspay}}}"#),
                "{name}"
            );
            assert_eq!(found.source, good.source, "{name}");
            assert_eq!(found.ttl, secs(good.ttl), "{name}: ttl");
            assert_eq!(found.expires_in, good.expires_in.map(secs), "{name}: expires_in");
        }
        (Err(error), Err(expected)) => assert_eq!(error, expected, "{name}"),
        (found, _) => panic!("{name}: {found:?}"),
    }
    assert_eq!(world.juspay.calls("alice") - before, row.calls, "{name}: calls");
    world.cache.sweep();
    assert_eq!(kept(&world, old.as_ref()), row.kept, "{name}: kept");
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
