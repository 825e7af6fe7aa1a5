//! Random sequences of events: clock changes, behaviors of Juspay, purges, requests with any directives,
//! disconnecting clients. The promises hold after each step.

use std::{collections::HashSet, time::Duration};

use jiff::SignedDuration;
use juspay_bff::{
    cache::{Detail, Found, Freshness, Lookup, LookupError, Source},
    clock::{Clock, Moment},
    juspay::{JuspayError, RejectedBy},
};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::task::JoinHandle;

use super::{
    flaky_upstream::{Behavior, Stage, settle_briefly},
    world::{id, lookup, run, secs, settle, token},
};

const CUSTOMERS: [&str; 2] = ["alice", "bob"];

/// `juspay.deadline`
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum Step {
    Advance(Duration),
    JumpWall(i64),
    SetBehavior(Behavior),
    Request(Lookup),
    /// The client that has waited longest disconnects.
    Disconnect,
    Purge(&'static str),
    PurgeAll,
    Sweep,
}

type Client = JoinHandle<Result<Found, LookupError>>;

/// A request without a response yet.
struct Waiting {
    lookup: Lookup,
    /// The tokens that were returned before it arrived.
    returned: HashSet<String>,
    client: Client,
}

#[derive(Default)]
struct Totals {
    responses: u64,
    disconnects: u64,
    tokens: u64,
    returned: HashSet<String>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn p3_p4_p5_hold_in_any_order(steps in vec(steps(), 1..60)) {
        run(play(steps));
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_000_u64).prop_map(|millis| Step::Advance(Duration::from_millis(millis))),
        3 => (0..400_u64).prop_map(|whole| Step::Advance(secs(whole))),
        // The machine was suspended.
        1 => (1..100_000_u64).prop_map(|whole| Step::Advance(secs(whole))),
        2 => select(vec![-3600, -60, -1, 1, 60, 700, 3600]).prop_map(Step::JumpWall),
        3 => behaviors().prop_map(Step::SetBehavior),
        9 => lookups().prop_map(Step::Request),
        1 => Just(Step::Disconnect),
        1 => select(CUSTOMERS.to_vec()).prop_map(Step::Purge),
        1 => Just(Step::PurgeAll),
        1 => Just(Step::Sweep),
    ]
}

fn behaviors() -> impl Strategy<Value = Behavior> {
    let lives = select(vec![20, 36, 60, 120, 300, 900, 5000]);
    let after = select(vec![0, 1, 249, 250, 1000, 4999, 5000]).prop_map(Duration::from_millis);
    let errors = select(vec![
        JuspayError::Status(500, None),
        JuspayError::RejectedCredentials(RejectedBy::Juspay),
        JuspayError::BreakerOpen(secs(5)),
        JuspayError::CustomerNotFound,
    ]);
    prop_oneof![
        3 => (lives, after.clone()).prop_map(|(life, after)| Behavior::Succeeds { life, after }),
        2 => (errors, after).prop_map(|(error, after)| Behavior::Fails { error, after }),
        1 => Just(Behavior::Hangs),
    ]
}

fn lookups() -> impl Strategy<Value = Lookup> {
    let min_fresh = proptest::option::of(select(vec![0, 40, 100, 200, 700, 890, 10_000]));
    let flag = || prop::bool::weighted(0.25);
    let new_token = prop_oneof![
        6 => Just((false, false)),
        1 => Just((true, false)),
        1 => Just((true, true)),
    ];
    let parts = (select(CUSTOMERS.to_vec()), flag(), min_fresh, new_token, flag());
    parts.prop_map(|(customer, without_token, min_fresh, new_token, only_if_cached)| {
        let (min_fresh, (no_cache, must_be_new)) = (min_fresh.map(secs), new_token);
        let freshness = Freshness { min_fresh, no_cache, must_be_new, only_if_cached };
        Lookup { want_token: !without_token, freshness, ..lookup(customer) }
    })
}

