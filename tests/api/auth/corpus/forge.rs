//! Makes the corpus's tokens, from what an attacker has (good tokens, public keys, a pair of his own)
//! and, where only one thing about a token shall be wrong, with the issuer's own key.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use juspay_bff::{
    settings::Algorithm,
    simulator::{Issuer, MintRequest},
};
use serde_json::{Value, json};

use super::super::tokens;
use crate::support::World;

/// Whom the issuer's tokens are for.
pub const AUDIENCE: &str = "juspay-bff-demo";

pub struct Forge<'w> {
    pub world: &'w World,
    /// An issuer that nobody knows.
    pub stranger: &'w Issuer,
    /// Where nobody may come.
    pub trap: SocketAddr,
    /// The issuer's `audience_claim`.
    pub audience_claim: &'static str,
}

impl Forge<'_> {
    pub fn issuer(&self) -> &Issuer {
        self.world.issuer()
    }

    /// Alice's usual token.
    pub fn good(&self) -> String {
        let wish = MintRequest::of("alice").with(self.audience_claim, AUDIENCE);
        self.issuer().mint(&wish).expect("a token")
    }

    /// Its parts.
    pub fn parts(&self) -> [String; 3] {
        let parts: Vec<String> = self.good().split('.').map(str::to_owned).collect();
        parts.try_into().expect("three parts")
    }

    pub fn header(&self) -> Value {
        tokens::header(self.issuer())
    }

    /// The header of tokens that are signed with the RSA key.
    pub fn rsa_header(&self) -> Value {
        json!({"alg": "RS256", "kid": self.issuer().kid(Algorithm::RS256).unwrap(), "typ": "at+jwt"})
    }

    pub fn claims(&self) -> Value {
        let mut claims = tokens::claims(self.world);
        if self.audience_claim != "aud" {
            claims["aud"] = json!("elsewhere");
        }
        claims[self.audience_claim] = json!(AUDIENCE);
        claims
    }

    /// Truly signed with the issuer's P-256 key.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        self.issuer().sign_raw(header, claims, Algorithm::ES256).expect("a token")
    }

    /// The usual token with other members in the header; `null` takes one away.
    pub fn with_header(&self, changes: &Value) -> String {
        self.signed(&changed(self.header(), changes).to_string(), &self.claims().to_string())
    }

    /// The usual token with other claims; `null` takes one away.
    pub fn with_claims(&self, changes: &Value) -> String {
        self.signed(&self.header().to_string(), &changed(self.claims(), changes).to_string())
    }

    /// The usual token with this text at the beginning of its claims.
    pub fn with_text(&self, member: &str) -> String {
        let claims = self.claims().to_string().replacen('{', &format!("{{{member},"), 1);
        self.signed(&self.header().to_string(), &claims)
    }

    /// The same, but without the claim that it names.
    pub fn with_text_for(&self, claim: &str, value: &str) -> String {
        let claims = changed(self.claims(), &json!({ claim: null })).to_string();
        let claims = claims.replacen('{', &format!("{{\"{claim}\":{value},"), 1);
        self.signed(&self.header().to_string(), &claims)
    }

    /// Signed by the stranger, for the issuer's customer.
    pub fn by_stranger(&self, header: &Value) -> String {
        let claims = self.claims().to_string();
        self.stranger.sign_raw(&header.to_string(), &claims, Algorithm::ES256).expect("a token")
    }

    /// The issuer's public key of that type.
    pub fn jwk(&self, kty: &str) -> Value {
        let keys = self.issuer().jwks();
        let keys = keys["keys"].as_array().expect("a list").clone();
        keys.into_iter().find(|key| key["kty"] == *kty).expect("one of that type")
    }
}

/// `object` with the members of `changes` set, or taken away where they are `null`.
pub fn changed(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    object
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decoded(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().expect("a text")).expect("base64url")
}

/// A token whose signature is an HMAC.
pub fn mac(header: &Value, claims: &Value, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", base64url(signature))
}
