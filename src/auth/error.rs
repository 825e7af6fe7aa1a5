//! How a caller is turned away.
//!
//! Owns the kinds of refusal and their metric labels; `problem` turns them into answers. Nothing in
//! here holds a part of a token.

use std::{sync::Arc, time::Duration};

use crate::{concurrency::LimitReached, metrics};

/// Why a caller isn't let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header, or one of another scheme.
    #[error("the request has no access token")]
    MissingToken,
    /// A bearer header that RFC 6750 §2.1 doesn't allow, or more than one header.
    #[error("malformed credentials: {0}")]
    MalformedHeader(&'static str),
    /// The token is longer than `auth.max_token_bytes`: a new one would be, too.
    #[error("the token is longer than auth.max_token_bytes")]
    TokenTooLarge,
    /// The token proves nothing.
    #[error("invalid token: {0}")]
    InvalidToken(Reason),
    /// The token may be good, but what shows that its key is the caller's isn't.
    #[error("invalid DPoP proof: {0}")]
    InvalidProof(ProofFault),
    /// The proof lacks our nonce, or has an old one; the one that it must have.
    #[error("the DPoP proof lacks the current nonce")]
    UseDpopNonce(Arc<str>),
    /// This key has made more proofs than are remembered for it.
    #[error("too many DPoP proofs with this key")]
    TooManyProofs {
        /// When there is room again, at the earliest.
        retry_after: Duration,
    },
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
    /// Too many requests with this token are waiting.
    #[error("too many requests with this token are waiting")]
    TooManyAtOnce,
    /// The signing key can't be looked up, or the issuer can't be asked, now; the token may well be
    /// good.
    #[error("the signing key is not available, or token introspection failed")]
    KeysUnavailable {
        /// When another look-up may be made, at the earliest.
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

    /// The setting by which the token was rejected, for the log: where the operator, and not the app,
    /// can let such tokens in.
    #[must_use]
    pub const fn setting(&self) -> Option<&'static str> {
        if matches!(self, Self::TokenTooLarge) { Some("auth.max_token_bytes") } else { None }
    }
}

/// Which check an invalid token fails. For metrics and operators; callers aren't told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("it is not a signed JWT")]
    NotJws,
    /// `crit`, `b64`, `enc`, or a member of a wrong type.
    #[error("its header is malformed or has an unsupported member")]
    Header,
    /// `alg` isn't one of the issuer's.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// `typ` isn't one of the issuer's.
    #[error("its type is not accepted")]
    Type,
    /// `iss` is nobody's.
    #[error("its issuer is unknown")]
    UnknownIssuer,
    /// The issuer has no such key.
    #[error("its issuer has no such key")]
    UnknownKey,
    /// The signature is another's.
    #[error("its signature is invalid")]
    Signature,
    /// A needed claim is missing, or one has a wrong type or value.
    #[error("a claim is missing or malformed")]
    Claims,
    /// `aud` is somebody else.
    #[error("it is for another audience")]
    Audience,
    /// `nbf` or `iat` lies in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// An ID token, which is for the app itself.
    #[error("it is an ID token")]
    IdToken,
    /// `cnf`: bound to a key whose possession nobody has shown.
    #[error("it is bound to a key")]
    Confirmation,
    /// Somebody speaks as the gateway who isn't known to be it.
    #[error("its sender is not the gateway")]
    UntrustedPeer,
    /// Its issuer says that it isn't active.
    #[error("its issuer answers that it is not active")]
    Inactive,
    /// No `cnf`, but its issuer's must have one, or a proof came with it.
    #[error("it is not bound to a key")]
    Unbound,
    /// Somebody has revoked it, or its subject has logged out.
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

/// Which check a DPoP proof fails (RFC 9449 §4.3). For metrics and operators; callers aren't told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// There is none.
    #[error("missing")]
    Missing,
    /// More than one, or no JWS with all that a proof has.
    #[error("not exactly one complete proof")]
    Malformed,
    /// Its key is private, weak, or not one for its algorithm.
    #[error("the key is not accepted")]
    Key,
    /// Its key hasn't signed it.
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
    /// `ath` is another token's.
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
    fn every_refusal_has_a_label_of_its_own() {
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
