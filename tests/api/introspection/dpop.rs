//! Opaque tokens that are bound to a client's key (RFC 9449 §6.2): accepted only with a proof of
//! that key.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{CLIENT, Setup, assert_unavailable, owner};
use crate::support::{
    Reply,
    dpop_key::{DpopKey, show},
};

const MODES: [&str; 3] = ["off", "optional", "required"];

impl Setup {
    async fn in_mode(mode: &str) -> Self {
        Self::with_issuer_settings("", &format!("dpop = '{mode}'")).await
    }

    /// A token for `subject` that is bound to the prover's key.
    fn bound(&self, prover: &DpopKey, subject: &str) -> String {
        self.mint(prover.bound(MintRequest::opaque(subject)))
    }
}

fn assert_rejected(what: &str, reply: &Reply, code: &str) {
    assert_eq!((reply.status, &*reply.code()), (401, code), "{what}: {}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_bound_opaque_token_is_accepted_with_a_new_proof_each_time() {
    for mode in ["optional", "required"] {
        let setup = Setup::in_mode(mode).await;
        let provers = ["alice", "bob"].map(|name| (name, DpopKey::new()));
        for (name, prover) in &provers {
            let token = setup.bound(prover, name);
            for sight in ["first sight", "known"] {
                let proof = prover.proof(&setup.world, &token, &json!({}));
                let reply = show(&setup.world.anonymous(), "GET", &token, &proof).await;
                assert_eq!(owner(&reply), *name, "{mode} {sight}");
                let again = show(&setup.world.anonymous(), "GET", &token, &proof).await;
                assert_rejected("a replay", &again, "invalid_dpop_proof");
            }
        }
        assert_eq!(setup.calls(), 2, "each token is introspected once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_bound_opaque_token_without_its_keys_proof_is_rejected() {
    for mode in MODES {
        let setup = Setup::in_mode(mode).await;
        let (prover, thief) = (DpopKey::new(), DpopKey::new());
        let (token, other) = (setup.bound(&prover, "alice"), setup.bound(&prover, "alice"));
        for sight in ["first", "second"] {
            let bare = setup.world.client_with_token(&token).me().await;
            assert_rejected(sight, &bare, "invalid_token");
            let thiefs = thief.me(&setup.world, &token).await;
            assert_rejected(
                sight,
                &thiefs,
                if mode == "off" { "missing_token" } else { "invalid_token" },
            );
            if mode == "off" {
                continue;
            }
            let authorization = format!("Authorization: DPoP {token}\r\n");
            let anonymous = setup.world.anonymous();
            let proofless = anonymous.request("GET", "/me/customer", &authorization).await;
            assert_rejected(sight, &proofless, "invalid_dpop_proof");
            for changes in [
                json!({"htm": "POST"}),
                json!({"htu": "https://elsewhere.example/me/customer"}),
                json!({"iat": setup.world.clock_seconds() - 91}),
                json!({"ath": null}),
            ] {
                let reply = prover.me_with(&setup.world, &token, &changes).await;
                assert_rejected(&changes.to_string(), &reply, "invalid_dpop_proof");
            }
            let for_other = prover.proof(&setup.world, &other, &json!({}));
            let reply = show(&setup.world.anonymous(), "GET", &token, &for_other).await;
            assert_rejected("for another token", &reply, "invalid_dpop_proof");
        }
        assert_eq!(setup.world.simulator().total_requests(), 0, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_accepts_only_its_own_opaque_tokens() {
    for (mode, accepts_unbound) in [("off", true), ("optional", true), ("required", false)] {
        let setup = Setup::in_mode(mode).await;
        let (prover, client) = (DpopKey::new(), setup.client("alice"));
        let reply = client.me().await;
        assert_eq!(reply.status == 200, accepts_unbound, "{mode}: {}", reply.text());
        let token = client.token.unwrap();
        let reply = prover.me(&setup.world, &token).await;
        assert_eq!(reply.status, 401, "a proof does not bind a token: {mode}");
        // The type is DPoP, but there is no key thumbprint.
        for nameless in [Value::Null, json!({}), json!({"x5t#S256": prover.thumbprint()})] {
            let wish = MintRequest::opaque("alice").with("token_type", "DPoP");
            let token = setup.mint(wish.with("cnf", nameless.clone()));
            assert_rejected(
                "as a bearer",
                &setup.world.client_with_token(&token).me().await,
                "invalid_token",
            );
            let reply = prover.me(&setup.world, &token).await;
            assert_eq!(reply.status, 401, "{mode} {nameless}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_failed_introspection_of_a_bound_token_is_a_503() {
    let setup = Setup::in_mode("required").await;
    let prover = DpopKey::new();
    let token = setup.bound(&prover, "alice");
    setup.world.issuer().set_client(CLIENT, "another secret");
    assert_unavailable(&prover.me(&setup.world, &token).await);
    setup.world.issuer().set_client(CLIENT, &setup.secret);
    assert_eq!(owner(&prover.me(&setup.world, &token).await), "alice");
    // The issuer revokes the token: once the cached response has expired, a proof does not help.
    setup.world.issuer().revoke(&token);
    setup.world.clock.advance(Duration::from_secs(60));
    assert_rejected("ended", &prover.me(&setup.world, &token).await, "invalid_token");
}
