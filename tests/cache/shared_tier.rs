//! The cache with a shared tier: what it looks up there, and what it stores, announces and counts.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use juspay_bff::{
    cache::{Detail, Forward, Lookup, LookupError, Purged, Source},
    clock::{Clock as _, Monotonic},
    customer::{CustomerJson, NewCustomerField},
    juspay::{ConnectionFailure, InvalidResponse, JuspayError, NotCreated, RejectedBy},
    settings::MaxHandOuts,
    shared::{
        Content, Failure, FailureCode, Found as SharedFound, LeaseId, LookUp, News, SharedCustomer,
        SharedLife, Version,
    },
    traces::{Queue, Sampling, Tracer},
};
use prometheus::IntCounter;

use super::{
    fake_tier::{FakeTier, lease},
    world::{
        STALE_FROM, World, failure, id, lookup, min_fresh, no_cache, run, secs, settle, token,
        tokenless,
    },
};

/// A cache with a tier.
fn world() -> (World, Arc<FakeTier>) {
    world_with(|_| {})
}

fn world_with(change: impl FnOnce(&mut juspay_bff::settings::Settings)) -> (World, Arc<FakeTier>) {
    let tier = Arc::new(FakeTier::default());
    let world = World::with_tier(change, Some(Arc::<FakeTier>::clone(&tier) as _));
    // So that tokens can be older than the test.
    world.clock.advance(secs(3600));
    (world, tier)
}

