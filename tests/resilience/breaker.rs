//! When the breaker rejects calls.

use std::time::Duration;

use juspay_bff::juspay::{ConnectionFailure, InvalidResponse, JuspayError};

use super::rig::{Ended, Rig, fails, hangs, run, succeeds, succeeds_after};

/// A failure that isn't retried.
const FAILURE: JuspayError = JuspayError::Status(500, None);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn small() -> Rig {
    Rig::with(|settings| settings.breaker.min_calls = 4)
}

/// A rig whose breaker opened at 0 after failed calls of five customers.
async fn opened() -> Rig {
    let rig = small();
    rig.always(fails(FAILURE));
    for _ in 0..5 {
        assert_eq!(rig.breaker(), "closed");
        assert_eq!(rig.call().await.error, Some(FAILURE));
    }
    assert_eq!(rig.gauges(), "open");
    rig
}

#[test]
fn breaker_opens_at_the_rate_and_rejects_at_once() {
    run(async {
        let rig = opened().await;
        rig.jump(1000).await;
        let rejected = Ended { error: Some(JuspayError::BreakerOpen(secs(4))), at: 1000 };
        for _ in 0..100 {
            assert_eq!(rig.call().await, rejected);
        }
        assert_eq!(rig.attempts(), 5);
        assert_eq!(rig.retries(), 0);
    });
}

#[test]
fn breaker_stays_closed_below_the_rate() {
    run(async {
        let rig = small();
        for n in 0..100 {
            rig.then([if n % 9 < 5 { succeeds() } else { fails(FAILURE) }]);
            rig.call().await;
        }
        assert_eq!(rig.breaker(), "closed");
    });
}

#[test]
fn half_open_breaker_makes_one_call_at_a_time() {
    run(async {
        let rig = opened().await;
        rig.jump(4999).await;
        assert_eq!(rig.breaker(), "open");
        rig.jump(1).await;
        assert_eq!(rig.breaker(), "half_open");
        rig.always(hangs());
        let probe = rig.start();
        rig.pass(1).await;
        for _ in 0..10 {
            let rejected = rig.call().await;
            assert_eq!(rejected.error, Some(JuspayError::BreakerOpen(Duration::ZERO)));
        }
        assert_eq!((rig.attempts(), rig.breaker()), (6, "half_open"));
        // The probe times out: the breaker opens again, without a retry.
        let ended = rig.end(probe).await;
        assert!(matches!(ended.error, Some(JuspayError::BreakerOpen(_))), "{ended:?}");
        assert_eq!((rig.attempts(), rig.gauges(), rig.retries()), (6, "open", 0));
        rig.jump(5000).await;
        rig.always(succeeds());
        assert_eq!(rig.call().await.error, None);
        assert_eq!(rig.gauges(), "closed");
        for _ in 0..10 {
            assert_eq!(rig.call().await.error, None);
        }
    });
}

#[test]
fn each_kind_of_outage_opens_the_breaker() {
    use JuspayError as E;
    for error in [
        E::Timeout,
        E::Status(500, None),
        E::Status(599, None),
        E::TooManyRequests(None),
        E::Connection(ConnectionFailure::Connect),
        E::InvalidResponse(InvalidResponse::Json),
        E::InvalidResponse(InvalidResponse::Interim),
    ] {
        run(async {
            let rig =
                Rig::with(|settings| (settings.breaker.min_calls, settings.max_retries) = (4, 0));
            rig.always(fails(error.clone()));
            for _ in 0..5 {
                assert_eq!(rig.breaker(), "closed", "{error}");
                assert_eq!(rig.call().await.error, Some(error.clone()));
            }
            assert_eq!(rig.gauges(), "open", "{error}");
        });
    }
}

#[test]
fn errors_that_clients_can_cause_do_not_open_the_breaker() {
    use JuspayError as E;
    let wait = Some(secs(9));
    for error in [
        E::CustomerNotFound,
        E::Status(400, None),
        E::Status(404, wait),
        E::Status(499, wait),
        E::InvalidResponse(InvalidResponse::OtherCustomer),
        E::InvalidResponse(InvalidResponse::NoToken),
        E::InvalidResponse(InvalidResponse::NoExpiry),
        E::InvalidResponse(InvalidResponse::TooShortLived),
    ] {
        run(async {
            let rig = small();
            rig.always(fails(error.clone()));
            for _ in 0..100 {
                assert_eq!(rig.call().await.error, Some(error.clone()));
            }
            assert_eq!((rig.breaker(), rig.attempts()), ("closed", 100));
        });
    }
}

