//! The keys of an issuer (RFC 7517 §5): the set, and who keeps it fresh.
//!
//! `key` takes one JWK; [`KeySet`] a whole set; `pem` makes JWKs of a file in PEM; `store` holds an issuer's current set and answers
//! for unknown `kid`s, by what `demand` remembers; `keeper` refreshes it; `fetch` reads it from a file or over HTTP.
//! Signatures are checked in `token`.

mod demand;
mod fetch;
mod keeper;
mod key;
mod pem;
mod small_order;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

pub(crate) use self::fetch::FetchError;
#[cfg(any(test, fuzzing))]
pub(super) use self::fetch::{allowed, keys_address};
use self::key::Unusable;
pub(super) use self::{
    fetch::{KeyFetcher, fetcher},
    keeper::{Keeper, Schedule},
    key::Key,
    store::{Current, KeyStore, NoKey},
};
use crate::{json, settings::Algorithm};

/// Largest set taken, in bytes: some 100 RSA keys with certificates.
pub(super) const MAX_SET_BYTES: usize = 256 * 1024;

/// Most keys in a set; issuers publish two or three.
const MAX_KEYS: usize = 100;

/// Most keys with the same `kid`: a forged token is checked with each of them.
const MAX_SHARING: usize = 4;

/// What a token asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The header's `kid`.
    pub(super) kid: Option<&'a str>,
    /// The header's `alg`.
    pub(super) algorithm: Algorithm,
}

/// Why a document gives no key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("larger than {MAX_SET_BYTES} bytes")]
    TooLarge,
    #[error("not a JWK set")]
    Malformed,
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    #[error("no usable key{}", first(*.0))]
    NoUsableKey(Option<Unusable>),
    #[error("not PEM with public keys or certificates")]
    Pem,
    #[error("more than {} public keys or certificates", pem::MAX_KEYS)]
    TooManyInPem,
    #[error("contains a private key, which this service must not have")]
    PrivateKey,
}

/// The usable keys of an issuer; never empty.
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// They are from PEM, which has no `kid`s: each may have signed, whatever `kid` a token names.
    are_nameless: bool,
}

/// A key that was left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Its `kid`, when that can be shown.
    pub(super) kid: String,
    /// Why.
    pub(super) why: Unusable,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Takes a JWK set of an issuer that uses these `algorithms`. A bad key spoils only itself.
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

    /// Takes a file of such an issuer, which may also be PEM with public keys and certificates.
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
        are_nameless: bool,
    ) -> Result<(Self, Vec<LeftOut>), SetError> {
        let mut keys = Vec::new();
        let mut left_out = Vec::new();
        for (kid, jwk) in jwks {
            match Key::parse(jwk, algorithms).and_then(|key| with_room(&keys, key)) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => left_out.push(LeftOut { kid, why }),
            }
        }
        if keys.is_empty() {
            return Err(SetError::NoUsableKey(left_out.first().map(|left_out| left_out.why)));
        }
        Ok((Self { keys, are_nameless }, left_out))
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The `kid`s of its keys; none if they are from PEM.
    pub(super) fn kids(&self) -> Vec<&str> {
        if self.are_nameless {
            return Vec::new();
        }
        self.keys.iter().filter_map(|key| key.kid()).collect()
    }

    /// Whether a key may check signatures of this algorithm.
    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.serves(algorithm))
    }

    /// Whether a key has this `kid`, or may be meant by it.
    pub(super) fn knows(&self, kid: &str) -> bool {
        self.are_nameless || self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// The keys that may have signed such a token. Several keys may share a `kid` (RFC 7517 §4.5):
    /// all whose algorithm fits are given. Without a `kid` it must be the only one that fits, unless
    /// no key can have one.
    pub(super) fn fitting(&self, wanted: Wanted<'_>) -> Vec<&Arc<Key>> {
        let kid = wanted.kid.filter(|_| !self.are_nameless);
        let keys: Vec<_> = self
            .keys
            .iter()
            .filter(|key| kid.is_none_or(|kid| key.kid() == Some(kid)))
            .filter(|key| key.serves(wanted.algorithm))
            .collect();
        let is_ambiguous = kid.is_none() && keys.len() > 1 && !self.are_nameless;
        if is_ambiguous { Vec::new() } else { keys }
    }
}

/// `key`, unless as many as are taken have its `kid` already.
fn with_room(keys: &[Arc<Key>], key: Key) -> Result<Key, Unusable> {
    let sharing = keys.iter().filter(|other| other.kid() == key.kid()).count();
    if key.kid().is_some() && sharing >= MAX_SHARING { Err(Unusable::Sharing) } else { Ok(key) }
}

/// Why the first key of a set without usable keys is left out.
fn first(why: Option<Unusable>) -> String {
    why.map_or_else(String::new, |why| format!("; first key: {why}"))
}

/// A `kid` for a log line: an issuer may write anything into it.
fn shown_kid(jwk: &Value) -> String {
    let is_plain = |kid: &&str| {
        kid.len() <= 64
            && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=".contains(&byte))
    };
    jwk.get("kid").and_then(Value::as_str).filter(is_plain).unwrap_or("?").to_owned()
}
