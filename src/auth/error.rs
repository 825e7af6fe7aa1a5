//! Why authentication fails.
//!
//! Defines the errors and their metric labels; `problem` turns them into responses. No error
//! contains any part of a token.

use std::{sync::Arc, time::Duration};

use crate::{concurrency::LimitReached, metrics};

/// `Retry-After` after an internal error.
pub(super) const BUG_RETRY: Duration = Duration::from_secs(1);

/// Why a request is not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header, or one of another scheme.
    #[error("the request has no access token")]
    MissingToken,
    /// A header that violates RFC 6750 §2.1, or more than one header.
    #[error("malformed credentials: {0}")]
    MalformedHeader(&'static str),
    /// The token is longer than `auth.max_token_bytes`. A new token would be too.
    #[error("the token is longer than auth.max_token_bytes")]
    TokenTooLarge,
    /// The token is invalid.
    #[error("invalid token: {0}")]
    InvalidToken(Reason),
    /// The DPoP proof is invalid. The token itself may be valid.
    #[error("invalid DPoP proof: {0}")]
    InvalidProof(ProofFault),
    /// The proof has no nonce or an old one. Contains the current nonce.
    #[error("the DPoP proof lacks the current nonce")]
    UseDpopNonce(Arc<str>),
    /// This key has sent more proofs than the service can remember.
    #[error("too many DPoP proofs with this key")]
    TooManyProofs {
        /// The time until more proofs are accepted.
        retry_after: Duration,
    },
    /// The token passes all other checks, but has expired.
    #[error("the token has expired")]
    ExpiredToken,
    /// The token lacks one of these scopes, separated by spaces.
    #[error("the token lacks one of the scopes {0:?}")]
    InsufficientScope(Arc<str>),
    /// The token is valid but names no usable customer.
    #[error("the token names no usable customer")]
    NoCustomer,
    /// Too many requests are waiting.
    #[error("too many requests are waiting")]
    Overloaded,
    /// Too many requests with this token are waiting.
    #[error("too many requests with this token are waiting")]
    TooManyAtOnce,
    /// The signing key cannot be fetched, or the introspection endpoint does not respond. The token
    /// may be valid.
    #[error("the signing key is not available, or token introspection failed")]
    KeysUnavailable {
        /// The time until the next attempt.
        retry_after: Duration,
    },
}

impl AuthError {
    metrics::labels! {
        /// The label of `juspay_bff_auth_failures_total{reason}`.
        #[must_use]
        pub const fn reason(&self) in REASONS {
            Self::MissingToken => "missing_token",
            Self::MalformedHeader(_) => "malformed_header",
            Self::TokenTooLarge => "too_long",
            Self::UseDpopNonce(_) => "dpop_nonce",
            Self::TooManyProofs { .. } => "dpop_too_many",
            Self::ExpiredToken => "expired",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::NoCustomer => "no_customer",
            Self::Overloaded => "overloaded",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::KeysUnavailable { .. } => "keys_unavailable";
            Self::InvalidToken(reason) => (reason.label()) of Reason::LABELS,
            Self::InvalidProof(fault) => (fault.label()) of ProofFault::LABELS,
        }
    }

    /// The setting that rejects the token, for the log. The operator can change it; the app cannot
    /// fix the request.
    #[must_use]
    pub const fn setting(&self) -> Option<&'static str> {
        if matches!(self, Self::TokenTooLarge) { Some("auth.max_token_bytes") } else { None }
    }
}

/// The check that an invalid token fails. For metrics and operators; clients do not see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("it is not a signed JWT")]
    NotJws,
    /// `crit`, `b64`, `enc`, or a member of a wrong type.
    #[error("its header is malformed or has an unsupported member")]
    Header,
    /// The settings of the issuer do not accept this `alg`.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// The settings of the issuer do not accept this `typ`.
    #[error("its type is not accepted")]
    Type,
    /// `iss` matches no issuer in the settings.
    #[error("its issuer is unknown")]
    UnknownIssuer,
    /// The issuer has no such key.
    #[error("its issuer has no such key")]
    UnknownKey,
    /// None of the keys made the signature.
    #[error("its signature is invalid")]
    Signature,
    /// A required claim is missing, or a claim has a wrong type or value.
    #[error("a claim is missing or malformed")]
    Claims,
    /// `aud` does not name this service.
    #[error("it is for another audience")]
    Audience,
    /// `nbf` or `iat` lies in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// An ID token, which is for the app itself.
    #[error("it is an ID token")]
    IdToken,
    /// The token is bound to a key (`cnf`), and the request does not prove possession of it.
    #[error("it is bound to a key")]
    Confirmation,
    /// The sender claims to be the gateway but is not trusted as one.
    #[error("its sender is not the gateway")]
    UntrustedPeer,
    /// The issuer's introspection response says that the token is not active.
    #[error("its issuer answers that it is not active")]
    Inactive,
    /// The token has no `cnf`, but its issuer must bind tokens or the request has a proof.
    #[error("it is not bound to a key")]
    Unbound,
    /// The token was revoked, or its subject has logged out.
    #[error("it was revoked")]
    Revoked,
}