#[test]
fn customer_not_found_counts_as_success() {
    run(async {
        let rig = opened().await;
        rig.jump(5000).await;
        rig.always(fails(JuspayError::CustomerNotFound));
        assert_eq!(rig.call().await.error, Some(JuspayError::CustomerNotFound));
        assert_eq!(rig.gauges(), "closed");
    });
}

#[test]
fn one_customers_failures_never_open_the_breaker() {
    use JuspayError as E;
    for error in [
        E::Timeout,
        E::Status(500, None),
        E::Status(503, Some(secs(30))),
        E::Connection(ConnectionFailure::Broken),
        E::InvalidResponse(InvalidResponse::TooLarge),
        E::InvalidResponse(InvalidResponse::Redirect),
    ] {
        run(async {
            let rig = Rig::new();
            rig.always(fails(error.clone()));
            for _ in 0..200 {
                rig.call_for("odd").await;
                assert_eq!(rig.breaker(), "closed", "{error}");
            }
            rig.always(succeeds());
            assert_eq!(rig.call().await.error, None);
        });
    }
}

#[test]
fn four_failing_customers_do_not_open_the_breaker() {
    run(async {
        let rig = Rig::new();
        rig.always(fails(FAILURE));
        for n in 0..200 {
            rig.call_for(&format!("odd{}", n % 4)).await;
        }
        assert_eq!(rig.breaker(), "closed");
        rig.call_for("odd4").await;
        assert_eq!(rig.breaker(), "open");
    });
}

#[test]
fn failing_customer_does_not_keep_the_breaker_open() {
    run(async {
        let rig = opened().await;
        rig.jump(5000).await;
        // This customer always calls first.
        assert_eq!(rig.call_for("odd").await.error, Some(FAILURE));
        assert_eq!(rig.breaker(), "open", "once");
        rig.jump(5000).await;
        assert_eq!(rig.call_for("odd").await.error, Some(FAILURE));
        assert_eq!(rig.breaker(), "half_open");
        rig.always(succeeds());
        assert_eq!(rig.recoveries(), 0);
        assert_eq!(rig.call().await.error, None);
        assert_eq!((rig.breaker(), rig.recoveries()), ("closed", 1));
    });
}

#[test]
fn rate_limit_of_two_customers_stops_all_calls() {
    use JuspayError as E;
    for (expected, held) in [(7, 7), (31, 30), (60, 30)] {
        run(async {
            let rig = Rig::new();
            let error = E::TooManyRequests(Some(secs(expected)));
            rig.then([fails(error.clone()), fails(error.clone())]);
            assert_eq!(rig.call().await.error, Some(error.clone()));
            assert_eq!(rig.gauges(), "closed", "failures of one customer so far");
            assert_eq!(rig.call().await.error, Some(error.clone()));
            assert_eq!(rig.gauges(), "open");
            rig.jump(held * 1000 - 1).await;
            let rejected = rig.call().await.error;
            assert_eq!(rejected, Some(E::BreakerOpen(Duration::from_millis(1))), "{error:?}");
            rig.jump(1).await;
            assert_eq!(rig.call().await.error, None);
            assert_eq!((rig.gauges(), rig.attempts()), ("closed", 3));
        });
    }
}

#[test]
fn rate_limit_of_one_customer_stops_no_other() {
    run(async {
        let rig = Rig::new();
        let error = JuspayError::TooManyRequests(Some(secs(30)));
        for _ in 0..100 {
            rig.then([fails(error.clone()), fails(error.clone())]);
            rig.call_for("odd").await;
            rig.call_for("odd").await;
            assert_eq!(rig.call().await.error, None);
        }
    });
}

#[test]
fn rate_limit_of_another_replica_stops_calls() {
    run(async {
        let rig = Rig::new();
        rig.resilience.hold(secs(30));
        assert_eq!(rig.call().await.error, Some(JuspayError::BreakerOpen(secs(30))));
        assert_eq!((rig.gauges(), rig.attempts()), ("open", 0));
        assert!(rig.resilience.rate_limits().borrow().is_none(), "this replica met none");
        rig.jump(30_000).await;
        assert_eq!(rig.call().await.error, None);
    });
}

