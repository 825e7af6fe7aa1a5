//! Which calls are retried, when, and how often.

use std::time::Duration;

use juspay_bff::juspay::{ConnectionFailure, InvalidResponse, JuspayError, RejectedBy};

use super::rig::{Ended, Rig, Try, fails, hangs, run, succeeds, succeeds_after};

const GATEWAY: JuspayError = JuspayError::Status(502, None);

/// Gaps between the attempts, in milliseconds.
fn gaps(tries: &[Try]) -> Vec<u64> {
    tries.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[test]
fn only_transient_errors_are_retried() {
    use ConnectionFailure as C;
    use InvalidResponse as I;
    use JuspayError as E;
    let retryable = [C::Resolve, C::Connect, C::ConnectTimeout, C::Tls, C::Broken]
        .map(E::Connection)
        .into_iter()
        .chain([E::Timeout, GATEWAY, E::Status(503, None), E::Status(504, None)])
        .chain([E::InvalidResponse(I::Truncated)])
        .map(|error| (error, 3));
    let not_retryable = [
        I::Interim,
        I::Status,
        I::Redirect,
        I::Http,
        I::TooLarge,
        I::Json,
        I::OtherCustomer,
        I::NoToken,
    ]
    .map(E::InvalidResponse)
    .into_iter()
    .chain([400, 404, 408, 499, 500, 501, 505].map(|status| E::Status(status, None)))
    .chain([
        E::CustomerNotFound,
        E::RejectedCredentials(RejectedBy::Juspay),
        E::RejectedOrigin(RejectedBy::Unknown),
    ])
    .chain([E::TooManyRequests(None), E::Aborted])
    .map(|error| (error, 1));
    for (error, tries) in retryable.chain(not_retryable) {
        run(async {
            let rig = Rig::new();
            rig.always(fails(error.clone()));
            let ended = rig.call().await;
            assert_eq!(ended.error.as_ref(), Some(&error));
            assert_eq!(rig.attempts(), tries, "{error}");
            assert_eq!(rig.retries(), u64::try_from(tries).unwrap() - 1, "{error}");
        });
    }
}

#[test]
fn success_ends_the_call() {
    run(async {
        let rig = Rig::new();
        rig.then([fails(GATEWAY), succeeds()]);
        assert_eq!(rig.call().await.error, None);
        assert_eq!(rig.attempts(), 2);
        assert_eq!(rig.call().await.error, None);
        assert_eq!(rig.attempts(), 3);
    });
}

#[test]
fn retries_are_limited_by_max_retries() {
    for max_retries in [0, 1, 3] {
        run(async {
            let rig = Rig::with(|settings| settings.max_retries = max_retries);
            rig.always(fails(GATEWAY));
            assert_eq!(rig.call().await.error, Some(GATEWAY));
            assert_eq!(rig.retries(), u64::from(max_retries));
        });
    }
}

#[test]
fn attempts_are_limited_by_try_timeout_and_deadline() {
    run(async {
        let rig = Rig::new();
        rig.always(hangs());
        let ended = rig.call().await;
        assert_eq!(ended, Ended { error: Some(JuspayError::Timeout), at: 5000 });
        let tries = rig.tries();
        let [first, second, third] = tries[..] else { panic!("{tries:?}") };
        assert_eq!(first, Try { at: 0, deadline: 2000 });
        assert!((2025..=2050).contains(&second.at), "{second:?}");
        assert_eq!(second.deadline, second.at + 2000);
        assert!((4075..=4150).contains(&third.at), "{third:?}");
        assert_eq!(third.deadline, 5000, "the remaining time");
    });
}

#[test]
fn no_retry_starts_after_the_deadline() {
    run(async {
        let rig = Rig::new();
        rig.always(hangs());
        let ended = rig.end(rig.start_with(2000)).await;
        assert_eq!(ended, Ended { error: Some(JuspayError::Timeout), at: 2000 });
        assert_eq!(rig.attempts(), 1);
        assert_eq!(rig.retries(), 0);
    });
}

#[test]
fn backoff_doubles_with_jitter() {
    let mut firsts = Vec::new();
    for _ in 0..32 {
        run(async {
            let rig = Rig::with(|settings| {
                settings.max_retries = 4;
                settings.retry_budget = 1.0;
            });
            rig.always(fails(GATEWAY));
            rig.call().await;
            let gaps = gaps(&rig.tries());
            assert_eq!(gaps.len(), 4);
            for (gap, most) in gaps.iter().zip([50, 100, 200, 400]) {
                assert!((most / 2..=most).contains(gap), "{gap} of {most}");
            }
            firsts.push(gaps[0]);
        });
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 4, "{firsts:?}");
}

#[test]
fn retry_waits_for_retry_after() {
    run(async {
        let rig = Rig::new();
        let wait = Duration::from_millis(1234);
        rig.then([fails(JuspayError::Status(503, Some(wait)))]);
        assert_eq!(rig.call().await, Ended { error: None, at: 1234 });
        assert_eq!(rig.attempts(), 2);
    });
}

#[test]
fn retry_after_beyond_the_deadline_ends_the_call() {
    for (millis, tries) in [(4999, 2), (5000, 1), (60_000, 1)] {
        run(async {
            let rig = Rig::new();
            let error = JuspayError::Status(503, Some(Duration::from_millis(millis)));
            rig.then([fails(error.clone())]);
            let ended = rig.call().await;
            assert_eq!(rig.attempts(), tries, "{millis}");
            let gave_up = Ended { error: Some(error), at: 0 };
            assert_eq!(ended == gave_up, tries == 1, "{ended:?}");
        });
    }
}

/// Makes `calls` calls, one millisecond apart; all fail.
async fn storm(rig: &Rig, calls: usize) {
    rig.always(fails(GATEWAY));
    let mut started = Vec::new();
    for _ in 0..calls {
        started.push(rig.start());
        rig.pass(1).await;
    }
    for call in started {
        rig.end(call).await;
    }
}

/// A rig whose breaker never opens.
fn unbroken(budget: f64) -> Rig {
    Rig::with(|settings| {
        settings.retry_budget = budget;
        settings.breaker.min_calls = u32::MAX;
    })
}

#[test]
fn retry_budget_is_a_share_of_recent_calls_plus_a_reserve() {
    run(async {
        let rig = unbroken(0.2);
        storm(&rig, 200).await;
        // All request a second attempt before the last call has started, some a third.
        let retries = rig.retries();
        assert!((30..=43).contains(&retries), "{retries}");
        assert_eq!(rig.attempts(), 200 + usize::try_from(retries).unwrap());
        storm(&rig, 200).await;
        let retries = rig.retries();
        assert!((70..=83).contains(&retries), "{retries}: the reserve counts once");
    });
}

#[test]
fn single_call_is_retried_and_budget_renews_with_the_window() {
    run(async {
        let rig = unbroken(0.1);
        rig.always(fails(GATEWAY));
        for (calls, retries) in [(1, 2), (2, 3), (3, 3), (9, 3), (10, 4)] {
            while rig.attempts() - usize::try_from(rig.retries()).unwrap() < calls {
                rig.call().await;
            }
            assert_eq!(rig.retries(), retries, "after {calls} calls");
        }
        rig.jump(10_000).await;
        rig.call().await;
        assert_eq!(rig.retries(), 6);
    });
}

#[test]
fn zero_budget_disables_retries() {
    run(async {
        let rig = unbroken(0.0);
        storm(&rig, 20).await;
        assert_eq!((rig.retries(), rig.attempts()), (0, 20));
    });
}

#[test]
fn slow_response_within_the_deadline_is_returned() {
    run(async {
        let rig = Rig::new();
        rig.always(succeeds_after(1999));
        assert_eq!(rig.call().await, Ended { error: None, at: 1999 });
        rig.always(succeeds_after(2001));
        let ended = rig.call().await;
        assert_eq!(ended, Ended { error: Some(JuspayError::Timeout), at: 1999 + 5000 });
    });
}

#[test]
fn one_customer_can_retry_only_one_call_per_window() {
    run(async {
        let rig = unbroken(0.2);
        rig.always(fails(GATEWAY));
        for _ in 0..100 {
            assert_eq!(rig.call_for("odd").await.error, Some(GATEWAY));
        }
        assert_eq!(rig.retries(), 2, "the retries of its first call");
        rig.call_for("another").await;
        assert_eq!(rig.retries(), 4);
        rig.jump(10_000).await;
        rig.call_for("odd").await;
        assert_eq!(rig.retries(), 6);
    });
}
