//! Authenticates requests: from the `Authorization` header to a [`Caller`].
//!
//! Of a token, only the customer and the claims that a revocation may name are kept.
//!
//! - `authenticator`: the steps of authentication, and what ends a token early
//! - `caller`: the permit that only verification can build
//! - `credentials`: parses the `Authorization` header
//! - `digest`: SHA-256 of tokens, keys and proofs
//! - `dpop`: proofs of possession for tokens that are bound to a key
//! - `error`: why authentication fails
//! - `explanation`, `inspection`: for operators: why a token is rejected, and how issuers respond
//! - `gateway`: callers that a trusted gateway has authenticated
//! - `hmac`: shared secrets of issuers without public keys
//! - `introspection`: for tokens that only their issuer can validate
//! - `issuer`: the rules and keys of one issuer
//! - `jwks`: the public keys of an issuer
//! - `jwt`: parses and verifies tokens
//! - `request`: reads the headers of a request
//! - `revocation`: the list of revoked tokens
//! - `token_cache`: caches verified tokens
//! - `verification_limit`: limits signature checks
//!
//! `tests/layers.rs` lists which of these modules may use which.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod authenticator;
mod caller;
mod credentials;
mod digest;
mod dpop;
mod error;
mod explanation;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod gateway;
mod hmac;
mod inspection;
mod introspection;
mod issuer;
mod jwks;
mod jwt;
mod request;
mod revocation;
#[cfg(test)]
#[expect(dead_code, reason = "tests/auth uses the rest")]
mod testing;
mod token_cache;
mod verification_limit;

pub use self::{
    authenticator::Authenticator,
    caller::Caller,
    error::{AuthError, LogoutError, ProofFault, Reason, RevokeError},
    explanation::{Check, Explanation, Outcome, Suggestion, explain},
    hmac::{HmacFileError, HmacSecrets},
    introspection::{IntrospectionEndpoint, IntrospectionError},
    issuer::JwksRefreshers,
    jwks::{FetchError, KeyFetcher},
};
pub(crate) use self::{
    inspection::{InspectedKeys, IntrospectionProbe, KeySetInspection, SecretsInspection},
    jwks::SetError,
};
use crate::{revocation::FileError, secret_file::SecretFileError, tls::TlsError};

/// Why an [`Authenticator`] cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The TLS configuration for an issuer. Contains the issuer's name.
    #[error("auth.issuers.{0}.ca_file: {1}")]
    Tls(String, TlsError),
    /// Two entries of `auth.issuers` have the same `issuer`, so the keys of a token are ambiguous.
    #[error("auth.issuers.{0} and auth.issuers.{1} have the same issuer")]
    SameIssuer(String, String),
    /// `auth.revocations_file` has become invalid since the settings were read.
    #[error("auth.revocations_file: {0}")]
    Revocations(#[from] FileError),
    /// `introspection_client_secret_file` has become invalid.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// `hmac_secret_file` has become invalid. Contains the issuer's name.
    #[error("auth.issuers.{0}.hmac_secret_file: {1}")]
    Hmac(String, HmacFileError),
    /// A metric cannot be registered. Always a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
