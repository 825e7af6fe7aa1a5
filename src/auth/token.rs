//! A JWS in compact form (RFC 7515 §3.1, RFC 7519): from text to checked claims.
//!
//! What the token says of itself before its signature is checked has a type of its own,
//! [`Unverified`], from which only the issuer's name, the header and the time of issue can be read.
//! Owns every check of a token; refuses to choose keys for itself (`jwks` holds them) and to remember
//! (`verified`).

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
    claims::{Accepted, Against, Explained, Identity, Introspected, Logout, numeric_date},
    explain::{explain_form, explain_unknown_issuer},
    header::{Header, TokenAlgorithm},
    json::Object,
};
use super::{
    bearer::Scheme,
    error::{AuthError, Reason},
    hmac::{SecretId, SecretSet},
    jwks::{Key, KeySet, Wanted},
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
    /// Prefixes of other issuers that begin with this one's: an id with one is theirs, not ours.
    pub(super) foreign_prefixes: Vec<String>,
}

/// A token as it came.
pub(super) struct Unverified<'a> {
    /// What is signed (RFC 7515 §5.1): the first two parts, to the letter.
    message: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: UnverifiedClaims,
}

/// Claims that anybody may have written.
struct UnverifiedClaims {
    /// The one that is read before the signature is checked: it tells whose keys to check with.
    iss: Option<Box<str>>,
    all: Claims,
}

impl<'a> Unverified<'a> {
    /// Takes the token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        let (message, signature) = text.rsplit_once('.').ok_or(Reason::NotJws)?;
        let (header, payload) = message.split_once('.').ok_or(Reason::NotJws)?;
        // A payload with a dot in it isn't base64url, so that there are three parts.
        let (header, payload) = (object(header)?, object(payload)?);
        let signature = decode(signature)?;
        let header = Header::parse(&header)?;
        let iss = claimed_issuer(&payload)?.map(Box::from);
        let claims = UnverifiedClaims { iss, all: Claims::new(payload) };
        Ok(Self { message, signature, header, claims })
    }

    /// Who the token says has issued it, if it says so.
    pub(super) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.iss.as_deref()
    }

    /// When the token says that it was issued, if that is a time. Anybody may have written it: it
    /// only decides how a token is refused whose key isn't known.
    pub(super) fn claimed_issue_time(&self) -> Option<Timestamp> {
        self.claims.all.issue_time()
    }

    /// Checks the header against the issuer's settings.
    pub(super) fn check_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.header.check(rules)
    }

    /// The same for a logout token.
    pub(super) fn check_logout_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.header.check_logout(rules)
    }

    /// The header's `kid`.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The header's `alg`.
    pub(super) const fn algorithm(&self) -> TokenAlgorithm {
        self.header.algorithm
    }

    /// The public key that the token asks for; `None` when it asks for a secret.
    pub(super) fn wanted(&self) -> Option<Wanted<'_>> {
        match self.header.algorithm {
            TokenAlgorithm::Signature(algorithm) => Some(Wanted { kid: self.kid(), algorithm }),
            TokenAlgorithm::Hmac(_) => None,
        }
    }

    /// Checks the signature with the keys that fit, and says which one made it.
    pub(super) fn verify<'k>(
        &self,
        keys: &'k KeySet,
    ) -> Result<(Verified<'_>, &'k Arc<Key>), Reason> {
        let wanted = self.wanted().ok_or(Reason::Algorithm)?;
        let mut reason = Reason::UnknownKey;
        for key in keys.fitting(wanted) {
            if key.verifies(wanted.algorithm, self.message.as_bytes(), &self.signature) {
                return Ok((self.verified(), key));
            }
            reason = Reason::Signature;
        }
        Err(reason)
    }

    /// The same with shared secrets; says also which line of their file has made it.
    pub(super) fn verify_hmac(
        &self,
        secrets: &SecretSet,
    ) -> Result<(Verified<'_>, (SecretId, usize)), Reason> {
        let TokenAlgorithm::Hmac(algorithm) = self.header.algorithm else {
            return Err(Reason::Algorithm);
        };
        let signer = secrets.signer(algorithm, self.message.as_bytes(), &self.signature);
        Ok((self.verified(), signer.ok_or(Reason::Signature)?))
    }

    fn verified(&self) -> Verified<'_> {
        let says_access_token = self.header.says_access_token();
        Verified { claims: &self.claims.all, says_access_token }
    }
}

/// A token whose signature is good; its claims aren't checked yet.
pub(super) struct Verified<'a> {
    claims: &'a Claims,
    says_access_token: bool,
}

impl Verified<'_> {
    /// Checks the claims of a token that came by that scheme.
    ///
    /// # Errors
    /// The first of: invalid, expired, lacking a scope, naming no customer.
    pub(super) fn check(
        &self,
        rules: &Rules,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Accepted, AuthError> {
        self.claims.check(rules, self.says_access_token, scheme, now)
    }

    /// Checks the claims of a logout token.
    pub(super) fn check_logout(
        &self,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Logout, LogoutError> {
        self.claims.check_logout(rules, now)
    }

    /// By what it can be revoked.
    pub(super) fn identity(&self) -> Identity {
        self.claims.identity()
    }
}

/// Whether a token, however broken otherwise, says that `issuer` has issued it.
pub(super) fn names_issuer(text: &str, issuer: &str) -> bool {
    let payload = text.split('.').nth(1).and_then(|payload| decode(payload).ok());
    let claims: Option<Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let claims = claims.as_ref().and_then(Value::as_object);
    claims.is_some_and(|claims| match claims.get("iss") {
        None => is_issuer(None, issuer),
        Some(iss) => iss.as_str().is_some_and(|iss| is_issuer(Some(iss), issuer)),
    })
}

/// What a token says of its issuer, if anything.
fn claimed_issuer(payload: &Object) -> Result<Option<&str>, Reason> {
    match payload.get("iss") {
        None => Ok(None),
        Some(Value::String(iss)) => Ok(Some(iss)),
        Some(_) => Err(Reason::UnknownIssuer),
    }
}

/// Whether tokens with that `iss`, or without any, are those of `issuer` in the settings: the empty
/// one has tokens without `iss`, and an empty `iss` is nobody's.
pub(super) fn is_issuer(iss: Option<&str>, issuer: &str) -> bool {
    match iss {
        None => issuer.is_empty(),
        Some(iss) => !iss.is_empty() && iss == issuer,
    }
}

/// The JSON object in a part of the token.
pub(super) fn object(part: &str) -> Result<Object, Reason> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Reason::NotJws)
}

/// A part of the token: base64url without padding, and without bits that no byte takes, so that no
/// part can be written in two ways.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::NotJws)
}
