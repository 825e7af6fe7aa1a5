//! Token lives of all lengths with the shipped settings: no burst of calls, no rejected client, and a
//! warning if settings and token life don't match.

use std::time::Duration;

use super::{
    flaky_upstream::{Behavior, Stage, brief},
    world::{lookup, run, secs, token},
};
use crate::{captured_log::CapturedLog, clock::Clock};

/// A phone that asks every second for an hour; how often Juspay is asked, and what is warned of.
fn an_hour(life: u64, after: Duration, max_hand_outs: Option<u32>) -> (usize, String) {
    let (log, guard) = CapturedLog::on_this_thread();
    let calls = run(async {
        let stage = Stage::with(Behavior::Succeeds { life, after }, |settings| {
            if let Some(most) = max_hand_outs {
                settings.cache.max_hand_outs = most;
            }
        });
        let alice = lookup("alice");
        let first = stage.phone(alice.clone());
        brief().await;
        stage.pass(after).await;
        assert!(first.await.unwrap().is_ok());
        let floor = secs(normal_floor(life));
        for second in 0..3600 {
            let mut found = stage.at_once(&alice);
            if found.is_none() {
                let phone = stage.phone(alice.clone());
                brief().await;
                stage.pass(after).await;
                found = Some(phone.await.unwrap());
            }
            let found = found.unwrap().unwrap_or_else(|error| panic!("{second}: {error}"));
            let (end, _) = stage.juspay.end_and_life(&token(&found).unwrap());
            assert_eq!(found.expires_in, Some(end.remaining(stage.world.clock.moment())));
            assert!(found.expires_in.unwrap() >= floor, "{second}: {found:?}");
            assert_eq!(found.detail, None, "{second}");
            stage.pass(after).await;
            stage.pass(secs(1).saturating_sub(after)).await;
        }
        assert_eq!(stage.juspay.most_of_one(), 1);
        stage.juspay.all_calls()
    });
    drop(guard);
    (calls, log.text())
}

fn normal_floor(life: u64) -> u64 {
    30.max(120.min(life / 4))
}

/// The most calls in an hour, when a token is used for so many thirds of a second at least.
fn most_calls(thirds: u64) -> usize {
    usize::try_from((3 * 3600_u64).div_ceil(thirds)).unwrap() + 1
}

#[test]
fn p3_any_life_works_with_the_shipped_settings() {
    for life in [40, 60, 120, 300, 900] {
        let two_thirds = 2 * (life - normal_floor(life));
        for after in [Duration::ZERO, Duration::from_millis(400)] {
            let (calls, logs) = an_hour(life, after, Some(0));
            assert!(calls <= most_calls(two_thirds), "{life}: {calls} calls");
            let warnings = logs
                .matches("client auth tokens live less than four times cache.min_remaining")
                .count();
            assert_eq!(warnings, usize::from(life < 480), "{life}: {logs}");
        }
        // And with replacements for hand-outs: a token is 30 s old for that.
        let (calls, _) = an_hour(life, Duration::ZERO, None);
        assert!(calls <= most_calls(two_thirds.min(3 * 30)), "{life}: {calls} calls");
    }
}
