//! How long proofs and nonces are valid, and what happens if too many proofs are remembered.

use std::time::Duration;

use super::{
    ALICE, AuthError, Caller, DpopMode, ED25519, ES256, HTU, P256, P384, Pair, START, Value, World,
    bound_to, claims, client_key, head, issuer_with, jkt, json, locally, proof, set, settings,
    token, with, world_of_auth, world_with_mode,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn proof_is_accepted_within_its_time_window() {
    // Valid from `auth.dpop.max_age` plus `auth.leeway` in the past to the leeway in the future.
    for (iat, is_valid) in [(-91, false), (-90, true), (0, true), (30, true), (31, false)] {
        locally(async {
            let world = world_with_mode(DpopMode::Required).await;
            let token = bound_to(client_key());
            let proof = proof(&token, json!({"iat": START + iat}));
            let expected = if is_valid { ALICE } else { Err("dpop_time") };
            assert_eq!(world.with_proofs(&token, &[&proof]).await, expected, "{iat}");
        })
        .await;
    }
}

#[tokio::test]
async fn proof_is_not_accepted_twice_while_its_iat_is_valid() {
    locally(async {
        let world = world_with_mode(DpopMode::Required).await;
        let token = token("k1", json!({"cnf": {"jkt": jkt(client_key())}, "exp": START + 3600}));
        let early = proof(&token, json!({"iat": START + 30}));
        assert_eq!(world.with_proofs(&token, &[&early]).await, ALICE);
        for second in 0..=120 {
            world.sweep();
            let outcome = world.with_proofs(&token, &[&early]).await;
            assert_eq!(outcome, Err("dpop_replayed"), "{second}");
            world.advance(SECOND).await;
        }
        assert_eq!(world.with_proofs(&token, &[&early]).await, Err("dpop_time"));
        world.sweep();
        assert_eq!(world.metrics.auth.dpop_proofs.get(), 0);
    })
    .await;
}

/// A world with nonces.
async fn with_nonces() -> World {
    let mut auth = settings();
    auth.dpop.nonces = true;
    let issuer = issuer_with(DpopMode::Required);
    world_of_auth(auth, [("main", issuer, set(&[P256.jwk("k1")]))]).await
}

async fn send(world: &World, token: &str, changes: Value) -> Result<Caller, AuthError> {
    let proof = proof(token, changes);
    world.request(&format!("DPoP {token}"), &[&proof]).await
}

/// The nonce of the error.
fn required_nonce(outcome: Result<Caller, AuthError>) -> String {
    match outcome {
        Err(AuthError::UseDpopNonce(nonce)) => nonce.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nonce_replaces_the_clients_clock() {
    locally(async {
        let world = with_nonces().await;
        let token = token("k1", json!({"cnf": {"jkt": jkt(client_key())}, "exp": START + 3600}));
        let nonce = required_nonce(send(&world, &token, json!({})).await);
        for old in ["", "made up", &nonce.repeat(2)] {
            assert_eq!(
                required_nonce(send(&world, &token, json!({"nonce": old})).await),
                nonce,
                "{old}"
            );
        }
        // The clock of the client is at 1970.
        let valid = json!({"nonce": nonce, "iat": 1});
        let caller = send(&world, &token, valid.clone()).await.unwrap();
        assert_eq!(caller.next_nonce(), None);
        let replayed = proof(&token, valid.clone());
        assert_eq!(world.with_proofs(&token, &[&replayed]).await, ALICE);
        world.advance(60 * SECOND).await;
        let caller = send(&world, &token, valid.clone()).await.unwrap();
        let next = caller.next_nonce().expect("another").to_owned();
        assert_ne!(next, nonce);
        assert_eq!(world.with_proofs(&token, &[&replayed]).await, Err("dpop_replayed"));
        let caller = send(&world, &token, json!({"nonce": next})).await.unwrap();
        assert_eq!(caller.next_nonce(), None);
        world.advance(60 * SECOND).await;
        assert_ne!(
            required_nonce(send(&world, &token, valid).await),
            next,
            "no longer valid after two periods"
        );
        assert!(matches!(
            world.request(&format!("DPoP {token}"), &[&replayed]).await,
            Err(AuthError::UseDpopNonce(_))
        ));
        assert!(send(&world, &token, json!({"nonce": next})).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn nonce_does_not_replace_other_checks() {
    locally(async {
        let world = with_nonces().await;
        let token = bound_to(client_key());
        let nonce = required_nonce(send(&world, &token, json!({})).await);
        for (changes, why) in [
            (json!({"htm": "HEAD"}), "dpop_method"),
            (json!({"htu": format!("{HTU}/x")}), "dpop_target"),
            (json!({"ath": "x"}), "dpop_malformed"),
            (json!({"iat": null}), "dpop_malformed"),
        ] {
            let changes = with(&changes, json!({ "nonce": &*nonce }));
            let rejected = send(&world, &token, changes).await.unwrap_err();
            assert_eq!(rejected.reason(), why);
        }
    })
    .await;
}

#[tokio::test]
async fn one_key_can_fill_its_share_and_many_the_whole_memory() {
    locally(async {
        let mut auth = settings();
        auth.dpop.max_proofs = 3;
        let issuer = issuer_with(DpopMode::Required);
        let world = world_of_auth(auth, [("main", issuer, set(&[P256.jwk("k1")]))]).await;
        let send_with = async |pair: &Pair, alg: &str, jwa| {
            let token = bound_to(pair);
            let head = with(&head(), json!({"alg": alg, "jwk": pair.public})).to_string();
            let proof = pair.sign(jwa, &head, &claims(&token).to_string());
            world.with_proofs(&token, &[&proof]).await
        };
        let es384 = jsonwebtoken::Algorithm::ES384;
        assert_eq!(send_with(client_key(), "ES256", ES256).await, ALICE);
        assert_eq!(send_with(client_key(), "ES256", ES256).await, Err("dpop_too_many"));
        assert_eq!(send_with(&P256, "ES256", ES256).await, ALICE);
        assert_eq!(send_with(&P384, "ES384", es384).await, ALICE);
        let eddsa = jsonwebtoken::Algorithm::EdDSA;
        assert_eq!(
            send_with(&ED25519, "EdDSA", eddsa).await,
            Err("overloaded"),
            "rejected if no proof can be remembered"
        );
        assert_eq!(world.metrics.auth.dpop_proofs.get(), 3);
        world.clock.advance(121 * SECOND);
        world.sweep();
        assert_eq!(world.metrics.auth.dpop_proofs.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn proof_is_not_accepted_twice_while_its_nonce_is_valid() {
    locally(async {
        let world = with_nonces().await;
        let token = token("k1", json!({"cnf": {"jkt": jkt(client_key())}, "exp": START + 3600}));
        // A nonce of a replica whose clock is ahead.
        world.clock.jump_wall(jiff::SignedDuration::from_mins(1));
        let nonce = required_nonce(send(&world, &token, json!({})).await);
        world.clock.jump_wall(jiff::SignedDuration::from_mins(-1));
        let early = proof(&token, json!({ "nonce": &*nonce }));
        assert_eq!(world.with_proofs(&token, &[&early]).await, ALICE);
        for second in 0..180 {
            world.sweep();
            let outcome = world.with_proofs(&token, &[&early]).await;
            assert_eq!(outcome, Err("dpop_replayed"), "{second}");
            world.advance(SECOND).await;
        }
        assert_eq!(world.with_proofs(&token, &[&early]).await, Err("dpop_nonce"));
    })
    .await;
}
