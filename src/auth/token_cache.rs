//! Caches verified access tokens, so that each signature is checked once.
//!
//! The key is the SHA-256 of the whole token; the token itself is not stored. An entry is validated when
//! it is read: both clocks are before the token's expiry, and its key is still in the issuer's key set or its
//! secret in the issuer's file. Rejected tokens are not cached.
//!
//! moka limits the number of entries. `quick_cache` 0.7 was tried instead: a hit took 850 of 50,400
//! instructions less (`benches/instructions`), too little for a second library.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;
use jiff::Timestamp;
use moka::sync::Cache;

use super::{
    caller::Caller,
    digest::Sha256,
    hmac::SecretId,
    issuer::{InForce, Issuer},
    jwks::{Key, KeySelector},
};
use crate::{
    clock::{Moment, Throttle, until},
    settings::Algorithm,
};

/// Maximum age of an entry. Then the token is verified again, even if it has not expired.
const MAX_AGE: Duration = Duration::from_hours(24);

/// The result of a verification.
pub(super) struct Finding {
    pub(super) caller: Caller,
    /// `None` for a token that its issuer validated (introspection).
    pub(super) signed: Option<Signed>,
    /// The expiry on the wall clock, of the token or of the introspection response.
    pub(super) end: Timestamp,
}

/// The key or secret that a token is signed with.
pub(super) struct Signed {
    pub(super) by: Signer,
    /// The newest generation of the key set, or of the secrets, that is known to contain it.
    pub(super) generation: AtomicU64,
}

/// Identifies a key or secret.
pub(super) enum Signer {
    Key {
        /// Shared with its key set.
        key: Arc<Key>,
        algorithm: Algorithm,
        /// Whether the token has a `kid`.
        names_key: bool,
    },
    Secret(SecretId),
}

/// A verified token.
struct Entry {
    caller: Caller,
    signed: Option<Signed>,
    end: Moment,
}

/// The cache of verified tokens. moka only limits their number.
pub(super) struct TokenCache {
    entries: Cache<Sha256, Arc<Entry>, RandomState>,
}

impl TokenCache {
    pub(super) fn new(capacity: u64) -> Self {
        let entries =
            Cache::builder().max_capacity(capacity).build_with_hasher(RandomState::default());
        Self { entries }
    }

    /// Stores the result of a verification, unless it has expired.
    pub(super) fn insert(&self, digest: Sha256, finding: Finding, now: Moment) {
        let Finding { caller, signed, end } = finding;
        if end <= now.wall {
            return;
        }
        let life = until(end, now.wall).min(MAX_AGE);
        let end = Moment { wall: end, monotonic: now.monotonic.plus(life) };
        let entry = Entry { caller, signed, end };
        self.entries.insert(digest, Arc::new(entry));
    }

    /// The caller with this token if the token is cached and still valid.
    pub(super) fn get(&self, digest: &Sha256, now: Moment, issuers: &[Issuer]) -> Option<Caller> {
        let entry = self.entries.get(digest)?;
        let mut is_valid = !entry.end.has_passed(now);
        if let Some(signed) = entry.signed.as_ref().filter(|_| is_valid) {
            let issuer = issuers.get(entry.caller.token_identity().issuer)?;
            // Without usable keys no token is valid, but the keys may come back.
            let generation = issuer.generation(now.monotonic)?;
            if signed.generation.load(Ordering::Relaxed) != generation {
                is_valid = signed.is_in(&issuer.in_force(now.monotonic)?);
            }
        }
        if !is_valid {
            self.entries.invalidate(digest);
            return None;
        }
        Some(entry.caller.clone())
    }

    /// The callers of all cached tokens, including expired ones.
    pub(super) fn callers(&self) -> impl Iterator<Item = Caller> {
        self.entries.iter().map(|(_, entry)| entry.caller.clone())
    }

    /// Removes expired entries.
    pub(super) async fn sweep(&self, throttle: &mut Throttle) {
        throttle.start(self.entries.entry_count());
        for (digest, entry) in &self.entries {
            if entry.end.has_passed(throttle.tick().await) {
                self.entries.invalidate(&*digest);
            }
        }
        self.entries.run_pending_tasks();
    }

    /// The number of entries, including expired ones.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}

impl Signed {
    /// Whether the issuer still has the key or secret.
    fn is_in(&self, in_force: &InForce) -> bool {
        let generation = match in_force {
            InForce::Keys(current) => current.generation,
            InForce::Secrets(secrets) => secrets.generation,
        };
        let is_current = match (&self.by, in_force) {
            (Signer::Key { key, algorithm, names_key }, InForce::Keys(current)) => {
                let kid = key.kid().filter(|_| *names_key);
                let candidates = current.set.candidates(KeySelector { kid, algorithm: *algorithm });
                candidates.into_iter().any(|other| other.thumbprint() == key.thumbprint())
            }
            (Signer::Secret(id), InForce::Secrets(secrets)) => secrets.contains(*id),
            (Signer::Key { .. }, InForce::Secrets(_)) | (Signer::Secret(_), InForce::Keys(_)) => {
                false
            }
        };
        if is_current {
            self.generation.store(generation, Ordering::Relaxed);
        }
        is_current
    }
}
