//! Unknown `kid`s, fetches and failures, with a scripted issuer and a manual clock.

mod ages;

use std::time::Duration;

use juspay_bff::auth::AuthError;
use serde_json::json;

use super::{
    testing::{
        COOLDOWN, MAX_STALE, OTHER_P256, P256, REFRESH, START, issuer, locally, set, settle,
    },
    world::{World, signed, token, unfetched, world},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn unknown_kids_are_fetched_and_found() {
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
async fn unknown_kids_are_rejected_only_after_a_fetch_without_them() {
    locally(async {
        let world = world().await;
        let forged = token("k2", json!({}));
        assert_eq!(world.outcome(&forged).await, Err("unknown_key"));
        assert_eq!(world.origin().fetches(), 2);

        world.advance(Duration::from_secs(3)).await;
        assert_eq!(world.outcome(&forged).await, Err("unknown_key"), "remembered as missing");
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(7) };
        assert_eq!(
            world.check(&token("k3", json!({}))).await.map(drop),
            Err(unavailable),
            "never looked for"
        );
        assert_eq!(world.origin().fetches(), 2, "one fetch per cool-down");

        world.advance(Duration::from_millis(6_999)).await;
        assert_eq!(world.outcome(&forged).await, Err("unknown_key"));
        let unavailable = AuthError::KeysUnavailable { retry_after: SECOND };
        assert_eq!(world.check(&token("k3", json!({}))).await.map(drop), Err(unavailable));
        assert_eq!(world.origin().fetches(), 2);

        world.advance(Duration::from_millis(1)).await;
        world.origin().serve(&[P256.jwk("k2")]);
        assert_eq!(world.outcome(&forged).await, Ok("alice".to_owned()), "the cool-down is over");
        assert_eq!(world.origin().fetches(), 3);
    })
    .await;
}

#[tokio::test]
async fn floods_of_kids_cause_one_fetch_and_never_a_401_for_valid_tokens() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let flood: Vec<_> =
            (0..100).map(|n| world.spawn(token(&format!("x{n}"), json!({})))).collect();
        let valid = world.spawn(token("new", json!({})));
        settle().await;
        assert_eq!(world.waiting(), 101);
        assert_eq!(world.origin().fetches(), 2);
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("new")]);
        world.origin().hold(false);

        assert!(valid.await.unwrap().is_ok());
        let mut reasons = Vec::new();
        for request in flood {
            reasons.push(request.await.unwrap().unwrap_err().reason());
        }
        let rejected = reasons.iter().filter(|reason| **reason == "unknown_key").count();
        let open = reasons.iter().filter(|reason| **reason == "keys_unavailable").count();
        assert!((1..=64).contains(&rejected) && rejected + open == 100, "{rejected} {open}");
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
async fn requests_that_join_a_scheduled_fetch_get_their_own_fetch_after_it() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        world.advance(REFRESH).await;
        assert_eq!(world.origin().fetches(), 2);
        let request = world.spawn(token("k2", json!({"exp": START + 900})));
        settle().await;
        assert_eq!(world.origin().fetches(), 2, "joined");
        world.origin().hold(false);
        assert_eq!(request.await.unwrap().unwrap_err().reason(), "unknown_key");
        assert_eq!(world.origin().fetches(), 3, "the first fetch began before the request");
    })
    .await;
}

#[tokio::test]
async fn fetches_for_other_kids_do_not_reject_a_request() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let first = world.spawn(token("k2", json!({})));
        settle().await;
        let second = world.spawn(token("k3", json!({})));
        let third = world.spawn(token("k4", json!({})));
        settle().await;
        world.advance(SECOND).await;
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k4")]);
        world.origin().hold(false);
        assert_eq!(first.await.unwrap().unwrap_err().reason(), "unknown_key");
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(9) };
        assert_eq!(second.await.unwrap().map(drop), Err(unavailable));
        assert!(third.await.unwrap().is_ok(), "a later fetch may find the key");
        assert_eq!(world.origin().fetches(), 2);
    })
    .await;
}

