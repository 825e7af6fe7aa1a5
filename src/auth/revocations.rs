//! What was revoked: from a file and, for as long as the process lives, from operators and issuers.
//!
//! `list` holds entries and knows which tokens they end, `token_identity` is what is kept of a good token
//! to ask that again, `file` reloads the file. A token is looked up when it is verified and again
//! only when something new has been revoked since, which one number tells: a known token costs two
//! loads. Bounded in number: what comes beyond is refused, never dropped. Whose customers are to be
//! forgotten is `revoking`'s.

mod file;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod list;
#[cfg(test)]
mod tests;
mod token_identity;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::sync::watch;

use self::file::WatchedRevocations;
pub(super) use self::{list::List, token_identity::TokenIdentity};
use super::{error::Reason, logout::LogoutError, token::Logout};
use crate::{
    clock::{Clock, later},
    metrics::{Metrics, Series as _},
    revocation::{Entry, file::FileError},
    settings,
};

/// Why an entry isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// There is no such issuer.
    #[error("the issuer is not one of auth.issuers")]
    UnknownIssuer,
    /// It would never count.
    #[error("the entry has expired")]
    Past,
    /// `auth.max_revocations` are in memory.
    #[error("auth.max_revocations entries are already in memory")]
    Full,
}

/// What is revoked: another number, something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// All that is revoked.
pub(super) struct Revocations {
    settings: settings::Auth,
    lists: RwLock<Lists>,
    /// Another number, something new is revoked. Changed with the lists locked.
    generation: AtomicU64,
    /// Wakes those who wait for something else meanwhile.
    changes: watch::Sender<()>,
    file: Option<WatchedRevocations>,
    clock: Arc<dyn Clock>,
    from_file: IntGauge,
    in_memory: IntGauge,
}

#[derive(Default)]
struct Lists {
    file: List,
    memory: List,
    /// Logout tokens that have come, by issuer and `jti`, until they are refused by their age.
    logouts: HashMap<(usize, Box<str>), Timestamp>,
}

