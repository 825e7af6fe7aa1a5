//! A JWS in compact form (RFC 7515 §3.1, RFC 7519): from text to checked claims.
//!
//! What the token says of itself before its signature is checked has a type of its own,
//! [`Unverified`], from which only the issuer's name and the header can be read. Owns every check
//! of a token; refuses to choose keys for itself (`jwks` holds them) and to remember (`verified`).

mod claims;
mod header;
mod json;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use serde::de::DeserializeOwned;

pub(super) use self::claims::{Accepted, Identity, Logout};
use self::{claims::Claims, header::Header, json::Object};
use super::{
    error::{AuthError, Reason},
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
    text: &'a str,
    header: Header,
    claims: UnverifiedClaims,
}

/// The one claim that is read before the signature is checked: it tells whose keys to check with.
struct UnverifiedClaims {
    iss: String,
}

impl<'a> Unverified<'a> {
    /// Takes the token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(_signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::NotJws);
        };
        let header = Header::parse(&decode::<Object>(header)?)?;
        let iss = decode::<Object>(payload)?
            .get("iss")
            .and_then(|iss| iss.as_str().map(str::to_owned))
            .ok_or(Reason::UnknownIssuer)?;
        Ok(Self { text, header, claims: UnverifiedClaims { iss } })
    }

    /// Who the token says has issued it.
    pub(super) fn claimed_issuer(&self) -> &str {
        &self.claims.iss
    }

    /// Checks the header against the issuer's settings.
    pub(super) fn check_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.header.check(rules)
    }

    /// The same for a logout token.
    pub(super) fn check_logout_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.header.check_logout(rules)
    }

    /// The key that the token asks for.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { kid: self.header.kid.as_deref(), algorithm: self.header.algorithm }
    }

    /// Checks the signature with the keys that fit, and says which one made it.
    pub(super) fn verify<'k>(&self, keys: &'k KeySet) -> Result<(Verified, &'k Key), Reason> {
        let mut reason = Reason::UnknownKey;
        for key in keys.fitting(self.wanted()) {
            match self.verify_with(key) {
                Ok(claims) => {
                    let says_access_token = self.header.says_access_token();
                    return Ok((Verified { claims, says_access_token }, key));
                }
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    fn verify_with(&self, key: &Key) -> Result<Claims, Reason> {
        let validation = key.validation(self.header.algorithm).ok_or(Reason::UnknownKey)?;
        match jsonwebtoken::decode::<Claims>(self.text, key.decoding(), validation) {
            Ok(token) => Ok(token.claims),
            // The library reads claims, some of a wrong type among them, behind a good signature.
            Err(error) if matches!(error.kind(), ErrorKind::Json(_)) => Err(Reason::Claims),
            Err(_) => Err(Reason::Signature),
        }
    }
}

/// A token whose signature is good; its claims aren't checked yet.
pub(super) struct Verified {
    claims: Claims,
    says_access_token: bool,
}

impl Verified {
    /// Checks the claims.
    ///
    /// # Errors
    /// The first of: invalid, expired, lacking a scope, naming no customer.
    pub(super) fn check(&self, rules: &Rules, now: Timestamp) -> Result<Accepted, AuthError> {
        self.claims.check(rules, self.says_access_token, now)
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

/// A part of the token: base64url without padding, JSON inside.
fn decode<T: DeserializeOwned>(part: &str) -> Result<T, Reason> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::NotJws)?;
    serde_json::from_slice(&json).map_err(|_| Reason::NotJws)
}
