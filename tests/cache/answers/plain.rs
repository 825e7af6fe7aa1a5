//! Without directives: the response at each age, while Juspay works and while it fails.

use super::{
    super::world::{
        DEAD_FROM, FRESH_TO, REFRESH_FROM, REFRESH_TO, STALE_FROM, STALE_TO, World, lookup, run,
        secs, settle, token_of,
    },
    *,
};

#[test]
fn plain_requests_follow_the_token_life() {
    let hit = |age| Ok(hit(age));
    let behind = || Behind(Says::Token(LIFE));
    let stale = || Ok(new(Forward::Stale));
    check_all([
        row(Token(0), PLAIN, NotAsked, hit(0), Kept::Old),
        row(Token(FRESH_TO), PLAIN, NotAsked, hit(FRESH_TO), Kept::Old),
        row(Token(REFRESH_FROM), PLAIN, behind(), hit(REFRESH_FROM), Kept::New),
        row(Token(REFRESH_TO), PLAIN, behind(), hit(REFRESH_TO), Kept::New),
        row(Token(STALE_FROM), PLAIN, succeeds(), stale(), Kept::New),
        row(Token(STALE_TO), PLAIN, succeeds(), stale(), Kept::New),
        row(Token(DEAD_FROM), PLAIN, succeeds(), stale(), Kept::New),
        row(Token(10 * LIFE), PLAIN, succeeds(), stale(), Kept::New),
        row(Nothing, PLAIN, succeeds(), Ok(new(Forward::Miss)), Kept::New),
    ]);
}

#[test]
fn unknown_customer_is_not_found_and_removed() {
    let gone_behind = Behind(Says::Fails(JuspayError::CustomerNotFound));
    check_all([
        row(Nothing, PLAIN, gone(), not_found(), Kept::NotFound),
        row(Token(REFRESH_FROM), PLAIN, gone_behind, Ok(hit(REFRESH_FROM)), Kept::NotFound),
        row(Token(STALE_FROM), PLAIN, gone(), not_found(), Kept::NotFound),
        row(Token(DEAD_FROM), PLAIN, gone(), not_found(), Kept::NotFound),
        row(NotFound, PLAIN, NotAsked, not_found(), Kept::NotFound),
    ]);
}

#[test]
fn p5_failure_is_invisible_above_the_outage_floor() {
    for error in failures() {
        let AskedFor(says) = failing(&error) else { panic!("it is asked") };
        let behind = Behind(says);
        let (outage, failed) = (|age| Ok(below(age, Detail::Outage)), || Err(error.clone().into()));
        check_all([
            row(Token(REFRESH_FROM), PLAIN, behind, Ok(hit(REFRESH_FROM)), Kept::Old),
            row(Token(STALE_FROM), PLAIN, failing(&error), outage(STALE_FROM), Kept::Old),
            row(Token(STALE_TO), PLAIN, failing(&error), outage(STALE_TO), Kept::Old),
            row(Token(DEAD_FROM), PLAIN, failing(&error), failed(), Kept::Nothing),
            row(Nothing, PLAIN, failing(&error), failed(), Kept::Nothing),
        ]);
    }
}

#[test]
fn p5_hanging_fetch_is_awaited_for_250_ms() {
    let outage = |age| Ok(below(age, Detail::Outage));
    let timeout = || Err(JuspayError::Timeout.into());
    check_all([
        row(Token(STALE_FROM), PLAIN, Silent(PATIENCE), outage(STALE_FROM), Kept::Old),
        row(Token(STALE_TO - 1), PLAIN, Silent(PATIENCE), outage(STALE_TO - 1), Kept::Old),
        row(Token(DEAD_FROM), PLAIN, Silent(DEADLINE), timeout(), Kept::Nothing),
        row(Nothing, PLAIN, Silent(DEADLINE), timeout(), Kept::Nothing),
        // It dies while it's waited for: now only a new one will do.
        row(Token(STALE_TO), PLAIN, Silent(DEADLINE), timeout(), Kept::Nothing),
    ]);
}

