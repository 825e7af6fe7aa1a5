//! How long a verified token stays cached, and what removes it.

use std::time::Duration;

use actix_http::Request;
use jiff::SignedDuration;
use juspay_bff::{clock::Clock as _, settings, traces::Span};
use serde_json::json;

use super::{
    testing::{
        COOLDOWN, LEEWAY, MAX_STALE, OTHER_P256, P256, REFRESH, RSA, START, issuer, locally, set,
        with,
    },
    world::{World, claims, header, signed, token, world, world_of, world_with},
};

const SECOND: Duration = Duration::from_secs(1);

/// A token that expires after two days.
fn long_lived(kid: &str) -> String {
    token(kid, json!({"exp": START + 172_800}))
}

#[tokio::test]
async fn verified_token_is_cached_until_it_expires_on_the_wall_clock() {
    locally(async {
        let world = world().await;
        let token = token("k1", json!({"iat": null}));
        assert!(!world.has_cached(&token));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        assert!(world.has_cached(&token));
        assert!(!world.has_cached(&format!("{token}x")), "only the whole token is found");
        let end = SignedDuration::from_secs(300 + LEEWAY);
        world.clock.jump_wall(end - SignedDuration::from_nanos(1));
        assert!(world.has_cached(&token));
        world.clock.jump_wall(SignedDuration::from_nanos(1));
        assert!(!world.has_cached(&token));
        assert_eq!(world.outcome(&token).await, Err("expired"));
    })
    .await;
}

#[tokio::test]
async fn verified_token_is_cached_until_it_expires_on_the_monotonic_clock() {
    locally(async {
        let world = world().await;
        let token = token("k1", json!({"iat": null}));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        world.clock.jump_wall(SignedDuration::from_secs(-1000));
        world.advance(Duration::new(329, 999_999_999)).await;
        assert!(world.has_cached(&token));
        world.advance(Duration::from_nanos(1)).await;
        assert!(!world.has_cached(&token), "setting the wall clock back does not extend it");
        assert_eq!(
            world.outcome(&token).await,
            Ok("alice".to_owned()),
            "not expired by the wall clock"
        );
        assert!(world.has_cached(&token));
    })
    .await;
}

