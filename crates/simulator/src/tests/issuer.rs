//! The issuer.

use jiff::SignedDuration;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

use super::*;
use crate::{Algorithm, Fault, Issuer, MintRequest, issuer::JWKS_PATH};

const ALGORITHMS: [(Algorithm, jsonwebtoken::Algorithm); 9] = [
    (Algorithm::RS256, jsonwebtoken::Algorithm::RS256),
    (Algorithm::RS384, jsonwebtoken::Algorithm::RS384),
    (Algorithm::RS512, jsonwebtoken::Algorithm::RS512),
    (Algorithm::PS256, jsonwebtoken::Algorithm::PS256),
    (Algorithm::PS384, jsonwebtoken::Algorithm::PS384),
    (Algorithm::PS512, jsonwebtoken::Algorithm::PS512),
    (Algorithm::ES256, jsonwebtoken::Algorithm::ES256),
    (Algorithm::ES384, jsonwebtoken::Algorithm::ES384),
    (Algorithm::EdDSA, jsonwebtoken::Algorithm::EdDSA),
];

async fn issuer() -> (Running, Peer) {
    let running = start(Config::on_free_ports()).await.unwrap();
    let peer = Peer::of(running.issuer().issuer_url()).await;
    (running, peer)
}

async fn published(peer: &mut Peer) -> JwkSet {
    let response = peer.exchange("GET /jwks HTTP/1.1\r\n\r\n").await;
    serde_json::from_str(&response.body).unwrap()
}

/// The claims of a token with a valid signature.
fn verified(token: &str, keys: &JwkSet, issuer: &Issuer) -> Option<Value> {
    let header = decode_header(token).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap())?).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["juspay-bff-demo"]);
    validation.set_issuer(&[issuer.issuer_url()]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    Some(decode(token, &key, &validation).unwrap().claims)
}

#[tokio::test]
async fn tokens_of_each_algorithm_verify_with_published_keys() {
    let (running, mut peer) = issuer().await;
    for (algorithm, theirs) in ALGORITHMS {
        let token =
            running.issuer().mint(&MintRequest { algorithm, ..MintRequest::of("alice") }).unwrap();
        let header = decode_header(&token).unwrap();
        assert_eq!((header.alg, header.typ.as_deref()), (theirs, Some("at+jwt")));
        let keys = published(&mut peer).await;
        assert_eq!(verified(&token, &keys, running.issuer()).unwrap()["sub"], "alice");
        assert_eq!(header.kid, Some(running.issuer().kid(algorithm).unwrap()));
    }
    let keys = running.issuer().jwks();
    let kinds: Vec<_> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            assert_eq!(key["use"], "sig");
            assert!(key.get("d").is_none() && key.get("p").is_none());
            (key["kty"].as_str().unwrap(), key["alg"].as_str())
        })
        .collect();
    let expected =
        [("EC", Some("ES256")), ("RSA", None), ("EC", Some("ES384")), ("OKP", Some("EdDSA"))];
    assert_eq!(kinds, expected, "one RSA key serves all six");
}

#[tokio::test]
async fn kid_is_the_key_thumbprint() {
    use aws_lc_rs::digest;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let (running, _) = issuer().await;
    let key = running.issuer().jwks()["keys"][0].clone();
    // RFC 7638 §3: the required members in lexical order.
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, key["x"], key["y"]);
    let thumbprint = digest::digest(&digest::SHA256, canonical.as_bytes());
    assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(thumbprint));
}

#[tokio::test]
async fn discovery_contains_issuer_and_jwks_uri() {
    let (running, mut peer) = issuer().await;
    let url = running.issuer().issuer_url();
    let document =
        peer.exchange("GET /.well-known/openid-configuration HTTP/1.1\r\n\r\n").await.json();
    assert_eq!(document["issuer"], url);
    assert_eq!(document["jwks_uri"], running.issuer().jwks_url());
    assert_eq!(document["token_endpoint"], format!("{url}/token"));
    assert_eq!(peer.exchange("GET /nothing HTTP/1.1\r\n\r\n").await.status, 404);
    assert!(peer.exchange("GET / HTTP/1.1\r\n\r\n").await.body.contains("POST /rotate"));
}

