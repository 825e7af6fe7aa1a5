//! Revoked tokens: from `auth.revocations_file` and, until the process ends, from operators and issuers.
//!
//! A token is looked up when it is verified, and again only if the generation has changed, so the check of a
//! cached token costs two loads. The number of entries is limited: further ones are rejected, and none is
//! dropped. An invalid file keeps the previous entries. `list` finds entries by the claims of a token.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod list;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use prometheus::{Gauge, IntCounter, IntGauge};
use tokio::sync::watch;

use self::list::Item;
pub(super) use self::list::{List, RevocationClaims, TokenIdentity};
use super::error::{LogoutError, Reason, RevokeError};
use crate::{
    clock::{Clock, later},
    metrics::{Metrics, Series as _},
    revocation::{self, Entry, FileError, RevocationsFile, Target},
    settings,
};

/// The label of `secret_last_reload_success_timestamp_seconds`: the file is polled as secrets are.
const LABEL: &str = "revocations";

/// The labels of `auth_revocation_reloads_total{outcome}`: for a changed list, and for an invalid file.
const OUTCOMES: [&str; 2] = ["success", "failure"];

/// The content of a valid logout token.
#[derive(Debug)]
pub(super) struct Logout {
    /// The tokens that the logout revokes.
    pub(super) target: Target,
    /// Identifies the logout token if it is sent again.
    pub(super) jti: Box<str>,
    /// When the logout token expires.
    pub(super) end: Timestamp,
}

/// The revoked tokens.
pub(super) struct Revocations {
    settings: settings::Auth,
    lists: RwLock<Lists>,
    /// Changes when something new is revoked, with the lists locked.
    generation: AtomicU64,
    /// Wakes requests that wait for a fetch, so that they check their token again.
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
    /// Logout tokens that were used, by issuer and `jti`, until they expire.
    logouts: HashMap<(usize, Box<str>), Timestamp>,
}

