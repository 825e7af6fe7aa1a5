//! The shipped settings to the second, then properties of any settings.

use proptest::prelude::*;

use super::*;
use crate::clock::{Monotonic, later};

const SHIPPED: LifetimePolicy = LifetimePolicy {
    min_remaining: Duration::from_secs(120),
    refresh_ahead: Duration::from_secs(300),
    outage_min_remaining: Duration::from_secs(30),
    max_token_life: Duration::from_secs(900),
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn start() -> Moment {
    Moment { wall: "2026-01-01T00:00:00Z".parse().unwrap(), monotonic: Monotonic::new(secs(1000)) }
}

/// Juspay reports `life` and responds at once; both clocks agree.
fn reported(life: Duration) -> ReportedExpiry {
    let sent = start();
    ReportedExpiry {
        expiry: later(sent.wall, life),
        date: Some(sent.wall),
        sent,
        received: sent.wall,
    }
}

fn lifetime(life: u64) -> Lifetime {
    // One second more, because the resolution of `Date` is subtracted.
    Lifetime::new(&SHIPPED, &reported(secs(life + 1)), 0.0).unwrap()
}

/// The phases one second before `at` and exactly at it, in seconds since the request was sent.
fn phases(lifetime: &Lifetime, at: u64) -> (Phase, Phase) {
    (lifetime.phase(start().plus(secs(at - 1))), lifetime.phase(start().plus(secs(at))))
}

#[test]
fn phases_of_a_15_minute_token_with_shipped_settings() {
    let life = lifetime(900);
    assert_eq!(life.phase(start().plus(secs(600))), Phase::Fresh);
    assert_eq!(life.phase(start().plus(secs(601))), Phase::Refresh);
    assert_eq!(life.phase(start().plus(secs(780))), Phase::Refresh);
    assert_eq!(life.phase(start().plus(secs(781))), Phase::Stale);
    assert_eq!(life.phase(start().plus(secs(870))), Phase::Stale);
    assert_eq!(life.phase(start().plus(secs(871))), Phase::Expired);
    assert_eq!(life.ttl(start()), secs(780));
    assert_eq!(life.remaining(start()), secs(900));
    assert_eq!(life.ttl(start().plus(secs(800))), Duration::ZERO);
}

#[test]
fn short_lives_use_a_third_for_refreshing_and_a_quarter_as_floor() {
    // 2 minutes: floor 30 s, served for 90 s, refreshed after 60 s.
    let life = lifetime(120);
    assert_eq!(phases(&life, 61), (Phase::Fresh, Phase::Refresh));
    assert_eq!(phases(&life, 91), (Phase::Refresh, Phase::Expired));
    // 40 s: the outage floor applies.
    let life = lifetime(40);
    assert_eq!(life.ttl(start()), secs(10));
    // 5 minutes: floor 75 s.
    assert_eq!(lifetime(300).ttl(start()), secs(225));
}

#[test]
fn token_usable_for_less_than_five_seconds_is_rejected() {
    assert!(Lifetime::new(&SHIPPED, &reported(secs(36)), 0.0).is_some());
    assert!(Lifetime::new(&SHIPPED, &reported(secs(35)), 0.0).is_none());
    assert!(Lifetime::new(&SHIPPED, &reported(Duration::ZERO), 0.0).is_none());
    let expired =
        ReportedExpiry { date: Some(later(start().wall, secs(3600))), ..reported(secs(900)) };
    assert!(Lifetime::new(&SHIPPED, &expired, 0.0).is_none());
}

#[test]
fn life_is_limited_by_max_token_life() {
    let life = Lifetime::new(&SHIPPED, &reported(secs(86_400)), 0.0).unwrap();
    assert_eq!(life.remaining(start()), secs(900));
    assert_eq!(life.expiry(), later(start().wall, secs(900)));
}

#[test]
fn life_is_measured_on_juspays_clock_by_its_date() {
    let fast = later(start().wall, secs(7200));
    let report =
        ReportedExpiry { expiry: later(fast, secs(601)), date: Some(fast), ..reported(secs(1)) };
    let life = Lifetime::new(&SHIPPED, &report, 0.0).unwrap();
    assert_eq!(life.remaining(start()), secs(600));
    assert_eq!(
        life.expiry(),
        later(start().wall, secs(600)),
        "the expiry is on this server's clock"
    );
}

#[test]
fn without_a_date_life_is_measured_at_receipt() {
    let report = ReportedExpiry {
        date: None,
        received: later(start().wall, secs(4)),
        ..reported(secs(604))
    };
    let life = Lifetime::new(&SHIPPED, &report, 0.0).unwrap();
    assert_eq!(life.remaining(start()), secs(600), "and the life counts from the sending");
}

/// Juspay's clock is correct, and this server's is ahead of it by `seconds`.
fn with_this_clock_ahead(seconds: i64, life: u64) -> ReportedExpiry {
    let sent = start();
    let date = sent.wall.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap();
    ReportedExpiry { expiry: later(date, secs(life)), date: Some(date), sent, received: sent.wall }
}

#[test]
fn p3_life_is_the_smaller_reading_of_both_clocks() {
    for (ahead, life) in [(-900, 899), (-30, 899), (0, 899), (1, 898), (30, 869), (864, 35)] {
        let report = with_this_clock_ahead(ahead, 900);
        let lifetime = Lifetime::new(&SHIPPED, &report, 0.0).unwrap();
        assert_eq!(lifetime.remaining(start()), secs(life), "{ahead}");
        assert!(lifetime.expiry() <= later(start().wall, secs(899)), "{ahead}");
        assert_eq!(report.lost_to_clock_skew(&SHIPPED), None, "{ahead}");
    }
}

#[test]
fn life_lost_to_clock_skew_is_detected() {
    // The resolution of `Date` may account for one of the seconds.
    for (ahead, known) in [(865, 864), (900, 899), (3600, 3599)] {
        let report = with_this_clock_ahead(ahead, 900);
        assert!(Lifetime::new(&SHIPPED, &report, 0.0).is_none(), "{ahead}");
        assert_eq!(report.lost_to_clock_skew(&SHIPPED), Some(known));
    }
    // Too short on Juspay's own clock as well; then a case without Juspay's clock.
    assert_eq!(with_this_clock_ahead(900, 35).lost_to_clock_skew(&SHIPPED), None);
    assert_eq!(with_this_clock_ahead(-900, 35).lost_to_clock_skew(&SHIPPED), None);
    let unknown = ReportedExpiry { date: None, ..with_this_clock_ahead(900, 900) };
    assert_eq!(unknown.lost_to_clock_skew(&SHIPPED), None);
}

#[test]
fn latest_representable_expiry_is_valid() {
    let latest = ReportedExpiry { expiry: Timestamp::MAX, ..reported(secs(0)) };
    for date in [None, latest.date] {
        let report = ReportedExpiry { date, ..latest };
        let unbounded = LifetimePolicy { max_token_life: Duration::MAX, ..SHIPPED };
        assert!(Lifetime::new(&unbounded, &report, 0.0).unwrap().expiry() > start().wall);
        let life = Lifetime::new(&SHIPPED, &report, 0.0).unwrap();
        assert_eq!(life.expiry(), later(start().wall, secs(900)));
    }
}

#[test]
fn jitter_only_delays_the_refresh() {
    let life = Lifetime::new(&SHIPPED, &reported(secs(901)), 1.0).unwrap();
    assert_eq!(life.phase(start().plus(secs(645))), Phase::Fresh);
    assert_eq!(life.phase(start().plus(secs(646))), Phase::Refresh);
}

#[test]
fn token_expires_on_whichever_clock_is_first() {
    let life = lifetime(900);
    let now = start();
    let wall_ahead = Moment { wall: later(now.wall, secs(3600)), ..now };
    assert_eq!(life.phase(wall_ahead), Phase::Expired);
    let wall_behind = Moment {
        wall: now.wall.checked_sub(secs(3600)).unwrap(),
        monotonic: now.monotonic.plus(secs(880)),
    };
    assert_eq!(life.phase(wall_behind), Phase::Expired);
}

prop_compose! {
    fn policies()(outage in 1_u64..300, above in 0_u64..600, ahead in 1_u64..900, max in 1_u64..3600)
        -> LifetimePolicy {
        LifetimePolicy {
            outage_min_remaining: secs(outage),
            min_remaining: secs(outage + above),
            refresh_ahead: secs(outage + above + ahead),
            max_token_life: secs(outage + above + ahead + max),
        }
    }
}

proptest! {
    /// Promise P3. Also: the life before the refresh lasts at least two thirds of the usable life.
    #[test]
    fn p3_phases_are_ordered_and_respect_the_floors(
        policy in policies(),
        life_ms in 0_u64..7_200_000,
        ahead_ms in -7_200_000_i64..7_200_000,
        jitter in 0.0_f64..1.0,
        ages in proptest::collection::vec(0_u64..7_300_000, 1..20),
    ) {
        let ahead = jiff::SignedDuration::from_millis(ahead_ms);
        let date = start().wall.checked_sub(ahead).unwrap();
        let expiry = later(date, Duration::from_millis(life_ms));
        let report = ReportedExpiry { expiry, date: Some(date), sent: start(), received: start().wall };
        let readings = [Duration::from_millis(life_ms), until(expiry, start().wall)];
        let [on_juspays_clock, on_this_clock] = readings;
        let Some(life) = Lifetime::new(&policy, &report, jitter) else {
            let shortest = on_juspays_clock.min(on_this_clock);
            prop_assert!(shortest < policy.outage_min_remaining + secs(6));
            return Ok(());
        };
        let whole = life.remaining(start());
        prop_assert!(whole <= policy.max_token_life);
        prop_assert!(whole < on_juspays_clock && whole < on_this_clock);
        prop_assert!(life.expiry() < expiry, "later than Juspay reports, on this server's clock");
        let usable = life.ttl(start());
        let mut ages = ages;
        ages.sort_unstable();
        let mut last = Phase::Fresh;
        for age in ages {
            let now = start().plus(Duration::from_millis(age));
            let (phase, left) = (life.phase(now), life.remaining(now));
            prop_assert!(phase == Phase::Expired || left >= policy.outage_min_remaining);
            prop_assert!(
                matches!(phase, Phase::Expired | Phase::Stale)
                    || left >= policy.min_remaining.min(whole / 4)
            );
            prop_assert!(phase != Phase::Refresh || Duration::from_millis(age) + secs(1) >= usable * 2 / 3);
            prop_assert!(order(phase) >= order(last), "{last:?} then {phase:?}");
            last = phase;
        }
    }
}

fn order(phase: Phase) -> u8 {
    match phase {
        Phase::Fresh => 0,
        Phase::Refresh => 1,
        Phase::Stale => 2,
        Phase::Expired => 3,
    }
}