/// Another replica's token, which was fetched `age` seconds ago and lives for 900 s.
fn shared(world: &World, token: &str, age: u64, version: u64) -> SharedCustomer {
    let head = br#"{"id":"cst_1""#;
    let body = format!(r#"{{"id":"cst_1","juspay":{{"client_auth_token":"{token}"}}}}"#);
    let json = CustomerJson::from_parts(Bytes::from(body), head.len()).unwrap();
    let now = world.clock.moment();
    let life = SharedLife {
        born: Monotonic::new(now.monotonic.since(Monotonic::new(secs(age)))),
        end: now.plus(secs(900 - age)),
        total: secs(900),
        refresh_lead: secs(180),
    };
    SharedCustomer { json, life, version: Version(version) }
}

fn found(value: SharedCustomer) -> LookUp {
    LookUp::Found(SharedFound::Customer(value))
}

#[test]
fn p4_another_replicas_token_is_served_without_a_call() {
    run(async {
        let (world, tier) = world();
        tier.answer(found(shared(&world, "tkn_shared", 100, 7)));
        let result = world.client(lookup("alice")).await.unwrap().unwrap();
        assert_eq!(token(&result).as_deref(), Some("tkn_shared"));
        assert_eq!(result.source, Source::Shared);
        assert_eq!(result.expires_in, Some(secs(800)));
        assert_eq!(world.juspay.calls("alice"), 0);
        assert_eq!(world.hit("alice"), "tkn_shared");
        assert_eq!(tier.requests().len(), 1, "the second request is a hit in memory");
    });
}

#[test]
fn look_up_in_the_tier_has_a_span_below_the_fetch() {
    run(async {
        let (world, tier) = world();
        let (queue, mut waiting) = Queue::new(IntCounter::new("lost", "lost").unwrap());
        let sampling = Sampling { share: 1.0, trust: false };
        let tracer = Tracer::new(sampling, queue, Arc::new(world.clock.clone()));
        tier.answer(found(shared(&world, "tkn_shared", 100, 7)));
        tier.answer(LookUp::Away(None));
        for customer in ["alice", "bob"] {
            let trace = tracer.draw(None).unwrap();
            let client = world.client(Lookup { trace, ..lookup(customer) });
            settle().await;
            if customer == "bob" {
                world.respond("bob", world.token("tkn_own", 900)).await;
            }
            client.await.unwrap().unwrap();
        }
        let spans = waiting.take().unwrap();
        let named = |name: &str| spans.iter().filter(|it| it.name == name).collect::<Vec<_>>();
        let (fetches, look_ups) = (named("fetch customer"), named("look up shared tier"));
        assert_eq!(look_ups.len(), 2);
        for ((fetch, look_up), outcomes) in
            fetches.iter().zip(look_ups).zip([["shared", "found"], ["success", "away"]])
        {
            assert_eq!(look_up.parent, Some(fetch.place.span_id));
            let [expected_fetch, expected_look_up] = outcomes;
            assert_eq!(fetch.attributes, [("juspay_bff.fetch.outcome", expected_fetch.into())]);
            let attributes = [("juspay_bff.shared.outcome", expected_look_up.into())];
            assert_eq!(look_up.attributes, attributes);
        }
    });
}

#[test]
fn p4_fetched_token_is_stored_for_the_others() {
    run(async {
        let (world, tier) = world();
        world.cache_token("alice", "tkn_own", 0).await;
        settle().await;
        let [Content::Customer { life, normal_floor, .. }] = &tier.stored()[..] else {
            panic!("{:?}", tier.stored());
        };
        assert_eq!(life.total, secs(900));
        assert_eq!(life.end.remaining(world.clock.moment()), secs(900));
        assert_eq!(*normal_floor, secs(120));
        assert_eq!(world.hit("alice"), "tkn_own");
    });
}

#[test]
fn refresh_asks_for_a_newer_version() {
    run(async {
        let (world, tier) = world();
        tier.answer(found(shared(&world, "tkn_7", 0, 7)));
        world.client(lookup("alice")).await.unwrap().unwrap();
        world.clock.advance(secs(700));
        tier.answer(found(shared(&world, "tkn_8", 0, 8)));
        assert_eq!(world.hit("alice"), "tkn_7", "refreshed in the background");
        settle().await;
        assert_eq!(tier.requests()[1].need.newer_than, Some(Version(7)));
        assert_eq!(world.hit("alice"), "tkn_8");
        assert_eq!(world.juspay.calls("alice"), 0);
    });
}

#[test]
fn p3_token_below_its_floor_by_this_replicas_clock_is_not_served() {
    run(async {
        let (world, tier) = world();
        tier.answer(found(shared(&world, "tkn_stale", STALE_FROM, 7)));
        let client = world.start_request("alice").await;
        assert_eq!(tier.requests()[1].need.newer_than, Some(Version(7)));
        world.respond("alice", world.token("tkn_new", 900)).await;
        assert_eq!(token(&client.await.unwrap().unwrap()).as_deref(), Some("tkn_new"));
    });
}

#[test]
fn p5_tiers_token_is_served_in_an_outage() {
    run(async {
        let (world, tier) = world();
        let fallback = shared(&world, "tkn_old", STALE_FROM, 7);
        tier.answer(LookUp::Fetch(lease(id("alice")), Some(fallback)));
        let client = world.start_request("alice").await;
        world.respond("alice", failure(JuspayError::Status(500, None))).await;
        let result = client.await.unwrap().unwrap();
        assert_eq!(token(&result).as_deref(), Some("tkn_old"));
        assert_eq!((result.source, result.detail), (Source::Hit, Some(Detail::Outage)));
        let [Failure::Juspay(_)] = tier.failures()[..] else { panic!("{:?}", tier.failures()) };
    });
}

#[test]
fn replaced_token_is_no_fallback() {
    run(async {
        let (world, tier) = world();
        let fallback = shared(&world, "tkn_dead", 100, 7);
        tier.answer(LookUp::Fetch(lease(id("alice")), Some(fallback)));
        let client = world.request(no_cache("alice"));
        settle().await;
        world.respond("alice", failure(JuspayError::Status(500, None))).await;
        let error = client.await.unwrap().unwrap_err();
        assert_eq!(error, LookupError::Juspay(JuspayError::Status(500, None)));
    });
}

#[test]
fn no_cache_accepts_only_a_token_fetched_moments_ago_and_announces_the_new_one() {
    run(async {
        let (world, tier) = world();
        let client = world.request(no_cache("alice"));
        settle().await;
        world.respond("alice", world.token("tkn_new", 900)).await;
        client.await.unwrap().unwrap();
        let request = tier.requests()[0].clone();
        assert_eq!(request.need.max_age, Some(secs(30)));
        assert!(request.charge.is_some());
        assert_eq!(tier.news(), [News::Newer(id("alice"), Version(1))]);
    });
}

#[test]
fn limit_of_all_replicas_applies() {
    run(async {
        let (world, tier) = world();
        tier.answer(LookUp::Limited(Some(shared(&world, "tkn_7", 100, 7))));
        tier.answer(LookUp::Limited(None));
        let result = world.request(no_cache("alice")).await.unwrap().unwrap();
        assert_eq!(token(&result).as_deref(), Some("tkn_7"));
        assert_eq!(result.detail, Some(Detail::RefreshLimited));
        assert_eq!(world.juspay.calls("alice"), 0);
    });
}

#[test]
fn min_fresh_is_charged_and_asks_for_that_life() {
    run(async {
        let (world, tier) = world();
        tier.answer(found(shared(&world, "tkn_7", 500, 7)));
        let client = world.request(min_fresh("alice", 600));
        settle().await;
        let requests = tier.requests();
        assert_eq!(
            requests[0].need.least_life,
            Duration::ZERO,
            "any token, to know its whole life"
        );
        assert_eq!(requests[1].need.least_life, secs(600));
        assert_eq!(requests[1].need.newer_than, Some(Version(7)));
        assert!(requests[0].charge.is_none() && requests[1].charge.is_some());
        world.respond("alice", world.token("tkn_new", 900)).await;
        assert_eq!(token(&client.await.unwrap().unwrap()).as_deref(), Some("tkn_new"));
    });
}

#[test]
fn p4_failures_are_shared_unless_they_are_trouble_of_this_replica() {
    let shared = [
        JuspayError::Status(503, Some(secs(3))),
        JuspayError::TooManyRequests(Some(secs(30))),
        JuspayError::InvalidResponse(InvalidResponse::NoToken),
        JuspayError::Timeout,
        JuspayError::NotCreated(NotCreated::RejectedField(NewCustomerField::FirstName)),
    ];
    let own = [
        JuspayError::Connection(ConnectionFailure::Resolve),
        JuspayError::BreakerOpen(secs(5)),
        JuspayError::Saturated,
        JuspayError::NotCreated(NotCreated::Limited(secs(5))),
        JuspayError::Aborted,
        JuspayError::RejectedCredentials(RejectedBy::Juspay),
    ];
    let all = shared.into_iter().map(|it| (it, true)).chain(own.into_iter().map(|it| (it, false)));
    for (error, is_shared) in all {
        run(async {
            let (world, tier) = world();
            let client = world.start_request("alice").await;
            world.respond("alice", failure(error.clone())).await;
            assert_eq!(client.await.unwrap().unwrap_err(), error);
            let failures = tier.failures();
            let code = match &failures[..] {
                [Failure::Juspay(code)] if is_shared => code,
                [Failure::Own(code)] if !is_shared => code,
                other => panic!("{error}: {other:?}"),
            };
            // Another replica, which waited for this fetch.
            let (other, tier) = self::world();
            tier.answer(LookUp::Elsewhere(LeaseId::random(), None));
            tier.answer(LookUp::Failed(code.clone()));
            let client = other.start_request("alice").await;
            other.clock.advance(secs(1));
            assert_eq!(client.await.unwrap().unwrap_err(), error);
            assert_eq!(other.juspay.calls("alice"), 0);
        });
    }
}

#[test]
fn token_of_a_customer_that_is_missing_and_not_created_leaves_the_tier() {
    for (error, removals) in [
        (JuspayError::NotCreated(NotCreated::NoMobileNumber), 1),
        (JuspayError::NotCreated(NotCreated::Limited(secs(5))), 1),
        (JuspayError::Status(503, None), 0),
    ] {
        run(async {
            let (world, tier) = world();
            let old = shared(&world, "tkn_old", 100, 7);
            tier.answer(LookUp::Fetch(lease(id("alice")), Some(old)));
            let client = world.start_request("alice").await;
            world.respond("alice", failure(error.clone())).await;
            let result = client.await.unwrap();
            assert_eq!(result.is_err(), removals == 1, "{error}: {result:?}");
            assert_eq!(tier.removals(), removals, "{error}");
        });
    }
}

#[test]
fn failure_of_another_version_of_the_service_leads_to_a_call() {
    run(async {
        let (world, tier) = world();
        tier.answer(LookUp::Failed(FailureCode::new("\"Unheard\"").unwrap()));
        let client = world.start_request("alice").await;
        world.respond("alice", world.token("tkn_own", 900)).await;
        assert!(client.await.unwrap().is_ok());
    });
}

#[test]
fn request_without_token_makes_its_own_call_if_only_the_token_is_missing() {
    run(async {
        let (world, tier) = world();
        let error = JuspayError::InvalidResponse(InvalidResponse::NoToken);
        let code = serde_json::to_string(&error).unwrap();
        tier.answer(LookUp::Failed(FailureCode::new(&code).unwrap()));
        let lookup = juspay_bff::cache::Lookup { want_token: false, ..lookup("alice") };
        let client = world.client(lookup);
        settle().await;
        world.respond("alice", tokenless(InvalidResponse::NoToken)).await;
        assert!(client.await.unwrap().is_ok());
    });
}

#[test]
fn refused_store_removes_the_token_from_memory() {
    run(async {
        let (world, tier) = world();
        tier.refuse();
        let client = world.start_request("alice").await;
        world.respond("alice", world.token("tkn_late", 900)).await;
        let result = client.await.unwrap().unwrap();
        assert_eq!(token(&result).as_deref(), Some("tkn_late"), "those who waited get it");
        assert!(!world.is_cached("alice"), "later requests get what the others have");
    });
}

#[test]
fn purge_during_a_fetch_stores_nothing() {
    run(async {
        let (world, tier) = world();
        let client = world.start_request("alice").await;
        let purged = world.cache.purge_everywhere(&id("alice")).await;
        assert_eq!(purged, Purged { number: 0, is_shared: Some(true) });
        assert_eq!(tier.purged(), [id("alice")]);
        world.respond("alice", world.token("tkn_old", 900)).await;
        assert!(client.await.unwrap().is_ok());
        assert!(tier.stored().is_empty() && !world.is_cached("alice"));
        assert_eq!(tier.failures(), [Failure::None], "the lease ends");
    });
}

#[test]
fn old_token_that_was_found_during_a_purge_is_removed() {
    run(async {
        let (world, tier) = world();
        tier.answer(found(shared(&world, "tkn_old", 100, 7)));
        tier.hold_purges();
        let cache = world.cache.clone();
        let purge =
            tokio::task::spawn_local(async move { cache.purge_everywhere(&id("alice")).await });
        settle().await;
        world.client(lookup("alice")).await.unwrap().unwrap();
        assert!(world.is_cached("alice"), "the tier still had it");
        tier.release_purges();
        assert_eq!(purge.await.unwrap(), Purged { number: 0, is_shared: Some(true) });
        assert!(!world.is_cached("alice"));
    });
}

#[test]
fn purge_that_the_tier_did_not_learn_is_repeated() {
    run(async {
        let (world, tier) = world();
        tier.disconnect();
        let purged = world.cache.purge_everywhere(&id("alice")).await;
        assert_eq!(purged.is_shared, Some(false));
        world.cache.has_unshared().await;
        assert!(!world.cache.repeat_purges().await, "still away");
        tier.connect();
        assert!(world.cache.repeat_purges().await);
        assert_eq!(tier.purged(), [id("alice")]);
        assert_eq!(tier.news(), [News::Purged(id("alice"))]);
    });
}

#[test]
fn no_cache_that_joins_a_lookup_gets_no_old_token() {
    run(async {
        let (world, tier) = world();
        let id_of_other = LeaseId::random();
        tier.answer(LookUp::Elsewhere(id_of_other, None));
        tier.answer(found(shared(&world, "tkn_dead", 100, 7)));
        let plain = world.start_request("alice").await;
        let forced = world.request(no_cache("alice"));
        settle().await;
        world.clock.advance(secs(1));
        settle().await;
        assert_eq!(token(&plain.await.unwrap().unwrap()).as_deref(), Some("tkn_dead"));
        world.respond("alice", world.token("tkn_new", 900)).await;
        assert_eq!(token(&forced.await.unwrap().unwrap()).as_deref(), Some("tkn_new"));
        assert_eq!(tier.news(), [News::Newer(id("alice"), Version(1))]);
    });
}

#[test]
fn no_cache_that_joins_a_call_replaces_the_token_everywhere() {
    run(async {
        let (world, tier) = world();
        let plain = world.start_request("alice").await;
        let forced = world.request(no_cache("alice"));
        settle().await;
        world.respond("alice", world.token("tkn_new", 900)).await;
        assert!(plain.await.unwrap().is_ok() && forced.await.unwrap().is_ok());
        assert_eq!(tier.news(), [News::Newer(id("alice"), Version(1))]);
    });
}

#[test]
fn p5_tiers_token_is_served_if_another_replicas_call_fails() {
    run(async {
        let (world, tier) = world();
        let old = shared(&world, "tkn_old", STALE_FROM, 7);
        tier.answer(LookUp::Elsewhere(LeaseId::random(), Some(old)));
        let error = serde_json::to_string(&JuspayError::Status(500, None)).unwrap();
        tier.answer(LookUp::Failed(FailureCode::new(&error).unwrap()));
        let client = world.start_request("alice").await;
        world.clock.advance(secs(1));
        let result = client.await.unwrap().unwrap();
        assert_eq!(token(&result).as_deref(), Some("tkn_old"));
        assert_eq!(result.detail, Some(Detail::Outage));
        assert_eq!(world.juspay.calls("alice"), 0);
    });
}

#[test]
fn limit_does_not_apply_if_this_replica_has_no_usable_token() {
    run(async {
        let (world, tier) = world();
        // By this replica's clock, the tier's token is not usable.
        tier.answer(LookUp::Limited(Some(shared(&world, "tkn_stale", STALE_FROM, 7))));
        let client = world.request(no_cache("alice"));
        settle().await;
        assert!(tier.requests()[1].charge.is_none());
        world.respond("alice", world.token("tkn_new", 900)).await;
        assert_eq!(token(&client.await.unwrap().unwrap()).as_deref(), Some("tkn_new"));
    });
}

#[test]
fn limit_of_this_process_applies_while_the_tier_is_away() {
    run(async {
        let rate = "1/min".parse().unwrap();
        let (world, tier) =
            world_with(|settings| settings.limits.force_refresh_per_customer = Some(rate));
        world.cache_token("alice", "tkn_1", 60).await;
        tier.answer(LookUp::Away(None));
        let client = world.request(no_cache("alice"));
        settle().await;
        world.respond("alice", world.token("tkn_2", 900)).await;
        assert!(client.await.unwrap().is_ok());
        world.clock.advance(secs(31));
        tier.answer(LookUp::Away(None));
        let result = world.request(no_cache("alice")).await.unwrap().unwrap();
        assert_eq!(token(&result).as_deref(), Some("tkn_2"));
        assert_eq!(result.detail, Some(Detail::RefreshLimited));
    });
}

#[test]
fn older_token_is_forgotten_and_a_newer_one_kept() {
    run(async {
        let (world, tier) = world();
        tier.answer(found(shared(&world, "tkn_7", 0, 7)));
        world.client(lookup("alice")).await.unwrap().unwrap();
        world.cache.forget_older(&id("alice"), Version(7));
        assert!(world.is_cached("alice"));
        world.cache.forget_older(&id("alice"), Version(8));
        assert!(!world.is_cached("alice"));
    });
}

#[test]
fn hand_outs_of_all_replicas_count() {
    for max_hand_outs in [MaxHandOuts::Number(10), MaxHandOuts::Auto] {
        run(hand_outs_are_shared(max_hand_outs));
    }
}

async fn hand_outs_are_shared(max_hand_outs: MaxHandOuts) {
    let (world, tier) = world_with(|settings| settings.cache.max_hand_outs = max_hand_outs);
    tier.answer(found(shared(&world, "tkn_7", 0, 7)));
    tier.hand_out(8);
    let mut reports = Box::pin(world.cache.report_hand_outs());
    world.client(lookup("alice")).await.unwrap().unwrap();
    assert!(reports.as_mut().now_or_never().is_none(), "runs until dropped");
    assert_eq!(tier.hand_outs(), 9);
    world.clock.advance(secs(60));
    assert_eq!(world.hit("alice"), "tkn_7");
    settle().await;
    assert_eq!(tier.requests().len(), 1, "the last one was not reported yet");
    world.clock.advance(secs(1));
    assert!(reports.as_mut().now_or_never().is_none());
    assert_eq!(tier.hand_outs(), 10);
    world.hit("alice");
    settle().await;
    assert_eq!(tier.requests().len(), 2, "a refresh is due");
}

#[test]
fn p4_without_the_tier_each_replica_calls_once() {
    run(async {
        let (world, tier) = world();
        for lease in [None, Some(lease(id("alice")))] {
            tier.answer(LookUp::Away(lease));
            let client = world.start_request("alice").await;
            world.respond("alice", world.token("tkn_own", 900)).await;
            let result = client.await.unwrap().unwrap();
            let source = Source::Fetched { forward: Forward::Miss, collapsed: false, stored: true };
            assert_eq!(result.source, source);
            world.cache.purge(&id("alice"));
        }
        assert_eq!(tier.stored().len(), 1, "under the lease that may be held");
    });
}