#[tokio::test]
async fn reused_kids_are_detected_by_one_fetch() {
    locally(async {
        let world = world().await;
        let (old, new) = (token("k1", json!({})), signed(&OTHER_P256, "k1", json!({})));
        assert_eq!(world.outcome(&old).await, Ok("alice".to_owned()));
        world.origin().serve(&[OTHER_P256.jwk("k1")]);
        assert_eq!(world.outcome(&new).await, Ok("alice".to_owned()), "outside the cool-down");
        assert_eq!(world.origin().fetches(), 2);
        assert_eq!(
            world.outcome(&old).await,
            Err("signature"),
            "a fetch has just confirmed the key set"
        );
        assert_eq!(world.origin().fetches(), 2);
    })
    .await;
}

#[tokio::test]
async fn p6_reused_kids_are_a_503_while_the_issuer_is_unreachable() {
    locally(async {
        let world = world().await;
        let new = signed(&OTHER_P256, "k1", json!({}));
        world.origin().serve(&[OTHER_P256.jwk("k1")]);
        // Another request's unknown kid has already used the fetch of this cool-down.
        world.origin().fail();
        assert_eq!(world.outcome(&token("x", json!({}))).await, Err("keys_unavailable"));
        world.origin().serve(&[OTHER_P256.jwk("k1")]);
        world.advance(Duration::from_secs(4)).await;
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(6) };
        assert_eq!(world.check(&new).await.map(drop), Err(unavailable));
        world.advance(Duration::from_secs(6)).await;
        assert_eq!(world.outcome(&new).await, Ok("alice".to_owned()));
        assert_eq!(world.origin().fetches(), 3);
    })
    .await;
}

#[tokio::test]
async fn floods_of_forged_signatures_cause_one_fetch_per_cool_down() {
    locally(async {
        let world = world().await;
        let known = token("k1", json!({}));
        assert_eq!(world.outcome(&known).await, Ok("alice".to_owned()));
        for round in 1..=3 {
            for n in 0..200 {
                let forged = signed(&OTHER_P256, "k1", json!({"sub": format!("x{round}-{n}")}));
                assert_eq!(world.outcome(&forged).await, Err("signature"));
            }
            assert_eq!(world.origin().fetches(), 1 + round);
            let unseen = token("k1", json!({"sub": "bob", "jti": round}));
            assert_eq!(world.outcome(&unseen).await, Ok("bob".to_owned()));
            assert!(world.has_cached(&known));
            world.advance(COOLDOWN).await;
        }
        assert_eq!(world.waiting(), 0);
    })
    .await;
}

#[tokio::test]
async fn invalid_signatures_are_not_a_401_while_the_issuer_is_down() {
    locally(async {
        let world = world().await;
        world.origin().fail();
        let forged = signed(&OTHER_P256, "k1", json!({}));
        for fetches in [2, 2] {
            assert_eq!(world.outcome(&forged).await, Err("keys_unavailable"));
            assert_eq!(world.origin().fetches(), fetches);
        }
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn fetches_started_before_a_rejected_signature_do_not_revalidate() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        world.advance(REFRESH).await;
        let revalidating = world.spawn(signed(&OTHER_P256, "k1", json!({"exp": START + 900})));
        settle().await;
        assert_eq!((world.origin().fetches(), world.waiting()), (2, 1), "joined");
        world.origin().hold(false);
        assert_eq!(revalidating.await.unwrap().unwrap_err().reason(), "signature");
        assert_eq!(world.origin().fetches(), 3, "one fetch for the rejected signature");
    })
    .await;
}

#[tokio::test]
async fn requests_waiting_for_keys_are_limited() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let flood: Vec<_> =
            (0..600).map(|n| world.spawn(token(&format!("x{n}"), json!({})))).collect();
        settle().await;
        assert_eq!(world.waiting(), 500, "half of the limit");
        world.origin().hold(false);
        let mut turned_away = 0;
        for request in flood {
            let reason = request.await.unwrap().unwrap_err().reason();
            turned_away += u32::from(reason == "overloaded");
        }
        assert_eq!(turned_away, 100);
    })
    .await;
}

