//! Opaque tokens that are bound to a phone's key (RFC 9449 §6.2): good with that key's proof, and
//! never without.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{Asked, CLIENT, owner, unavailable};
use crate::support::{
    Reply,
    dpop_key::{DpopKey, show},
};

const MODES: [&str; 3] = ["off", "optional", "required"];

impl Asked {
    async fn in_mode(mode: &str) -> Self {
        Self::with_own("", &format!("dpop = '{mode}'")).await
    }

    /// A token for `subject` that is bound to the prover's key.
    fn bound(&self, prover: &DpopKey, subject: &str) -> String {
        self.mint(prover.bound(MintRequest::opaque(subject)))
    }
}

fn refused(what: &str, reply: &Reply, code: &str) {
    assert_eq!((reply.status, &*reply.code()), (401, code), "{what}: {}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_bound_opaque_token_is_its_own_customers_with_a_new_proof_each_time() {
    for mode in ["optional", "required"] {
        let asked = Asked::in_mode(mode).await;
        let provers = ["alice", "bob"].map(|name| (name, DpopKey::new()));
        for (name, prover) in &provers {
            let token = asked.bound(prover, name);
            for sight in ["first sight", "known"] {
                let proof = prover.proof(&asked.world, &token, &json!({}));
                let reply = show(&asked.world.stranger(), "GET", &token, &proof).await;
                assert_eq!(owner(&reply), *name, "{mode} {sight}");
                let again = show(&asked.world.stranger(), "GET", &token, &proof).await;
                refused("a replay", &again, "invalid_dpop_proof");
            }
        }
        assert_eq!(asked.calls(), 2, "each token is asked about once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_without_its_keys_proof_a_bound_opaque_token_lets_nobody_in() {
    for mode in MODES {
        let asked = Asked::in_mode(mode).await;
        let (prover, thief) = (DpopKey::new(), DpopKey::new());
        let (token, other) = (asked.bound(&prover, "alice"), asked.bound(&prover, "alice"));
        for sight in ["first", "second"] {
            let bare = asked.world.phone_holding(&token).me().await;
            refused(sight, &bare, "invalid_token");
            let thiefs = thief.me(&asked.world, &token).await;
            refused(sight, &thiefs, if mode == "off" { "missing_token" } else { "invalid_token" });
            if mode == "off" {
                continue;
            }
            let authorization = format!("Authorization: DPoP {token}\r\n");
            let stranger = asked.world.stranger();
            let proofless = stranger.request("GET", "/me/customer", &authorization).await;
            refused(sight, &proofless, "invalid_dpop_proof");
            for changes in [
                json!({"htm": "POST"}),
                json!({"htu": "https://elsewhere.example/me/customer"}),
                json!({"iat": asked.world.clock_seconds() - 91}),
                json!({"ath": null}),
            ] {
                let reply = prover.me_with(&asked.world, &token, &changes).await;
                refused(&changes.to_string(), &reply, "invalid_dpop_proof");
            }
            let for_other = prover.proof(&asked.world, &other, &json!({}));
            let reply = show(&asked.world.stranger(), "GET", &token, &for_other).await;
            refused("for another token", &reply, "invalid_dpop_proof");
        }
        assert_eq!(asked.world.simulator().total_requests(), 0, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_takes_its_own_opaque_tokens_only() {
    for (mode, takes_unbound) in [("off", true), ("optional", true), ("required", false)] {
        let asked = Asked::in_mode(mode).await;
        let (prover, phone) = (DpopKey::new(), asked.phone("alice"));
        let reply = phone.me().await;
        assert_eq!(reply.status == 200, takes_unbound, "{mode}: {}", reply.text());
        let token = phone.token.unwrap();
        let reply = prover.me(&asked.world, &token).await;
        assert_eq!(reply.status, 401, "a proof makes no token bound: {mode}");
        // Called bound, but not to which key.
        for nameless in [Value::Null, json!({}), json!({"x5t#S256": prover.thumbprint()})] {
            let wish = MintRequest::opaque("alice").with("token_type", "DPoP");
            let token = asked.mint(wish.with("cnf", nameless.clone()));
            refused("as a bearer", &asked.world.phone_holding(&token).me().await, "invalid_token");
            let reply = prover.me(&asked.world, &token).await;
            assert_eq!(reply.status, 401, "{mode} {nameless}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_proof_is_no_reason_to_turn_down_what_nobody_vouches_against() {
    let asked = Asked::in_mode("required").await;
    let prover = DpopKey::new();
    let token = asked.bound(&prover, "alice");
    asked.world.issuer().set_client(CLIENT, "another secret");
    unavailable(&prover.me(&asked.world, &token).await);
    asked.world.issuer().set_client(CLIENT, &asked.secret);
    assert_eq!(owner(&prover.me(&asked.world, &token).await), "alice");
    // Ended at the issuer: from the end of what is remembered on, no proof helps.
    asked.world.issuer().revoke(&token);
    asked.world.clock.advance(Duration::from_secs(60));
    refused("ended", &prover.me(&asked.world, &token).await, "invalid_token");
}
