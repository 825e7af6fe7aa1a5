//! Verified tokens, remembered so that a signature is checked once.
//!
//! Found by the SHA-256 of the whole token; the token itself isn't kept. An entry counts only as
//! long as both clocks say that the token lives, its key is in its issuer's set, or
//! its secret in its issuer's file, and nothing has
//! been forgotten since its verification began: all of that is looked at when it is READ. Whether it
//! was revoked, `revocations` says then. Refused tokens aren't remembered. moka only bounds the number.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use moka::sync::Cache;

use super::{
    caller::Caller,
    digest::Sha256,
    hmac::{SecretId, SecretSet},
    jwks::{CurrentKeySet, Key, KeySelector},
};
use crate::{
    clock::{Moment, Throttle, until},
    settings::Algorithm,
};

/// Longest time that an entry counts; then the token is verified anew, however long it lives.
const MAX_REMEMBERED: Duration = Duration::from_hours(24);

/// Which verification is meant when tokens are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Epoch(u64);

/// What a verification has found.
pub(super) struct Finding {
    pub(super) caller: Caller,
    /// `None`: the issuer was asked about the token, no key vouches for it.
    pub(super) signed: Option<Signed>,
    /// The token's end, or its answer's, on the wall clock.
    pub(super) end: Timestamp,
}

/// By which key or secret a token is good.
pub(super) struct Signed {
    pub(super) by: Signer,
    /// The newest generation of the key set, or of the secrets, that is known to hold it.
    pub(super) generation: AtomicU64,
}

/// What has signed a token.
pub(super) enum Signer {
    Key {
        /// Shared with its set, as there are many tokens.
        key: Arc<Key>,
        algorithm: Algorithm,
        /// Whether the token says which key, by the key's `kid`.
        names_key: bool,
    },
    Secret(SecretId),
}

/// What an issuer's tokens are checked with.
pub(super) enum InForce {
    Keys(Arc<CurrentKeySet>),
    Secrets(Arc<SecretSet>),
}

/// A token that was verified.
pub(super) struct Entry {
    caller: Caller,
    signed: Option<Signed>,
    end: Moment,
    epoch: Epoch,
}

/// By what an entry counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    epoch: Epoch,
    end: Moment,
    /// The issuer and the generation of its keys, where one of them vouches for the token.
    keys: Option<(usize, u64)>,
}

/// The cache of verified tokens.
pub(super) struct VerifiedTokens {
    entries: Cache<Sha256, Arc<Entry>>,
    epoch: AtomicU64,
}

impl VerifiedTokens {
    pub(super) fn new(capacity: u64) -> Self {
        let entries = Cache::builder().max_capacity(capacity).build();
        Self { entries, epoch: AtomicU64::new(0) }
    }

    /// To be noted before a verification begins.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Remembers what a verification that began in `epoch` has found at `now`.
    pub(super) fn remember(&self, digest: Sha256, finding: Finding, epoch: Epoch, now: Moment) {
        if epoch != self.epoch() {
            return;
        }
        let Finding { caller, signed, end } = finding;
        let life = until(end, now.wall).min(MAX_REMEMBERED);
        let end = Moment { wall: end, monotonic: now.monotonic.plus(life) };
        let entry = Entry { caller, signed, end, epoch };
        self.entries.insert(digest, Arc::new(entry));
    }

    /// The caller with this token, when it is known and still good. `keys` gives an issuer's usable
    /// key set, or its secrets.
    pub(super) fn get(
        &self,
        digest: &Sha256,
        now: Moment,
        keys: impl FnOnce(usize) -> Option<InForce>,
    ) -> Option<Caller> {
        let entry = self.entries.get(digest)?;
        if !self.is_alive(&entry, now) {
            self.entries.invalidate(digest);
            return None;
        }
        if let Some(signed) = &entry.signed {
            // Without usable keys nothing passes, but they may come back.
            let current = keys(entry.issuer())?;
            if !signed.is_in(&current) {
                self.entries.invalidate(digest);
                return None;
            }
        }
        Some(entry.caller.clone())
    }

    /// The token, whether it counts or not.
    pub(super) fn entry(&self, digest: &Sha256) -> Option<Arc<Entry>> {
        self.entries.get(digest)
    }

    /// Whether a token that was found earlier counts at this moment. `generation` gives the one of an
    /// issuer's usable key set; another one than was seen last is for [`VerifiedTokens::get`].
    pub(super) fn counts(
        &self,
        standing: &Standing,
        now: Moment,
        generation: impl FnOnce(usize) -> Option<u64>,
    ) -> bool {
        let Standing { epoch, end, keys } = standing;
        *epoch == self.epoch()
            && !end.has_passed(now)
            && keys.is_none_or(|(issuer, seen)| generation(issuer) == Some(seen))
    }

    /// Those whose tokens are in memory, dead ones included. Looks at every entry.
    pub(super) fn callers(&self) -> impl Iterator<Item = Caller> {
        self.entries.iter().map(|(_, entry)| entry.caller.clone())
    }

    fn is_alive(&self, entry: &Entry, now: Moment) -> bool {
        entry.epoch == self.epoch() && !entry.end.has_passed(now)
    }

    /// Forgets all, also what is being verified right now.
    pub(super) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Lets what is dead leave memory. Looks at every entry.
    pub(super) async fn sweep(&self, throttle: &mut Throttle) {
        throttle.start(self.entries.entry_count());
        for (digest, entry) in &self.entries {
            if !self.is_alive(&entry, throttle.tick().await) {
                self.entries.invalidate(&*digest);
            }
        }
        self.entries.run_pending_tasks();
    }

    /// How many are in memory, dead ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}

impl Entry {
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The issuer's index.
    fn issuer(&self) -> usize {
        self.caller.token_identity().issuer
    }

    pub(super) fn standing(&self) -> Standing {
        let generation = |signed: &Signed| signed.generation.load(Ordering::Relaxed);
        let keys = self.signed.as_ref().map(|signed| (self.issuer(), generation(signed)));
        Standing { epoch: self.epoch, end: self.end, keys }
    }
}

impl Signed {
    /// Whether what made the signature is still what the token asks for.
    fn is_in(&self, in_force: &InForce) -> bool {
        let generation = match in_force {
            InForce::Keys(current) => current.generation,
            InForce::Secrets(secrets) => secrets.generation,
        };
        if self.generation.load(Ordering::Relaxed) == generation {
            return true;
        }
        let is_there = match (&self.by, in_force) {
            (Signer::Key { key, algorithm, names_key }, InForce::Keys(current)) => {
                let kid = key.kid().filter(|_| *names_key);
                let fitting = current.set.candidates(KeySelector { kid, algorithm: *algorithm });
                fitting.into_iter().any(|other| other.thumbprint() == key.thumbprint())
            }
            (Signer::Secret(id), InForce::Secrets(secrets)) => secrets.holds(*id),
            (Signer::Key { .. }, InForce::Secrets(_)) | (Signer::Secret(_), InForce::Keys(_)) => {
                false
            }
        };
        if is_there {
            self.generation.store(generation, Ordering::Relaxed);
        }
        is_there
    }
}
