//! Makes the corpus's tokens, from what an attacker has (good tokens, public keys, a pair of his own)
//! and, where only one thing about a token shall be wrong, with the issuer's own key or secret, or as
//! the answer of the issuer's introspection endpoint.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr};

use aws_lc_rs::hmac::{self, HMAC_SHA512};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use juspay_bff::{
    settings::Algorithm,
    simulator::{Issuer, MintRequest},
};
use serde_json::{Value, json};

use super::{
    super::tokens,
    issuers::{IssuerKind, SECRET},
};
use crate::support::World;

/// Whom the issuer's tokens are for.
pub const AUDIENCE: &str = "juspay-bff-demo";

pub struct Forge<'w> {
    pub world: &'w World,
    /// An issuer that nobody knows.
    pub stranger: &'w Issuer,
    /// Where nobody may come.
    pub trap: SocketAddr,
    /// Whose tokens are forged.
    pub kind: IssuerKind,
    /// The issuers' `audience_claim`.
    pub audience_claim: &'static str,
    /// What the issuer says of opaque tokens: the JSON of a whole answer.
    answers: RefCell<BTreeMap<String, String>>,
}

impl<'w> Forge<'w> {
    pub fn new(
        world: &'w World,
        stranger: &'w Issuer,
        trap: SocketAddr,
        kind: IssuerKind,
        audience_claim: &'static str,
    ) -> Self {
        Self { world, stranger, trap, kind, audience_claim, answers: RefCell::default() }
    }

    /// What `iss` is in the issuer's tokens.
    pub fn iss(&self) -> String {
        self.kind.iss(self.issuer())
    }

    /// What the issuer answers when it is asked about this token, if it is an opaque one.
    pub fn answer(&self, token: &str) -> Option<String> {
        self.answers.borrow().get(token).cloned()
    }

    /// The simulator's issuer, which has the public keys and the introspection endpoint.
    pub fn issuer(&self) -> &Issuer {
        self.world.issuer()
    }

    /// Alice's usual token, another one each time. An issuer that is asked knows nothing of it.
    pub fn good(&self) -> String {
        if self.kind == IssuerKind::PublicKeys {
            let wish = MintRequest::of("alice").with(self.audience_claim, AUDIENCE);
            return self.issuer().mint(&wish).expect("a token");
        }
        let jti = format!("{:032x}", rand::random::<u128>());
        let claims = changed(self.claims(), &json!({ "jti": jti }));
        self.signed(&self.header().to_string(), &claims.to_string())
    }

    /// Its parts.
    pub fn parts(&self) -> [String; 3] {
        let parts: Vec<String> = self.good().split('.').map(str::to_owned).collect();
        parts.try_into().expect("three parts")
    }

    pub fn header(&self) -> Value {
        let header = tokens::header(self.issuer());
        match self.kind {
            IssuerKind::PublicKeys | IssuerKind::Introspection => header,
            IssuerKind::Hmac => changed(header, &json!({"alg": "HS512"})),
        }
    }

    /// The header of tokens that are signed with the RSA key.
    pub fn rsa_header(&self) -> Value {
        json!({"alg": "RS256", "kid": self.issuer().kid(Algorithm::RS256).unwrap(), "typ": "at+jwt"})
    }

    pub fn claims(&self) -> Value {
        self.claims_of(self.kind)
    }

    /// Good claims of an issuer of that kind.
    pub fn claims_of(&self, kind: IssuerKind) -> Value {
        let mut claims = tokens::claims(self.world);
        claims["iss"] = json!(kind.iss(self.issuer()));
        if self.audience_claim != "aud" {
            claims["aud"] = json!("elsewhere");
        }
        claims[self.audience_claim] = json!(AUDIENCE);
        claims
    }

    /// Truly signed with the issuer's P-256 key, or its secret. The key is also there where the issuer is
    /// asked, but proves nothing.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        match self.kind {
            IssuerKind::PublicKeys | IssuerKind::Introspection => {
                self.issuer().sign_raw(header, claims, Algorithm::ES256).expect("a token")
            }
            IssuerKind::Hmac => mac_of_texts(header, claims, HMAC_SHA512, SECRET.as_bytes()),
        }
    }

    /// For attacks that lie in the claims. As [`Forge::signed`], or an opaque token that is active and has
    /// these claims by its issuer's word.
    pub fn saying(&self, header: &str, claims: &str) -> String {
        if self.kind != IssuerKind::Introspection {
            return self.signed(header, claims);
        }
        let token = format!("opq_{:032x}", rand::random::<u128>());
        self.answers.borrow_mut().insert(token.clone(), active(claims));
        token
    }

    /// For attacks by a `kid`: truly signed, or with the secret of a file that is empty.
    pub fn found_by_kid(&self, header: &Value) -> String {
        match self.kind {
            IssuerKind::PublicKeys | IssuerKind::Introspection => {
                self.signed(&header.to_string(), &self.claims().to_string())
            }
            IssuerKind::Hmac => mac(header, &self.claims(), HMAC_SHA512, b""),
        }
    }

    /// The usual token with other members in the header; `null` takes one away.
    pub fn with_header(&self, changes: &Value) -> String {
        self.signed(&changed(self.header(), changes).to_string(), &self.claims().to_string())
    }

    /// The usual token with other claims; `null` takes one away.
    pub fn with_claims(&self, changes: &Value) -> String {
        self.saying(&self.header().to_string(), &changed(self.claims(), changes).to_string())
    }

    /// The usual token with this text at the beginning of its claims.
    pub fn with_text(&self, member: &str) -> String {
        let claims = self.claims().to_string().replacen('{', &format!("{{{member},"), 1);
        self.saying(&self.header().to_string(), &claims)
    }

    /// The same, but without the claim that it names.
    pub fn with_text_for(&self, claim: &str, value: &str) -> String {
        let claims = changed(self.claims(), &json!({ claim: null })).to_string();
        let claims = claims.replacen('{', &format!("{{\"{claim}\":{value},"), 1);
        self.saying(&self.header().to_string(), &claims)
    }

    /// Signed by the stranger, for the issuer's customer.
    pub fn by_stranger(&self, header: &Value) -> String {
        if self.kind == IssuerKind::Hmac {
            return mac(
                header,
                &self.claims(),
                HMAC_SHA512,
                "the stranger's own".repeat(4).as_bytes(),
            );
        }
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
    mac_of_texts(&header.to_string(), &claims.to_string(), algorithm, secret)
}

fn mac_of_texts(header: &str, claims: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

/// The answer of an introspection endpoint about an active token of these claims, if they are an object.
fn active(claims: &str) -> String {
    let Some(members) = claims.trim_start().strip_prefix('{') else { return claims.to_owned() };
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"active\":true{comma}{members}")
}
