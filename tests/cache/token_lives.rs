//! Token lives of all lengths with the default settings: no burst of calls, no rejected client, and a
//! warning if settings and token life don't match.

use std::time::Duration;

use juspay_bff::{clock::Clock, settings::MaxHandOuts};

use super::{
    captured_log::CapturedLog,
    flaky_upstream::{Behavior, Stage, settle_briefly},
    world::{lookup, run, secs, token},
};

/// A client sends a request every second for an hour. Returns the number of calls to Juspay, and the
/// log.
fn an_hour(life: u64, after: Duration, max_hand_outs: Option<u32>) -> (usize, String) {
    let (log, guard) = CapturedLog::on_this_thread();
    let calls = run(async {
        let stage = Stage::with(Behavior::Succeeds { life, after }, |settings| {
            if let Some(max) = max_hand_outs {
                settings.cache.max_hand_outs = MaxHandOuts::Number(max);
            }
        });
        let alice = lookup("alice");
        let first = stage.client(alice.clone());
        settle_briefly().await;
        stage.advance(after).await;
        assert!(first.await.unwrap().is_ok());
        let floor = secs(normal_floor(life));
        for second in 0..3600 {
            let mut found = stage.at_once(&alice);
            if found.is_none() {
                let client = stage.client(alice.clone());
                settle_briefly().await;
                stage.advance(after).await;
                found = Some(client.await.unwrap());
            }
            let found = found.unwrap().unwrap_or_else(|error| panic!("{second}: {error}"));
            let (end, _) = stage.juspay.end_and_life(&token(&found).unwrap());
            assert_eq!(found.expires_in, Some(end.remaining(stage.world.clock.moment())));
            assert!(found.expires_in.unwrap() >= floor, "{second}: {found:?}");
            assert_eq!(found.detail, None, "{second}");
            stage.advance(after).await;
            stage.advance(secs(1).saturating_sub(after)).await;
        }
        assert_eq!(stage.juspay.max_running_per_customer(), 1);
        stage.juspay.total_calls()
    });
    drop(guard);
    (calls, log.text())
}

fn normal_floor(life: u64) -> u64 {
    30.max(120.min(life / 4))
}

/// The highest number of calls in an hour, if each token is used for at least `thirds` thirds of a
/// second.
fn max_calls(thirds: u64) -> usize {
    usize::try_from((3 * 3600_u64).div_ceil(thirds)).unwrap() + 1
}

#[test]
fn p3_any_life_works_with_the_default_settings() {
    for life in [40, 60, 120, 300, 900] {
        let two_thirds = 2 * (life - normal_floor(life));
        for after in [Duration::ZERO, Duration::from_millis(400)] {
            let (calls, logs) = an_hour(life, after, Some(0));
            assert!(calls <= max_calls(two_thirds), "{life}: {calls} calls");
            let warnings = logs
                .matches("client auth tokens live less than four times cache.min_remaining")
                .count();
            assert_eq!(warnings, usize::from(life < 480), "{life}: {logs}");
        }
        // Also with replacements of often returned tokens, which are at least 30 s old.
        let (calls, _) = an_hour(life, Duration::ZERO, None);
        assert!(calls <= max_calls(two_thirds.min(3 * 30)), "{life}: {calls} calls");
    }
}