async fn play(steps: Vec<Step>) {
    let stage = Stage::new(Behavior::succeeds(900));
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut totals = Totals::default();
    for step in steps {
        match step {
            Step::Advance(time) => stage.world.clock.advance(time),
            Step::JumpWall(by) => stage.world.clock.jump_wall(SignedDuration::from_secs(by)),
            Step::SetBehavior(behavior) => stage.juspay.set_behavior(behavior),
            Step::Request(lookup) => {
                let client = stage.client(lookup.clone());
                waiting.push(Waiting { lookup, returned: totals.returned.clone(), client });
            }
            Step::Disconnect if waiting.is_empty() => {}
            Step::Disconnect => {
                waiting.remove(0).client.abort();
                totals.disconnects += 1;
            }
            Step::Purge(customer) => drop(stage.world.cache.purge(&id(customer))),
            Step::PurgeAll => drop(stage.world.cache.purge_all()),
            Step::Sweep => stage.world.sweep(),
        }
        settle().await;
        check_responses(&stage, &mut waiting, &mut totals).await;
    }
    // P7: no request waits forever, although a purge may have made a fetch wait for another.
    for _ in 0..3 {
        stage.advance(DEADLINE).await;
        settle_briefly().await;
        settle().await;
        check_responses(&stage, &mut waiting, &mut totals).await;
    }
    assert!(waiting.is_empty(), "{:?}", waiting[0].lookup);
    check_counts(&stage, &totals);
}

async fn check_responses(stage: &Stage, waiting: &mut Vec<Waiting>, totals: &mut Totals) {
    assert!(stage.juspay.max_running_per_customer() <= 1, "P4");
    for waiting in waiting.extract_if(.., |it| it.client.is_finished()) {
        totals.responses += 1;
        if let Ok(found) = waiting.client.await.expect("P7: no panic") {
            check(stage, &waiting.lookup, &found);
            let Some(token) = token(&found) else { continue };
            totals.tokens += 1;
            let is_old = waiting.returned.contains(&token);
            assert!(!(is_old && waiting.lookup.freshness.must_be_new), "{found:?}");
            totals.returned.insert(token);
        }
    }
}

fn check(stage: &Stage, lookup: &Lookup, found: &Found) {
    let now = stage.world.clock.moment();
    let Some(token) = token(found) else {
        assert!(!lookup.want_token);
        assert_eq!((found.expires_in, found.detail == Some(Detail::Outage)), (None, false));
        return;
    };
    assert!(lookup.want_token);
    let (end, life) = stage.juspay.end_and_life(&token);
    let left = end.remaining(now);
    assert_eq!(found.expires_in, Some(left), "by the more conservative clock");
    assert!(left >= secs(30), "P3: {found:?}");
    assert_eq!(found.ttl + floor(life, end, now, found), left, "{found:?}");
    let is_unmet = lookup.freshness.min_fresh.is_some_and(|least| left < least);
    let is_limited = found.detail == Some(Detail::RefreshLimited);
    assert!(is_limited || (found.detail == Some(Detail::MinFreshUnmet)) == is_unmet, "{found:?}");
    let Freshness { no_cache, must_be_new, .. } = lookup.freshness;
    assert!(!is_limited || (no_cache && !must_be_new), "{found:?}");
    if lookup.freshness.only_if_cached {
        assert_eq!(found.source, Source::Hit);
    }
}

/// The floor of the response: the normal one, unless its detail says otherwise.
fn floor(life: Duration, end: Moment, now: Moment, found: &Found) -> Duration {
    let normal = secs(30).max(secs(120).min(life / 4));
    if end.remaining(now) >= normal {
        return normal;
    }
    let has_detail = matches!(found.detail, Some(Detail::Outage | Detail::MinFreshUnmet));
    assert!(has_detail && found.source == Source::Hit, "P3: below the normal floor: {found:?}");
    secs(30)
}

/// Each lookup and each hand-out is counted once, and no request is counted as waiting.
fn check_counts(stage: &Stage, totals: &Totals) {
    let outcomes = ["hit", "miss", "joined", "outage", "not_found", "bypass"];
    let total: u64 = outcomes.iter().map(|outcome| stage.world.requests(outcome)).sum();
    // A client may have disconnected just after its response.
    assert!((totals.responses..=totals.responses + totals.disconnects).contains(&total), "{total}");
    let handed_out = stage.world.metrics.cache.hand_out_remaining.get_sample_count();
    assert!((totals.tokens..=totals.tokens + totals.disconnects).contains(&handed_out));
    assert_eq!(stage.world.waiting(), 0);
}
