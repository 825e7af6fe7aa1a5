//! How a caller is turned away.
//!
//! Owns the kinds of refusal and their metric labels; `problem` turns them into answers. Nothing in
//! here holds a part of a token.

use std::{sync::Arc, time::Duration};

/// Why a caller isn't let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header, or one of another scheme.
    #[error("no bearer token was sent")]
    MissingToken,
    /// A bearer header that RFC 6750 §2.1 doesn't allow, or more than one header.
    #[error("the Authorization header is malformed: {0}")]
    MalformedHeader(&'static str),
    /// The token proves nothing.
    #[error("the token isn't valid: {0}")]
    InvalidToken(Reason),
    /// All about the token is good but its age.
    #[error("the token has expired")]
    ExpiredToken,
    /// The token lacks one of these scopes, which are separated by spaces.
    #[error("the token lacks one of the scopes {0:?}")]
    InsufficientScope(Arc<str>),
    /// The token is good but names no usable customer.
    #[error("the token names no usable customer")]
    NoCustomer,
    /// Too many requests are waiting.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The signing key can't be looked up, or the issuer can't be asked, now; the token may well be
    /// good.
    #[error("the signing key can't be looked up, or the issuer can't be asked, now")]
    KeysUnavailable {
        /// When another look-up may be made, at the earliest.
        retry_after: Duration,
    },
}

impl AuthError {
    /// The label of `juspay_bff_auth_failures_total{reason}`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::MalformedHeader(_) => "malformed_header",
            Self::InvalidToken(reason) => reason.label(),
            Self::ExpiredToken => "expired",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::NoCustomer => "no_customer",
            Self::Overloaded => "overloaded",
            Self::KeysUnavailable { .. } => "keys_unavailable",
        }
    }
}

/// Which check an invalid token fails. For metrics and operators; callers aren't told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than `auth.max_token_bytes`.
    #[error("it is too long")]
    TooLong,
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("it isn't a JWS in compact form")]
    NotJws,
    /// `crit`, `b64`, `zip`, `enc`, or a member of a wrong type.
    #[error("its header holds what isn't taken")]
    Header,
    /// `alg` isn't one of the issuer's.
    #[error("its algorithm isn't one of its issuer's")]
    Algorithm,
    /// `typ` isn't one of the issuer's.
    #[error("its type isn't one of its issuer's")]
    Type,
    /// `iss` is nobody's.
    #[error("its issuer isn't known")]
    UnknownIssuer,
    /// The issuer has no such key.
    #[error("its issuer has no such key")]
    UnknownKey,
    /// The signature is another's.
    #[error("its signature doesn't fit")]
    Signature,
    /// A needed claim is missing, or one has a wrong type or value.
    #[error("a claim is missing or malformed")]
    Claims,
    /// `aud` is somebody else.
    #[error("it is meant for another audience")]
    Audience,
    /// `nbf` or `iat` lies in the future.
    #[error("it isn't valid yet")]
    NotYetValid,
    /// An ID token, which is for the app itself.
    #[error("it is an ID token")]
    IdToken,
    /// `cnf`: bound to a key whose possession nobody has shown.
    #[error("it is bound to a key")]
    Confirmation,
    /// Somebody speaks as the gateway who isn't known to be it.
    #[error("whoever sent it isn't the gateway")]
    UntrustedPeer,
    /// Its issuer says that it isn't active.
    #[error("its issuer says that it isn't active")]
    Inactive,
    /// Somebody has revoked it, or its subject has logged out.
    #[error("it was revoked")]
    Revoked,
}

impl Reason {
    const fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotJws => "not_jws",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Audience => "audience",
            Self::NotYetValid => "not_yet_valid",
            Self::IdToken => "id_token",
            Self::Confirmation => "confirmation",
            Self::UntrustedPeer => "untrusted_peer",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
        }
    }
}

impl From<Reason> for AuthError {
    fn from(reason: Reason) -> Self {
        Self::InvalidToken(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_label_of_its_own() {
        let invalid = [
            (Reason::TooLong, "too_long"),
            (Reason::NotJws, "not_jws"),
            (Reason::Header, "header"),
            (Reason::Algorithm, "algorithm"),
            (Reason::Type, "type"),
            (Reason::UnknownIssuer, "unknown_issuer"),
            (Reason::UnknownKey, "unknown_key"),
            (Reason::Signature, "signature"),
            (Reason::Claims, "claims"),
            (Reason::Audience, "audience"),
            (Reason::NotYetValid, "not_yet_valid"),
            (Reason::IdToken, "id_token"),
            (Reason::Confirmation, "confirmation"),
            (Reason::UntrustedPeer, "untrusted_peer"),
            (Reason::Inactive, "inactive"),
            (Reason::Revoked, "revoked"),
        ];
        let others = [
            (AuthError::MissingToken, "missing_token"),
            (AuthError::MalformedHeader("why"), "malformed_header"),
            (AuthError::ExpiredToken, "expired"),
            (AuthError::InsufficientScope("a b".into()), "insufficient_scope"),
            (AuthError::NoCustomer, "no_customer"),
            (AuthError::Overloaded, "overloaded"),
            (AuthError::KeysUnavailable { retry_after: Duration::ZERO }, "keys_unavailable"),
        ];
        let all = invalid.map(|(reason, label)| (AuthError::from(reason), label));
        let labels: BTreeSet<_> = all.iter().chain(&others).map(|(_, label)| label).collect();
        assert_eq!(labels.len(), invalid.len() + others.len());
        for (error, label) in all.into_iter().chain(others) {
            assert_eq!(error.reason(), label);
        }
    }
}
