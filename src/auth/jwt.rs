//! Parses and verifies a JWT (RFC 7515 §3.1, RFC 7519): form, header, signature and claims.
//!
//! Until the signature is checked, the token is an [`Unverified`]. Verification uses only its `iss`, `iat`
//! and header; all its claims are for `explain-token`. This module makes every check of a token. It does
//! not choose keys (`jwks`) and does not cache results (`token_cache`).
//!
//! - `checks`: the checks of header and claims, each listed once
//! - `claims`: reads claims
//! - `introspection`: introspection responses, whose claims pass the same checks
//! - `jws`: the three parts of a token, and its header
//! - `logout`: the checks of logout tokens
//! - `token_type`: detects ID, refresh and logout tokens

mod checks;
mod claims;
mod introspection;
mod jws;
mod logout;
mod token_type;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

pub(super) use self::{
    checks::{
        Accepted, CheckContext, ClaimCheck, CustomerClaimError, HeaderCheck, Rules, digest_in,
    },
    claims::{Claims, SCOPE_CLAIMS, Source, numeric_date},
    introspection::Introspected,
    jws::{Header, Jws, TokenAlgorithm, decode, object},
    token_type::{TYPE_CLAIMS, TokenType},
};
use super::{
    credentials::Scheme,
    error::{AuthError, LogoutError, Reason},
    hmac::{SecretId, SecretSet},
    jwks::{Key, KeySelector, KeySet},
    revocation::{Logout, RevocationClaims},
};
use crate::json::UniqueMembers;

/// A parsed token whose signature has not been checked.
pub(super) struct Unverified<'a> {
    /// The signing input (RFC 7515 §5.1): header and payload, exactly as received.
    message: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    /// Parses the three parts of a token.
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        let Jws { message, header, payload, signature } = Jws::parse(text)?;
        let header = Header::parse(&header)?;
        claimed_issuer(&payload)?;
        let has_access_token_type = header.has_access_token_type();
        let claims = Claims::new(payload, Source::Jwt { has_access_token_type });
        Ok(Self { message, signature, header, claims })
    }

    /// The token's `iss`, unproven. It selects the keys.
    pub(super) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// The token's `iat` if it is a valid time, unproven. It only decides whether a token with an
    /// unknown key gets a 401 or a 503.
    pub(super) fn claimed_issue_time(&self) -> Option<Timestamp> {
        self.claims.issue_time()
    }

    /// Makes the checks that need no signature, against the settings of the issuer.
    pub(super) fn check_header(&self, rules: &Rules) -> Result<(), Reason> {
        HeaderCheck::ALL.into_iter().try_for_each(|check| self.check(check, rules))
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(super) const fn algorithm(&self) -> TokenAlgorithm {
        self.header.algorithm
    }

    /// `typ` in lower case, without `application/`.
    pub(super) fn typ(&self) -> &str {
        &self.header.typ
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
                return Ok((SignatureChecked(&self.claims), key));
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
        Ok((SignatureChecked(&self.claims), signer.ok_or(Reason::Signature)?))
    }

    /// The claims, which nothing proves, for an explanation.
    pub(super) const fn unproven_claims(&self) -> &Claims {
        &self.claims
    }

    /// The header as it was sent, for an explanation.
    pub(super) fn written_header(&self) -> Option<UniqueMembers> {
        self.message.split_once('.').and_then(|(header, _)| object(header).ok())
    }
}

/// A token whose signature is valid, and whose claims have not been checked.
pub(super) struct SignatureChecked<'a>(&'a Claims);

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
        self.0.check_all(&CheckContext { rules, scheme, now })
    }

    /// Checks the claims of a logout token.
    pub(super) fn check_logout(
        &self,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Logout, LogoutError> {
        self.0.check_logout(rules, now)
    }

    /// The claims by which the token can be revoked.
    pub(super) fn identity(&self) -> RevocationClaims {
        self.0.identity()
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
pub(super) fn claimed_issuer(payload: &UniqueMembers) -> Result<Option<&str>, Reason> {
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
