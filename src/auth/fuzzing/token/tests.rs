//! Signed tokens with any claims, and headers with any characters.

use proptest::{collection::vec, option, prelude::*, sample::select};

use serde_json::Value;

use super::{reparsed::NOW, *};

#[test]
fn stored_headers_keep_the_invariants() {
    crate::corpus::replay("bearer_token", bearer_token);
}

#[test]
fn the_invariants_are_exercised() {
    let text = token(r#"{"alg":"EdDSA"}"#, &valid().to_string());
    let unverified = Unverified::parse(&text).unwrap();
    let (verified, _) = unverified.verify(&ISSUER.keys).unwrap();
    for (by, customer) in ISSUER.by_key.iter().zip(["m.alice", "m.bob"]) {
        let accepted = verified.check(&by.rules, Scheme::Bearer, reparsed::now());
        assert_eq!(accepted.unwrap().customer.as_str(), customer);
    }
    let text = message(r#"{"alg":"HS256"}"#, &valid().to_string());
    let text = Issuer::mac(&text);
    let unverified = Unverified::parse(&text).unwrap();
    unverified.check_header(&ISSUER.by_secret.rules).unwrap();
    let (verified, _) = unverified.verify_hmac(&ISSUER.secrets).unwrap();
    let accepted = verified.check(&ISSUER.by_secret.rules, Scheme::Bearer, reparsed::now());
    assert_eq!(accepted.unwrap().customer.as_str(), "m.7");
}

fn valid() -> Value {
    json!({
        "iss": "https://id.example", "aud": ["api"], "sub": "alice", "scope": "a pay",
        "iat": NOW, "exp": NOW + 600, "client_id": "api", "azp": "api", "token_use": "access",
        "is_anonymous": false, "acr": {"level": 2}, "app_metadata": {"customer_id": ["bob"]},
        "ids": [7],
    })
}

fn message(header: &str, claims: &str) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn token(header: &str, claims: &str) -> String {
    ISSUER.sign(&message(header, claims))
}

/// Values that replace the value of a member.
fn unusual() -> impl Strategy<Value = String> {
    const VALUES: &[&str] = &[
        "null",
        "true",
        "\"\"",
        "\"api\"",
        "\"pay\"",
        "[]",
        "[\"api\",1]",
        "{}",
        "0",
        "-1",
        "1e400",
        "1767225629.5",
        "1767225631",
        "99999999999999999999",
        "1e18",
        "\"n.x\"",
        "\"ID\"",
        "\"refresh\"",
        "[\"Offline\"]",
        "\"a/b\"",
        "[\"a/b\"]",
        "[[\"bob\"]]",
        "[\"n.x\"]",
        "[true]",
        "{\"customer_id\":\"alice\"}",
        "{\"customer_id\":[\"alice\",\"bob\"]}",
        "{\"customer_id\":{\"0\":\"bob\"}}",
        "{\"level\":1}",
        "{\"level\":1.0}",
        "{\"level\":3}",
        "{\"level\":[2]}",
        "\"false\"",
    ];
    select(VALUES).prop_map(str::to_owned)
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The claims of a valid token, with some changed, removed, duplicated or added.
fn claims() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "iss",
        "aud",
        "sub",
        "scope",
        "scp",
        "scopes",
        "iat",
        "nbf",
        "exp",
        "cnf",
        "nonce",
        "at_hash",
        "token_use",
        "token_type",
        "typ",
        "client_id",
        "azp",
        "cid",
        "events",
        "jti",
        "sid",
        "is_anonymous",
        "acr",
        "app_metadata",
        "ids",
    ];
    (vec((select(NAMES), option::of(unusual())), 0..4), any::<bool>()).prop_map(
        |(changes, doubled)| {
            let valid = valid();
            let own = valid.as_object().unwrap().iter();
            let mut members: Vec<(&str, String)> =
                own.map(|(name, value)| (name.as_str(), value.to_string())).collect();
            for (name, value) in changes {
                if !doubled {
                    members.retain(|(other, _)| *other != name);
                }
                members.extend(value.map(|value| (name, value)));
            }
            object(&members)
        },
    )
}

fn header() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &["typ", "kid", "crit", "b64", "zip", "enc", "jwk", "alg"];
    const VALUES: &[&str] = &[
        "\"JWT\"",
        "\"at+jwt\"",
        "\"logout+jwt\"",
        "\"k\"",
        "\"ES256\"",
        "\"HS512\"",
        "null",
        "[]",
    ];
    const ALGS: &[&str] = &["\"EdDSA\"", "\"HS256\""];
    (select(ALGS), vec((select(NAMES), select(VALUES)), 0..3)).prop_map(|(alg, others)| {
        let own = [("alg", alg)].into_iter();
        let members: Vec<_> =
            own.chain(others).map(|(name, value)| (name, value.to_owned())).collect();
        object(&members)
    })
}

proptest! {
    #[test]
    fn generated_signed_tokens_keep_the_invariants(
        header in header(),
        claims in claims(),
    ) {
        bearer_token(format!("Bearer {}", token(&header, &claims)).as_bytes());
    }

    #[test]
    fn generated_headers_keep_the_invariants(
        scheme in "(Bearer|bearer|Basic|) {0,2}",
        parts in vec("[a-zA-Z0-9_+/=~-]{0,12}", 1..5),
        rest in "[ \n\t,\"é]?",
    ) {
        bearer_token(format!("{scheme}{}{rest}", parts.join(".")).as_bytes());
    }
}
