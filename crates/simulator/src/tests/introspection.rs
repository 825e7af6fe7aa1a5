//! Token introspection.

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{MintRequest, issuer::DEFAULT_CLIENT};

/// `juspay-bff:sim_client_secret`
const CREDENTIALS: &str = "anVzcGF5LWJmZjpzaW1fY2xpZW50X3NlY3JldA==";

fn post(path: &str, credentials: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nAuthorization: Basic {credentials}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn introspection_returns_claims_of_active_tokens_only() {
    assert_eq!(DEFAULT_CLIENT, ("juspay-bff", "sim_client_secret"));
    let running = start(Config::on_free_ports()).await.unwrap();
    let mut peer = Peer::of(running.issuer().issuer_url()).await;
    let past = SignedDuration::from_secs(-1);
    let expired = MintRequest { life: past, ..MintRequest::opaque("alice") };
    for (wish, active) in
        [(MintRequest::opaque("alice"), true), (MintRequest::of("alice"), true), (expired, false)]
    {
        let token = running.issuer().mint(&wish).unwrap();
        assert_eq!(token.starts_with("opq_"), wish.opaque, "{token}");
        let question = post("/introspect", CREDENTIALS, &format!("token={token}"));
        let answer = peer.ask(&question).await;
        assert_eq!(answer.status, 200);
        if active {
            let said = answer.json();
            assert_eq!((&said["active"], &said["sub"]), (&json!(true), &json!("alice")));
            assert_eq!(said["token_type"], "Bearer");
            assert_eq!(said["iss"], running.issuer().issuer_url());
        } else {
            assert_eq!(answer.json(), json!({"active": false}));
        }
        let revoked = peer.ask(&post("/revoke", CREDENTIALS, &format!("token={token}"))).await;
        assert_eq!(revoked.status, 200);
        assert_eq!(peer.ask(&question).await.json(), json!({"active": false}));
    }
    let bound = MintRequest::opaque("alice").with("cnf", json!({"jkt": "x"}));
    let token = running.issuer().mint(&bound).unwrap();
    let said = peer.ask(&post("/introspect", CREDENTIALS, &format!("token={token}"))).await.json();
    assert_eq!((&said["token_type"], &said["cnf"]["jkt"]), (&json!("DPoP"), &json!("x")));
    let unknown = peer.ask(&post("/introspect", CREDENTIALS, "token=opq_x")).await;
    assert_eq!(unknown.json(), json!({"active": false}));
}

#[tokio::test]
async fn introspection_and_revocation_require_the_client() {
    let running = start(Config::on_free_ports()).await.unwrap();
    let mut peer = Peer::of(running.issuer().issuer_url()).await;
    let token = running.issuer().mint(&MintRequest::opaque("alice")).unwrap();
    let form = format!("token={token}");
    for path in ["/introspect", "/revoke"] {
        for credentials in ["", "x", "anVzcGF5LWJmZg==", "anVzcGF5LWJmZjp3cm9uZw=="] {
            let answer = peer.ask(&post(path, credentials, &form)).await;
            assert_eq!(answer.status, 401, "{path} {credentials}");
        }
    }
    // `a b:s+%é`, each part form-encoded.
    running.issuer().set_client("a b", "s+%\u{e9}");
    let mut ask =
        async |credentials: &str| peer.ask(&post("/introspect", credentials, &form)).await.status;
    assert_eq!(ask(CREDENTIALS).await, 401);
    assert_eq!(ask("YStiOnMlMkIlMjUlQzMlQTk=").await, 200);
}
