//! Bearer tokens that a worker has seen lately: found by itself between two look-ups, and asked at
//! each use whether they still count.
//!
//! The worker keeps neither token nor caller, only where they are: what is forgotten is forgotten
//! there, too.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{
    Authenticator, TokenDigest,
    bearer::{Credentials, Scheme},
    sha256,
    verified::Entry,
};
use crate::{clock::Moment, customer::CustomerId};

/// A known token.
#[derive(Clone)]
pub struct Known(Weak<Entry>);

/// A known token that counts at this moment.
pub struct KnownCaller(Arc<Entry>);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known(…)")
    }
}

impl fmt::Debug for KnownCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownCaller(…)")
    }
}

impl KnownCaller {
    /// The token, to be found again without being kept.
    #[must_use]
    pub fn token(&self) -> Known {
        Known(Arc::downgrade(&self.0))
    }

    /// The customer that the token names.
    #[must_use]
    pub fn customer(&self) -> &CustomerId {
        self.0.caller().customer()
    }
}

impl Authenticator {
    /// The digest of the bearer token in the one `Authorization` header there is. `None` when that
    /// is to be looked at more closely.
    pub fn bearer_digest<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Option<TokenDigest> {
        if self.gateway.is_some() {
            return None;
        }
        let credentials = Credentials::of(authorization, self.max_token_bytes, false).ok()?;
        let is_bearer = credentials.scheme == Scheme::Bearer;
        is_bearer.then(|| TokenDigest(sha256(credentials.token)))
    }

    /// Who is calling with a token of that digest, when it is known, counts at this moment, and isn't
    /// bound to a key.
    #[must_use]
    pub fn known(&self, digest: &TokenDigest, now: Moment) -> Option<KnownCaller> {
        self.counting(self.verified.entry(&digest.0)?, now)
    }

    /// Who is calling with it, when the token still counts.
    #[must_use]
    pub fn still_known(&self, known: &Known, now: Moment) -> Option<KnownCaller> {
        self.counting(known.0.upgrade()?, now)
    }

    fn counting(&self, entry: Arc<Entry>, now: Moment) -> Option<KnownCaller> {
        self.counts(&entry, now).then_some(KnownCaller(entry))
    }

    fn counts(&self, entry: &Entry, now: Moment) -> bool {
        let generation = |index: usize| self.issuers.get(index)?.keys.generation(now.monotonic);
        let caller = entry.caller();
        self.verified.counts(entry, now, generation)
            && caller.bound_to().is_none()
            && self.revocations.check(caller.grounds()).is_ok()
    }
}
