//! Parses and verifies a JWT (RFC 7515 §3.1, RFC 7519): form, header, signature and claims.
//!
//! Until the signature is checked, the token is an [`Unverified`], which exposes only `iss`, `iat`
//! and the header. This module makes every check of a token. It does not choose keys (`jwks`) and
//! does not cache results (`verified`).

mod claims;
mod explain;
mod header;
mod json;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::Value;

use self::claims::Claims;
pub(super) use self::{
    claims::{
        Accepted, CheckContext, Explained, Introspected, Logout, RevocationClaims, numeric_date,
    },
    explain::{explain_form, explain_unknown_issuer},
    header::{Header, TokenAlgorithm},
    json::Object,
};
use super::{
    bearer::Scheme,
    error::{AuthError, Reason},
    hmac::{SecretId, SecretSet},
    jwks::{Key, KeySelector, KeySet},
    logout::LogoutError,
};
use crate::settings;

/// What tokens of one issuer are checked against.
#[derive(Debug)]
pub(super) struct Rules {
    /// `auth.issuers.NAME.*`
    pub(super) settings: settings::Issuer,
    /// `auth.leeway`
    pub(super) leeway: Duration,
    /// Prefixes of other issuers that start with this issuer's prefix. A customer id with one of
    /// them belongs to the other issuer.
    pub(super) foreign_prefixes: Vec<String>,
}

/// A parsed token whose signature has not been checked.
pub(super) struct Unverified<'a> {
    /// The signing input (RFC 7515 §5.1): header and payload, exactly as received.
    message: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: UnverifiedClaims,
}

/// Claims that no signature proves yet.
struct UnverifiedClaims {
    /// Read before the signature is checked, because it selects the keys.
    iss: Option<Box<str>>,
    all: Claims,
}

impl<'a> Unverified<'a> {
    /// Parses the three parts of a token.
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        let (message, signature) = text.rsplit_once('.').ok_or(Reason::NotJws)?;
        let (header, payload) = message.split_once('.').ok_or(Reason::NotJws)?;
        // A payload with a dot is not base64url, so a token with more than three parts fails to
        // decode.
        let (header, payload) = (object(header)?, object(payload)?);
        let signature = decode(signature)?;
        let header = Header::parse(&header)?;
        let iss = claimed_issuer(&payload)?.map(Box::from);
        let claims = UnverifiedClaims { iss, all: Claims::new(payload) };
        Ok(Self { message, signature, header, claims })
    }

    /// The token's `iss`, unproven.
    pub(super) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.iss.as_deref()
    }

    /// The token's `iat` if it is a valid time, unproven. It only decides whether a token with an
    /// unknown key gets a 401 or a 503.
    pub(super) fn claimed_issue_time(&self) -> Option<Timestamp> {
        self.claims.all.issue_time()
    }

    /// Checks the header against the issuer's settings.
    pub(super) fn check_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.header.check(rules)
    }

    /// Checks the header of a logout token.
    pub(super) fn check_logout_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.header.check_logout(rules)
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(super) const fn algorithm(&self) -> TokenAlgorithm {
        self.header.algorithm
    }

    /// Selects the public key that verifies this token. `None` if the token is signed with a shared
    /// secret.
    pub(super) fn key_selector(&self) -> Option<KeySelector<'_>> {
        match self.header.algorithm {
            TokenAlgorithm::Signature(algorithm) => {
                Some(KeySelector { kid: self.kid(), algorithm })
            }
            TokenAlgorithm::Hmac(_) => None,
        }
    }

    /// Checks the signature with each matching key, and returns the key that made it.
    pub(super) fn verify<'k>(
        &self,
        keys: &'k KeySet,
    ) -> Result<(SignatureChecked<'_>, &'k Arc<Key>), Reason> {
        let key_selector = self.key_selector().ok_or(Reason::Algorithm)?;
        let mut reason = Reason::UnknownKey;
        for key in keys.candidates(key_selector) {
            if key.verifies(key_selector.algorithm, self.message.as_bytes(), &self.signature) {
                return Ok((self.verified(), key));
            }
            reason = Reason::Signature;
        }
        Err(reason)
    }

    /// Checks the signature with shared secrets. Also returns which secret made it and its line in
    /// the file.
    pub(super) fn verify_hmac(
        &self,
        secrets: &SecretSet,
    ) -> Result<(SignatureChecked<'_>, (SecretId, usize)), Reason> {
        let TokenAlgorithm::Hmac(algorithm) = self.header.algorithm else {
            return Err(Reason::Algorithm);
        };
        let signer = secrets.signer(algorithm, self.message.as_bytes(), &self.signature);
        Ok((self.verified(), signer.ok_or(Reason::Signature)?))
    }

    fn verified(&self) -> SignatureChecked<'_> {
        let has_access_token_type = self.header.has_access_token_type();
        SignatureChecked { claims: &self.claims.all, has_access_token_type }
    }
}

/// A token whose signature is valid, and whose claims have not been checked.
pub(super) struct SignatureChecked<'a> {
    claims: &'a Claims,
    has_access_token_type: bool,
}

impl SignatureChecked<'_> {
    /// Checks the claims of a token that was sent with this scheme.
    ///
    /// # Errors
    /// The first that applies: invalid, expired, missing a scope, without a usable customer.
    pub(super) fn check(
        &self,
        rules: &Rules,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Accepted, AuthError> {
        self.claims.check(rules, self.has_access_token_type, scheme, now)
    }

    /// Checks the claims of a logout token.
    pub(super) fn check_logout(
        &self,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Logout, LogoutError> {
        self.claims.check_logout(rules, now)
    }

    /// The claims by which the token can be revoked.
    pub(super) fn identity(&self) -> RevocationClaims {
        self.claims.identity()
    }
}

/// Whether a token's `iss` is `issuer`. The token may be malformed otherwise.
pub(super) fn names_issuer(text: &str, issuer: &str) -> bool {
    let payload = text.split('.').nth(1).and_then(|payload| decode(payload).ok());
    let claims: Option<Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let claims = claims.as_ref().and_then(Value::as_object);
    claims.is_some_and(|claims| match claims.get("iss") {
        None => is_issuer(None, issuer),
        Some(iss) => iss.as_str().is_some_and(|iss| is_issuer(Some(iss), issuer)),
    })
}

/// The payload's `iss`.
fn claimed_issuer(payload: &Object) -> Result<Option<&str>, Reason> {
    match payload.get("iss") {
        None => Ok(None),
        Some(Value::String(iss)) => Ok(Some(iss)),
        Some(_) => Err(Reason::UnknownIssuer),
    }
}

/// Whether a token with this `iss`, or without one, belongs to `issuer` of the settings. An issuer
/// with the empty name accepts tokens without `iss`; an empty `iss` matches no issuer.
pub(super) fn is_issuer(iss: Option<&str>, issuer: &str) -> bool {
    match iss {
        None => issuer.is_empty(),
        Some(iss) => !iss.is_empty() && iss == issuer,
    }
}

/// Decodes a part of the token as a JSON object.
pub(super) fn object(part: &str) -> Result<Object, Reason> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Reason::NotJws)
}

/// Decodes base64url without padding. Unused trailing bits must be zero, so each part has exactly
/// one valid spelling.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::NotJws)
}
