//! Unknown `kid`s, fetches and failures, with the issuer scripted and the clock turned by hand.

use std::time::Duration;

use serde_json::json;

use crate::auth::{
    AuthError,
    testing::{
        COOLDOWN, MAX_STALE, P256, REFRESH, START, issuer, locally, set, settle, token, unfetched,
        world,
    },
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_unknown_kid_is_fetched_and_found() {
    locally(async {
        let world = world().await;
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k2")]);
        assert_eq!(world.outcome(&token("k2", json!({}))).await, Ok("alice".to_owned()));
        assert_eq!(world.origin().fetches(), 2);
        assert_eq!(world.waiting(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_kid_is_refused_only_when_a_fetch_for_it_lacks_it() {
    locally(async {
        let world = world().await;
        let forged = token("k2", json!({}));
        assert_eq!(world.outcome(&forged).await, Err("unknown_key"));
        assert_eq!(world.origin().fetches(), 2);

        world.pass(Duration::from_secs(3)).await;
        assert_eq!(world.outcome(&forged).await, Err("unknown_key"), "known to be lacking");
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(7) };
        assert_eq!(
            world.check(&token("k3", json!({}))).await,
            Err(unavailable),
            "never looked for"
        );
        assert_eq!(world.origin().fetches(), 2, "one fetch a cool-down");

        world.pass(Duration::from_millis(6_999)).await;
        assert_eq!(world.outcome(&forged).await, Err("unknown_key"));
        let unavailable = AuthError::KeysUnavailable { retry_after: SECOND };
        assert_eq!(world.check(&token("k3", json!({}))).await, Err(unavailable));
        assert_eq!(world.origin().fetches(), 2);

        world.pass(Duration::from_millis(1)).await;
        world.origin().serve(&[P256.jwk("k2")]);
        assert_eq!(world.outcome(&forged).await, Ok("alice".to_owned()), "the cool-down is over");
        assert_eq!(world.origin().fetches(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_kids_makes_one_fetch_and_never_costs_a_good_token_its_session() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let flood: Vec<_> =
            (0..100).map(|n| world.spawn(token(&format!("x{n}"), json!({})))).collect();
        let good = world.spawn(token("new", json!({})));
        settle().await;
        assert_eq!(world.waiting(), 101);
        assert_eq!(world.origin().fetches(), 2);
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("new")]);
        world.origin().hold(false);

        assert!(good.await.unwrap().is_ok());
        let mut reasons = Vec::new();
        for request in flood {
            reasons.push(request.await.unwrap().unwrap_err().reason());
        }
        let refused = reasons.iter().filter(|reason| **reason == "unknown_key").count();
        let open = reasons.iter().filter(|reason| **reason == "keys_unavailable").count();
        assert!((1..=64).contains(&refused) && refused + open == 100, "{refused} {open}");
        for n in 0..500 {
            let outcome = world.outcome(&token(&format!("y{n}"), json!({}))).await;
            assert_eq!(outcome, Err("keys_unavailable"));
        }
        assert_eq!(world.origin().fetches(), 2);
        assert_eq!(world.waiting(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_joins_a_scheduled_fetch_gets_a_fetch_of_its_own_after_it() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        world.pass(REFRESH).await;
        assert_eq!(world.origin().fetches(), 2);
        let request = world.spawn(token("k2", json!({"exp": START + 900})));
        settle().await;
        assert_eq!(world.origin().fetches(), 2, "joined");
        world.origin().hold(false);
        assert_eq!(request.await.unwrap().unwrap_err().reason(), "unknown_key");
        assert_eq!(world.origin().fetches(), 3, "the first began before the request came");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_joins_a_fetch_it_did_not_cause_is_not_refused_by_it() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let first = world.spawn(token("k2", json!({})));
        settle().await;
        let second = world.spawn(token("k3", json!({})));
        let third = world.spawn(token("k4", json!({})));
        settle().await;
        world.pass(SECOND).await;
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k4")]);
        world.origin().hold(false);
        assert_eq!(first.await.unwrap().unwrap_err().reason(), "unknown_key");
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(9) };
        assert_eq!(second.await.unwrap(), Err(unavailable));
        assert!(third.await.unwrap().is_ok(), "a joined fetch may well bring the key");
        assert_eq!(world.origin().fetches(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_failed_fetch_leaves_the_question_open_and_the_keys_in_use() {
    locally(async {
        let world = world().await;
        world.origin().fail();
        let unavailable = AuthError::KeysUnavailable { retry_after: COOLDOWN };
        assert_eq!(world.check(&token("k2", json!({}))).await, Err(unavailable.clone()));
        assert_eq!(world.check(&token("k2", json!({}))).await, Err(unavailable));
        assert_eq!(world.origin().fetches(), 2);
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert!(world.auth.ready());
    })
    .await;
}

#[tokio::test]
async fn a_slow_fetch_is_waited_for_two_seconds() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let request = world.spawn(token("k2", json!({})));
        settle().await;
        world.pass(Duration::from_millis(1999)).await;
        assert!(!request.is_finished());
        assert_eq!(world.waiting(), 1);
        world.pass(Duration::from_millis(1)).await;
        assert!(request.is_finished());
        assert_eq!(world.waiting(), 0);
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(8) };
        assert_eq!(request.await.unwrap(), Err(unavailable));

        world.pass(Duration::from_secs(3)).await;
        let failures = world.metrics.auth.jwks_refreshes.with_label_values(&["main", "failure"]);
        assert_eq!(failures.get(), 1, "the fetch itself is given up after five");
    })
    .await;
}

#[tokio::test]
async fn sets_are_refreshed_on_a_schedule_and_sooner_after_a_failure() {
    locally(async {
        let world = world().await;
        let refreshes =
            |outcome| world.metrics.auth.jwks_refreshes.with_label_values(&["main", outcome]).get();
        assert_eq!((refreshes("success"), refreshes("failure")), (1, 0));
        world.pass(Duration::from_secs(239)).await;
        assert_eq!(world.origin().fetches(), 1);
        world.pass(Duration::from_secs(61)).await;
        assert_eq!(world.origin().fetches(), 2);
        let last_success = world.metrics.auth.jwks_last_success.with_label_values(&["main"]);
        assert!((last_success.get() - 1_767_225_900.0).abs() < 0.001);
        assert_eq!(world.metrics.auth.jwks_keys.with_label_values(&["main"]).get(), 1);

        world.origin().fail();
        world.pass(REFRESH).await;
        assert_eq!((refreshes("success"), refreshes("failure")), (2, 1));
        world.pass(Duration::from_secs(7)).await;
        assert_eq!(world.origin().fetches(), 3);
        world.pass(Duration::from_secs(3)).await;
        assert_eq!(world.origin().fetches(), 4);
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k2")]);
        world.pass(COOLDOWN).await;
        assert_eq!((refreshes("success"), refreshes("failure")), (3, 2));
        assert_eq!(world.metrics.auth.jwks_keys.with_label_values(&["main"]).get(), 2);
        world.pass(COOLDOWN).await;
        assert_eq!(world.origin().fetches(), 5, "back on schedule");
    })
    .await;
}

#[tokio::test]
async fn the_first_fetch_is_waited_for() {
    locally(async {
        let world = unfetched([("main", issuer(), set(&[P256.jwk("k1")]))]);
        world.origin().hold(true);
        let request = world.spawn(token("k1", json!({})));
        settle().await;
        assert!(!world.auth.ready());
        assert_eq!(world.waiting(), 1);
        world.origin().hold(false);
        assert!(request.await.unwrap().is_ok());
        assert!(world.auth.ready());
        assert_eq!(world.origin().fetches(), 1);
    })
    .await;
}

#[tokio::test]
async fn without_keys_every_token_is_an_open_question() {
    locally(async {
        let world = unfetched([("main", issuer(), set(&[]))]);
        settle().await;
        assert_eq!(world.origin().fetches(), 1);
        for _ in 0..3 {
            let unavailable = AuthError::KeysUnavailable { retry_after: COOLDOWN };
            assert_eq!(world.check(&token("k1", json!({}))).await, Err(unavailable));
        }
        assert_eq!(world.origin().fetches(), 2, "one more for the requests");
        assert!(!world.auth.ready());
        world.origin().serve(&[P256.jwk("k1")]);
        world.pass(COOLDOWN).await;
        assert!(world.auth.ready());
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_fetch_of_the_same_set_makes_it_fresh_again() {
    locally(async {
        let world = world().await;
        world.pass(REFRESH).await;
        world.origin().fail();
        world.pass(MAX_STALE).await;
        assert!(world.auth.ready());
        world.pass(SECOND).await;
        assert!(!world.auth.ready());
    })
    .await;
}

#[tokio::test]
async fn an_issuer_without_keys_does_not_hinder_another() {
    let mut broken = issuer();
    broken.issuer = "https://broken.example".to_owned();
    locally(async {
        let world =
            unfetched([("main", issuer(), set(&[P256.jwk("k1")])), ("second", broken, set(&[]))]);
        settle().await;
        assert!(world.auth.ready());
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        let of_broken = token("k1", json!({"iss": "https://broken.example"}));
        assert_eq!(world.outcome(&of_broken).await, Err("keys_unavailable"));
    })
    .await;
}
