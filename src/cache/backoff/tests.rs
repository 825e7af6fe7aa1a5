//! Remembered failures on a clock in milliseconds.

use super::*;
use crate::{
    customer::CustomerId,
    juspay::{InvalidResponse, NotCreated, RejectedBy},
};

const ERROR: JuspayError = JuspayError::Status(500, None);

fn key(customer: &str) -> CustomerKey {
    CustomerKey { merchant: "m".into(), customer: CustomerId::parse(customer).unwrap() }
}

fn at(millis: u64) -> Monotonic {
    Monotonic::new(Duration::from_millis(millis))
}

fn failure(error: JuspayError) -> Failure {
    Failure { error, lacks_only_token: false }
}

/// Records a failed fetch at this time. Returns how long the failure is remembered.
fn fails(failures: &Failures, customer: &str, now: Monotonic) -> Duration {
    failures.note(&key(customer), failure(ERROR), 0, now);
    failures.wait(&key(customer), 0, now).expect("a wait")
}

/// The pause from which jitter made this wait.
fn pause_of(wait: Duration) -> u64 {
    let pauses = [1, 2, 4, 8, 16, 30];
    let fits = |secs: &u64| {
        let pause = Duration::from_secs(*secs);
        wait <= pause && wait >= pause / 2
    };
    pauses.into_iter().find(fits).unwrap_or_else(|| panic!("{wait:?}"))
}

#[test]
fn error_is_repeated_until_the_pause_ends() {
    let failures = Failures::default();
    let wait = fails(&failures, "alice", at(0));
    assert_eq!(pause_of(wait), 1);
    let end = at(0).plus(wait);
    let just_before = at(0).plus(wait.saturating_sub(Duration::from_nanos(1)));
    for want_token in [true, false] {
        let remembered = |now| failures.remembered(&key("alice"), want_token, 0, now);
        assert_eq!(remembered(just_before), Some(ERROR));
        assert_eq!(remembered(end), None);
    }
    assert_eq!(failures.wait(&key("alice"), 0, end), None);
    assert_eq!(failures.remembered(&key("bob"), true, 0, at(0)), None);
}

#[test]
fn pause_doubles_to_thirty_seconds_while_others_succeed() {
    let failures = Failures::default();
    let mut now = at(0);
    for most in [1, 2, 4, 8, 16, 30, 30] {
        let wait = fails(&failures, "alice", now);
        let most = Duration::from_secs(most);
        assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        now = now.plus(wait);
        failures.note_success(&key("bob"));
    }
    // No fetch succeeds any more, so the failures do not concern this customer alone.
    assert!(fails(&failures, "alice", now) >= Duration::from_secs(15), "one more");
    assert_eq!(pause_of(fails(&failures, "alice", now)), 1);
}

#[test]
fn pause_stays_a_second_while_all_fail() {
    let failures = Failures::default();
    for second in 0..100 {
        for customer in ["alice", "bob", "carol"] {
            let wait = fails(&failures, customer, at(second * 1000));
            assert_eq!(pause_of(wait), 1);
        }
    }
}

#[test]
fn pause_is_jittered() {
    let failures = Failures::default();
    let mut waits: Vec<_> = (0..32).map(|n| fails(&failures, &format!("c{n}"), at(0))).collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 16, "{waits:?}");
}

#[test]
fn retry_after_of_juspay_extends_the_pause() {
    let failures = Failures::default();
    let error = JuspayError::Status(503, Some(Duration::from_secs(7)));
    failures.note(&key("alice"), failure(error), 0, at(0));
    assert_eq!(failures.wait(&key("alice"), 0, at(0)), Some(Duration::from_secs(7)));
}

#[test]
fn success_purge_and_recovery_end_the_pause() {
    let ways: [fn(&Failures); 3] = [
        |failures| failures.note_success(&key("alice")),
        |failures| failures.forget(Some(&key("alice"))),
        |failures| failures.forget(None),
    ];
    for end in ways {
        let failures = Failures::default();
        fails(&failures, "alice", at(0));
        end(&failures);
        assert_eq!(failures.remembered(&key("alice"), true, 0, at(0)), None);
    }
    let failures = Failures::default();
    fails(&failures, "alice", at(0));
    failures.note_success(&key("bob"));
    assert_eq!(failures.remembered(&key("alice"), true, 1, at(0)), None);
    failures.note(&key("alice"), failure(ERROR), 1, at(0));
    let wait = failures.wait(&key("alice"), 1, at(0)).unwrap();
    assert_eq!(pause_of(wait), 1, "the pauses start from the first one");
}

#[test]
fn purge_of_one_customer_keeps_the_failures_of_others() {
    let failures = Failures::default();
    fails(&failures, "alice", at(0));
    fails(&failures, "bob", at(0));
    failures.forget(Some(&key("alice")));
    assert_eq!(failures.remembered(&key("bob"), true, 0, at(0)), Some(ERROR));
}

#[test]
fn errors_of_calls_that_were_not_made_are_not_remembered() {
    use JuspayError as E;
    let wait = Duration::from_secs(3);
    let cases = [
        (E::CustomerNotFound, false),
        (E::BreakerOpen(wait), false),
        (E::Saturated, false),
        (E::NotCreated(NotCreated::Limited(wait)), true),
        (E::NotCreated(NotCreated::NoMobileNumber), true),
        (E::RejectedCredentials(RejectedBy::Hold(wait)), false),
        (E::RejectedOrigin(RejectedBy::Hold(wait)), false),
        (E::TooManyRequests(Some(wait)), true),
        (E::TooManyRequests(None), true),
        (E::RejectedCredentials(RejectedBy::Juspay), true),
        (E::RejectedOrigin(RejectedBy::Unknown), true),
        (E::Status(400, None), true),
        (E::Status(503, None), true),
        (E::InvalidResponse(InvalidResponse::Json), true),
        (E::Timeout, true),
        (E::Aborted, true),
    ];
    for (error, is_remembered) in cases {
        let failures = Failures::default();
        failures.note(&key("alice"), failure(error.clone()), 0, at(0));
        let remembered = failures.remembered(&key("alice"), true, 0, at(0));
        assert_eq!(remembered, is_remembered.then_some(error));
    }
}

#[test]
fn missing_token_does_not_affect_lookups_without_token() {
    let failures = Failures::default();
    let failure = Failure { error: InvalidResponse::NoToken.into(), lacks_only_token: true };
    failures.note(&key("alice"), failure, 0, at(0));
    assert_eq!(failures.remembered(&key("alice"), false, 0, at(0)), None);
    assert!(failures.remembered(&key("alice"), true, 0, at(0)).is_some());
}

#[test]
fn memory_is_limited_and_freed() {
    let failures = Failures::default();
    for n in 0..MAX_CUSTOMERS {
        fails(&failures, &format!("c{n}"), at(0));
    }
    failures.note(&key("new"), failure(ERROR), 0, at(0));
    assert_eq!(failures.remembered(&key("new"), true, 0, at(0)), None, "the table is full");
    assert_eq!(pause_of(fails(&failures, "c0", at(0))), 1, "customers in the table stay in it");
    failures.note(&key("new"), failure(ERROR), 0, at(2_000));
    assert!(
        failures.remembered(&key("new"), true, 0, at(2_000)).is_some(),
        "the pauses of the others have ended"
    );
    assert_eq!(failures.lock().customers.len(), 1);
    failures.sweep(at(2_000 + 59_000));
    assert_eq!(failures.lock().customers.len(), 1);
    failures.sweep(at(2_000 + 61_001));
    assert_eq!(failures.lock().customers.len(), 0);
}
