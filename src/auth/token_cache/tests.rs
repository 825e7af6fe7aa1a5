//! What is remembered of a verified token, and all that ends it.

use actix_http::Request;
use futures_util::FutureExt as _;
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    auth::{
        revocation::{RevocationClaims, TokenIdentity},
        testing::{
            COOLDOWN, LEEWAY, MAX_STALE, OTHER_P256, P256, REFRESH, RSA, START, World, claims,
            header, issuer, locally, set, settle, signed, token, with, world, world_of, world_with,
        },
    },
    clock::{Clock as _, Monotonic, manual::ManualClock},
    customer::CustomerId,
    settings,
    traces::Span,
};

const SECOND: Duration = Duration::from_secs(1);

/// Ends after two days.
fn long_lived(kid: &str) -> String {
    token(kid, json!({"exp": START + 172_800}))
}

#[tokio::test]
async fn a_verified_token_is_known_until_its_end_on_the_wall_clock() {
    locally(async {
        let world = world().await;
        let token = token("k1", json!({"iat": null}));
        assert!(!world.knows(&token));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        assert!(world.knows(&token));
        assert!(!world.knows(&format!("{token}x")), "the whole token counts");
        let end = SignedDuration::from_secs(300 + LEEWAY);
        world.clock.jump_wall(end - SignedDuration::from_nanos(1));
        assert!(world.knows(&token));
        world.clock.jump_wall(SignedDuration::from_nanos(1));
        assert!(!world.knows(&token));
        assert_eq!(world.outcome(&token).await, Err("expired"));
    })
    .await;
}

#[tokio::test]
async fn a_verified_token_is_known_until_its_end_on_the_monotonic_clock() {
    locally(async {
        let world = world().await;
        let token = token("k1", json!({"iat": null}));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        world.clock.jump_wall(SignedDuration::from_secs(-1000));
        world.pass(Duration::new(329, 999_999_999)).await;
        assert!(world.knows(&token));
        world.pass(Duration::from_nanos(1)).await;
        assert!(!world.knows(&token), "turning the wall clock back doesn't prolong it");
        assert_eq!(
            world.outcome(&token).await,
            Ok("alice".to_owned()),
            "by the wall clock it is still good"
        );
        assert!(world.knows(&token));
    })
    .await;
}

