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
    for (minted, active) in
        [(MintRequest::opaque("alice"), true), (MintRequest::of("alice"), true), (expired, false)]
    {
        let token = running.issuer().mint(&minted).unwrap();
        assert_eq!(token.starts_with("opq_"), minted.opaque, "{token}");
        let request = post("/introspect", CREDENTIALS, &format!("token={token}"));
        let response = peer.exchange(&request).await;
        assert_eq!(response.status, 200);
        if active {
            let claims = response.json();
            assert_eq!((&claims["active"], &claims["sub"]), (&json!(true), &json!("alice")));
            assert_eq!(claims["token_type"], "Bearer");
            assert_eq!(claims["iss"], running.issuer().issuer_url());
        } else {
            assert_eq!(response.json(), json!({"active": false}));
        }
        let revoked = peer.exchange(&post("/revoke", CREDENTIALS, &format!("token={token}"))).await;
        assert_eq!(revoked.status, 200);
        assert_eq!(peer.exchange(&request).await.json(), json!({"active": false}));
    }
    let bound = MintRequest::opaque("alice").with("cnf", json!({"jkt": "x"}));
    let token = running.issuer().mint(&bound).unwrap();
    let claims =
        peer.exchange(&post("/introspect", CREDENTIALS, &format!("token={token}"))).await.json();
    assert_eq!((&claims["token_type"], &claims["cnf"]["jkt"]), (&json!("DPoP"), &json!("x")));
    let unknown = peer.exchange(&post("/introspect", CREDENTIALS, "token=opq_x")).await;
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
            let response = peer.exchange(&post(path, credentials, &form)).await;
            assert_eq!(response.status, 401, "{path} {credentials}");
        }
    }
    // `a b:s+%é`, each part form-encoded.
    running.issuer().set_client("a b", "s+%\u{e9}");
    let mut status = async |credentials: &str| {
        peer.exchange(&post("/introspect", credentials, &form)).await.status
    };
    assert_eq!(status(CREDENTIALS).await, 401);
    assert_eq!(status("YStiOnMlMkIlMjUlQzMlQTk=").await, 200);
}