#[test]
fn rate_limit_is_announced_to_the_other_replicas() {
    run(async {
        let rig = Rig::new();
        let limits = rig.resilience.rate_limits();
        let error = JuspayError::TooManyRequests(Some(secs(10)));
        rig.then([fails(error.clone()), fails(error)]);
        rig.call_for("one").await;
        assert!(!limits.has_changed().unwrap(), "it may concern one customer");
        rig.call_for("other").await;
        assert!(limits.has_changed().unwrap() && limits.borrow().is_some());
    });
}

#[test]
fn repeated_rate_limits_do_not_extend_the_pause_of_others() {
    run(async {
        let rig = Rig::new();
        let error = JuspayError::TooManyRequests(Some(secs(10)));
        rig.then([fails(error.clone()), fails(error.clone())]);
        rig.call_for("odd1").await;
        rig.call_for("odd2").await;
        assert_eq!(rig.gauges(), "open");
        rig.jump(15_000).await;
        rig.then([fails(error.clone())]);
        assert_eq!(rig.call_for("odd1").await.error, Some(error));
        assert_eq!(rig.call().await.error, None, "another customer's call succeeds");
        assert_eq!(rig.gauges(), "closed");
    });
}

#[test]
fn retry_after_of_a_5xx_stops_no_other_customer() {
    for status in [500, 503] {
        run(async {
            let rig = Rig::new();
            let error = JuspayError::Status(status, Some(secs(30)));
            rig.then([fails(error.clone())]);
            assert_eq!(rig.call().await.error, Some(error));
            assert_eq!(rig.breaker(), "closed");
            assert_eq!(rig.call().await.error, None);
        });
    }
}

#[test]
fn retry_after_of_a_5xx_extends_an_opening() {
    for (expected, held) in [(9, 9), (3, 5), (60, 30)] {
        run(async {
            let rig = small();
            rig.always(fails(JuspayError::Status(500, Some(secs(expected)))));
            for _ in 0..5 {
                rig.call().await;
            }
            let rejected = rig.call().await.error;
            assert_eq!(rejected, Some(JuspayError::BreakerOpen(secs(held))), "{expected}");
        });
    }
}

#[test]
fn retry_after_of_zero_stops_no_calls() {
    run(async {
        let rig = Rig::new();
        rig.then([Duration::ZERO; 2].map(|wait| fails(JuspayError::TooManyRequests(Some(wait)))));
        rig.call().await;
        rig.call().await;
        assert_eq!(rig.breaker(), "closed");
    });
}

#[test]
fn short_retry_after_does_not_shorten_an_opening() {
    run(async {
        let rig = small();
        rig.always(fails(JuspayError::TooManyRequests(None)));
        rig.then([FAILURE; 3].map(fails));
        rig.then(
            [1, 1].map(|secs_told| fails(JuspayError::TooManyRequests(Some(secs(secs_told))))),
        );
        for _ in 0..5 {
            rig.call().await;
        }
        let rejected = rig.call().await.error;
        assert_eq!(rejected, Some(JuspayError::BreakerOpen(secs(5))));
    });
}

#[test]
fn dropped_probe_is_released() {
    run(async {
        let rig = opened().await;
        rig.jump(5000).await;
        rig.always(hangs());
        let probe = rig.start();
        rig.pass(1).await;
        assert_eq!(rig.attempts(), 6);
        probe.abort();
        rig.pass(1).await;
        rig.always(succeeds_after(0));
        assert_eq!(rig.call().await.error, None);
        assert_eq!(rig.gauges(), "closed");
    });
}

#[test]
fn open_breaker_stops_retries() {
    run(async {
        let rig = Rig::with(|it| (it.breaker.min_calls, it.retry_budget) = (10, 2.0));
        rig.always(fails(JuspayError::Status(503, None)));
        let calls = [(); 5].map(|()| rig.start());
        for call in calls {
            let ended = rig.end(call).await;
            assert!(matches!(ended.error, Some(JuspayError::BreakerOpen(_))), "{ended:?}");
        }
        assert_eq!(rig.attempts(), 10, "five calls and their retries open it");
        assert_eq!(rig.retries(), 5, "only attempted retries are counted");
    });
}

#[test]
fn attempt_dropped_at_its_deadline_counts_as_timeout() {
    for (given_up_at, state) in [(1999, "closed"), (2000, "open")] {
        run(async {
            let rig = small();
            rig.always(hangs());
            let hung = [(); 5].map(|()| rig.start());
            rig.pass(1).await;
            rig.drop_at(given_up_at, hung).await;
            assert_eq!(rig.gauges(), state, "{given_up_at}");
        });
    }
}
