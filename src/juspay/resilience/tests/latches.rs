//! A wrong key and a blocked address aren't tried ten thousand times, and are no outage.

use std::time::Duration;

use super::rig::{Ended, Rig, fails, hangs, run, succeeds, succeeds_after};
use crate::juspay::{InvalidAnswer, JuspayError};

const REJECTIONS: [JuspayError; 2] =
    [JuspayError::RejectedCredentials, JuspayError::RejectedOrigin];

/// A rig that has just been rejected, at 0.
async fn rejected(error: &JuspayError) -> Rig {
    let rig = Rig::with(|settings| settings.breaker.min_calls = 4);
    rig.always(fails(error.clone()));
    assert_eq!(rig.call().await.error.as_ref(), Some(error));
    rig
}

#[test]
fn after_one_rejection_nobody_asks_for_five_seconds() {
    for error in REJECTIONS {
        run(async {
            let rig = rejected(&error).await;
            for now in [0, 4999] {
                rig.jump(now).await;
                for _ in 0..100 {
                    let refused = Ended { error: Some(error.clone()), at: now };
                    assert_eq!(rig.call().await, refused);
                }
            }
            assert_eq!((rig.seen(), rig.breaker()), (1, "closed"));
            rig.jump(1).await;
            assert_eq!(rig.call().await.error.as_ref(), Some(&error));
            assert_eq!(rig.seen(), 2, "one finds out");
            for _ in 0..100 {
                rig.call().await;
            }
            assert_eq!((rig.seen(), rig.breaker()), (2, "closed"));
            rig.jump(5000).await;
            rig.always(succeeds());
            for _ in 0..100 {
                assert_eq!(rig.call().await.error, None);
            }
        });
    }
}

#[test]
fn one_at_a_time_finds_out() {
    for error in REJECTIONS {
        run(async {
            let rig = rejected(&error).await;
            rig.jump(5000).await;
            rig.always(succeeds_after(100));
            let probe = rig.start();
            rig.pass(1).await;
            assert_eq!(rig.call().await.error.as_ref(), Some(&error));
            assert_eq!(rig.seen(), 2);
            assert_eq!(rig.end(probe).await.error, None);
            assert_eq!(rig.call().await.error, None);
        });
    }
}

#[test]
fn calls_that_were_under_way_change_nothing() {
    for error in REJECTIONS {
        run(async {
            let rig = Rig::new();
            rig.then([succeeds_after(100), fails(error.clone())]);
            let slow = rig.start();
            assert_eq!(rig.call().await.error.as_ref(), Some(&error));
            assert_eq!(rig.end(slow).await.error, None);
            assert_eq!(rig.call().await.error.as_ref(), Some(&error), "still latched");
            assert_eq!(rig.seen(), 2);
        });
    }
}

#[test]
fn what_says_nothing_about_key_or_address_keeps_the_latch_as_it_is() {
    use JuspayError as E;
    let [credentials, origin] = REJECTIONS;
    for (error, other) in [(&credentials, &origin), (&origin, &credentials)] {
        for silent in [
            hangs(),
            fails(E::Status(500, None)),
            fails(E::TooManyRequests(None)),
            fails(E::InvalidAnswer(InvalidAnswer::Json)),
            fails(other.clone()),
        ] {
            run(async {
                let rig = Rig::with(|settings| settings.max_retries = 0);
                rig.then([fails(error.clone())]);
                rig.call().await;
                rig.jump(5000).await;
                rig.then([silent.clone()]);
                let probe = rig.call().await;
                assert_ne!(probe.error.as_ref(), Some(error), "{silent:?}");
                rig.jump(5000).await;
                // Still one at a time.
                rig.always(succeeds_after(50));
                let probe = rig.start();
                rig.pass(1).await;
                let refused = rig.call().await.error;
                assert!(refused.is_some_and(|it| REJECTIONS.contains(&it)), "{silent:?}");
                assert_eq!(rig.seen(), 3, "{silent:?}");
                assert_eq!(rig.end(probe).await.error, None);
            });
        }
    }
}

#[test]
fn what_juspay_says_no_to_only_then_opens_the_latch() {
    use JuspayError as E;
    for error in REJECTIONS {
        for taken in [
            E::CustomerNotFound,
            E::Status(400, None),
            E::Status(499, None),
            E::InvalidAnswer(InvalidAnswer::OtherCustomer),
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
fn an_outage_does_not_latch_and_an_open_breaker_takes_no_latchs_probe() {
    run(async {
        let rig = rejected(&JuspayError::RejectedCredentials).await;
        rig.jump(5000).await;
        rig.always(fails(JuspayError::TooManyRequests(Some(Duration::from_secs(7)))));
        rig.call().await;
        assert_eq!(rig.breaker(), "open");
        for _ in 0..10 {
            let refused = rig.call().await.error;
            assert_eq!(refused, Some(JuspayError::BreakerOpen(Duration::from_secs(7))));
        }
        rig.jump(7000).await;
        rig.always(succeeds());
        assert_eq!(rig.call().await.error, None);
        assert_eq!(rig.call().await.error, None);
    });
}
