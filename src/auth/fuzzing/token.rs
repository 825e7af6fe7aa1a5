//! `Authorization` headers: parsing, and which tokens are accepted.
//!
//! A fuzzer cannot sign. Each token that can be parsed is therefore signed again with a trusted key
//! and a trusted secret. Its header and claims alone then decide whether it is accepted.

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use aws_lc_rs::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::json;

use super::reparsed::{self, Reparsed, Requirements};
use crate::{
    auth::{
        credentials::{Credentials, Scheme},
        error::AuthError,
        explanation::{explain_claims, explain_form, explain_header, first_failure},
        hmac::SecretSet,
        jwks::KeySet,
        jwt::{Accepted, CheckContext, Rules, SignatureChecked, Unverified},
    },
    settings::{Algorithm, Hmac, HmacAlgorithm, KeySource},
};

/// The default of `auth.max_token_bytes`.
const MAX_TOKEN_BYTES: usize = 8192;
const KID: &str = "k";
const SECRET: &str = "a secret of at least thirty-two bytes";

static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::new);

/// An issuer with one key and one secret. They never change, so corpora can contain valid
/// signatures.
struct Issuer {
    pair: Ed25519KeyPair,
    keys: KeySet,
    secrets: SecretSet,
    /// For tokens signed with the key: the usual rules, and other ones.
    by_key: [IssuerRules; 2],
    /// For tokens signed with the secret.
    by_secret: IssuerRules,
}

/// An issuer's rules, and the requirements that they must enforce.
struct IssuerRules {
    rules: Rules,
    requirements: Requirements,
}

/// The header and the claims of a token, parsed by a second parser.
struct ReparsedToken {
    header: Reparsed,
    claims: Reparsed,
}

/// Checks the values of all `Authorization` headers of a request, one per line, or the two JSON
/// texts of a token, one per line.
pub fn bearer_token(input: &[u8]) {
    match header_of(input) {
        Some(header) => check_headers(header.as_bytes()),
        None => check_headers(input),
    }
}

/// A header with a token of these two JSON texts.
fn header_of(texts: &[u8]) -> Option<String> {
    reparsed::unsigned(texts).map(|token| format!("Bearer {token}"))
}

fn check_headers(headers: &[u8]) {
    let values: Vec<&[u8]> = headers.split(|byte| *byte == b'\n').collect();
    let Ok((scheme, text)) = credentials(&values) else { return };
    assert!(values.len() == 1, "several headers were accepted");
    assert!(headers.ends_with(text.as_bytes()), "not the token of the header");
    assert!(text.len() <= MAX_TOKEN_BYTES, "a token of {} bytes", text.len());
    let normalized = format!("{scheme:?} {text}");
    assert_eq!(credentials(&[normalized.as_bytes()]), Ok((scheme, text)));
    check_token(text);
}

fn credentials<'a>(values: &[&'a [u8]]) -> Result<(Scheme, &'a str), AuthError> {
    let credentials = Credentials::of(values.iter().copied(), MAX_TOKEN_BYTES, true)?;
    credentials.text().map(|text| (credentials.scheme, text))
}

fn check_token(text: &str) {
    let parsed = Unverified::parse(text);
    let reason = parsed.as_ref().err().copied().map(AuthError::from);
    assert_eq!(reason.as_ref(), first_failure(&explain_form(text)), "the explanation differs");
    let Ok(unverified) = parsed else { return };
    let reparsed_token = ReparsedToken::new(text);
    reparsed_token.check(&unverified);
    let (message, signature) = text.rsplit_once('.').expect("two dots");
    let has_valid_signature = unverified.verify(&ISSUER.keys).is_ok();
    assert_eq!(
        has_valid_signature,
        reparsed_token.names_trusted_key() && ISSUER.has_valid_signature_for(message, signature)
    );
    let has_valid_hmac = unverified.verify_hmac(&ISSUER.secrets).is_ok();
    assert_eq!(
        has_valid_hmac,
        reparsed_token.names_trusted_secret() && Issuer::has_valid_hmac_for(message, signature)
    );
    check_with_signature(&ISSUER.sign(message), &reparsed_token);
    check_with_hmac(&Issuer::mac(message), &reparsed_token);
}

/// Checks the same token with a valid signature.
fn check_with_signature(text: &str, reparsed_token: &ReparsedToken) {
    let unverified = Unverified::parse(text).expect("only the signature has changed");
    let Ok((verified, _)) = unverified.verify(&ISSUER.keys) else {
        assert!(!reparsed_token.names_trusted_key(), "a valid signature is rejected");
        return;
    };
    assert!(unverified.verify_hmac(&ISSUER.secrets).is_err(), "a signature is accepted as an HMAC");
    assert!(
        unverified.check_header(&ISSUER.by_secret.rules).is_err(),
        "accepted for another issuer"
    );
    for by in &ISSUER.by_key {
        check_claims(&unverified, &verified, by, reparsed_token);
    }
}

/// Checks the same token with a valid HMAC.
fn check_with_hmac(text: &str, reparsed_token: &ReparsedToken) {
    let unverified = Unverified::parse(text).expect("only the signature has changed");
    let Ok((verified, _)) = unverified.verify_hmac(&ISSUER.secrets) else {
        assert!(!reparsed_token.names_trusted_secret(), "a valid HMAC is rejected");
        return;
    };
    assert!(unverified.verify(&ISSUER.keys).is_err(), "an HMAC is accepted as a signature");
    for by in &ISSUER.by_key {
        assert!(unverified.check_header(&by.rules).is_err(), "accepted for another issuer");
    }
    check_claims(&unverified, &verified, &ISSUER.by_secret, reparsed_token);
}

