//! A wrong key or a blocked address stops calls without counting as an outage. One customer's
//! rejection doesn't affect other customers.

use std::time::Duration;

use juspay_bff::juspay::{InvalidResponse, JuspayError, RejectedBy};

use super::rig::{Rig, fails, hangs, run, succeeds, succeeds_after};

/// Rejections by Juspay itself.
const REJECTIONS: [JuspayError; 2] = [
    JuspayError::RejectedCredentials(RejectedBy::Juspay),
    JuspayError::RejectedOrigin(RejectedBy::Juspay),
];

/// Rejections by a firewall.
const PAGES: [JuspayError; 2] = [
    JuspayError::RejectedCredentials(RejectedBy::Unknown),
    JuspayError::RejectedOrigin(RejectedBy::Unknown),
];

/// The error of a call that the hold rejects.
fn rejected_by_hold(error: &JuspayError, wait: Duration) -> JuspayError {
    let by = RejectedBy::Hold(wait);
    if matches!(error, JuspayError::RejectedOrigin(_)) {
        JuspayError::RejectedOrigin(by)
    } else {
        JuspayError::RejectedCredentials(by)
    }
}

/// A rig with a rejected key at 0: the hold started after two customers, and a third one's probe
/// failed.
async fn rejected(error: &JuspayError) -> Rig {
    let rig = Rig::with(|settings| settings.breaker.min_calls = 4);
    rig.always(fails(error.clone()));
    for _ in 0..3 {
        assert_eq!(rig.call().await.error.as_ref(), Some(error));
    }
    assert_eq!(rig.call().await.error, Some(rejected_by_hold(error, Duration::from_secs(5))));
    assert_eq!(rig.attempts(), 3);
    rig
}

#[test]
fn wrong_key_causes_one_probe_every_five_seconds() {
    for error in REJECTIONS {
        run(async {
            let rig = rejected(&error).await;
            for (jump, wait) in [(0, 5000), (4999, 1)] {
                rig.jump(jump).await;
                let rejected = rejected_by_hold(&error, Duration::from_millis(wait));
                for _ in 0..100 {
                    assert_eq!(rig.call().await.error.as_ref(), Some(&rejected));
                }
            }
            assert_eq!((rig.attempts(), rig.breaker()), (3, "closed"));
            rig.jump(1).await;
            for _ in 0..100 {
                rig.call().await;
            }
            assert_eq!((rig.attempts(), rig.breaker()), (4, "closed"), "one probe");
            rig.jump(5000).await;
            rig.always(succeeds());
            for _ in 0..100 {
                assert_eq!(rig.call().await.error, None);
            }
        });
    }
}

#[test]
fn one_customers_rejections_do_not_affect_others() {
    for error in REJECTIONS.into_iter().chain(PAGES) {
        run(async {
            let rig = Rig::new();
            for _ in 0..100 {
                rig.then([fails(error.clone())]);
                assert_eq!(rig.call_for("odd").await.error.as_ref(), Some(&error));
                assert_eq!(rig.call().await.error, None, "{error:?}");
            }
            rig.always(fails(error.clone()));
            for _ in 0..100 {
                rig.call_for("odd").await;
            }
            rig.always(succeeds());
            assert_eq!(rig.call().await.error, None, "{error:?}");
        });
    }
}

#[test]
fn two_rejected_customers_start_a_hold_that_others_can_end() {
    for error in REJECTIONS {
        run(async {
            let rig = Rig::new();
            rig.then([fails(error.clone()), fails(error.clone())]);
            rig.call_for("odd1").await;
            rig.call_for("odd2").await;
            let rejected = rejected_by_hold(&error, Duration::from_secs(5));
            assert_eq!(rig.call_for("odd1").await.error, Some(rejected), "no probe");
            assert_eq!(rig.call().await.error, None, "another customer probes at once");
            assert_eq!(rig.call().await.error, None);
        });
    }
}

#[test]
fn five_firewall_rejections_start_the_hold() {
    for error in PAGES {
        run(async {
            let rig = Rig::new();
            rig.always(fails(error.clone()));
            // Five start the hold; the sixth probes.
            for _ in 0..6 {
                assert_eq!(rig.call().await.error.as_ref(), Some(&error));
            }
            let rejected = rejected_by_hold(&error, Duration::from_secs(5));
            assert_eq!(rig.call().await.error, Some(rejected));
        });
    }
}

