//! Makes the tokens of the corpus from what an attacker has: valid tokens, public keys, an own key
//! pair. Where only one thing is wrong, it uses the issuer's own key or secret, or an introspection
//! response.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr};

use aws_lc_rs::hmac::{self, HMAC_SHA512};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use simulator::{Algorithm, Issuer, MintRequest};

use super::{
    super::tokens,
    issuers::{IssuerKind, SECRET},
};
use crate::support::World;

/// The audience of the issuer's tokens.
pub const AUDIENCE: &str = "juspay-bff-demo";

pub struct Forge<'w> {
    pub world: &'w World,
    /// An issuer that no service trusts.
    pub untrusted_issuer: &'w Issuer,
    /// An address that must not be called.
    pub trap: SocketAddr,
    /// The kind of issuer whose tokens are forged.
    pub kind: IssuerKind,
    /// The issuers' `audience_claim`.
    pub audience_claim: &'static str,
    /// The introspection response of each opaque token, as JSON.
    responses: RefCell<BTreeMap<String, String>>,
}

impl<'w> Forge<'w> {
    pub fn new(
        world: &'w World,
        untrusted_issuer: &'w Issuer,
        trap: SocketAddr,
        kind: IssuerKind,
        audience_claim: &'static str,
    ) -> Self {
        Self { world, untrusted_issuer, trap, kind, audience_claim, responses: RefCell::default() }
    }

    /// The `iss` of the issuer's tokens.
    pub fn iss(&self) -> String {
        self.kind.iss(self.issuer())
    }

    /// The introspection response of this token, if it is opaque.
    pub fn introspection_response(&self, token: &str) -> Option<String> {
        self.responses.borrow().get(token).cloned()
    }

    /// The simulator's issuer, which has the public keys and the introspection endpoint.
    pub fn issuer(&self) -> &Issuer {
        self.world.issuer()
    }

    /// A new valid token of alice's. The introspection endpoint does not know it.
    pub fn valid(&self) -> String {
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
        let parts: Vec<String> = self.valid().split('.').map(str::to_owned).collect();
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

    /// Valid claims of an issuer of that kind.
    pub fn claims_of(&self, kind: IssuerKind) -> Value {
        let mut claims = tokens::claims(self.world);
        claims["iss"] = json!(kind.iss(self.issuer()));
        if self.audience_claim != "aud" {
            claims["aud"] = json!("elsewhere");
        }
        claims[self.audience_claim] = json!(AUDIENCE);
        claims
    }

    /// Signed with the issuer's P-256 key or its secret. An issuer with introspection has the key
    /// too, but it proves nothing.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        match self.kind {
            IssuerKind::PublicKeys | IssuerKind::Introspection => {
                self.issuer().sign_raw(header, claims, Algorithm::ES256).expect("a token")
            }
            IssuerKind::Hmac => mac_of_texts(header, claims, HMAC_SHA512, SECRET.as_bytes()),
        }
    }

    /// For attacks in the claims: as [`Forge::signed`], or an opaque token that is active and has
    /// these claims.
    pub fn claiming(&self, header: &str, claims: &str) -> String {
        if self.kind != IssuerKind::Introspection {
            return self.signed(header, claims);
        }
        let token = format!("opq_{:032x}", rand::random::<u128>());
        self.responses.borrow_mut().insert(token.clone(), active(claims));
        token
    }

    /// For attacks with a `kid`: signed with the key, or with an empty secret.
    pub fn found_by_kid(&self, header: &Value) -> String {
        match self.kind {
            IssuerKind::PublicKeys | IssuerKind::Introspection => {
                self.signed(&header.to_string(), &self.claims().to_string())
            }
            IssuerKind::Hmac => mac(header, &self.claims(), HMAC_SHA512, b""),
        }
    }

    /// A valid token with changed header members; `null` removes one.
    pub fn with_header(&self, changes: &Value) -> String {
        self.signed(&changed(self.header(), changes).to_string(), &self.claims().to_string())
    }

    /// A valid token with changed claims; `null` removes one.
    pub fn with_claims(&self, changes: &Value) -> String {
        self.claiming(&self.header().to_string(), &changed(self.claims(), changes).to_string())
    }

    /// A valid token with this text at the beginning of its claims.
    pub fn with_text(&self, member: &str) -> String {
        let claims = self.claims().to_string().replacen('{', &format!("{{{member},"), 1);
        self.claiming(&self.header().to_string(), &claims)
    }

    /// The same, without the claim of this name.
    pub fn with_text_for(&self, claim: &str, value: &str) -> String {
        let claims = changed(self.claims(), &json!({ claim: null })).to_string();
        let claims = claims.replacen('{', &format!("{{\"{claim}\":{value},"), 1);
        self.claiming(&self.header().to_string(), &claims)
    }

    /// Signed by the untrusted issuer, for the trusted issuer's customer.
    pub fn by_untrusted_issuer(&self, header: &Value) -> String {
        if self.kind == IssuerKind::Hmac {
            return mac(
                header,
                &self.claims(),
                HMAC_SHA512,
                "the untrusted issuer's own".repeat(4).as_bytes(),
            );
        }
        let claims = self.claims().to_string();
        self.untrusted_issuer
            .sign_raw(&header.to_string(), &claims, Algorithm::ES256)
            .expect("a token")
    }

    /// The issuer's public key of that type.
    pub fn jwk(&self, kty: &str) -> Value {
        let keys = self.issuer().jwks();
        let keys = keys["keys"].as_array().expect("a list").clone();
        keys.into_iter().find(|key| key["kty"] == *kty).expect("one of that type")
    }
}

/// `object` with the members of `changes`; `null` removes one.
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

/// A token signed with an HMAC.
pub fn mac(header: &Value, claims: &Value, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    mac_of_texts(&header.to_string(), &claims.to_string(), algorithm, secret)
}

fn mac_of_texts(header: &str, claims: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

/// The introspection response of an active token with these claims, if they are an object.
fn active(claims: &str) -> String {
    let Some(members) = claims.trim_start().strip_prefix('{') else { return claims.to_owned() };
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"active\":true{comma}{members}")
}
