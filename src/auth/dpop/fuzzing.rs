//! Invariants of DPoP proofs, for fuzz targets and tests. Not part of any program.
//!
//! A fuzzer cannot sign. Each proof that can be parsed is therefore signed again with the key that its token
//! is bound to. Its header and claims alone then decide whether it is accepted.

#![expect(clippy::expect_used, reason = "a panic reports a violated invariant")]

use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use prometheus::IntGauge;
use serde_json::{Map, Value};

use super::{Dpop, DpopRequest};
use crate::{
    auth::{
        digest::{Sha256, sha256},
        error::{AuthError, ProofFault},
        fuzzing::reparsed::unsigned,
    },
    clock::{Moment, Monotonic},
    settings::{self, Sources},
};

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;
/// The defaults of `auth.dpop.max_age` and `auth.leeway`, in seconds.
const MAX_AGE: i64 = 60;
const LEEWAY: i64 = 30;
const TOKEN: &[u8] = b"the token";
const SETTINGS: &str = r#"
juspay = { base_url = "https://api.juspay.in", merchant_id = "merchant", api_key = "key" }

[auth.issuers.main]
issuer = "https://id.example"
audiences = ["api"]
algorithms = ["ES256"]
discovery = true
dpop = "required"
"#;

static CLIENT: LazyLock<Client> = LazyLock::new(Client::new);

/// A client with one key. It never changes, so corpora can contain valid signatures.
struct Client {
    pair: Ed25519KeyPair,
    /// The public key in base64url.
    x: String,
    /// The thumbprint of the key (RFC 7638).
    thumbprint: Sha256,
    auth: settings::Auth,
}

/// The parts of a request that a proof must match.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    secure: bool,
    host: &'a str,
    path: &'a str,
    token: &'a [u8],
    key: &'a Sha256,
    /// Seconds since 1970.
    now: i64,
}

/// Checks a proof, or its two JSON texts, one per line.
pub fn dpop_proof(input: &[u8]) {
    let text = unsigned(input).or_else(|| std::str::from_utf8(input).ok().map(str::to_owned));
    let Some(text) = text else { return };
    check(&text);
    if let Some((message, _)) = text.rsplit_once('.') {
        check(&CLIENT.sign(message));
    }
}

/// The request that valid proofs are made for.
fn default_request() -> Request<'static> {
    Request {
        method: "GET",
        secure: true,
        host: "api.example",
        path: "/me/customer",
        token: TOKEN,
        key: &CLIENT.thumbprint,
        now: NOW,
    }
}

fn check(proof: &str) {
    let request = default_request();
    let dpop = CLIENT.dpop(false);
    if request.send(&dpop, &[proof]).is_err() {
        return;
    }
    check_accepted(proof);
    let again = request.send(&dpop, &[proof]);
    assert_eq!(again, Err(ProofFault::Replayed.into()), "accepted twice");
    assert!(request.send(&CLIENT.dpop(false), &[proof, proof]).is_err(), "two proofs are accepted");
    let without_nonce = request.send(&CLIENT.dpop(true), &[proof]);
    assert!(matches!(without_nonce, Err(AuthError::UseDpopNonce(_))), "accepted without a nonce");
    let end = MAX_AGE + LEEWAY + LEEWAY;
    for other in [
        Request { method: "HEAD", ..request },
        Request { secure: false, ..request },
        Request { host: "api.example:444", ..request },
        Request { host: "evil.example", ..request },
        Request { path: "/me", ..request },
        Request { path: "/me/customer/", ..request },
        Request { token: b"another token", ..request },
        Request { key: &[0; 32], ..request },
        Request { now: NOW + end + 1, ..request },
        Request { now: NOW - end - 1, ..request },
    ] {
        assert!(other.send(&CLIENT.dpop(false), &[proof]).is_err(), "accepted for another request");
    }
}

impl Request<'_> {
    /// Checks the request with these proofs.
    fn send(&self, dpop: &Dpop, proofs: &[&str]) -> Result<(), AuthError> {
        let proofs = proofs.iter().map(|proof| proof.as_bytes());
        let presented =
            DpopRequest::new(self.method, self.secure, Some(self.host), self.path, proofs);
        let wall = Timestamp::from_second(self.now).expect("a time");
        let (proof, _) = dpop.examine(&presented, &sha256(self.token), wall)?;
        proof.verify(self.key)?;
        let now = Moment { wall, monotonic: Monotonic::new(Duration::ZERO) };
        Ok(dpop.replays.insert(self.key, &proof.jti, now)?)
    }
}

impl Client {
    fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a key pair");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let loaded = Sources::default().text("fuzz.toml", SETTINGS).load().expect("settings");
        let thumbprint = sha256(canonical.as_bytes());
        Self { pair, x, thumbprint, auth: loaded.settings.auth }
    }

    fn sign(&self, message: &str) -> String {
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes())))
    }

    /// The checks, without any remembered proof.
    fn dpop(&self, nonces: bool) -> Dpop {
        let gauge = IntGauge::new("proofs", "proofs").expect("a gauge");
        let dpop = settings::Dpop { nonces, ..self.auth.dpop.clone() };
        Dpop::new(&settings::Auth { dpop, ..self.auth.clone() }, gauge)
    }
}