impl Revocations {
    /// With what is in the file.
    pub(super) fn new(
        settings: &settings::Auth,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, FileError> {
        let count = |source| metrics.auth.revocations.with_label_values(&[source]);
        metrics.auth.revocation_reloads.initialize(file::OUTCOMES);
        let opened = settings.revocations_file.as_deref();
        let opened = opened.map(|path| WatchedRevocations::open(path, settings, &clock, metrics));
        let (file, entries) = opened.transpose()?.unzip();
        let revocations = Self {
            settings: settings.clone(),
            lists: RwLock::default(),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(()),
            file,
            clock,
            from_file: count("file"),
            in_memory: count("memory"),
        };
        revocations.replace(entries.unwrap_or_default());
        Ok(revocations)
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Whether this token is still valid.
    pub(super) fn check(&self, token_identity: &TokenIdentity) -> Result<(), Reason> {
        self.clear(token_identity).map(drop)
    }

    /// Whether this token is still valid; if so, it stays valid as long as nothing new is
    /// revoked.
    pub(super) fn clear(&self, token_identity: &TokenIdentity) -> Result<Generation, Reason> {
        let generation = self.generation();
        if token_identity.is_cleared_at(generation.0) {
            return Ok(generation);
        }
        self.look_up(token_identity)
    }

    fn look_up(&self, token_identity: &TokenIdentity) -> Result<Generation, Reason> {
        let now = self.clock.now();
        let lists = self.read();
        if lists.file.ends(token_identity, now) || lists.memory.ends(token_identity, now) {
            return Err(Reason::Revoked);
        }
        // Nothing is added while the lists are being read, so that this is of what was seen.
        let generation = self.generation();
        token_identity.clear_at(generation.0);
        Ok(generation)
    }

    /// Completes once this token isn't good any more.
    pub(super) async fn reach(&self, token_identity: &TokenIdentity) {
        let mut changes = self.changes.subscribe();
        while self.check(token_identity).is_ok() {
            // An error would mean that nobody can revoke any more, but `self` keeps the sender.
            drop(changes.changed().await);
        }
    }

    /// Takes an operator's entry into memory, and gives what is new by it.
    pub(super) fn add(&self, entry: Entry) -> Result<List, RevokeError> {
        let issuer = self.settings.issuer_index(&entry.issuer);
        let issuer = issuer.ok_or(RevokeError::UnknownIssuer)?;
        if entry.expires <= self.clock.now() {
            return Err(RevokeError::Past);
        }
        let mut lists = self.write();
        self.put(&mut lists, &list::Item { issuer, target: entry.target, expires: entry.expires })
    }

    /// Takes an issuer's logout token into memory, which mustn't have come before, and gives what
    /// is new by it.
    pub(super) fn log_out(&self, issuer: usize, logout: Logout) -> Result<List, LogoutError> {
        let now = self.clock.now();
        let mut lists = self.write();
        let key = (issuer, logout.jti);
        if lists.logouts.get(&key).is_some_and(|end| now < *end) {
            return Err(LogoutError::Replayed);
        }
        if lists.logouts.len() >= self.settings.max_revocations {
            lists.logouts.retain(|_, end| now < *end);
        }
        if lists.logouts.len() >= self.settings.max_revocations {
            return Err(RevokeError::Full.into());
        }
        let expires = later(now, self.settings.logout_ttl);
        let added = self.put(&mut lists, &list::Item { issuer, target: logout.target, expires })?;
        lists.logouts.insert(key, logout.end);
        Ok(added)
    }

    fn put(&self, lists: &mut Lists, item: &list::Item) -> Result<List, RevokeError> {
        let mut added = List::default();
        if lists.memory.covers(item) {
            return Ok(added);
        }
        let most = self.settings.max_revocations;
        let lacks_room = |list: &List| list.len() >= most && !list.would_replace(item);
        if lacks_room(&lists.memory) {
            lists.memory.sweep(self.clock.now());
            if lacks_room(&lists.memory) {
                return Err(RevokeError::Full);
            }
        }
        lists.memory.add(item);
        self.in_memory.set(lists.memory.count());
        // Kept even so: the file may change.
        if !lists.file.covers(item) {
            added.add(item);
            self.tell();
        }
        Ok(added)
    }

    /// Puts the file's entries in the place of those that it had, and gives what is new by them.
    fn replace(&self, entries: Vec<Entry>) -> List {
        let now = self.clock.now();
        let (mut file, mut added) = (List::default(), List::default());
        let old = self.read();
        for Entry { issuer, target, expires } in entries {
            let Some(issuer) = self.settings.issuer_index(&issuer) else { continue };
            if expires <= now {
                continue;
            }
            let item = list::Item { issuer, target, expires };
            if !old.file.covers(&item) && !old.memory.covers(&item) {
                added.add(&item);
            }
            file.add(&item);
        }
        drop(old);
        let mut lists = self.write();
        lists.file = file;
        self.from_file.set(lists.file.count());
        if !added.is_empty() {
            self.tell();
        }
        added
    }

    /// Looks at the file again, and gives what is new by it; `None` when there is no file.
    pub(super) async fn reload(&self) -> Option<List> {
        let entries = self.file.as_ref()?.reload().await;
        Some(entries.map_or_else(List::default, |entries| self.replace(entries)))
    }

    /// Lets what has come to its end leave memory.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        let mut lists = self.write();
        lists.file.sweep(now);
        lists.memory.sweep(now);
        lists.logouts.retain(|_, end| now < *end);
        self.from_file.set(lists.file.count());
        self.in_memory.set(lists.memory.count());
    }

    /// Something new is revoked. To be called with the lists locked.
    fn tell(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changes.send_replace(());
    }

    fn read(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Lists> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}
