//! Within the cool-down, a token's `iat` decides between a 401 and a 503, and nothing else.

use std::time::Duration;

use serde_json::json;

use super::SECOND;
use crate::{
    testing::{COOLDOWN, LEEWAY, OTHER_P256, P256, START, issuer, locally, set, settle},
    world::{signed, token, unfetched, world},
};

/// How much older than the last successful fetch a token is by its `iat`, and the result for its
/// unknown `kid` within the cool-down.
const AGES: [(i64, &str); 4] = [
    (LEEWAY + 1, "unknown_key"),
    (LEEWAY, "keys_unavailable"),
    (0, "keys_unavailable"),
    (-1000, "keys_unavailable"),
];

#[tokio::test]
async fn unknown_kids_of_tokens_older_than_the_last_fetch_are_rejected_within_the_cool_down() {
    locally(async {
        let world = world().await;
        world.advance(Duration::from_secs(100)).await;
        assert_eq!(world.outcome(&token("x", json!({}))).await, Err("unknown_key"));
        let fetched = START + 100;
        for (number, (age, expected)) in AGES.into_iter().enumerate() {
            let aged = token(&format!("y{number}"), json!({"iat": fetched - age}));
            assert_eq!(world.outcome(&aged).await, Err(expected), "{age}");
        }
        for unusable in [json!(null), json!("1"), json!(-1), json!(true), json!([START - 1000])] {
            let odd = token("z", json!({"iat": unusable}));
            assert_eq!(world.outcome(&odd).await, Err("keys_unavailable"), "{unusable}");
        }
        assert_eq!(world.origin().fetches(), 2, "one per cool-down");
        // `iat` decides nothing else: a valid key proves the token at any age.
        for age in [LEEWAY + 1, 0] {
            let aged = token("k1", json!({"iat": fetched - age}));
            assert_eq!(world.outcome(&aged).await, Ok("alice".to_owned()), "{age}");
        }
    })
    .await;
}

#[tokio::test]
async fn old_tokens_are_accepted_once_a_fetch_returns_their_key() {
    locally(async {
        let world = world().await;
        world.advance(Duration::from_secs(100)).await;
        assert_eq!(world.outcome(&token("x", json!({}))).await, Err("unknown_key"));
        let old = token("k2", json!({}));
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k2")]);
        assert_eq!(world.outcome(&old).await, Err("unknown_key"), "the cool-down");
        world.advance(COOLDOWN).await;
        assert_eq!(world.outcome(&old).await, Ok("alice".to_owned()));
        assert_eq!(world.origin().fetches(), 3);
    })
    .await;
}

#[tokio::test]
async fn token_age_is_compared_with_the_start_of_the_last_successful_fetch() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let first = world.spawn(token("x", json!({})));
        settle().await;
        // The issuer responds late, but before the wait ends. It may have new keys by then.
        world.advance(SECOND).await;
        world.origin().hold(false);
        assert_eq!(first.await.unwrap().unwrap_err().reason(), "unknown_key");
        let old = token("y", json!({"iat": START - LEEWAY}));
        assert_eq!(world.outcome(&old).await, Err("keys_unavailable"));

        // A failed fetch proves nothing about newer tokens.
        world.origin().fail();
        world.advance(Duration::from_secs(100)).await;
        let newer = |kid: &str| token(kid, json!({"iat": START + 1}));
        assert_eq!(world.outcome(&newer("a")).await, Err("keys_unavailable"));
        assert_eq!(world.outcome(&newer("b")).await, Err("keys_unavailable"));
        let older = token("c", json!({"iat": START - LEEWAY - 1}));
        assert_eq!(
            world.outcome(&older).await,
            Err("unknown_key"),
            "published before the last fetch"
        );
    })
    .await;
}

#[tokio::test]
async fn setting_the_clock_back_does_not_make_a_fetch_later() {
    locally(async {
        let world = world().await;
        world.clock.jump_wall(jiff::SignedDuration::from_hours(1));
        world.advance(COOLDOWN).await;
        let hourly = json!({"iat": START + 3600, "exp": START + 9000});
        assert_eq!(world.outcome(&token("x", hourly)).await, Err("unknown_key"));
        world.clock.jump_wall(jiff::SignedDuration::from_hours(-1));
        let new = token("new", json!({"iat": START + 10}));
        assert_eq!(world.outcome(&new).await, Err("keys_unavailable"), "the key may be new");
    })
    .await;
}

#[tokio::test]
async fn forged_signatures_of_old_tokens_are_rejected_within_the_cool_down() {
    locally(async {
        let world = world().await;
        world.advance(Duration::from_secs(100)).await;
        assert_eq!(world.outcome(&token("x", json!({}))).await, Err("unknown_key"));
        let forged = |iat: i64| signed(&OTHER_P256, "k1", json!({ "iat": iat }));
        assert_eq!(world.outcome(&forged(START)).await, Err("signature"));
        assert_eq!(world.outcome(&forged(START + 100)).await, Err("keys_unavailable"));
        assert_eq!(world.origin().fetches(), 2);
    })
    .await;
}

#[tokio::test]
async fn each_issuer_has_its_own_last_fetch() {
    let mut other = issuer();
    other.issuer = "https://other.example".to_owned();
    locally(async {
        let keys = || set(&[P256.jwk("k1")]);
        let world = unfetched([("main", issuer(), keys()), ("second", other, keys())]);
        settle().await;
        let of_second =
            |kid: &str, iat: i64| token(kid, json!({"iss": "https://other.example", "iat": iat}));
        world.origins["second"].fail();
        world.advance(Duration::from_secs(100)).await;
        assert_eq!(world.outcome(&token("x", json!({}))).await, Err("unknown_key"));
        assert_eq!(world.outcome(&of_second("x", START)).await, Err("keys_unavailable"));
        assert_eq!(world.outcome(&token("y", json!({}))).await, Err("unknown_key"));
        assert_eq!(world.outcome(&of_second("y", START)).await, Err("keys_unavailable"));
        let older = of_second("y", START - LEEWAY - 1);
        assert_eq!(world.outcome(&older).await, Err("unknown_key"));
    })
    .await;
}