#[tokio::test]
async fn invalid_sets_keep_the_previous_one() {
    locally(async {
        let world = world().await;
        let gauge = |world: &World| {
            let auth = &world.metrics.auth;
            let keys = auth.jwks_keys.with_label_values(&["main"]).get();
            (keys, auth.jwks_keys_left_out.with_label_values(&["main"]).get())
        };
        let symmetric = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"});
        for invalid in [vec![], vec![symmetric.clone()], vec![json!({"kty": "EC"}), json!(1)]] {
            world.origin().serve(&invalid);
            world.advance(REFRESH).await;
            assert_eq!(gauge(&world), (1, 0), "keys of the current set");
            let valid = token("k1", json!({"exp": START + 9000}));
            assert_eq!(world.outcome(&valid).await, Ok("alice".to_owned()));
        }
        world.origin().serve(&[P256.jwk("k1"), symmetric, json!({})]);
        world.advance(REFRESH).await;
        assert_eq!(gauge(&world), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn failed_fetches_are_unavailable_and_keep_the_keys() {
    locally(async {
        let world = world().await;
        world.origin().fail();
        let unavailable = AuthError::KeysUnavailable { retry_after: COOLDOWN };
        assert_eq!(world.check(&token("k2", json!({}))).await.map(drop), Err(unavailable.clone()));
        assert_eq!(world.check(&token("k2", json!({}))).await.map(drop), Err(unavailable));
        assert_eq!(world.origin().fetches(), 2);
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert!(world.auth.ready());
    })
    .await;
}

#[tokio::test]
async fn requests_wait_two_seconds_for_a_fetch() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let request = world.spawn(token("k2", json!({})));
        settle().await;
        world.advance(Duration::from_millis(1999)).await;
        assert!(!request.is_finished());
        assert_eq!(world.waiting(), 1);
        world.advance(Duration::from_millis(1)).await;
        assert!(request.is_finished());
        assert_eq!(world.waiting(), 0);
        let unavailable = AuthError::KeysUnavailable { retry_after: Duration::from_secs(8) };
        assert_eq!(request.await.unwrap().map(drop), Err(unavailable));

        world.advance(Duration::from_secs(3)).await;
        let failures = world.metrics.auth.jwks_refreshes.with_label_values(&["main", "failure"]);
        assert_eq!(failures.get(), 1, "the fetch itself times out after five seconds");
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
        world.advance(Duration::from_secs(239)).await;
        assert_eq!(world.origin().fetches(), 1);
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(world.origin().fetches(), 2);
        let last_success = world.metrics.auth.jwks_last_success.with_label_values(&["main"]);
        assert!((last_success.get() - 1_767_225_900.0).abs() < 0.001);
        assert_eq!(world.metrics.auth.jwks_keys.with_label_values(&["main"]).get(), 1);

        world.origin().fail();
        world.advance(REFRESH).await;
        assert_eq!((refreshes("success"), refreshes("failure")), (2, 1));
        world.advance(Duration::from_secs(7)).await;
        assert_eq!(world.origin().fetches(), 3);
        world.advance(Duration::from_secs(3)).await;
        assert_eq!(world.origin().fetches(), 4);
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k2")]);
        world.advance(COOLDOWN).await;
        assert_eq!((refreshes("success"), refreshes("failure")), (3, 2));
        assert_eq!(world.metrics.auth.jwks_keys.with_label_values(&["main"]).get(), 2);
        world.advance(COOLDOWN).await;
        assert_eq!(world.origin().fetches(), 5, "back on schedule");
    })
    .await;
}

#[tokio::test]
async fn requests_wait_for_the_first_fetch() {
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
async fn without_keys_every_token_is_unavailable() {
    locally(async {
        let world = unfetched([("main", issuer(), set(&[]))]);
        settle().await;
        assert_eq!(world.origin().fetches(), 1);
        for _ in 0..3 {
            let unavailable = AuthError::KeysUnavailable { retry_after: COOLDOWN };
            assert_eq!(world.check(&token("k1", json!({}))).await.map(drop), Err(unavailable));
        }
        assert_eq!(world.origin().fetches(), 2, "one more fetch for the requests");
        assert!(!world.auth.ready());
        world.origin().serve(&[P256.jwk("k1")]);
        world.advance(COOLDOWN).await;
        assert!(world.auth.ready());
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn fetching_the_same_set_resets_its_age() {
    locally(async {
        let world = world().await;
        world.advance(REFRESH).await;
        world.origin().fail();
        world.advance(MAX_STALE).await;
        assert!(world.auth.ready());
        world.advance(SECOND).await;
        assert!(!world.auth.ready());
    })
    .await;
}

#[tokio::test]
async fn issuers_without_keys_do_not_affect_others() {
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
