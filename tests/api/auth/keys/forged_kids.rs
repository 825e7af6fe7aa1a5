//! Tokens with an unknown `kid`. A token older than the last fetch cannot be signed with a new key,
//! so it gets a 401 instead of a 5xx that outlier detection would count.

use std::time::Duration;

use serde_json::json;
use simulator::{Algorithm, issuer::JWKS_PATH};

use super::{COOLDOWN, INVALID_TOKEN, assert_rejected, claims, header, unavailable};
use crate::support::World;

/// Claims of a token of this age.
fn issued_before(world: &World, age: i64) -> String {
    let mut claims = claims(world);
    claims["iat"] = json!(world.clock_seconds() - age);
    claims.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kids_of_old_tokens_are_a_401_and_never_a_503() {
    let world = World::new().await;
    let known = world.client("alice");
    assert_eq!(known.me().await.status, 200);
    world.clock.advance(Duration::from_secs(60));
    let forged = |number: usize| {
        let (mut header, claims) = (header(world.issuer()), issued_before(&world, 50));
        header["kid"] = json!(format!("random-{number}"));
        world.issuer().sign_raw(&header.to_string(), &claims, Algorithm::ES256).unwrap()
    };
    let first = world.client_with_token(&forged(0)).me().await;
    assert_rejected("the first", &first, 401, "invalid_token", Some(INVALID_TOKEN));
    let fetches = world.issuer().calls(JWKS_PATH);
    for number in 1..200 {
        let reply = world.client_with_token(&forged(number)).me().await;
        assert_rejected("a random kid", &reply, 401, "invalid_token", Some(INVALID_TOKEN));
    }
    assert_eq!(world.issuer().calls(JWKS_PATH), fetches, "one per cool-down");
    let series = "juspay_bff_auth_failures_total{reason=\"unknown_key\"}";
    assert_eq!(world.count(series).await, 200);

    // The key may exist if it was added since, as may tokens signed with it.
    world.issuer().rotate(true).unwrap();
    let new = world.client("alice");
    unavailable(&new.me().await);
    let reply = world.client_with_token(&forged(200)).me().await;
    assert_rejected("during the rotation", &reply, 401, "invalid_token", Some(INVALID_TOKEN));
    assert_eq!(known.me().await.status, 200);
    world.clock.advance(COOLDOWN);
    assert_eq!(new.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kids_are_a_401_for_old_tokens_and_a_503_without_iat() {
    let world = World::new().await;
    world.clock.advance(Duration::from_secs(60));
    let with_kid = |kid: &str, claims: &str| {
        let mut header = header(world.issuer());
        header["kid"] = json!(kid);
        let token = world.issuer().sign_raw(&header.to_string(), claims, Algorithm::ES256);
        world.client_with_token(&token.unwrap())
    };
    let first = with_kid("first", &issued_before(&world, 0)).me().await;
    assert_rejected("the first", &first, 401, "invalid_token", Some(INVALID_TOKEN));
    // The default of `auth.leeway` is 30 s.
    let older = with_kid("older", &issued_before(&world, 31)).me().await;
    assert_rejected("older", &older, 401, "invalid_token", Some(INVALID_TOKEN));
    for age in [30, 1, 0, -1000] {
        unavailable(&with_kid("new", &issued_before(&world, age)).me().await);
    }
    for unusable in [json!(null), json!("1"), json!(-1), json!({})] {
        let mut claims = claims(&world);
        claims["iat"] = unusable;
        unavailable(&with_kid("new", &claims.to_string()).me().await);
    }
    let mut absent = claims(&world);
    absent.as_object_mut().unwrap().remove("iat");
    unavailable(&with_kid("new", &absent.to_string()).me().await);
}