impl Revocations {
    /// Reads the file.
    pub(super) fn new(
        settings: &settings::Auth,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, FileError> {
        let count = |source| metrics.auth.revocations.with_label_values(&[source]);
        metrics.auth.revocation_reloads.initialize(OUTCOMES);
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

    /// Whether this token is still valid.
    pub(super) fn check(&self, token_identity: &TokenIdentity) -> Result<(), Reason> {
        let generation = self.generation.load(Ordering::Acquire);
        if token_identity.is_cleared_at(generation) { Ok(()) } else { self.look_up(token_identity) }
    }

    fn look_up(&self, token_identity: &TokenIdentity) -> Result<(), Reason> {
        let now = self.clock.now();
        let lists = self.read();
        if lists.file.revokes(token_identity, now) || lists.memory.revokes(token_identity, now) {
            return Err(Reason::Revoked);
        }
        // Nothing is added while the lists are locked, so this generation belongs to them.
        token_identity.clear_at(self.generation.load(Ordering::Acquire));
        Ok(())
    }

    /// Completes when this token is revoked.
    pub(super) async fn wait_for(&self, token_identity: &TokenIdentity) {
        let mut changes = self.changes.subscribe();
        while self.check(token_identity).is_ok() {
            // Never an error: `self` keeps the sender.
            drop(changes.changed().await);
        }
    }

    /// Adds an operator's entry to memory. Returns what it newly revokes.
    pub(super) fn add(&self, entry: Entry) -> Result<List, RevokeError> {
        let issuer = self.settings.issuer_index(&entry.issuer);
        let issuer = issuer.ok_or(RevokeError::UnknownIssuer)?;
        if entry.expires <= self.clock.now() {
            return Err(RevokeError::Past);
        }
        let mut lists = self.write();
        self.add_to_memory(
            &mut lists,
            &Item { issuer, target: entry.target, expires: entry.expires },
        )
    }

    /// Adds an issuer's logout token to memory. Returns what it newly revokes, and the entry. A token is
    /// accepted once.
    pub(super) fn log_out(
        &self,
        issuer: usize,
        logout: Logout,
    ) -> Result<(List, Option<Entry>), LogoutError> {
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
        let item = Item { issuer, target: logout.target, expires };
        let added = self.add_to_memory(&mut lists, &item)?;
        lists.logouts.insert(key, logout.end);
        Ok((added, self.entry(item)))
    }

    fn add_to_memory(&self, lists: &mut Lists, item: &Item) -> Result<List, RevokeError> {
        let mut added = List::default();
        if lists.memory.covers(item) {
            return Ok(added);
        }
        let max = self.settings.max_revocations;
        let lacks_room = |list: &List| list.len() >= max && !list.would_replace(item);
        if lacks_room(&lists.memory) {
            lists.memory.sweep(self.clock.now());
            if lacks_room(&lists.memory) {
                return Err(RevokeError::Full);
            }
        }
        lists.memory.add(item);
        self.in_memory.set(lists.memory.count());
        // Kept in memory even if the file has it: the file may change.
        if !lists.file.covers(item) {
            added.add(item);
            self.announce();
        }
        Ok(added)
    }

    /// The entries in memory that are in force.
    pub(super) fn in_memory(&self) -> Vec<Entry> {
        let now = self.clock.now();
        let lists = self.read();
        let items = lists.memory.items().filter(|item| now < item.expires);
        items.filter_map(|item| self.entry(item)).collect()
    }

    /// The entry with the issuer's name in the settings.
    fn entry(&self, Item { issuer, target, expires }: Item) -> Option<Entry> {
        let issuer = self.settings.issuers.keys().nth(issuer)?.as_str().into();
        Some(Entry { issuer, target, expires })
    }

    /// Replaces the entries of the file. Returns what they newly revoke.
    fn replace(&self, entries: Vec<Entry>) -> List {
        let now = self.clock.now();
        let (mut file, mut added) = (List::default(), List::default());
        let old = self.read();
        for Entry { issuer, target, expires } in entries {
            let Some(issuer) = self.settings.issuer_index(&issuer) else { continue };
            if expires <= now {
                continue;
            }
            let item = Item { issuer, target, expires };
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
            self.announce();
        }
        added
    }

    /// Reloads the file. Returns what it newly revokes; `None` if there is no file.
    pub(super) async fn reload(&self) -> Option<List> {
        let entries = self.file.as_ref()?.reload().await;
        Some(entries.map_or_else(List::default, |entries| self.replace(entries)))
    }

    /// Removes expired entries.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        let mut lists = self.write();
        lists.file.sweep(now);
        lists.memory.sweep(now);
        lists.logouts.retain(|_, end| now < *end);
        self.from_file.set(lists.file.count());
        self.in_memory.set(lists.memory.count());
    }

    /// Announces that something new is revoked. Must be called with the lists locked.
    fn announce(&self) {
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

/// The file, with the metrics and the log of its reloads.
struct WatchedRevocations {
    file: RevocationsFile,
    /// Whether the last reload failed. Only the first failure is logged.
    is_failing: AtomicBool,
    successes: IntCounter,
    failures: IntCounter,
    last_success: Gauge,
    clock: Arc<dyn Clock>,
}

impl WatchedRevocations {
    /// Reads the file.
    fn open(
        path: &Path,
        settings: &settings::Auth,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<(Self, Vec<Entry>), FileError> {
        let reloads = |outcome| metrics.auth.revocation_reloads.with_label_values(&[outcome]);
        let [successes, failures] = OUTCOMES.map(reloads);
        let (max_entries, settings) = (settings.max_revocations, settings.clone());
        let is_known = move |name_or_iss: &str| settings.issuer_index(name_or_iss).is_some();
        let (file, entries) = revocation::watch_file(path, max_entries, is_known)?;
        let watched = Self {
            file,
            is_failing: AtomicBool::default(),
            successes,
            failures,
            last_success: metrics.secret_last_reload_success.with_label_values(&[LABEL]),
            clock: Arc::clone(clock),
        };
        watched.succeeded(Some(&entries));
        Ok((watched, entries))
    }

    /// Reads the file again. Returns its entries if it is valid and has changed.
    async fn reload(&self) -> Option<Vec<Entry>> {
        match self.file.reload().await {
            Ok(entries) => {
                self.succeeded(entries.as_deref());
                entries
            }
            Err(error) => {
                self.failures.inc();
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "failed to reload auth.revocations_file; keeping the \
                                            previous list");
                }
                None
            }
        }
    }

    /// Reports that the file is valid. `entries` is `None` if it has not changed.
    fn succeeded(&self, entries: Option<&[Entry]>) {
        if let Some(entries) = entries {
            tracing::info!(entries = entries.len(), "auth.revocations_file reloaded");
            self.successes.inc();
        }
        self.is_failing.store(false, Ordering::Relaxed);
        self.last_success.set(self.clock.now().as_duration().as_secs_f64());
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}
