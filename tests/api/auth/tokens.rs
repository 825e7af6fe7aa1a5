//! Invalid tokens, each with its own reason: forged ones, unusual headers, and signed ones with
//! invalid claims.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use simulator::{Algorithm, Issuer, MintRequest};

use super::expired;
use crate::support::World;

/// What is wrong, the counted reason (`auth_failures_total`), and the token.
pub type Invalid = (&'static str, &'static str, String);

/// Tokens that the issuer hasn't signed.
pub fn forged(issuer: &Issuer, claims: &Value, untrusted: &Issuer) -> Vec<Invalid> {
    let mint = |subject| issuer.mint(&MintRequest::of(subject)).unwrap();
    let (valid, bobs) = (mint("alice"), mint("bob"));
    let ([head, payload, _], [.., signature]) = (parts(&valid), parts(&bobs));
    let usual = header(issuer);
    let by_untrusted_issuer = |header: &Value| {
        untrusted.sign_raw(&header.to_string(), &claims.to_string(), Algorithm::ES256).unwrap()
    };
    let own_key = json!({"alg": "ES256", "typ": "at+jwt", "jwk": untrusted.jwks()["keys"][0]});
    let none = base64url(json!({"alg": "none", "typ": "at+jwt"}).to_string());
    let hs256 = json!({"alg": "HS256", "kid": usual["kid"], "typ": "at+jwt"}).to_string();
    vec![
        ("garbage", "not_jws", "garbage".to_owned()),
        ("dots", "not_jws", "a.b.c".to_owned()),
        ("five parts, as if encrypted", "not_jws", format!("{head}.{payload}.a.b.c")),
        ("another's signature", "signature", format!("{head}.{payload}.{signature}")),
        ("no signature", "signature", format!("{head}.{payload}.")),
        (
            "other claims",
            "signature",
            format!("{head}.{}.{signature}", base64url(claims.to_string())),
        ),
        ("alg none", "algorithm", format!("{none}.{payload}.")),
        ("alg none, signed", "algorithm", format!("{none}.{payload}.{signature}")),
        (
            "the public key as a secret",
            "algorithm",
            hmac(&hs256, payload, &issuer.jwks()["keys"][0]),
        ),
        ("an untrusted issuer's key under our kid", "signature", by_untrusted_issuer(&usual)),
        ("a key of its own in the header", "signature", by_untrusted_issuer(&own_key)),
    ]
}

/// Tokens that the issuer has signed, with a header that is not accepted.
pub fn with_odd_headers(issuer: &Issuer, claims: &Value) -> Vec<Invalid> {
    let with = |name: &str, value: Value| {
        let mut header = header(issuer);
        header[name] = value;
        issuer.sign_raw(&header.to_string(), &claims.to_string(), Algorithm::ES256).unwrap()
    };
    let es384 = MintRequest { algorithm: Algorithm::ES384, ..MintRequest::of("alice") };
    vec![
        ("an unknown kid", "unknown_key", with("kid", json!("nobody"))),
        ("a kid that is a number", "header", with("kid", json!(1))),
        ("a critical extension", "header", with("crit", json!(["exp"]))),
        ("an unencoded payload", "header", with("b64", json!(false))),
        ("another type", "type", with("typ", json!("dpop+jwt"))),
        ("an algorithm that isn't the issuer's", "algorithm", issuer.mint(&es384).unwrap()),
    ]
}

/// Tokens that an issuer has signed, with claims that are not accepted.
pub fn with_unfit_claims(world: &World, untrusted: &Issuer) -> Vec<Invalid> {
    let mint = |wish: MintRequest| world.issuer().mint(&wish).unwrap();
    let with = |claim: &str, value: Value| mint(MintRequest::of("alice").with(claim, value));
    let issuers = json!([world.issuer().issuer_url()]);
    let id_token = MintRequest { typ: "JWT".to_owned(), ..MintRequest::of("alice") };
    // Just beyond the leeway.
    let future = json!(world.clock_seconds() + 31);
    vec![
        (
            "an untrusted issuer's",
            "unknown_issuer",
            untrusted.mint(&MintRequest::of("alice")).unwrap(),
        ),
        ("no issuer", "unknown_issuer", with("iss", Value::Null)),
        ("a list of issuers", "unknown_issuer", with("iss", issuers)),
        ("another audience", "audience", with("aud", json!("others"))),
        ("other audiences", "audience", with("aud", json!(["others", "juspay-bff"]))),
        ("no audience", "claims", with("aud", Value::Null)),
        ("a list of subjects", "claims", with("sub", json!(["alice"]))),
        ("no end", "claims", with("exp", Value::Null)),
        ("an end that is a text", "claims", with("exp", json!("4102444800"))),
        ("not valid yet", "not_yet_valid", with("nbf", future.clone())),
        ("issued in the future", "not_yet_valid", with("iat", future)),
        ("bound to a key", "confirmation", with("cnf", json!({"jkt": "x"}))),
        ("an ID token", "id_token", mint(id_token.with("at_hash", "h"))),
        ("a refresh token", "type", with("typ", json!("Refresh"))),
        ("expired, for others", "audience", mint(expired("alice").with("aud", "others"))),
        (
            "expired, an untrusted issuer's",
            "unknown_issuer",
            untrusted.mint(&expired("alice")).unwrap(),
        ),
        ("expired, bound to a key", "confirmation", mint(expired("alice").with("cnf", json!({})))),
    ]
}

/// The header of the issuer's usual tokens.
pub fn header(issuer: &Issuer) -> Value {
    json!({"alg": "ES256", "kid": issuer.kid(Algorithm::ES256).unwrap(), "typ": "at+jwt"})
}

/// Valid claims of alice's.
pub fn claims(world: &World) -> Value {
    json!({
        "iss": world.issuer().issuer_url(),
        "sub": "alice",
        "aud": "juspay-bff-demo",
        "exp": world.clock_seconds() + 3600,
    })
}

/// Header, payload and signature.
fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().expect("three parts")
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with an HMAC that uses a public key as the secret.
fn hmac(header: &str, payload: &str, jwk: &Value) -> String {
    let message = format!("{}.{payload}", base64url(header));
    let secret = ["x", "y"]
        .map(|coordinate| URL_SAFE_NO_PAD.decode(jwk[coordinate].as_str().unwrap()).unwrap());
    let secret = [vec![4], secret.concat()].concat();
    let signature = sign(&Key::new(HMAC_SHA256, &secret), message.as_bytes());
    format!("{message}.{}", base64url(signature))
}
