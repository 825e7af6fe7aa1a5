//! Without directives: the response at each age, while Juspay works and while it fails.

use super::{
    super::world::{
        EXPIRED_FROM, FRESH_TO, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO, World, lookup, run,
        secs, settle, token_of,
    },
    *,
};

#[test]
fn plain_requests_follow_the_token_life() {
    let hit = |age| Ok(hit(age));
    let background = || Background(Outcome::Token(LIFE));
    let stale = || Ok(fetched(Forward::Stale));
    check_all([
        row(Token(0), PLAIN, NotCalled, hit(0), Kept::Old),
        row(Token(FRESH_TO), PLAIN, NotCalled, hit(FRESH_TO), Kept::Old),
        row(Token(REFRESH_FROM), PLAIN, background(), hit(REFRESH_FROM), Kept::New),
        row(Token(REFRESH_TO), PLAIN, background(), hit(REFRESH_TO), Kept::New),
        row(Token(STALE_FROM), PLAIN, succeeds(), stale(), Kept::New),
        row(Token(STALE_TO), PLAIN, succeeds(), stale(), Kept::New),
        row(Token(EXPIRED_FROM), PLAIN, succeeds(), stale(), Kept::New),
        row(Token(10 * LIFE), PLAIN, succeeds(), stale(), Kept::New),
        row(Nothing, PLAIN, succeeds(), Ok(fetched(Forward::Miss)), Kept::New),
    ]);
}

#[test]
fn unknown_customer_is_not_found_and_removed() {
    let background = Background(Outcome::Error(JuspayError::CustomerNotFound));
    check_all([
        row(Nothing, PLAIN, unknown(), not_found(), Kept::NotFound),
        row(Token(REFRESH_FROM), PLAIN, background, Ok(hit(REFRESH_FROM)), Kept::NotFound),
        row(Token(STALE_FROM), PLAIN, unknown(), not_found(), Kept::NotFound),
        row(Token(EXPIRED_FROM), PLAIN, unknown(), not_found(), Kept::NotFound),
        row(NotFound, PLAIN, NotCalled, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn p5_failure_is_invisible_above_the_outage_floor() {
    for error in failures() {
        let Called(outcome) = failing(&error) else { panic!("Juspay is called") };
        let background = Background(outcome);
        let (outage, failed) =
            (|age| Ok(below_floor(age, Detail::Outage)), || Err(error.clone().into()));
        check_all([
            row(Token(REFRESH_FROM), PLAIN, background, Ok(hit(REFRESH_FROM)), Kept::Old),
            row(Token(STALE_FROM), PLAIN, failing(&error), outage(STALE_FROM), Kept::Old),
            row(Token(STALE_TO), PLAIN, failing(&error), outage(STALE_TO), Kept::Old),
            row(Token(EXPIRED_FROM), PLAIN, failing(&error), failed(), Kept::Nothing),
            row(Nothing, PLAIN, failing(&error), failed(), Kept::Nothing),
        ]);
    }
}

#[test]
fn p5_hanging_fetch_is_awaited_for_250_ms() {
    let outage = |age| Ok(below_floor(age, Detail::Outage));
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(STALE_FROM), PLAIN, Hangs(PATIENCE), outage(STALE_FROM), Kept::Old),
        row(Token(STALE_TO - 1), PLAIN, Hangs(PATIENCE), outage(STALE_TO - 1), Kept::Old),
        row(Token(EXPIRED_FROM), PLAIN, Hangs(DEADLINE), timeout(), Kept::Nothing),
        row(Nothing, PLAIN, Hangs(DEADLINE), timeout(), Kept::Nothing),
        // The fallback expires during the wait, so the request waits for a new token.
        row(Token(STALE_TO), PLAIN, Hangs(DEADLINE), timeout(), Kept::Nothing),
    ]);
}

#[test]
fn p5_after_a_failure_no_request_waits() {
    let outage = |age| Ok(below_floor(age, Detail::Outage));
    let timeout = Err(JuspayError::Timeout.into());
    check_all([
        row(Failed(FRESH_TO), PLAIN, NotCalled, Ok(hit(FRESH_TO)), Kept::Old),
        row(Failed(REFRESH_TO), PLAIN, NotCalled, Ok(hit(REFRESH_TO)), Kept::Old),
        row(Failed(STALE_FROM), PLAIN, NotCalled, outage(STALE_FROM), Kept::Old),
        row(Failed(STALE_TO), PLAIN, NotCalled, outage(STALE_TO), Kept::Old),
        row(Failed(EXPIRED_FROM), PLAIN, NotCalled, timeout, Kept::Nothing),
    ]);
}

#[test]
fn p5_after_a_failure_the_next_fetch_runs_in_the_background() {
    run(async {
        let world = Failed(STALE_FROM).world().await;
        // The first pause is at most a second.
        world.clock.advance(secs(1));
        let found = world.at_once("alice").expect("no wait").unwrap();
        assert_eq!((found.detail, found.ttl), (Some(Detail::Outage), secs(88)));
        settle().await;
        assert_eq!(world.juspay.running("alice"), 1);
        assert!(world.at_once("alice").is_some(), "the next request doesn't wait either");
        world.respond("alice", world.token("tkn_new", LIFE)).await;
        assert_eq!(world.hit("alice"), "tkn_new");
        assert_eq!(world.refreshes("success"), 1);
    });
}

#[test]
fn p5_fallback_that_expires_during_the_wait_is_replaced_by_the_new_token() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_old", STALE_TO).await;
        let client = world.start_request("alice").await;
        world.clock.advance(Duration::from_millis(PATIENCE));
        settle().await;
        assert!(!client.is_finished());
        world.respond("alice", world.token("tkn_new", LIFE)).await;
        assert_eq!(token_of(client.await.unwrap()), "tkn_new");
        assert_eq!(world.juspay.calls("alice"), 2, "still the same fetch");
    });
}

#[test]
fn p5_fallback_that_expires_before_the_failure_is_not_returned() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_old", STALE_TO).await;
        let client = world.start_request("alice").await;
        world.clock.advance(Duration::from_millis(1));
        world.respond("alice", failure(JuspayError::Timeout)).await;
        assert_eq!(client.await.unwrap().unwrap_err(), JuspayError::Timeout);
    });
}

#[test]
fn p5_wait_for_a_fresher_token_ends_at_the_deadline() {
    run(async {
        let world = World::with(|settings| settings.juspay.deadline = Duration::from_millis(100));
        world.cache_token("alice", "tkn_old", STALE_FROM).await;
        let client = world.start_request("alice").await;
        world.clock.advance(Duration::from_millis(99));
        settle().await;
        assert!(!client.is_finished());
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(client.await.unwrap().unwrap().detail, Some(Detail::Outage));
    });
}

#[test]
fn joining_request_waits_its_own_250_ms() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_old", STALE_FROM).await;
        let leader = world.start_request("alice").await;
        world.clock.advance(Duration::from_millis(PATIENCE - 1));
        let joined = world.request(lookup("alice"));
        settle().await;
        world.clock.advance(Duration::from_millis(1));
        settle().await;
        assert!(leader.is_finished() && !joined.is_finished());
        world.respond("alice", world.token("tkn_new", LIFE)).await;
        let found = joined.await.unwrap().unwrap();
        let collapsed = Source::Fetched { forward: Forward::Stale, collapsed: true, stored: true };
        assert_eq!((found.source, found.detail), (collapsed, None));
        assert_eq!(world.requests("joined"), 1);
        assert_eq!(world.requests("outage"), 1);
    });
}
