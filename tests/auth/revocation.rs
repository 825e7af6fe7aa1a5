//! Revocations in the authenticator: which tokens they reject, from when on, and which customers to forget.

use std::time::Duration;

use juspay_bff::{
    auth::{AuthError, RevokeError},
    revocation::{Entry, MAX_ID_BYTES},
};
use serde_json::{Value, json};

use super::{
    testing::{P256, START, claim_path, issuer, locally, set, settings, settle},
    world::{World, token, world, world_of, world_with},
};

/// An entry with these members, in addition to default ones.
fn entry(members: &Value) -> Entry {
    let mut entry = json!({"issuer": "main", "expires": START + 86_400});
    let entry_members = entry.as_object_mut().unwrap();
    entry_members.extend(members.as_object().unwrap().clone());
    Entry::parse(entry.to_string().as_bytes()).unwrap()
}

fn subject(sub: &str, issued_before: i64) -> Entry {
    entry(&json!({"sub": sub, "issued_before": issued_before}))
}

/// Revokes. Returns the customers to forget.
fn revoke(world: &World, entry: Entry) -> Vec<String> {
    let customers = world.auth.revoke(entry).unwrap();
    let mut customers: Vec<_> = customers.iter().map(|it| it.as_str().to_owned()).collect();
    customers.sort();
    customers
}

fn rejections(world: &World) -> u64 {
    world.metrics.auth.failures.with_label_values(&["revoked"]).get()
}

#[tokio::test]
async fn cached_token_is_revoked_at_once_and_others_stay_valid() {
    locally(async {
        let world = world().await;
        let alices = token("k1", json!({"jti": "a"}));
        let bobs = token("k1", json!({"sub": "bob"}));
        for token in [&alices, &bobs] {
            world.outcome(token).await.unwrap();
        }
        assert_eq!(revoke(&world, subject("alice", START + 1)), ["alice"]);
        for count in 1..3 {
            assert_eq!(world.outcome(&alices).await, Err("revoked"));
            assert_eq!(rejections(&world), count, "each rejection is counted once");
        }
        assert!(!world.has_cached(&alices) && world.has_cached(&bobs));
        assert_eq!(world.outcome(&bobs).await, Ok("bob".to_owned()));
        let new = token("k1", json!({"iat": START + 1}));
        assert_eq!(world.outcome(&new).await, Ok("alice".to_owned()), "a new login");
        assert!(world.has_cached(&new));
    })
    .await;
}

