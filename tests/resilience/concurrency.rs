//! The limit on concurrent calls, and how long a call waits for a permit.

use juspay_bff::juspay::JuspayError;

use super::rig::{Ended, Rig, fails, hangs, run, succeeds, succeeds_after};

fn three_places() -> Rig {
    Rig::with(|settings| (settings.max_in_flight, settings.retry_budget) = (3, 1.0))
}

#[test]
fn concurrent_calls_are_limited() {
    run(async {
        let rig = three_places();
        rig.always(succeeds_after(100));
        let calls: Vec<_> = (0..10).map(|_| rig.start()).collect();
        let mut ends = Vec::new();
        for call in calls {
            let ended = rig.end(call).await;
            assert_eq!(ended.error, None);
            ends.push(ended.at);
        }
        assert_eq!(ends, [100, 100, 100, 200, 200, 200, 300, 300, 300, 400]);
        assert_eq!((rig.attempts(), rig.most_at_a_time()), (10, 3));
    });
}

#[test]
fn call_waits_for_a_permit_for_half_of_its_time() {
    run(async {
        let rig = three_places();
        rig.always(hangs());
        let hung = [rig.start(), rig.start(), rig.start()];
        rig.pass(10).await;
        let [waiting, later] = [rig.start(), rig.start_with(1000)];
        let saturated = |at| Ended { error: Some(JuspayError::Saturated), at };
        assert_eq!(rig.end(later).await, saturated(10 + 500));
        assert_eq!(rig.end(waiting).await, saturated(10 + 2500));
        for call in hung {
            let timeout = Ended { error: Some(JuspayError::Timeout), at: 5000 };
            assert_eq!(rig.end(call).await, timeout);
        }
        assert_eq!(rig.most_at_a_time(), 3);
        assert_eq!(rig.breaker(), "closed");
    });
}

#[test]
fn call_that_waited_has_its_remaining_time() {
    run(async {
        let rig = three_places();
        rig.then([succeeds_after(2000), succeeds_after(2000), succeeds_after(1500)]);
        rig.always(hangs());
        let _busy = [rig.start(), rig.start(), rig.start()];
        let waiting = rig.start_with(3100);
        let ended = Ended { error: Some(JuspayError::Timeout), at: 3100 };
        assert_eq!(rig.end(waiting).await, ended);
        let last = *rig.tries().last().unwrap();
        assert_eq!((last.at, last.deadline), (1500, 3100));
    });
}

#[test]
fn dropped_call_releases_its_permit() {
    run(async {
        let rig = three_places();
        rig.always(hangs());
        let hung = [rig.start(), rig.start(), rig.start()];
        let waiting = rig.start();
        rig.pass(1).await;
        assert_eq!(rig.attempts(), 3);
        rig.always(succeeds());
        hung[0].abort();
        assert_eq!(rig.end(waiting).await, Ended { error: None, at: 1 });
        // A call dropped while it waits doesn't block others.
        rig.always(hangs());
        let (taken, waiting) = (rig.start(), rig.start());
        rig.pass(1).await;
        waiting.abort();
        rig.pass(1).await;
        taken.abort();
        rig.always(succeeds());
        assert_eq!(rig.call().await.error, None);
    });
}

#[test]
fn rejected_call_does_not_wait_for_a_permit() {
    run(async {
        let rig = Rig::with(|settings| {
            settings.max_in_flight = 3;
            settings.breaker.min_calls = 2;
        });
        rig.then([hangs(), hangs()]);
        rig.always(fails(JuspayError::Status(500, None)));
        let hung = [rig.start(), rig.start()];
        for _ in 0..5 {
            rig.call().await;
        }
        assert_eq!(rig.gauges(), "open");
        rig.pass(1).await;
        let rejected = rig.call().await;
        assert!(matches!(rejected.error, Some(JuspayError::BreakerOpen(_))), "{rejected:?}");
        assert_eq!(rejected.at, 1);
        drop(hung);
    });
}

#[test]
fn waiting_call_is_rejected_when_the_breaker_opens() {
    run(async {
        let rig = Rig::with(|settings| {
            settings.max_in_flight = 1;
            settings.breaker.min_calls = 1;
            settings.max_retries = 0;
        });
        rig.always(fails(JuspayError::Status(500, None)));
        for _ in 0..4 {
            rig.call().await;
        }
        rig.always(hangs());
        let hung = rig.start();
        let waiting = rig.start();
        let ended = rig.end(waiting).await;
        assert!(matches!(ended.error, Some(JuspayError::BreakerOpen(_))), "{ended:?}");
        assert_eq!((ended.at, rig.attempts()), (2000, 5));
        drop(hung);
    });
}
