//! Tokens that the provider binds to a phone's key (DPoP, RFC 9449).

use serde_json::json;

use crate::{
    app::Tokens,
    meeting::{Meeting, is_refused, ours, owner},
    support::dpop_key::{DpopKey, show},
};

const OPTIONAL: (&str, &str) = ("dpop", "'optional'");
const REQUIRED: (&str, &str) = ("dpop", "'required'");

/// A token of alice's that the provider has bound to that key, for a proof of it.
async fn bound(meeting: &Meeting, prover: &DpopKey) -> String {
    let target = format!("{}/token", meeting.provider.issuer);
    let changes = json!({"htm": "POST", "htu": target, "ath": null});
    let proof = prover.proof(&meeting.world, "", &changes);
    let lines = format!("DPoP: {proof}\r\n");
    let Tokens { access, kind, .. } =
        meeting.app("alice").tokens_with(&ours("ES256"), &lines).await;
    assert_eq!(kind, "DPoP");
    access
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_good_with_a_proof_of_its_key_and_never_without() {
    for settings in [OPTIONAL, REQUIRED] {
        let meeting = Meeting::by_keys_and(&[settings]).await;
        let (owners, thiefs) = (DpopKey::new(), DpopKey::new());
        let token = bound(&meeting, &owners).await;
        assert_eq!(owner(&owners.me(&meeting.world, &token).await), "alice");

        let proof = owners.proof(&meeting.world, &token, &json!({}));
        let phone = meeting.world.stranger();
        assert_eq!(owner(&show(&phone, "GET", &token, &proof).await), "alice");
        for (what, proof, code) in [
            ("used before", proof, "invalid_dpop_proof"),
            ("no proof", "x".to_owned(), "invalid_dpop_proof"),
            // The token isn't that key's.
            ("a thief's", thiefs.proof(&meeting.world, &token, &json!({})), "invalid_token"),
        ] {
            let reply = show(&phone, "GET", &token, &proof).await;
            assert_eq!((reply.status, &*reply.code()), (401, code), "{what}");
        }
        let reply = meeting.world.phone_holding(&token).me().await;
        assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "as a bearer token");
        assert_eq!(meeting.world.simulator().total_requests(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_refused_where_proofs_are_not_taken() {
    let meeting = Meeting::by_keys().await;
    let prover = DpopKey::new();
    let token = bound(&meeting, &prover).await;
    is_refused(&meeting.world.phone_holding(&token).me().await);
    let reply = prover.me(&meeting.world, &token).await;
    assert_eq!((reply.status, &*reply.code()), (401, "missing_token"), "an unknown scheme");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_token_is_good_where_proofs_are_optional_and_refused_where_required() {
    let meeting = Meeting::by_keys_and(&[OPTIONAL]).await;
    assert_eq!(owner(&meeting.phone("alice", "ES256").await.me().await), "alice");
    let meeting = Meeting::by_keys_and(&[REQUIRED]).await;
    let reply = meeting.phone("alice", "ES256").await.me().await;
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"));
}