#[tokio::test]
async fn entries_match_claims_of_tokens() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    for (members, claims, outcome) in [
        (json!({"jti": "a"}), json!({"jti": "a"}), Err("revoked")),
        (json!({"jti": "a"}), json!({"jti": "b"}), Ok("alice")),
        (json!({"jti": "a"}), json!({}), Ok("alice")),
        (json!({"jti": "7"}), json!({"jti": 7}), Err("revoked")),
        (json!({"sid": "a"}), json!({"sid": "a"}), Err("revoked")),
        (json!({"sid": "a"}), json!({"jti": "a"}), Ok("alice")),
        (json!({"sub": "alice", "issued_before": 1}), json!({"iat": null}), Err("revoked")),
        (json!({"sub": "alice", "issued_before": 1}), json!({}), Ok("alice")),
        (json!({"sub": "7", "issued_before": START + 9}), json!({"sub": 7}), Err("revoked")),
        (json!({"jti": "a"}), json!({"jti": [&long]}), Ok("alice")),
        (json!({"jti": "a"}), json!({"jti": long}), Ok("alice")),
        (json!({"jti": "a", "issuer": "https://idp.example"}), json!({"jti": "a"}), Err("revoked")),
    ] {
        locally(async {
            for is_cached in [true, false] {
                let world = world().await;
                let token = token("k1", claims.clone());
                if is_cached {
                    world.outcome(&token).await.unwrap();
                }
                revoke(&world, entry(&members));
                let got = world.outcome(&token).await;
                let expected = outcome.map(str::to_owned);
                assert_eq!(got, expected, "{members} {claims} {is_cached}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn revoked_token_is_not_reported_as_expired() {
    locally(async {
        let world = world().await;
        let old = token("k1", json!({"exp": START - 100, "iat": START - 200}));
        assert_eq!(world.outcome(&old).await, Err("expired"));
        revoke(&world, subject("alice", START));
        assert_eq!(world.outcome(&old).await, Err("revoked"));
    })
    .await;
}

#[tokio::test]
async fn revocation_during_verification_rejects_the_token() {
    locally(async {
        let world = world().await;
        world.origin().serve(&[P256.jwk("k1"), P256.jwk("k2")]);
        world.origin().hold(true);
        let [alices, bobs] = ["alice", "bob"].map(|sub| token("k2", json!({"sub": sub})));
        let (alice, bob) = (world.spawn(alices.clone()), world.spawn(bobs));
        settle().await;
        revoke(&world, subject("alice", START + 1));
        world.origin().hold(false);
        assert_eq!(alice.await.unwrap().unwrap_err().reason(), "revoked");
        assert!(bob.await.unwrap().is_ok());
        assert!(!world.has_cached(&alices));
    })
    .await;
}

#[tokio::test]
async fn waiting_request_is_rejected_when_its_token_is_revoked() {
    locally(async {
        let world = world().await;
        let alice = world.check(&token("k1", json!({}))).await.unwrap();
        let bob = world.check(&token("k1", json!({"sub": "bob"}))).await.unwrap();
        let wait = |caller| {
            let auth = std::sync::Arc::clone(&world.auth);
            let never = std::future::pending::<()>();
            tokio::task::spawn_local(async move { auth.unless_revoked(&caller, never).await })
        };
        let (alices, bobs) = (wait(alice.clone()), wait(bob.clone()));
        settle().await;
        assert!(!alices.is_finished());
        revoke(&world, entry(&json!({"jti": "unknown"})));
        settle().await;
        assert!(!alices.is_finished(), "another token was revoked");
        revoke(&world, subject("alice", START + 1));
        settle().await;
        assert!(alices.is_finished());
        let rejected: Result<(), AuthError> = alices.await.unwrap();
        assert_eq!(rejected.unwrap_err().reason(), "revoked");
        assert_eq!(rejections(&world), 1);
        settle().await;
        assert!(!bobs.is_finished());

        // A result that arrives after the revocation is not returned.
        assert!(world.auth.unless_revoked(&alice, async { 7 }).await.is_err());
        assert_eq!(world.auth.unless_revoked(&bob, async { 7 }).await, Ok(7));
    })
    .await;
}

#[tokio::test]
async fn expired_entry_has_no_effect_and_is_removed() {
    locally(async {
        let world = world().await;
        let alices = token("k1", json!({"jti": "a", "exp": START + 7200}));
        world.outcome(&alices).await.unwrap();
        revoke(&world, entry(&json!({"jti": "a", "expires": START + 60})));
        let in_memory = || world.metrics.auth.revocations.with_label_values(&["memory"]).get();
        assert_eq!((in_memory(), world.outcome(&alices).await), (1, Err("revoked")));
        world.clock.advance(Duration::from_secs(59));
        world.sweep();
        assert_eq!((in_memory(), world.outcome(&alices).await), (1, Err("revoked")));
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.outcome(&alices).await, Ok("alice".to_owned()));
        world.sweep();
        assert_eq!(in_memory(), 0);
    })
    .await;
}

#[tokio::test]
async fn entries_beyond_the_limit_are_rejected_until_there_is_room() {
    locally(async {
        let world = world().await;
        let most = i64::try_from(settings().max_revocations).unwrap();
        for number in 0..most {
            let expires = START + 60 + number;
            revoke(&world, entry(&json!({"jti": number.to_string(), "expires": expires})));
        }
        let more = || entry(&json!({"jti": "more"}));
        assert_eq!(world.auth.revoke(more()), Err(RevokeError::Full));
        // An entry that exists or replaces another one needs no room.
        revoke(&world, entry(&json!({"jti": "0", "expires": START + 1})));
        revoke(&world, entry(&json!({"jti": "0", "expires": START + 61})));
        let early = token("k1", json!({"jti": "more"}));
        assert_eq!(
            world.outcome(&early).await,
            Ok("alice".to_owned()),
            "a rejected entry has no effect"
        );
        world.clock.advance(Duration::from_secs(61));
        revoke(&world, more());
        assert_eq!(world.outcome(&early).await, Err("revoked"));
    })
    .await;
}

#[tokio::test]
async fn entry_without_effect_is_rejected() {
    locally(async {
        let world = world().await;
        let past = entry(&json!({"jti": "a", "expires": START}));
        assert_eq!(world.auth.revoke(past), Err(RevokeError::Past));
        for name in ["Main", "", "https://idp.example/"] {
            let unknown = entry(&json!({"jti": "a", "issuer": name}));
            assert_eq!(world.auth.revoke(unknown), Err(RevokeError::UnknownIssuer));
        }
    })
    .await;
}

#[tokio::test]
async fn entries_apply_to_their_issuer_only() {
    locally(async {
        let [mut one, mut other] = [issuer(), issuer()];
        one.customer_id_prefix = "a-".to_owned();
        other.customer_id_prefix = "b-".to_owned();
        other.issuer = "https://other.example".to_owned();
        let keys = set(&[P256.jwk("k1")]);
        let world = world_of([("a", one, keys.clone()), ("b", other, keys)]).await;
        let of_a = token("k1", json!({"jti": "j"}));
        let of_b = token("k1", json!({"jti": "j", "iss": "https://other.example"}));
        for token in [&of_a, &of_b] {
            world.outcome(token).await.unwrap();
        }
        let jti = entry(&json!({"issuer": "https://other.example", "jti": "j"}));
        assert_eq!(revoke(&world, jti), ["b-alice"]);
        assert!(world.has_cached(&of_a) && !world.has_cached(&of_b));
        let sub = json!({"issuer": "a", "sub": "alice", "issued_before": START + 1});
        assert_eq!(revoke(&world, entry(&sub)), ["a-alice"]);
        assert_eq!(world.outcome(&of_a).await, Err("revoked"));
    })
    .await;
}

#[tokio::test]
async fn customers_are_found_by_cached_tokens_if_the_subject_does_not_name_them() {
    locally(async {
        let mut by_email = issuer();
        by_email.customer_id_claim = claim_path("email");
        let world = world_with(by_email, &[P256.jwk("k1")]).await;
        let with = |sub: &str, email: &str, jti: &str| {
            token("k1", json!({"sub": sub, "email": email, "email_verified": true, "jti": jti}))
        };
        for (sub, email, jti) in [("1", "a@x", "j1"), ("1", "b@x", "j2"), ("2", "c@x", "j3")] {
            world.outcome(&with(sub, email, jti)).await.unwrap();
        }
        assert_eq!(revoke(&world, subject("1", START + 1)), ["a@x", "b@x"]);
        assert_eq!(revoke(&world, entry(&json!({"jti": "j3"}))), ["c@x"]);
        assert_eq!(revoke(&world, entry(&json!({"jti": "j3"}))), [""; 0], "nothing new");
        assert_eq!(revoke(&world, entry(&json!({"jti": "j4"}))), [""; 0], "unknown");
    })
    .await;
}

#[tokio::test]
async fn redundant_entry_purges_no_customer_again() {
    locally(async {
        let world = world().await;
        assert_eq!(revoke(&world, subject("alice", START + 1)), ["alice"]);
        assert_eq!(revoke(&world, subject("alice", START)), [""; 0]);
        assert_eq!(revoke(&world, subject("alice", START + 2)), ["alice"]);
    })
    .await;
}