#[tokio::test]
async fn tokens_are_cached_for_at_most_one_day() {
    locally(async {
        let world = world().await;
        let token = long_lived("k1");
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        let mut remaining = Duration::from_hours(24);
        while remaining > SECOND {
            world.advance(REFRESH.min(remaining.saturating_sub(SECOND))).await;
            remaining = remaining.saturating_sub(REFRESH).max(SECOND);
        }
        assert!(world.has_cached(&token));
        world.advance(SECOND).await;
        assert!(!world.has_cached(&token));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn rejected_tokens_are_counted_and_not_cached() {
    locally(async {
        let world = world().await;
        let forged = signed(&OTHER_P256, "k1", json!({}));
        for _ in 0..2 {
            assert_eq!(world.outcome(&forged).await, Err("signature"));
        }
        let count = |reason| world.metrics.auth.failures.with_label_values(&[reason]).get();
        assert_eq!(count("signature"), 2);
        assert!(!world.has_cached(&forged));
        let now = world.clock.moment();
        assert!(world.auth.authenticate(&Request::new(), now, &Span::default()).await.is_err());
        assert_eq!(count("missing_token"), 1);
        assert_eq!(world.outcome(&"x".repeat(8193)).await, Err("too_long"));
        assert_eq!(count("too_long"), 1);
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert_eq!(count("signature") + count("missing_token") + count("too_long"), 4);
    })
    .await;
}

#[tokio::test]
async fn only_a_removed_key_of_the_same_issuer_invalidates_a_token() {
    locally(async {
        let other = settings::Issuer { issuer: "https://other.example".to_owned(), ..issuer() };
        let keys = || set(&[P256.jwk("k1")]);
        let world = world_of([("first", issuer(), keys()), ("second", other, keys())]).await;
        let first = long_lived("k1");
        let claims = json!({"iss": "https://other.example", "exp": START + 172_800});
        let second = token("k1", claims);
        for token in [&first, &second] {
            assert_eq!(world.outcome(token).await, Ok("alice".to_owned()));
        }
        world.origins["second"].serve(&[OTHER_P256.jwk("k2")]);
        world.advance(REFRESH).await;
        assert!(world.has_cached(&first) && !world.has_cached(&second));
        world.origins["first"].serve(&[OTHER_P256.jwk("k2")]);
        world.advance(REFRESH).await;
        assert!(!world.has_cached(&first));
    })
    .await;
}

#[tokio::test]
async fn token_is_invalid_once_its_key_is_removed_or_replaced() {
    locally(async {
        let world = world_with(issuer(), &[P256.jwk("k1"), OTHER_P256.jwk("k2")]).await;
        let by_k1 = long_lived("k1");
        let by_k2 = signed(&OTHER_P256, "k2", json!({"exp": START + 172_800}));
        for token in [&by_k1, &by_k2] {
            assert_eq!(world.outcome(token).await, Ok("alice".to_owned()));
        }
        world.origin().serve(&[OTHER_P256.jwk("k3"), P256.jwk("k1")]);
        world.advance(REFRESH).await;
        assert!(world.has_cached(&by_k1), "its key is still in the set");
        assert!(world.has_cached(&by_k1));
        assert!(!world.has_cached(&by_k2), "the same key with another kid is another key");
        assert_eq!(world.outcome(&by_k2).await, Err("unknown_key"));

        world.origin().serve(&[OTHER_P256.jwk("k1")]);
        world.advance(REFRESH).await;
        assert!(!world.has_cached(&by_k1), "the same kid with another key");
        assert_eq!(world.outcome(&by_k1).await, Err("signature"));

        world.origin().serve(&[P256.jwk("k1")]);
        world.advance(REFRESH).await;
        assert!(!world.has_cached(&by_k1), "the entry was removed");
        assert_eq!(world.outcome(&by_k1).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn token_is_invalid_once_its_key_has_another_use() {
    locally(async {
        let world = world().await;
        let token = long_lived("k1");
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        let retired = with(&P256.jwk("k1"), json!({"use": "enc"}));
        world.origin().serve(&[retired, OTHER_P256.jwk("k2")]);
        world.advance(REFRESH).await;
        assert!(!world.has_cached(&token));
    })
    .await;
}

#[tokio::test]
async fn token_without_kid_needs_a_single_matching_key() {
    let without_kid = P256.sign(
        jsonwebtoken::Algorithm::ES256,
        &with(&header(""), json!({"kid": null})).to_string(),
        &claims().to_string(),
    );
    locally(async {
        let world = world_with(issuer(), &[P256.jwk("k1"), RSA.jwk("k2")]).await;
        assert_eq!(world.outcome(&without_kid).await, Ok("alice".to_owned()));
        world.origin().serve(&[P256.jwk("k1"), OTHER_P256.jwk("k2")]);
        world.clock.jump_wall(SignedDuration::from_secs(-200));
        world.advance(REFRESH).await;
        assert!(!world.has_cached(&without_kid), "two keys match");
        assert_eq!(world.outcome(&without_kid).await, Err("unknown_key"));
        assert_eq!(world.origin().fetches(), 3, "one more fetch confirms it");
        assert_eq!(world.outcome(&without_kid).await, Err("unknown_key"));
        assert_eq!(world.origin().fetches(), 3);
    })
    .await;
}

#[tokio::test]
async fn all_keys_with_the_same_kid_are_tried() {
    locally(async {
        let world = world_with(issuer(), &[OTHER_P256.jwk("k"), P256.jwk("k")]).await;
        assert_eq!(world.outcome(&signed(&P256, "k", json!({}))).await, Ok("alice".to_owned()));
        assert_eq!(
            world.outcome(&signed(&OTHER_P256, "k", json!({}))).await,
            Ok("alice".to_owned())
        );
    })
    .await;
}

/// A world whose issuer has failed for `jwks_max_stale`, and where this token is cached.
async fn stale_world(cached: &str) -> World {
    let world = world().await;
    world.origin().fail();
    world.advance(MAX_STALE.saturating_sub(SECOND)).await;
    assert_eq!(world.outcome(cached).await, Ok("alice".to_owned()));
    world.advance(SECOND).await;
    world
}

#[tokio::test]
async fn keys_are_used_during_an_outage_until_max_stale() {
    locally(async {
        let cached = long_lived("k1");
        let other = token("k1", json!({"sub": "bob", "exp": START + 172_800}));
        let world = stale_world(&cached).await;
        assert!(world.has_cached(&cached) && world.auth.ready());
        world.advance(Duration::from_nanos(1)).await;
        assert!(!world.auth.ready());
        for token in [&cached, &other] {
            assert!(!world.has_cached(token));
            assert_eq!(world.outcome(token).await, Err("keys_unavailable"));
        }
        world.origin().serve(&[P256.jwk("k1")]);
        world.advance(COOLDOWN).await;
        assert!(world.auth.ready());
        assert!(world.has_cached(&cached), "the entry was kept");
        assert_eq!(world.outcome(&other).await, Ok("bob".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn p1_cached_token_is_found_by_its_whole_text() {
    locally(async {
        let world = world().await;
        let bobs = token("k1", json!({"sub": "bob"}));
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert!(!world.has_cached(&bobs));
        assert_eq!(world.outcome(&bobs).await, Ok("bob".to_owned()));
        assert!(world.has_cached(&bobs));
        assert_eq!(world.outcome(&bobs).await, Ok("bob".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn cached_tokens_are_invalid_while_the_keys_are_too_old() {
    locally(async {
        let world = world().await;
        world.origin().fail();
        world.advance(SECOND).await;
        let token = token("k1", json!({"exp": START + 1_000_000}));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        world.advance(MAX_STALE.saturating_sub(SECOND)).await;
        assert!(world.has_cached(&token));
        world.advance(SECOND.saturating_sub(Duration::from_nanos(1))).await;
        assert!(!world.has_cached(&token), "the keys are too old");
    })
    .await;
}

#[tokio::test]
async fn memo_is_dropped_with_the_cached_token() {
    locally(async {
        let world = world().await;
        let token = token("k1", json!({"exp": START + 172_800}));
        let caller = world.check(&token).await.unwrap();
        assert!(caller.memo::<u8>().is_none());
        caller.remember(7_u8);
        let again = world.check(&token).await.unwrap();
        assert_eq!(again.memo::<u8>().as_deref(), Some(&7));
        assert!(again.memo::<u16>().is_none(), "another type");
        world.advance(Duration::from_hours(24)).await;
        assert!(world.check(&token).await.unwrap().memo::<u8>().is_none(), "verified again");
    })
    .await;
}
