//! The loops around a look-up in the shared tier: polling while another replica fetches, and renewing a
//! lease during a fetch.

use std::{sync::Arc, time::Duration};

use juspay_bff::{
    clock::{Clock, manual::ManualClock},
    shared::{
        FailureCode, LeaseId, LookUp, Need, Request, SharedTier,
        wait::{Polls, RENEW_EVERY, renewed},
    },
};

use super::{fake_tier::FakeTier, world::id};

fn request() -> Request {
    Request { customer: id("alice"), need: Need::default(), charge: None, waited_for: None }
}

#[tokio::test]
async fn polls_until_the_other_replica_has_failed() {
    let clock = ManualClock::at("2026-11-29T12:00:00Z");
    let (tier, polls) = (FakeTier::default(), Polls::default());
    let id = LeaseId::random();
    for _ in 0..6 {
        tier.answer(LookUp::Elsewhere(id, None));
    }
    let code = FailureCode::new("server_error").unwrap();
    tier.answer(LookUp::Failed(code.clone()));
    let start = clock.monotonic();
    let deadline = start.plus(Duration::from_secs(5));
    let polling = polls.look_up(&tier, &clock, request(), deadline);
    let passing = async {
        for (polls, pause) in (1..).zip([10, 15, 20, 25, 25, 25]) {
            while tier.requests().len() < polls {
                tokio::task::yield_now().await;
            }
            clock.sleepers(1).await;
            clock.advance(Duration::from_millis(pause));
        }
    };
    let ((ended, _), ()) = tokio::join!(polling, passing);
    assert!(matches!(ended, LookUp::Failed(failed) if failed == code));
    let waited_for: Vec<_> = tier.requests().iter().map(|it| it.waited_for).collect();
    assert_eq!(waited_for[0], None);
    assert!(waited_for[1..].iter().all(|it| *it == Some(id)) && waited_for.len() == 7);
}

#[tokio::test]
async fn polling_ends_at_the_deadline() {
    let clock = ManualClock::at("2026-11-29T12:00:00Z");
    let (tier, polls) = (FakeTier::default(), Polls::default());
    let id = LeaseId::random();
    tier.answer(LookUp::Elsewhere(id, None));
    let deadline = clock.monotonic().plus(Duration::from_millis(10));
    let (ended, _) = polls.look_up(&tier, &clock, request(), deadline).await;
    assert!(matches!(ended, LookUp::Elsewhere(same, None) if same == id));
}

#[tokio::test]
async fn lease_is_renewed_during_a_long_fetch() {
    let clock = ManualClock::at("2026-11-29T12:00:00Z");
    let tier = Arc::new(FakeTier::default());
    let LookUp::Fetch(lease, None) = tier.look_up(request()).await else { panic!() };
    let end = clock.monotonic().plus(Duration::from_millis(1200));
    let fetch = clock.sleep_until(end);
    let passing = async {
        for renewals in 0..2 {
            while tier.renewals() < renewals {
                tokio::task::yield_now().await;
            }
            clock.sleepers(2).await;
            clock.advance(RENEW_EVERY);
        }
        while tier.renewals() < 2 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(200));
    };
    let running = renewed(&*tier, &clock, &lease, fetch);
    tokio::join!(running, passing);
    assert_eq!(tier.renewals(), 2);
    renewed(&*tier, &clock, &lease, async {}).await;
    assert_eq!(tier.renewals(), 2, "a short fetch never renews");
}

#[tokio::test]
async fn many_requests_poll_less_often() {
    let clock = ManualClock::at("2026-11-29T12:00:00Z");
    let (tier, polls) = (FakeTier::default(), Polls::default());
    for _ in 0..1001 {
        tier.answer(LookUp::Elsewhere(LeaseId::random(), None));
    }
    let deadline = clock.monotonic().plus(Duration::from_secs(5));
    let look_ups = futures_util::future::join_all(
        (0..1001).map(|_| polls.look_up(&tier, &clock, request(), deadline)),
    );
    let passing = async {
        clock.sleepers(1001).await;
        // The first ones to wait did not know of the others.
        clock.advance(Duration::from_millis(99));
        tokio::task::yield_now().await;
        assert!(tier.requests().len() < 2002);
        clock.advance(Duration::from_millis(1));
    };
    tokio::join!(look_ups, passing);
    assert_eq!(tier.requests().len(), 2002);
}
