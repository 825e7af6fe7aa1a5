//! What a known token counts by: each of it, taken away, ends it at that instant.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    auth::testing::{
        LEEWAY, MAX_STALE, OTHER_P256, P256, REFRESH, START, World, locally, token, world,
    },
    clock::Clock as _,
    revocation::Entry,
};

const SECOND: Duration = Duration::from_secs(1);

fn digest(world: &World, token: &str) -> TokenDigest {
    world.auth.bearer_digest(format!("Bearer {token}").as_bytes()).unwrap()
}

fn known(world: &World, token: &str) -> Option<KnownCaller> {
    world.auth.known(&digest(world, token), world.clock.moment())
}

/// A world in which alice's token is known, and counts.
async fn alice() -> (World, String, Known) {
    let world = world().await;
    let token = token("k1", json!({}));
    assert!(known(&world, &token).is_none(), "nobody has verified it");
    assert!(world.check(&token).await.is_ok());
    let caller = known(&world, &token).unwrap();
    assert_eq!(caller.customer().as_str(), "alice");
    assert_eq!(format!("{caller:?}"), "KnownCaller(…)");
    let known = caller.token();
    assert!(counts(&world, &known));
    (world, token, known)
}

fn counts(world: &World, known: &Known) -> bool {
    world.auth.counts(known, world.clock.moment())
}

#[tokio::test]
async fn p1_a_token_is_found_by_its_digest_alone() {
    locally(async {
        let (world, _, _) = alice().await;
        let bobs = token("k1", json!({"sub": "bob"}));
        assert!(known(&world, &bobs).is_none());
        assert!(world.check(&bobs).await.is_ok());
        assert_eq!(known(&world, &bobs).unwrap().customer().as_str(), "bob");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_bearer_token_has_no_digest() {
    locally(async {
        let world = world().await;
        for odd in ["", "Bearer", "Basic abc", "DPoP abc", "abc"] {
            assert!(world.auth.bearer_digest(odd.as_bytes()).is_none(), "{odd:?}");
        }
        assert!(world.auth.bearer_digest(b"Bearer abc").is_some());
    })
    .await;
}

#[tokio::test]
async fn its_end_has_come_by_either_clock() {
    locally(async {
        let whole = Duration::from_secs((300 + LEEWAY).unsigned_abs());
        let (world, token, held) = alice().await;
        world.clock.advance(whole.saturating_sub(SECOND));
        assert!(counts(&world, &held));
        world.clock.advance(SECOND);
        assert!(!counts(&world, &held) && known(&world, &token).is_none());
        let wall = SignedDuration::try_from(whole).unwrap();
        let (world, _, held) = alice().await;
        world.clock.jump_wall(wall);
        assert!(!counts(&world, &held));
        let (world, _, held) = alice().await;
        world.clock.advance(whole);
        world.clock.jump_wall(-wall);
        assert!(!counts(&world, &held));
    })
    .await;
}

#[tokio::test]
async fn it_is_over_when_all_are_forgotten() {
    locally(async {
        let (world, token, held) = alice().await;
        world.auth.forget_all();
        assert!(!counts(&world, &held) && known(&world, &token).is_none());
    })
    .await;
}

#[tokio::test]
async fn another_key_set_ends_it_until_it_is_looked_up_again() {
    locally(async {
        let (world, token, held) = alice().await;
        world.origin().serve(&[P256.jwk("k1"), OTHER_P256.jwk("k2")]);
        world.pass(REFRESH).await;
        assert!(!counts(&world, &held));
        world.origin().serve(&[OTHER_P256.jwk("k1")]);
        world.pass(REFRESH).await;
        assert!(!counts(&world, &held) && known(&world, &token).is_none());
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_too_old_end_it() {
    locally(async {
        let world = world().await;
        world.origin().fail();
        world.pass(SECOND).await;
        let token = token("k1", json!({"exp": START + 1_000_000}));
        assert!(world.check(&token).await.is_ok());
        let held = known(&world, &token).unwrap().token();
        world.pass(MAX_STALE.saturating_sub(SECOND)).await;
        assert!(counts(&world, &held));
        world.pass(SECOND.saturating_sub(Duration::from_nanos(1))).await;
        assert!(!counts(&world, &held), "and it would live for a nanosecond");
    })
    .await;
}

#[tokio::test]
async fn whatever_is_revoked_makes_it_be_looked_up_again() {
    locally(async {
        let revoked = |sub| {
            let entry = json!({
                "issuer": "main", "sub": sub, "issued_before": START + 1, "expires": START + 1000,
            });
            Entry::parse(entry.to_string().as_bytes()).unwrap()
        };
        let (world, token, held) = alice().await;
        world.auth.revoke(revoked("bob")).unwrap();
        assert!(!counts(&world, &held), "it may have been alice");
        let again = known(&world, &token).unwrap().token();
        assert!(counts(&world, &again));
        world.auth.revoke(revoked("alice")).unwrap();
        assert!(!counts(&world, &again) && known(&world, &token).is_none());
    })
    .await;
}