#[test]
fn one_probe_runs_at_a_time() {
    for error in REJECTIONS {
        run(async {
            let rig = rejected(&error).await;
            rig.jump(5000).await;
            rig.always(succeeds_after(100));
            let probe = rig.start();
            rig.pass(1).await;
            assert_eq!(rig.call().await.error, Some(rejected_by_hold(&error, Duration::ZERO)));
            assert_eq!(rig.attempts(), 4);
            assert_eq!(rig.end(probe).await.error, None);
            assert_eq!(rig.call().await.error, None);
        });
    }
}

#[test]
fn inconclusive_errors_do_not_change_the_hold() {
    use JuspayError as E;
    for error in REJECTIONS {
        for silent in [
            hangs(),
            fails(E::Status(500, None)),
            fails(E::TooManyRequests(None)),
            fails(E::InvalidResponse(InvalidResponse::Json)),
        ] {
            run(async {
                let rig = Rig::with(|settings| settings.max_retries = 0);
                rig.then([fails(error.clone()), fails(error.clone())]);
                rig.call().await;
                rig.call().await;
                rig.then([silent.clone()]);
                let probe = rig.call().await;
                assert!(probe.error.is_some_and(|it| it.hold().is_none()), "{silent:?}");
                // Still one probe at a time.
                rig.always(succeeds_after(50));
                let probe = rig.start();
                rig.pass(1).await;
                let rejected = rig.call().await.error;
                assert_eq!(rejected, Some(rejected_by_hold(&error, Duration::ZERO)), "{silent:?}");
                assert_eq!(rig.attempts(), 4, "{silent:?}");
                assert_eq!(rig.end(probe).await.error, None);
            });
        }
    }
}

#[test]
fn rejection_after_authentication_ends_the_hold() {
    use JuspayError as E;
    for error in REJECTIONS {
        for taken in [
            E::CustomerNotFound,
            E::Status(400, None),
            E::Status(499, None),
            E::InvalidResponse(InvalidResponse::OtherCustomer),
        ] {
            run(async {
                let rig = rejected(&error).await;
                rig.jump(5000).await;
                rig.always(fails(taken.clone()));
                let calls = [rig.start(), rig.start()];
                rig.pass(1).await;
                for call in calls {
                    assert_eq!(rig.end(call).await.error, Some(taken.clone()));
                }
            });
        }
    }
}

#[test]
fn changed_key_and_purge_of_all_end_the_hold() {
    for error in REJECTIONS {
        let ways: [fn(&Rig); 2] = [|rig| rig.change_keys(1), |rig| rig.purge(None)];
        for end in ways {
            run(async {
                let rig = rejected(&error).await;
                rig.always(succeeds_after(100));
                end(&rig);
                let calls = [rig.start(), rig.start()];
                for call in calls {
                    assert_eq!(rig.end(call).await.error, None, "together");
                }
            });
        }
    }
}

#[test]
fn purged_customer_probes_like_any_other() {
    run(async {
        let [error, _] = REJECTIONS;
        let rig = Rig::new();
        rig.then([fails(error.clone()), fails(error.clone())]);
        rig.call_for("alice").await;
        rig.call_for("bob").await;
        assert!(rig.call_for("alice").await.error.is_some());
        rig.purge(Some("alice"));
        assert_eq!(rig.call_for("alice").await.error, None);
        assert_eq!(rig.call_for("bob").await.error, None);
    });
}

#[test]
fn outage_starts_no_hold_and_open_breaker_uses_no_probe() {
    run(async {
        let [error, _] = REJECTIONS;
        let rig = rejected(&error).await;
        rig.jump(5000).await;
        rig.always(fails(JuspayError::TooManyRequests(Some(Duration::from_secs(7)))));
        rig.call().await;
        rig.call().await;
        assert_eq!(rig.breaker(), "open");
        for _ in 0..10 {
            let rejected = rig.call().await.error;
            assert_eq!(rejected, Some(JuspayError::BreakerOpen(Duration::from_secs(7))));
        }
        rig.jump(7000).await;
        rig.always(succeeds());
        assert_eq!(rig.call().await.error, None);
        assert_eq!(rig.call().await.error, None);
    });
}