/// Checks a token with a valid signature by these rules.
fn check_claims(
    unverified: &Unverified<'_>,
    verified: &SignatureChecked<'_>,
    by: &IssuerRules,
    reparsed_token: &ReparsedToken,
) {
    let (now, rules) = (reparsed::now(), &by.rules);
    let accepted =
        unverified.check_header(rules).is_ok().then(|| verified.check(rules, Scheme::Bearer, now));
    check_explained(unverified, verified, rules, now);
    let is_logout = is_logout(unverified, verified, rules, now);
    if let Some(Ok(accepted)) = accepted {
        assert!(!is_logout, "also a logout token");
        reparsed_token.check_accepted(&accepted, &by.requirements);
    }
}

/// Checks that `explain-token` and the service agree.
fn check_explained(
    unverified: &Unverified<'_>,
    verified: &SignatureChecked<'_>,
    rules: &Rules,
    now: Timestamp,
) {
    for scheme in [Scheme::Bearer, Scheme::Dpop] {
        let context = CheckContext { rules, scheme, now };
        let checked = unverified
            .check_header(rules)
            .map_err(AuthError::from)
            .and_then(|()| verified.check(rules, scheme, now));
        let mut checks: Vec<_> = explain_header(unverified, rules).collect();
        checks.extend(explain_claims(unverified.unproven_claims(), &context));
        assert_eq!(checked.as_ref().err(), first_failure(&checks), "the explanation differs");
    }
}

fn is_logout(
    unverified: &Unverified<'_>,
    verified: &SignatureChecked<'_>,
    rules: &Rules,
    now: Timestamp,
) -> bool {
    unverified.check_logout_header(rules).is_ok() && verified.check_logout(rules, now).is_ok()
}

impl Issuer {
    fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key pair");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": KID, "x": x});
        let set = json!({ "keys": [jwk] }).to_string();
        let (keys, _) = KeySet::parse(set.as_bytes(), &Algorithm::ALL).expect("a key set");
        let algorithms = vec![HmacAlgorithm::HS256];
        let secrets = SecretSet::of_one(SECRET, &algorithms);
        let by_key = [reparsed::DEFAULT, reparsed::OTHER_CLAIMS].map(|requirements| IssuerRules {
            rules: reparsed::rules_of(&requirements, |_| ()),
            requirements,
        });
        let rules = reparsed::rules_of(&reparsed::SHARED, |issuer| {
            issuer.algorithms = Vec::new();
            issuer.keys = KeySource::Hmac(Hmac { secret_file: "/nonexistent".into(), algorithms });
        });
        let by_secret = IssuerRules { rules, requirements: reparsed::SHARED };
        Self { pair, keys, secrets, by_key, by_secret }
    }

    fn mac(message: &str) -> String {
        let tag = hmac::sign(&Self::secret(), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn has_valid_hmac_for(message: &str, signature: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        hmac::verify(&Self::secret(), message.as_bytes(), &tag).is_ok()
    }

    fn secret() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes())
    }

    fn sign(&self, message: &str) -> String {
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes())))
    }

    fn has_valid_signature_for(&self, message: &str, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.pair.public_key());
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        key.verify(message.as_bytes(), &signature).is_ok()
    }
}

impl ReparsedToken {
    /// Parses a token. Checks that each part is canonical base64url.
    fn new(text: &str) -> Self {
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts.try_into().expect("three parts");
        let decoded = [header, claims, signature].map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
            assert_eq!(URL_SAFE_NO_PAD.encode(&bytes), part, "not the canonical base64url");
            bytes
        });
        let [header, claims, _] = decoded.each_ref().map(|bytes| Reparsed::parse(bytes));
        Self { header: header.expect("an object"), claims: claims.expect("an object") }
    }

    fn check(&self, unverified: &Unverified<'_>) {
        assert_eq!(self.claims.text("iss"), unverified.claimed_issuer());
        for member in ["crit", "b64", "enc"] {
            assert!(!self.header.has(member), "a header with {member}");
        }
        let kid = unverified.kid();
        assert_eq!(self.header.text("kid"), kid);
        assert_eq!(self.header.text("alg"), Some(unverified.algorithm().name()));
        assert!(kid.is_none_or(|kid| kid.len() <= 256), "the kid is too long");
    }

    fn names_trusted_key(&self) -> bool {
        self.header.text("alg") == Some("EdDSA")
            && self.header.text("kid").is_none_or(|kid| kid == KID)
    }

    fn names_trusted_secret(&self) -> bool {
        self.header.text("alg") == Some("HS256")
    }

    /// Checks what an accepted token must contain.
    fn check_accepted(&self, accepted: &Accepted, requirements: &Requirements) {
        let typ = self.header.text("typ").unwrap_or_default().to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        assert!(["at+jwt", "jwt", ""].contains(&typ), "type {typ}");
        assert_eq!(self.claims.text("iss"), Some(reparsed::ISSUER));
        self.claims.check_token_type(typ == "at+jwt");
        let is_bound = self.claims.has("cnf") || accepted.bound_to.is_some();
        assert!(!is_bound, "bound to a key");
        assert!(accepted.end > reparsed::now(), "expired");
        self.claims.check_end(accepted.end, true);
        self.claims.check(&accepted.customer, requirements);
    }
}
