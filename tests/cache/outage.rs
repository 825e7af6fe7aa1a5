//! P5: an outage and its end, with many customers whose tokens are of all ages.

use std::time::Duration;

use juspay_bff::{
    cache::{Detail, Lookup, LookupError, Source},
    clock::{Clock, Monotonic},
    juspay::JuspayError,
};

use super::{
    flaky_upstream::{Behavior, Stage, settle_briefly},
    world::{EXPIRED_FROM, lookup, run, secs},
};

const CUSTOMERS: u64 = 300;
const LIFE: u64 = 900;

/// Customers whose tokens are from 0 to 10 minutes old, spread evenly.
async fn customers(stage: &Stage) -> Vec<(Lookup, Monotonic)> {
    let mut customers = Vec::new();
    for number in 0..CUSTOMERS {
        stage.advance(secs(600 / CUSTOMERS)).await;
        let (lookup, born) = (lookup(&format!("c{number}")), stage.world.clock.monotonic());
        let client = stage.client(lookup.clone());
        settle_briefly().await;
        assert!(client.await.unwrap().is_ok());
        customers.push((lookup, born));
    }
    customers
}

/// Every customer sends a request every 10 s, and every second around the ends of its token, until all
/// tokens have expired.
fn each_is_served_until_its_own_outage_end(behavior: Behavior) {
    run(async move {
        let stage = Stage::resilient(Behavior::succeeds(LIFE), |_| {});
        let customers = customers(&stage).await;
        stage.juspay.set_behavior(behavior);
        let (mut last_seconds, mut outages) = (0, 0);
        for second in 0..=EXPIRED_FROM {
            for (number, (lookup, born)) in (0..).zip(&customers) {
                let age = stage.world.clock.monotonic().since(*born);
                let is_near_an_end = [780, 870].iter().any(|end| age.as_secs().abs_diff(*end) < 5);
                if !is_near_an_end && !(number + second).is_multiple_of(10) {
                    continue;
                }
                let is_alive = age < secs(EXPIRED_FROM);
                match stage.at_once(lookup) {
                    Some(Ok(found)) => {
                        assert!(is_alive, "served at {age:?}");
                        assert_eq!(found.source, Source::Hit);
                        let is_below_floor = age > secs(780);
                        assert_eq!(found.detail, is_below_floor.then_some(Detail::Outage));
                        outages += u64::from(is_below_floor);
                        last_seconds += u64::from(age == secs(EXPIRED_FROM - 1));
                    }
                    other => assert!(!is_alive, "at {age:?}: {other:?}"),
                }
            }
            stage.advance(secs(1)).await;
        }
        assert_eq!(last_seconds, CUSTOMERS, "every token is served in its last second");
        assert_eq!(stage.world.requests("outage"), outages);
        assert_eq!(stage.juspay.max_running_per_customer(), 1);
    });
}

#[test]
fn p5_each_customer_is_served_until_its_outage_end_when_juspay_fails() {
    each_is_served_until_its_own_outage_end(Behavior::fails(JuspayError::Status(500, None)));
}

#[test]
fn p5_each_customer_is_served_until_its_outage_end_when_juspay_hangs() {
    each_is_served_until_its_own_outage_end(Behavior::Hangs);
}

#[test]
fn p5_recovering_juspay_is_not_overloaded() {
    run(async {
        const LIMIT: usize = 4;
        let stage = Stage::resilient(Behavior::succeeds(LIFE), |settings| {
            settings.juspay.max_in_flight = LIMIT;
        });
        let customers = customers(&stage).await;
        let elapsed = |since: Monotonic| stage.world.clock.monotonic().since(since);
        stage.juspay.set_behavior(Behavior::fails(JuspayError::Status(500, None)));
        for _ in 0..240 {
            for (lookup, _) in &customers {
                let found = stage.at_once(lookup);
                assert!(matches!(found, Some(Ok(_))), "{found:?}");
            }
            stage.advance(secs(1)).await;
        }
        for (lookup, born) in &customers {
            let calls = stage.juspay.calls(lookup.customer.as_str());
            let retries: Vec<_> = calls.windows(2).skip(1).collect();
            for (number, pair) in (0..).zip(&retries) {
                let least = 0.5 * f64::from(2_u32.pow(number)).min(30.0);
                assert!(pair[1].since(pair[0]).as_secs_f64() >= least, "{number}: {calls:?}");
            }
            assert!(elapsed(*born) < secs(841) && retries.len() <= 9, "{calls:?}");
        }

        stage.advance(Duration::from_millis(1)).await;
        let outage_end = stage.world.clock.monotonic();
        stage.juspay.set_behavior(Behavior::Succeeds { life: LIFE, after: secs(1) / 5 });
        for _ in 0..600 {
            for (lookup, born) in &customers {
                let found = stage.at_once(lookup);
                // If the breaker rejected the last try just before it closed, the next one is up to 30 s
                // later. The promise ends with the token: then the request waits for its fetch.
                let is_over = elapsed(*born) >= secs(EXPIRED_FROM) && found.is_none();
                assert!(is_over || matches!(found, Some(Ok(_))), "{found:?}");
            }
            stage.advance(secs(1) / 10).await;
        }
        for (lookup, _) in &customers {
            let calls = stage.juspay.calls(lookup.customer.as_str());
            let after = calls.iter().filter(|call| **call >= outage_end).count();
            // One call at the end of the pause. Another after 30 s, because this test returns the new
            // token more often than `cache.max_hand_outs`.
            assert!((1..=2).contains(&after), "{after} calls for one customer in a minute");
        }
        assert_eq!(stage.juspay.max_running(), LIMIT);
        assert_eq!(stage.juspay.max_running_per_customer(), 1);
    });
}

/// A customer without a usable token gets an error at once while the breaker is open.
#[test]
fn open_breaker_rejects_new_customers_at_once() {
    run(async {
        let stage = Stage::resilient(Behavior::fails(JuspayError::Status(500, None)), |_| {});
        for number in 0..20 {
            let client = stage.client(lookup(&format!("c{number}")));
            settle_briefly().await;
            assert_eq!(client.await.unwrap().unwrap_err(), JuspayError::Status(500, None).into());
        }
        let client = stage.client(lookup("late"));
        settle_briefly().await;
        let error = client.await.unwrap().unwrap_err();
        assert!(matches!(error, LookupError::Juspay(JuspayError::BreakerOpen(_))), "{error}");
        assert_eq!(stage.juspay.total_calls(), 20);
    });
}
