//! Tokens that no issuer mints: their parts, put together by hand.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use juspay_bff::{settings::Algorithm, simulator::Issuer};
use serde_json::{Value, json};

use crate::support::World;

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header, payload and signature.
pub fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().expect("three parts")
}

/// The header of the issuer's usual tokens.
pub fn header(issuer: &Issuer) -> Value {
    json!({"alg": "ES256", "kid": issuer.kid(Algorithm::ES256).unwrap(), "typ": "at+jwt"})
}

/// Good claims of alice's.
pub fn claims(world: &World) -> Value {
    json!({
        "iss": world.issuer().issuer_url(),
        "sub": "alice",
        "aud": "juspay-bff-demo",
        "exp": world.clock_seconds() + 3600,
    })
}

/// A token whose signature is an HMAC with a public key, which anybody has, as the secret.
pub fn hmac(header: &str, payload: &str, jwk: &Value) -> String {
    let message = format!("{}.{payload}", base64url(header));
    let secret = ["x", "y"]
        .map(|coordinate| URL_SAFE_NO_PAD.decode(jwk[coordinate].as_str().unwrap()).unwrap());
    let secret = [vec![4], secret.concat()].concat();
    let signature = sign(&Key::new(HMAC_SHA256, &secret), message.as_bytes());
    format!("{message}.{}", base64url(signature))
}