impl Reason {
    metrics::labels! {
        const fn label(self) in LABELS {
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
            Self::Unbound => "unbound",
        }
    }
}

/// The check that a DPoP proof fails (RFC 9449 §4.3). For metrics and operators; clients do not see
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// The request has no proof.
    #[error("missing")]
    Missing,
    /// More than one proof, or not a JWS with all required members.
    #[error("not exactly one complete proof")]
    Malformed,
    /// Its key is private, weak, or does not support its algorithm.
    #[error("the key is not accepted")]
    Key,
    /// The signature was not made by its key.
    #[error("the signature does not match")]
    Signature,
    /// `htm` is another method.
    #[error("made for another method")]
    Method,
    /// `htu` is another address.
    #[error("made for another URL")]
    Target,
    /// `iat` is too far from now.
    #[error("too old, or from the future")]
    Time,
    /// `ath` belongs to another token.
    #[error("made for another access token")]
    Token,
    /// It was used before.
    #[error("used before")]
    Replayed,
}

impl ProofFault {
    metrics::labels! {
        const fn label(self) in LABELS {
            Self::Missing => "dpop_missing",
            Self::Malformed => "dpop_malformed",
            Self::Key => "dpop_key",
            Self::Signature => "dpop_signature",
            Self::Method => "dpop_method",
            Self::Target => "dpop_target",
            Self::Time => "dpop_time",
            Self::Token => "dpop_token",
            Self::Replayed => "dpop_replayed",
        }
    }
}

/// Why an entry is not added to the revocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// There is no such issuer.
    #[error("the issuer is not one of auth.issuers")]
    UnknownIssuer,
    /// It would have no effect.
    #[error("the entry has expired")]
    Past,
    /// `auth.max_revocations` are in memory.
    #[error("auth.max_revocations entries are already in memory")]
    Full,
}

/// Why a logout token has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// It is invalid, or can't be checked now.
    #[error(transparent)]
    Token(#[from] AuthError),
    /// `events` contains no logout.
    #[error("the token contains no logout event")]
    NoEvent,
    /// Neither `sub` nor `sid`.
    #[error("the token names neither a subject nor a session")]
    NoTarget,
    /// Its `jti` was used before.
    #[error("the token was used before")]
    Replayed,
    /// It can't be stored.
    #[error(transparent)]
    NotStored(#[from] RevokeError),
}

impl LogoutError {
    metrics::labels! {
        /// The label of `juspay_bff_auth_logouts_total{outcome}`.
        pub(super) const fn outcome(&self) in FAILURES {
            Self::Token(AuthError::KeysUnavailable { .. }) => "keys_unavailable",
            Self::Token(AuthError::Overloaded) => "overloaded",
            Self::Token(_) | Self::NoEvent | Self::NoTarget => "invalid",
            Self::Replayed => "replayed",
            Self::NotStored(_) => "full",
        }
    }
}

impl From<ProofFault> for AuthError {
    fn from(fault: ProofFault) -> Self {
        Self::InvalidProof(fault)
    }
}

impl From<LimitReached> for AuthError {
    fn from(reached: LimitReached) -> Self {
        match reached {
            LimitReached::Key => Self::TooManyAtOnce,
            LimitReached::Total => Self::Overloaded,
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
    fn every_auth_error_has_its_own_label() {
        let invalid = [
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
            (Reason::Unbound, "unbound"),
        ];
        let faults = [
            (ProofFault::Missing, "dpop_missing"),
            (ProofFault::Malformed, "dpop_malformed"),
            (ProofFault::Key, "dpop_key"),
            (ProofFault::Signature, "dpop_signature"),
            (ProofFault::Method, "dpop_method"),
            (ProofFault::Target, "dpop_target"),
            (ProofFault::Time, "dpop_time"),
            (ProofFault::Token, "dpop_token"),
            (ProofFault::Replayed, "dpop_replayed"),
        ];
        let others = [
            (AuthError::UseDpopNonce("n".into()), "dpop_nonce"),
            (AuthError::TooManyProofs { retry_after: Duration::ZERO }, "dpop_too_many"),
            (AuthError::MissingToken, "missing_token"),
            (AuthError::MalformedHeader("why"), "malformed_header"),
            (AuthError::TokenTooLarge, "too_long"),
            (AuthError::ExpiredToken, "expired"),
            (AuthError::InsufficientScope("a b".into()), "insufficient_scope"),
            (AuthError::NoCustomer, "no_customer"),
            (AuthError::Overloaded, "overloaded"),
            (AuthError::TooManyAtOnce, "too_many_at_once"),
            (AuthError::KeysUnavailable { retry_after: Duration::ZERO }, "keys_unavailable"),
        ];
        let invalid = invalid.map(|(reason, label)| (AuthError::from(reason), label));
        let faults = faults.map(|(fault, label)| (AuthError::from(fault), label));
        let all: Vec<_> = invalid.into_iter().chain(faults).chain(others).collect();
        let labels: BTreeSet<_> = all.iter().map(|(_, label)| label).collect();
        assert_eq!(labels.len(), all.len());
        for (error, label) in all {
            assert_eq!(error.reason(), label);
        }
    }
}
