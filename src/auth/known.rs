//! Bearer tokens that a worker has seen lately: found by itself between two look-ups, and asked at
//! each use whether they still count.
//!
//! The worker keeps neither token nor caller, only what they counted by.

#[cfg(test)]
mod tests;

use std::{fmt, iter, sync::Arc};

use super::{
    Authenticator,
    credentials::{Credentials, Scheme},
    digest::{TokenDigest, sha256},
    revocation, verified,
};
use crate::{clock::Moment, customer::CustomerId};

/// By what a token counted when it was looked up: it does as long as that is so. One that came later
/// is looked up again.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    token: verified::Standing,
    revocations: revocation::Generation,
}

/// Who is calling with a known token that counts at this moment.
pub struct KnownCaller {
    entry: Arc<verified::Entry>,
    known: Known,
}

impl fmt::Debug for KnownCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownCaller(…)")
    }
}

impl KnownCaller {
    /// The token, to be asked about without being kept.
    #[must_use]
    pub const fn token(&self) -> Known {
        self.known
    }

    /// The customer that the token names.
    #[must_use]
    pub fn customer(&self) -> &CustomerId {
        self.entry.caller().customer()
    }
}

impl Authenticator {
    /// The digest of the bearer token in the only `Authorization` header. `None` when that is to be
    /// looked at more closely.
    #[must_use]
    pub fn bearer_digest(&self, authorization: &[u8]) -> Option<TokenDigest> {
        if self.gateway.is_some() {
            return None;
        }
        let only = iter::once(authorization);
        let credentials = Credentials::of(only, self.max_token_bytes, false).ok()?;
        let is_bearer = credentials.scheme == Scheme::Bearer;
        is_bearer.then(|| TokenDigest(sha256(credentials.token)))
    }

    /// Who is calling with a token of that digest, when it is known, counts at this moment, and isn't
    /// bound to a key.
    #[must_use]
    pub fn known(&self, digest: &TokenDigest, now: Moment) -> Option<KnownCaller> {
        let entry = self.verified.entry(&digest.0)?;
        let caller = entry.caller();
        if caller.bound_to().is_some() {
            return None;
        }
        let revocations = self.revocations.clear(caller.token_identity()).ok()?;
        let known = Known { token: entry.standing(), revocations };
        self.counts(&known, now).then_some(KnownCaller { entry, known })
    }

    /// Whether a token that was known counts still.
    #[must_use]
    pub fn counts(&self, known: &Known, now: Moment) -> bool {
        let generation = |index: usize| self.issuers.get(index)?.generation(now.monotonic);
        self.verified.counts(&known.token, now, generation)
            && self.revocations.generation() == known.revocations
    }
}