/// Checks the requirements of RFC 9449 §4.3 for an accepted proof with a second parser.
fn check_accepted(proof: &str) {
    let parts: Vec<&str> = proof.split('.').collect();
    let [header, claims, signature] = parts.try_into().expect("three parts");
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let object =
        |part| -> Map<String, Value> { serde_json::from_slice(&decoded(part)).expect("an object") };
    let (header_members, claims_members) = (object(header), object(claims));
    let head = |name: &str| header_members.get(name).and_then(Value::as_str);
    let typ = head("typ").expect("a type").to_ascii_lowercase();
    assert_eq!(typ.strip_prefix("application/").unwrap_or(&typ), "dpop+jwt");
    assert_eq!(head("alg"), Some("EdDSA"));
    let jwk = header_members.get("jwk").and_then(Value::as_object).expect("a key");
    assert_eq!(jwk.get("x").and_then(Value::as_str), Some(&*CLIENT.x), "another key");
    assert!(!["d", "k", "p", "q"].iter().any(|name| jwk.contains_key(*name)), "a private key");
    let key = UnparsedPublicKey::new(&ED25519, CLIENT.pair.public_key());
    let message = format!("{header}.{claims}");
    assert!(
        key.verify(message.as_bytes(), &decoded(signature)).is_ok(),
        "the signature is invalid"
    );
    check_claims(&claims_members);
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
fn check_claims(claims: &Map<String, Value>) {
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    assert_eq!(claim("htm"), Some("GET"), "another method");
    assert!(is_own_address(claim("htu").expect("an address")), "another address");
    assert_eq!(claim("ath"), Some(&*URL_SAFE_NO_PAD.encode(sha256(TOKEN))), "another token");
    assert!((1..=256).contains(&claim("jti").expect("a jti").len()));
    let iat = claims.get("iat").and_then(Value::as_f64).expect("a time");
    let range = (NOW - MAX_AGE - LEEWAY) as f64..=(NOW + LEEWAY) as f64;
    assert!(range.contains(&iat), "iat {iat}");
}

/// Whether this is an equivalent form of the request's address, ignoring query and fragment.
fn is_own_address(htu: &str) -> bool {
    let bare = htu.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = bare.split_once("://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    scheme.eq_ignore_ascii_case("https")
        && host.eq_ignore_ascii_case("api.example")
        && matches!(port.trim_start_matches('0'), "" | "443")
        && percent_decode_str(path).eq(*b"me/customer")
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use serde_json::json;

    use super::*;

    #[test]
    fn stored_proofs_keep_the_invariants() {
        crate::corpus::replay("dpop_proof", dpop_proof);
    }

    fn header() -> Value {
        json!({
            "typ": "dpop+jwt", "alg": "EdDSA",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": CLIENT.x},
        })
    }

    fn claims() -> Value {
        json!({
            "jti": "a", "htm": "GET", "htu": "https://api.example/me/customer", "iat": NOW,
            "ath": URL_SAFE_NO_PAD.encode(sha256(TOKEN)),
        })
    }

    #[test]
    fn the_invariants_are_exercised() {
        let texts = format!("{}\n{}", header(), claims());
        let unsigned = unsigned(texts.as_bytes()).unwrap();
        let proof = CLIENT.sign(unsigned.rsplit_once('.').unwrap().0);
        assert_eq!(default_request().send(&CLIENT.dpop(false), &[&proof]), Ok(()));
    }

    #[test]
    fn other_spellings_of_the_address_are_accepted() {
        for (htu, expected) in [
            ("https://api.example/me/customer", true),
            ("HTTPS://API.example:443/%6de/customer?x#y", true),
            ("https://api.example:/me/customer", true),
            ("http://api.example/me/customer", false),
            ("https://api.example:444/me/customer", false),
            ("https://api.example/me/customer/", false),
            ("https://api.example.evil/me/customer", false),
        ] {
            assert_eq!(is_own_address(htu), expected, "{htu}");
        }
    }

    fn unusual() -> impl Strategy<Value = Value> {
        let times = [NOW - 91, NOW - 90, NOW + 30, NOW + 31].map(|time| json!(time));
        let addresses = [
            "https://API.example:443/me/customer?a#b",
            "https://api.example/me/%63ustomer",
            "https://api.example/me/./customer",
            "https://u@api.example/me/customer",
            "https://api.example:0443/me/customer",
            "http://api.example/me/customer",
        ];
        let others = [
            json!("EdDSA"),
            json!("ES256"),
            json!("DPoP+JWT"),
            json!("application/dpop+jwt"),
            json!("POST"),
            json!(""),
            json!("x".repeat(257)),
            json!([]),
            json!({}),
            json!(1e300),
            json!({"kty": "OKP", "crv": "Ed25519", "x": CLIENT.x, "d": "AA"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": CLIENT.x, "use": "sig", "kid": "x"}),
        ];
        let all: Vec<_> =
            times.into_iter().chain(addresses.map(Value::from)).chain(others).collect();
        select(all)
    }

    fn changed(mut object: Value, changes: Vec<(&'static str, Option<Value>)>) -> Value {
        for (name, value) in changes {
            let members = object.as_object_mut().unwrap();
            match value {
                Some(value) => members.insert(name.to_owned(), value),
                None => members.remove(name),
            };
        }
        object
    }

    const HEAD: &[&str] = &["typ", "alg", "jwk", "crit", "kid", "b64", "x5c"];
    const CLAIMS: &[&str] = &["jti", "htm", "htu", "htu", "iat", "iat", "ath", "nonce", "exp"];

    proptest! {
        #[test]
        fn generated_proofs_keep_the_invariants(
            head in vec((select(HEAD), option::of(unusual())), 0..2),
            claims in vec((select(CLAIMS), option::of(unusual())), 0..3),
        ) {
            let (head, claims) = (changed(header(), head), changed(self::claims(), claims));
            dpop_proof(format!("{head}\n{claims}").as_bytes());
        }

        #[test]
        fn generated_texts_keep_the_invariants(
            parts in vec("[a-zA-Z0-9_+/=~é-]{0,12}", 1..5),
        ) {
            dpop_proof(parts.join(".").as_bytes());
        }
    }
}
