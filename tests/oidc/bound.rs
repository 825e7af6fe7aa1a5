//! Tokens that the provider binds to a client's key (DPoP, RFC 9449).

use serde_json::json;

use crate::{
    app::Tokens,
    fixture::{Fixture, assert_rejected, owner, resource},
    support::dpop_key::{DpopKey, show},
};

const OPTIONAL: (&str, &str) = ("dpop", "'optional'");
const REQUIRED: (&str, &str) = ("dpop", "'required'");

/// A token of alice that the provider has bound to this key.
async fn bound(fixture: &Fixture, prover: &DpopKey) -> String {
    let target = format!("{}/token", fixture.provider.issuer);
    let changes = json!({"htm": "POST", "htu": target, "ath": null});
    let proof = prover.proof(&fixture.world, "", &changes);
    let lines = format!("DPoP: {proof}\r\n");
    let Tokens { access, kind, .. } =
        fixture.app("alice").tokens_with(&resource("ES256"), &lines).await;
    assert_eq!(kind, "DPoP");
    access
}

#[tokio::test(flavor = "multi_thread")]
async fn dpop_bound_token_requires_a_proof_of_its_key() {
    for settings in [OPTIONAL, REQUIRED] {
        let fixture = Fixture::by_keys_and(&[settings]).await;
        let (owners, thiefs) = (DpopKey::new(), DpopKey::new());
        let token = bound(&fixture, &owners).await;
        assert_eq!(owner(&owners.me(&fixture.world, &token).await), "alice");

        let proof = owners.proof(&fixture.world, &token, &json!({}));
        let client = fixture.world.anonymous();
        assert_eq!(owner(&show(&client, "GET", &token, &proof).await), "alice");
        for (what, proof, code) in [
            ("used before", proof, "invalid_dpop_proof"),
            ("no proof", "x".to_owned(), "invalid_dpop_proof"),
            // Another key.
            ("a thief's", thiefs.proof(&fixture.world, &token, &json!({})), "invalid_token"),
        ] {
            let reply = show(&client, "GET", &token, &proof).await;
            assert_eq!((reply.status, &*reply.code()), (401, code), "{what}");
        }
        let reply = fixture.world.client_with_token(&token).me().await;
        assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "as a bearer token");
        assert_eq!(fixture.world.simulator().total_requests(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dpop_bound_token_is_rejected_where_dpop_is_off() {
    let fixture = Fixture::by_keys().await;
    let prover = DpopKey::new();
    let token = bound(&fixture, &prover).await;
    assert_rejected(&fixture.world.client_with_token(&token).me().await);
    let reply = prover.me(&fixture.world, &token).await;
    assert_eq!((reply.status, &*reply.code()), (401, "missing_token"), "an unknown scheme");
}

#[tokio::test(flavor = "multi_thread")]
async fn unbound_token_is_accepted_only_where_dpop_is_optional() {
    let fixture = Fixture::by_keys_and(&[OPTIONAL]).await;
    assert_eq!(owner(&fixture.client("alice", "ES256").await.me().await), "alice");
    let fixture = Fixture::by_keys_and(&[REQUIRED]).await;
    let reply = fixture.client("alice", "ES256").await.me().await;
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"));
}