#[tokio::test]
async fn token_endpoint_issues_the_requested_token() {
    let (running, mut peer) = issuer().await;
    let response = peer.exchange(&post("/token", r#"{"subject": "alice"}"#)).await;
    let granted = response.json();
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let keys = published(&mut peer).await;
    let claims =
        verified(granted["access_token"].as_str().unwrap(), &keys, running.issuer()).unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!(claims["client_id"], "juspay-bff-demo-app");
    assert!(claims.get("scope").is_none());

    let body = json!({
        "subject": "bob", "audience": "you", "life": "5m", "scope": "a b", "typ": "JWT",
        "algorithm": "EdDSA", "claims": {"email": "b@c", "client_id": null, "sub": "carol"},
    });
    let granted = peer.exchange(&post("/token", &body.to_string())).await.json();
    let token = granted["access_token"].as_str().unwrap();
    assert_eq!(granted["expires_in"], 300);
    assert_eq!(decode_header(token).unwrap().typ.as_deref(), Some("JWT"));
    let first = claims["jti"].clone();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims;
    assert!(first.is_string() && first != claims["jti"]);
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!("you"), &json!("a b")));
    assert_eq!((&claims["email"], &claims["sub"]), (&json!("b@c"), &json!("carol")));
    assert!(claims.get("client_id").is_none());

    for (body, why) in
        [("{}", "missing field `subject`"), (r#"{"subject": "a", "algorithm": "none"}"#, "`none`")]
    {
        let rejected = peer.exchange(&post("/token", body)).await;
        assert_eq!(rejected.status, 400);
        assert!(rejected.json()["error"].as_str().unwrap().contains(why), "{}", rejected.body);
    }
}

#[tokio::test]
async fn token_times_follow_the_clock_and_may_be_past() {
    let (_, config) = manual();
    let (running, _) = running(config).await;
    let body = MintRequest { life: SignedDuration::from_secs(-1), ..MintRequest::of("alice") };
    let token = running.issuer().mint(&body.with("nbf", 7)).unwrap();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&token).unwrap().claims;
    let noon = NOON.parse::<Timestamp>().unwrap().as_second();
    assert_eq!(
        (&claims["iat"], &claims["exp"], &claims["nbf"]),
        (&json!(noon), &json!(noon - 1), &json!(7))
    );
    let body = MintRequest { typ: String::new(), ..MintRequest::of("alice") };
    let header = decode_header(running.issuer().mint(&body).unwrap()).unwrap();
    assert_eq!(header.typ, None);
}

#[tokio::test]
async fn rotation_publishes_former_keys_only_with_overlap() {
    let (running, mut peer) = issuer().await;
    let issuer = running.issuer();
    let old = issuer.mint(&MintRequest::of("alice")).unwrap();
    peer.exchange(&post("/rotate", r#"{"overlap": true}"#)).await;
    let new = issuer.mint(&MintRequest::of("alice")).unwrap();
    let keys = published(&mut peer).await;
    assert!(verified(&old, &keys, issuer).is_some() && verified(&new, &keys, issuer).is_some());
    assert_ne!(decode_header(&old).unwrap().kid, decode_header(&new).unwrap().kid);

    issuer.rotate(false).unwrap();
    let keys = published(&mut peer).await;
    assert_eq!(keys.keys.len(), 1);
    assert!(verified(&old, &keys, issuer).is_none() && verified(&new, &keys, issuer).is_none());
    let newest = issuer.mint(&MintRequest::of("alice")).unwrap();
    assert!(verified(&newest, &keys, issuer).is_some());

    issuer.rotate(true).unwrap();
    issuer.rotate(true).unwrap();
    let keys = published(&mut peer).await;
    assert!(verified(&newest, &keys, issuer).is_none(), "only the previous keys are published");
    assert_eq!(peer.exchange(&post("/rotate", "{}")).await.status, 400);
}

#[tokio::test]
async fn requests_are_counted_by_path() {
    let (_running, mut peer) = issuer().await;
    for _ in 0..2 {
        published(&mut peer).await;
    }
    let counts = peer.exchange("GET /counts HTTP/1.1\r\n\r\n").await.json();
    assert_eq!(counts, json!({"/jwks": 2, "/counts": 1}));
}

#[tokio::test]
async fn raw_tokens_contain_the_given_header_and_claims() {
    let (running, _) = issuer().await;
    let issuer = running.issuer();
    let kid = issuer.kid(Algorithm::ES256).unwrap();
    let header = format!(r#"{{"alg":"ES256","kid":"{kid}","crit":["b64"]}}"#);
    let token = issuer.sign_raw(&header, r#"{"sub": ["not", "text"]}"#, Algorithm::ES256).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let keys: JwkSet = serde_json::from_value(issuer.jwks()).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let message = format!("{}.{}", parts[0], parts[1]);
    let algorithm = jsonwebtoken::Algorithm::ES256;
    assert!(jsonwebtoken::crypto::verify(parts[2], message.as_bytes(), &key, algorithm).unwrap());
    assert!(issuer.sign_raw("not JSON", "", Algorithm::EdDSA).unwrap().matches('.').count() == 2);
}

#[tokio::test]
async fn jwks_endpoint_can_fail_hang_and_count() {
    let (running, mut peer) = issuer().await;
    let issuer = running.issuer();
    let broken = Fault::Status {
        status: 200,
        headers: std::collections::BTreeMap::default(),
        body: "garbage".to_owned(),
    };
    issuer.inject(JWKS_PATH, Some(1), broken);
    let jwks = "GET /jwks HTTP/1.1\r\n\r\n";
    assert_eq!(peer.exchange(jwks).await.body, "garbage");
    let latch = issuer.hold(JWKS_PATH);
    peer.send(jwks).await;
    latch.arrived(1).await;
    let mut other = Peer::of(issuer.issuer_url()).await;
    assert_eq!(other.exchange("GET / HTTP/1.1\r\n\r\n").await.status, 200);
    assert!(peer.is_silent());
    latch.release();
    assert!(peer.read_response().await.json()["keys"].is_array());
    issuer.inject(JWKS_PATH, None, Fault::Empty);
    assert_eq!(peer.exchange(jwks).await.body, "");
    issuer.clear_faults();
    assert_ne!(peer.exchange(jwks).await.body, "");
    assert_eq!((issuer.calls(JWKS_PATH), issuer.requests().len()), (4, 5));
}