#[test]
fn p5_after_a_failure_no_request_waits() {
    let outage = |age| Ok(below(age, Detail::Outage));
    check_all([
        row(Failed(FRESH_TO), PLAIN, NotAsked, Ok(hit(FRESH_TO)), Kept::Old),
        row(Failed(REFRESH_TO), PLAIN, NotAsked, Ok(hit(REFRESH_TO)), Kept::Old),
        row(Failed(STALE_FROM), PLAIN, NotAsked, outage(STALE_FROM), Kept::Old),
        row(Failed(STALE_TO), PLAIN, NotAsked, outage(STALE_TO), Kept::Old),
        row(Failed(DEAD_FROM), PLAIN, NotAsked, Err(JuspayError::Timeout.into()), Kept::Nothing),
    ]);
}

#[test]
fn p5_after_a_failure_the_next_fetch_runs_in_the_background() {
    run(async {
        let world = World::new();
        prepare(&world, Failed(STALE_FROM)).await;
        // The first pause is a second at most.
        world.clock.advance(secs(1));
        let found = world.at_once("alice").expect("no wait").unwrap();
        assert_eq!((found.detail, found.ttl), (Some(Detail::Outage), secs(88)));
        settle().await;
        assert_eq!(world.juspay.under_way("alice"), 1);
        assert!(world.at_once("alice").is_some(), "nor does the next one wait");
        world.answers("alice", world.token("tkn_new", LIFE)).await;
        assert_eq!(world.hit("alice"), "tkn_new");
        assert_eq!(world.refreshes("success"), 1);
    });
}

#[test]
fn p5_fallback_that_expires_during_the_wait_is_replaced_by_the_new_token() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_old", STALE_TO).await;
        let phone = world.asks("alice").await;
        world.clock.advance(Duration::from_millis(PATIENCE));
        settle().await;
        assert!(!phone.is_finished());
        world.answers("alice", world.token("tkn_new", LIFE)).await;
        assert_eq!(token_of(phone.await.unwrap()), "tkn_new");
        assert_eq!(world.juspay.calls("alice"), 2, "still the same flight");
    });
}

#[test]
fn p5_fallback_that_expires_before_the_failure_is_not_returned() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_old", STALE_TO).await;
        let phone = world.asks("alice").await;
        world.clock.advance(Duration::from_millis(1));
        world.answers("alice", fails(JuspayError::Timeout)).await;
        assert_eq!(phone.await.unwrap().unwrap_err(), JuspayError::Timeout);
    });
}

#[test]
fn p5_wait_for_a_fresher_token_ends_at_the_deadline() {
    run(async {
        let world = World::with(|settings| settings.juspay.deadline = Duration::from_millis(100));
        world.remembers("alice", "tkn_old", STALE_FROM).await;
        let phone = world.asks("alice").await;
        world.clock.advance(Duration::from_millis(99));
        settle().await;
        assert!(!phone.is_finished());
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(phone.await.unwrap().unwrap().detail, Some(Detail::Outage));
    });
}

#[test]
fn joining_request_waits_its_own_250_ms() {
    run(async {
        let world = World::new();
        world.remembers("alice", "tkn_old", STALE_FROM).await;
        let leader = world.asks("alice").await;
        world.clock.advance(Duration::from_millis(PATIENCE - 1));
        let joined = world.request(lookup("alice"));
        settle().await;
        world.clock.advance(Duration::from_millis(1));
        settle().await;
        assert!(leader.is_finished() && !joined.is_finished());
        world.answers("alice", world.token("tkn_new", LIFE)).await;
        let found = joined.await.unwrap().unwrap();
        let collapsed = Source::Fetched { forward: Forward::Stale, collapsed: true, stored: true };
        assert_eq!((found.source, found.detail), (collapsed, None));
        assert_eq!(world.requests("joined"), 1);
        assert_eq!(world.requests("outage"), 1);
    });
}