#[tokio::test]
async fn no_token_is_known_for_longer_than_a_day() {
    locally(async {
        let world = world().await;
        let token = long_lived("k1");
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        let mut left = Duration::from_hours(24);
        while left > SECOND {
            world.pass(REFRESH.min(left.saturating_sub(SECOND))).await;
            left = left.saturating_sub(REFRESH).max(SECOND);
        }
        assert!(world.knows(&token));
        world.pass(SECOND).await;
        assert!(!world.knows(&token));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn refused_tokens_are_not_remembered_and_each_is_counted_once() {
    locally(async {
        let world = world().await;
        let forged = signed(&OTHER_P256, "k1", json!({}));
        for _ in 0..2 {
            assert_eq!(world.outcome(&forged).await, Err("signature"));
        }
        let count = |reason| world.metrics.auth.failures.with_label_values(&[reason]).get();
        assert_eq!(count("signature"), 2);
        assert_eq!(world.auth.tokens.len(), 0);
        assert!(world.auth.authenticate(&Request::new(), now(), &Span::default()).await.is_err());
        assert_eq!(count("missing_token"), 1);
        assert_eq!(world.outcome(&"x".repeat(8193)).await, Err("too_long"));
        assert_eq!(count("too_long"), 1);
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert_eq!(count("signature") + count("missing_token") + count("too_long"), 4);
    })
    .await;
}

#[tokio::test]
async fn what_is_dead_by_our_clock_is_swept_out() {
    locally(async {
        let world = world().await;
        world.outcome(&token("k1", json!({}))).await.unwrap();
        world.outcome(&token("k1", json!({"sub": "bob", "exp": START + 400}))).await.unwrap();
        world.sweep();
        assert_eq!(world.auth.tokens.len(), 2);
        world.clock.advance(Duration::from_secs(350));
        world.sweep();
        assert_eq!(world.auth.tokens.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_with_a_key_of_its_own_issuer() {
    locally(async {
        let other = settings::Issuer { issuer: "https://other.example".to_owned(), ..issuer() };
        let keys = || set(&[P256.jwk("k1")]);
        let world = world_of([("first", issuer(), keys()), ("second", other, keys())]).await;
        let ours = long_lived("k1");
        let others = json!({"iss": "https://other.example", "exp": START + 172_800});
        let others = token("k1", others);
        for token in [&ours, &others] {
            assert_eq!(world.outcome(token).await, Ok("alice".to_owned()));
        }
        world.origins["second"].serve(&[OTHER_P256.jwk("k2")]);
        world.pass(REFRESH).await;
        assert!(world.knows(&ours) && !world.knows(&others));
        world.origins["first"].serve(&[OTHER_P256.jwk("k2")]);
        world.pass(REFRESH).await;
        assert!(!world.knows(&ours));
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_with_its_key_and_outlives_other_changes() {
    locally(async {
        let world = world_with(issuer(), &[P256.jwk("k1"), OTHER_P256.jwk("k2")]).await;
        let by_k1 = long_lived("k1");
        let by_k2 = signed(&OTHER_P256, "k2", json!({"exp": START + 172_800}));
        for token in [&by_k1, &by_k2] {
            assert_eq!(world.outcome(token).await, Ok("alice".to_owned()));
        }
        world.origin().serve(&[OTHER_P256.jwk("k3"), P256.jwk("k1")]);
        world.pass(REFRESH).await;
        assert!(world.knows(&by_k1), "its key is still there");
        assert!(world.knows(&by_k1));
        assert!(!world.knows(&by_k2), "the same key by another name is another key");
        assert_eq!(world.outcome(&by_k2).await, Err("unknown_key"));

        world.origin().serve(&[OTHER_P256.jwk("k1")]);
        world.pass(REFRESH).await;
        assert!(!world.knows(&by_k1), "the same name with another key");
        assert_eq!(world.outcome(&by_k1).await, Err("signature"));

        world.origin().serve(&[P256.jwk("k1")]);
        world.pass(REFRESH).await;
        assert!(!world.knows(&by_k1), "it was dropped, not hidden");
        assert_eq!(world.outcome(&by_k1).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_when_its_key_is_given_another_use() {
    locally(async {
        let world = world().await;
        let token = long_lived("k1");
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        let retired = with(&P256.jwk("k1"), json!({"use": "enc"}));
        world.origin().serve(&[retired, OTHER_P256.jwk("k2")]);
        world.pass(REFRESH).await;
        assert!(!world.knows(&token));
    })
    .await;
}

#[tokio::test]
async fn without_a_kid_the_only_key_that_fits_counts() {
    let nameless = P256.sign(
        jsonwebtoken::Algorithm::ES256,
        &with(&header(""), json!({"kid": null})).to_string(),
        &claims().to_string(),
    );
    locally(async {
        let world = world_with(issuer(), &[P256.jwk("k1"), RSA.jwk("k2")]).await;
        assert_eq!(world.outcome(&nameless).await, Ok("alice".to_owned()));
        world.origin().serve(&[P256.jwk("k1"), OTHER_P256.jwk("k2")]);
        world.clock.jump_wall(SignedDuration::from_secs(-200));
        world.pass(REFRESH).await;
        assert!(!world.knows(&nameless), "now two fit");
        assert_eq!(world.outcome(&nameless).await, Err("unknown_key"));
        assert_eq!(world.origin().fetches(), 3, "once more, to be sure");
        assert_eq!(world.outcome(&nameless).await, Err("unknown_key"));
        assert_eq!(world.origin().fetches(), 3);
    })
    .await;
}

#[tokio::test]
async fn keys_that_share_a_kid_are_all_tried() {
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

#[tokio::test]
async fn what_is_forgotten_is_verified_anew() {
    locally(async {
        let world = world().await;
        let known = token("k1", json!({}));
        world.outcome(&known).await.unwrap();
        world.auth.forget_all();
        assert!(!world.knows(&known));
        assert_eq!(world.outcome(&known).await, Ok("alice".to_owned()));
        assert!(world.knows(&known));

        let late = token("k2", json!({}));
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k2")]);
        world.origin().hold(true);
        let request = world.spawn(late.clone());
        settle().await;
        world.auth.forget_all();
        world.origin().hold(false);
        assert!(request.await.unwrap().is_ok());
        assert!(!world.knows(&late), "its verification had begun before");
        assert_eq!(world.outcome(&late).await, Ok("alice".to_owned()));
        assert!(world.knows(&late));
    })
    .await;
}

/// A world whose keys have been out of reach for as long as they may be.
async fn stale_world(known: &str) -> World {
    let world = world().await;
    world.origin().fail();
    world.pass(MAX_STALE.saturating_sub(SECOND)).await;
    assert_eq!(world.outcome(known).await, Ok("alice".to_owned()));
    world.pass(SECOND).await;
    world
}

#[tokio::test]
async fn keys_serve_through_an_outage_but_not_for_ever() {
    locally(async {
        let known = long_lived("k1");
        let other = token("k1", json!({"sub": "bob", "exp": START + 172_800}));
        let world = stale_world(&known).await;
        assert!(world.knows(&known) && world.auth.ready());
        world.pass(Duration::from_nanos(1)).await;
        assert!(!world.auth.ready());
        for token in [&known, &other] {
            assert!(!world.knows(token));
            assert_eq!(world.outcome(token).await, Err("keys_unavailable"));
        }
        world.origin().serve(&[P256.jwk("k1")]);
        world.pass(COOLDOWN).await;
        assert!(world.auth.ready());
        assert!(world.knows(&known), "it was only held back");
        assert_eq!(world.outcome(&other).await, Ok("bob".to_owned()));
    })
    .await;
}

fn token_identity() -> TokenIdentity {
    let identity = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
    TokenIdentity::new(0, "main".into(), identity)
}

fn finding(life: Duration) -> Finding {
    Finding {
        caller: Caller::new(CustomerId::parse("alice").unwrap(), token_identity(), None),
        signed: None,
        end: crate::clock::later(Timestamp::UNIX_EPOCH, life),
    }
}

fn now() -> Moment {
    Moment { wall: Timestamp::UNIX_EPOCH, monotonic: Monotonic::new(Duration::from_secs(7)) }
}

#[test]
fn no_more_than_the_capacity_is_held() {
    let tokens = TokenCache::new(3);
    for digest in 0..20 {
        let finding = finding(Duration::from_mins(5));
        tokens.insert([digest; 32], finding, tokens.epoch(), now());
    }
    assert_eq!(tokens.len(), 3);
}

#[test]
fn what_was_verified_before_forgetting_is_not_remembered() {
    let tokens = TokenCache::new(3);
    let before = tokens.epoch();
    tokens.clear();
    tokens.insert([1; 32], finding(Duration::from_mins(5)), before, now());
    assert_eq!(tokens.len(), 0);
    let now = tokens.epoch();
    assert_ne!(before, now);
}

#[test]
fn an_entry_of_an_older_epoch_is_dead_should_it_slip_in() {
    let tokens = TokenCache::new(3);
    let clock = ManualClock::at("1970-01-01T00:00:00Z");
    let now = clock.moment();
    tokens.insert([1; 32], finding(Duration::from_mins(5)), tokens.epoch(), now);
    // As if `forget_all` had run between the check of the epoch and the insertion.
    tokens.epoch.fetch_add(1, Ordering::AcqRel);
    let entry = tokens.entries.get(&[1; 32]).unwrap();
    assert!(!tokens.is_alive(&entry, now));
    let mut throttle = Throttle::background(Arc::new(clock));
    assert_eq!(tokens.sweep(&mut throttle).now_or_never(), Some(()));
    assert_eq!(tokens.len(), 0);
}

#[tokio::test]
async fn p1_a_cached_token_is_found_by_its_whole_text() {
    locally(async {
        let world = world().await;
        let bobs = token("k1", json!({"sub": "bob"}));
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert!(!world.knows(&bobs));
        assert_eq!(world.outcome(&bobs).await, Ok("bob".to_owned()));
        assert!(world.knows(&bobs));
        assert_eq!(world.outcome(&bobs).await, Ok("bob".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn cached_tokens_are_invalid_while_the_keys_are_too_old() {
    locally(async {
        let world = world().await;
        world.origin().fail();
        world.pass(SECOND).await;
        let token = token("k1", json!({"exp": START + 1_000_000}));
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        world.pass(MAX_STALE.saturating_sub(SECOND)).await;
        assert!(world.knows(&token));
        world.pass(SECOND.saturating_sub(Duration::from_nanos(1))).await;
        assert!(!world.knows(&token), "the keys are too old");
    })
    .await;
}

#[tokio::test]
async fn a_memo_lives_as_long_as_the_cached_token() {
    locally(async {
        let world = world().await;
        let token = token("k1", json!({}));
        let caller = world.check(&token).await.unwrap();
        assert!(caller.memo::<u8>().is_none());
        caller.remember(7_u8);
        let again = world.check(&token).await.unwrap();
        assert_eq!(again.memo::<u8>().as_deref(), Some(&7));
        assert!(again.memo::<u16>().is_none(), "another type");
        world.auth.forget_all();
        assert!(world.check(&token).await.unwrap().memo::<u8>().is_none());
    })
    .await;
}
