//! The public keys of an issuer (RFC 7517 §5): parsing, fetching and refreshing key sets.
//!
//! `jwt` checks signatures with these keys.
//!
//! - [`KeySet`]: a whole set
//! - `cache`: the current set of an issuer, and lookups of unknown `kid`s
//! - `key`: one JWK
//! - `pem`: keys and certificates in PEM files
//! - `refresh_requests`: what requests expect of the next fetch
//! - `refresher`: the background task that refreshes a set
//! - `small_order`: Ed25519 keys that are unsafe
//! - `source`: reads a set from a file or over HTTP

mod cache;
mod key;
mod pem;
mod refresh_requests;
mod refresher;
mod small_order;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use self::key::UnusableKey;
#[cfg(any(test, fuzzing))]
pub(super) use self::source::discovered_jwks_uri;
pub use self::source::{FetchError, KeyFetcher};
pub(super) use self::{
    cache::{CurrentKeySet, JwksCache},
    key::Key,
    refresher::{JwksRefresher, Schedule},
    source::fetcher,
};
use crate::{json, settings::Algorithm};

/// Largest accepted set, in bytes: about 100 RSA keys with certificates.
pub(super) const MAX_SET_BYTES: usize = 256 * 1024;

/// Most keys in a set. Issuers publish two or three.
const MAX_KEYS: usize = 100;

/// Most keys with the same `kid`. A forged token is checked with each of them.
const MAX_KEYS_PER_KID: usize = 4;

/// Selects the keys that a token may be signed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeySelector<'a> {
    /// The header's `kid`.
    pub(super) kid: Option<&'a str>,
    /// The header's `alg`.
    pub(super) algorithm: Algorithm,
}

/// Why a document contains no usable key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("larger than {MAX_SET_BYTES} bytes")]
    TooLarge,
    #[error("not a JWK set")]
    Malformed,
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    #[error("no usable key{}", first(*.0))]
    NoUsableKey(Option<UnusableKey>),
    #[error("not PEM with public keys or certificates")]
    Pem,
    #[error("more than {} public keys or certificates", pem::MAX_KEYS)]
    TooManyInPem,
    #[error("contains a private key, which this service must not have")]
    PrivateKey,
}

/// The usable keys of an issuer. Never empty.
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// The keys are from PEM, which has no `kid`s. Each may have signed a token, whatever its
    /// `kid`.
    have_no_kids: bool,
}

/// A key that is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Its `kid`, or `?` if the `kid` is not safe to log.
    pub(super) kid: String,
    /// Why it is not used.
    pub(super) why: UnusableKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Parses a JWK set. `algorithms` are those of the issuer's settings. Unusable keys are
    /// skipped.
    pub(super) fn parse(
        text: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<(Self, Vec<LeftOut>), SetError> {
        if text.len() > MAX_SET_BYTES {
            return Err(SetError::TooLarge);
        }
        let document: Document = json::object(text).map_err(|_| SetError::Malformed)?;
        if document.keys.len() > MAX_KEYS {
            return Err(SetError::TooMany);
        }
        let named = document.keys.iter().map(|jwk| (shown_kid(jwk), jwk));
        Self::of(named, algorithms, false)
    }

    /// Parses a key file: a JWK set, or PEM with public keys and certificates.
    pub(super) fn parse_file(
        text: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<(Self, Vec<LeftOut>), SetError> {
        if text.len() > MAX_SET_BYTES {
            return Err(SetError::TooLarge);
        }
        if !pem::is_pem(text) {
            return Self::parse(text, algorithms);
        }
        let blocks = pem::keys(text)?;
        let named = (1..).zip(&blocks).map(|(number, jwk)| (format!("block {number}"), jwk));
        Self::of(named, algorithms, true)
    }

    fn of<'a>(
        jwks: impl Iterator<Item = (String, &'a Value)>,
        algorithms: &[Algorithm],
        have_no_kids: bool,
    ) -> Result<(Self, Vec<LeftOut>), SetError> {
        let mut keys = Vec::new();
        let mut left_out = Vec::new();
        for (kid, jwk) in jwks {
            match Key::parse(jwk, algorithms).and_then(|key| check_kid_limit(&keys, key)) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => left_out.push(LeftOut { kid, why }),
            }
        }
        if keys.is_empty() {
            return Err(SetError::NoUsableKey(left_out.first().map(|left_out| left_out.why)));
        }
        Ok((Self { keys, have_no_kids }, left_out))
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The `kid`s of its keys; none if they are from PEM.
    pub(super) fn kids(&self) -> Vec<&str> {
        if self.have_no_kids {
            return Vec::new();
        }
        self.keys.iter().filter_map(|key| key.kid()).collect()
    }

    /// Whether a key supports this algorithm.
    pub(super) fn supports(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.supports(algorithm))
    }

    /// Whether a token with this `kid` may be signed with one of the keys.
    pub(super) fn may_have_kid(&self, kid: &str) -> bool {
        self.have_no_kids || self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// The keys that may have signed a token. Several keys may have the same `kid` (RFC 7517 §4.5):
    /// all with a matching algorithm are returned. A token without `kid` matches only if a single
    /// key supports its algorithm, or if the keys are from PEM.
    pub(super) fn candidates(&self, key_selector: KeySelector<'_>) -> Vec<&Arc<Key>> {
        let kid = key_selector.kid.filter(|_| !self.have_no_kids);
        let keys: Vec<_> = self
            .keys
            .iter()
            .filter(|key| kid.is_none_or(|kid| key.kid() == Some(kid)))
            .filter(|key| key.supports(key_selector.algorithm))
            .collect();
        let is_ambiguous = kid.is_none() && keys.len() > 1 && !self.have_no_kids;
        if is_ambiguous { Vec::new() } else { keys }
    }
}

/// Rejects a key if too many keys already have its `kid`.
fn check_kid_limit(keys: &[Arc<Key>], key: Key) -> Result<Key, UnusableKey> {
    let sharing = keys.iter().filter(|other| other.kid() == key.kid()).count();
    if key.kid().is_some() && sharing >= MAX_KEYS_PER_KID {
        Err(UnusableKey::TooManyWithKid)
    } else {
        Ok(key)
    }
}

/// Why the first key of a set without usable keys is not used.
fn first(why: Option<UnusableKey>) -> String {
    why.map_or_else(String::new, |why| format!("; first key: {why}"))
}

/// The `kid` for logs. An issuer may publish any text, so unusual ones are replaced.
fn shown_kid(jwk: &Value) -> String {
    let is_plain = |kid: &&str| {
        kid.len() <= 64
            && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=".contains(&byte))
    };
    jwk.get("kid").and_then(Value::as_str).filter(is_plain).unwrap_or("?").to_owned()
}
