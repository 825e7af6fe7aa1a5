//! Keys and settings for the tests of `auth`, here and in `tests/auth`.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use crate::{
    clock::manual::ManualClock,
    settings::{self, Algorithm, ClaimPath, KeySource},
};

/// The start of the clock: 2026-01-01T00:00:00Z, in seconds since 1970.
pub(super) const START: i64 = 1_767_225_600;
pub(super) const ISSUER: &str = "https://idp.example";
pub(super) const LEEWAY: i64 = 30;
pub(super) const COOLDOWN: Duration = Duration::from_secs(10);
pub(super) const REFRESH: Duration = Duration::from_mins(5);
pub(super) const MAX_STALE: Duration = Duration::from_hours(24);

/// A key pair of an issuer.
pub(super) struct Pair {
    pub(super) private: EncodingKey,
    /// The JWK of the public key, without `kid`.
    pub(super) public: Value,
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let public = json!({
        "kty": "RSA",
        "n": base64url(public.modulus().big_endian_without_leading_zero()),
        "e": base64url(public.exponent().big_endian_without_leading_zero()),
    });
    // The library needs the structure of RFC 8017, which follows the PKCS #8 header of 26 bytes.
    let pkcs8 = pair.as_der().unwrap();
    Pair { private: EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]), public }
});
pub(super) static P256: LazyLock<Pair> =
    LazyLock::new(|| elliptic("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static OTHER_P256: LazyLock<Pair> =
    LazyLock::new(|| elliptic("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static P384: LazyLock<Pair> =
    LazyLock::new(|| elliptic("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING));
pub(super) static ED25519: LazyLock<Pair> = LazyLock::new(|| {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let x = base64url(pair.public_key().as_ref());
    Pair {
        private: EncodingKey::from_ed_der(pkcs8.as_ref()),
        public: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
    }
});

fn elliptic(curve: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    Pair {
        private: EncodingKey::from_ec_der(pkcs8.as_ref()),
        public: json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)}),
    }
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Pair {
    /// The JWK with this `kid`.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        with(&self.public, json!({"kid": kid}))
    }
}

/// `object` with the members of `changes`. A `null` removes a member.
pub(super) fn with(object: &Value, changes: Value) -> Value {
    let mut object = object.as_object().unwrap().clone();
    let Value::Object(changes) = changes else { panic!("{changes} is not an object") };
    for (name, value) in changes {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
    object.into()
}

/// A JWK set with these keys, as JSON.
pub(super) fn set(keys: &[Value]) -> Bytes {
    json!({ "keys": keys }).to_string().into()
}

/// The claim with this name, or at this JSON Pointer.
pub(super) fn claim_path(text: &str) -> ClaimPath {
    ClaimPath::trusted(text).unwrap()
}

/// Settings of an issuer that accepts every algorithm.
pub(super) fn issuer() -> settings::Issuer {
    settings::Issuer {
        issuer: ISSUER.to_owned(),
        audience_claim: settings::AudienceClaim::Aud,
        audiences: vec!["juspay-bff".to_owned(), "other-bff".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys: KeySource::Url("https://idp.example/keys".to_owned()),
        customer_id_claim: claim_path("sub"),
        assumes_verified: false,
        new_customer: None,
        customer_id_prefix: String::new(),
        required_scopes: Vec::new(),
        required_claims: Vec::new(),
        typ: vec!["at+jwt".to_owned(), "jwt".to_owned(), String::new()],
        max_token_age: None,
        logout_audiences: Vec::new(),
        accepts_id_tokens: false,
        dpop: settings::DpopMode::Off,
        ca_file: None,
    }
}

/// Settings of an issuer with introspection.
pub(super) fn introspected_issuer() -> settings::Issuer {
    let introspection = settings::Introspection {
        url: "https://idp.example/introspect".to_owned(),
        client_id: "juspay-bff".to_owned(),
        client_secret_file: "/nonexistent".into(),
        allow_no_audience: false,
    };
    settings::Issuer {
        algorithms: Vec::new(),
        typ: Vec::new(),
        keys: KeySource::Introspection(introspection),
        ..issuer()
    }
}

/// A clock at [`START`].
pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(&jiff::Timestamp::from_second(START).unwrap().to_string()))
}

/// Settings without issuers.
pub(super) fn settings() -> settings::Auth {
    settings::Auth {
        gateway: None,
        issuers: BTreeMap::new(),
        leeway: Duration::from_secs(LEEWAY.unsigned_abs()),
        jwks_refresh: REFRESH,
        jwks_cooldown: COOLDOWN,
        jwks_max_stale: MAX_STALE,
        plain_http_hosts: Vec::new(),
        max_token_bytes: 8192,
        verified_tokens: 100,
        introspection_cache: Duration::from_mins(1),
        revocations_file: None,
        max_revocations: 10,
        logout_ttl: Duration::from_hours(24),
        dpop: settings::Dpop {
            max_age: Duration::from_mins(1),
            max_proofs: 1000,
            nonces: false,
            nonce_key_file: None,
        },
    }
}

/// Runs the other tasks until all of them wait.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Runs a test in which local tasks can be spawned.
pub(super) async fn locally<F: Future>(test: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(Box::pin(test)).await
}
