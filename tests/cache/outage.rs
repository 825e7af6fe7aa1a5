//! P5: an outage and its end, with many customers whose tokens are of all ages.

use std::time::Duration;

use super::{
    flaky_upstream::{Behavior, Stage, brief},
    world::{DEAD_FROM, lookup, run, secs},
};
use crate::{
    cache::{Detail, Lookup, LookupError, Source},
    clock::{Clock, Monotonic},
    juspay::JuspayError,
};

const CUSTOMERS: u64 = 300;
const LIFE: u64 = 900;

/// Customers whose tokens are from 0 to 10 minutes old, spread evenly.
async fn customers(stage: &Stage) -> Vec<(Lookup, Monotonic)> {
    let mut customers = Vec::new();
    for number in 0..CUSTOMERS {
        stage.pass(secs(600 / CUSTOMERS)).await;
        let (lookup, born) = (lookup(&format!("c{number}")), stage.world.clock.monotonic());
        let phone = stage.phone(lookup.clone());
        brief().await;
        assert!(phone.await.unwrap().is_ok());
        customers.push((lookup, born));
    }
    customers
}

/// Every customer asks now and then, and each second around its ends, until all tokens are dead.
fn each_is_served_until_its_own_outage_end(behavior: Behavior) {
    run(async move {
        let stage = Stage::resilient(Behavior::succeeds(LIFE), |_| {});
        let customers = customers(&stage).await;
        stage.juspay.behaves(behavior);
        let (mut last_seconds, mut outages) = (0, 0);
        for second in 0..=DEAD_FROM {
            for (number, (lookup, born)) in (0..).zip(&customers) {
                let age = stage.world.clock.monotonic().since(*born);
                let is_near_an_end = [780, 870].iter().any(|end| age.as_secs().abs_diff(*end) < 5);
                if !is_near_an_end && !(number + second).is_multiple_of(10) {
                    continue;
                }
                let lives = age < secs(DEAD_FROM);
                match stage.at_once(lookup) {
                    Some(Ok(found)) => {
                        assert!(lives, "served at {age:?}");
                        assert_eq!(found.source, Source::Hit);
                        let is_below_floor = age > secs(780);
                        assert_eq!(found.detail, is_below_floor.then_some(Detail::Outage));
                        outages += u64::from(is_below_floor);
                        last_seconds += u64::from(age == secs(DEAD_FROM - 1));
                    }
                    refused => assert!(!lives, "at {age:?}: {refused:?}"),
                }
            }
            stage.pass(secs(1)).await;
        }
        assert_eq!(last_seconds, CUSTOMERS, "to the second");
        assert_eq!(stage.world.requests("outage"), outages);
        assert_eq!(stage.juspay.most_of_one(), 1);
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
        const BOUND: usize = 4;
        let stage = Stage::resilient(Behavior::succeeds(LIFE), |settings| {
            settings.juspay.max_in_flight = BOUND;
        });
        let customers = customers(&stage).await;
        let ago = |time: Monotonic| stage.world.clock.monotonic().since(time);
        stage.juspay.behaves(Behavior::fails(JuspayError::Status(500, None)));
        for _ in 0..240 {
            for (lookup, _) in &customers {
                let found = stage.at_once(lookup);
                assert!(matches!(found, Some(Ok(_))), "{found:?}");
            }
            stage.pass(secs(1)).await;
        }
        for (lookup, born) in &customers {
            let calls = stage.juspay.calls(lookup.customer.as_str());
            let retries: Vec<_> = calls.windows(2).skip(1).collect();
            for (number, pair) in (0..).zip(&retries) {
                let least = 0.5 * f64::from(2_u32.pow(number)).min(30.0);
                assert!(pair[1].since(pair[0]).as_secs_f64() >= least, "{number}: {calls:?}");
            }
            assert!(ago(*born) < secs(841) && retries.len() <= 9, "{calls:?}");
        }

        stage.pass(Duration::from_millis(1)).await;
        let outage_end = stage.world.clock.monotonic();
        stage.juspay.behaves(Behavior::Succeeds { life: LIFE, after: secs(1) / 5 });
        for _ in 0..600 {
            for (lookup, _) in &customers {
                let found = stage.at_once(lookup);
                assert!(matches!(found, Some(Ok(_))), "{found:?}");
            }
            stage.pass(secs(1) / 10).await;
        }
        for (lookup, _) in &customers {
            let calls = stage.juspay.calls(lookup.customer.as_str());
            let after = calls.iter().filter(|call| **call >= outage_end).count();
            // Once as the pause is over; and new tokens are handed out ten times in no time, which
            // has them replaced when they are 30 s old.
            assert!((1..=2).contains(&after), "{after} calls for one customer in a minute");
        }
        assert_eq!(stage.juspay.most(), BOUND);
        assert_eq!(stage.juspay.most_of_one(), 1);
    });
}

/// A customer without a usable token waits for a permit for its call, and gets an error at once
/// while the breaker is open.
#[test]
fn open_breaker_rejects_new_customers_at_once() {
    run(async {
        let stage = Stage::resilient(Behavior::fails(JuspayError::Status(500, None)), |_| {});
        for number in 0..20 {
            let phone = stage.phone(lookup(&format!("c{number}")));
            brief().await;
            assert_eq!(phone.await.unwrap().unwrap_err(), JuspayError::Status(500, None).into());
        }
        let phone = stage.phone(lookup("late"));
        brief().await;
        let refused = phone.await.unwrap().unwrap_err();
        assert!(matches!(refused, LookupError::Juspay(JuspayError::BreakerOpen(_))), "{refused}");
        assert_eq!(stage.juspay.all_calls(), 20);
    });
}
