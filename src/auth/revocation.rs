//! Revoked tokens: from `auth.revocations_file` and, until the process ends, from operators and issuers.
//!
//! A token is looked up when it is verified, and again only after something new was revoked, which one
//! number shows: a cached token costs two loads. The number of entries is limited; further ones are
//! rejected, and none is dropped. `file` reloads the file.

mod file;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::sync::watch;

use self::file::Follower;
use super::error::{LogoutError, Reason, RevokeError};
use crate::{
    clock::{Clock, later},
    customer::CustomerId,
    metrics::{Metrics, Series as _},
    revocation::{Entry, Target, file::FileError},
    settings,
};

/// No generation: revocations start at zero and never reach this number.
const NEVER: u64 = u64::MAX;

/// The claims that revocations match. A claim that is missing, or longer than a revocation entry
/// allows, is `None`, because no entry can name it. No `Debug`: claims are personal data.
pub(super) struct RevocationClaims {
    /// Shares its memory with the customer id if both are the same.
    pub(super) sub: Option<Arc<str>>,
    pub(super) jti: Option<Box<str>>,
    pub(super) sid: Option<Box<str>>,
    pub(super) iat: Option<Timestamp>,
}

/// The claims and the issuer of a verified token. No `Debug`: claims are personal data.
pub(super) struct TokenIdentity {
    /// Index of the issuer.
    pub(super) issuer: usize,
    /// Its name in the settings.
    pub(super) issuer_name: Arc<str>,
    claims: RevocationClaims,
    /// The latest generation of revocations that does not revoke this token.
    cleared: AtomicU64,
}

/// What a valid logout token asks for.
#[derive(Debug)]
pub(super) struct Logout {
    /// The tokens that the logout revokes.
    pub(super) target: Target,
    /// Identifies the logout token if it is sent again.
    pub(super) jti: Box<str>,
    /// When the logout token expires.
    pub(super) end: Timestamp,
}

/// Changes when something new is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// The revoked tokens.
pub(super) struct Revocations {
    settings: settings::Auth,
    lists: RwLock<Lists>,
    /// Changes when something new is revoked, with the lists locked.
    generation: AtomicU64,
    /// Wakes requests that wait for something else.
    changes: watch::Sender<()>,
    follower: Option<Follower>,
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

/// Entries, found by issuer and by what they name.
#[derive(Default)]
pub(super) struct List {
    issuers: BTreeMap<usize, IssuerList>,
    len: usize,
}

/// The entries of one issuer, by what they name.
#[derive(Default)]
struct IssuerList {
    subjects: Cuts,
    tokens: Cuts,
    sessions: Cuts,
}

type Cuts = HashMap<Box<str>, Vec<Cut>>;

/// Revokes tokens issued before a moment, until the entry expires. Of two cuts with the same name,
/// one that the other covers is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    issued_before: Timestamp,
    expires: Timestamp,
}

/// An entry whose issuer is known by its index.
#[derive(Debug)]
struct Item {
    issuer: usize,
    target: Target,
    expires: Timestamp,
}

impl TokenIdentity {
    pub(super) const fn new(
        issuer: usize,
        issuer_name: Arc<str>,
        claims: RevocationClaims,
    ) -> Self {
        Self { issuer, issuer_name, claims, cleared: AtomicU64::new(NEVER) }
    }

    /// The customer id, sharing its memory with `sub` if both are the same.
    pub(super) fn share_with(&self, customer: CustomerId) -> CustomerId {
        match &self.claims.sub {
            Some(sub) => customer.reusing(sub),
            None => customer,
        }
    }
}

impl Revocations {
    /// Reads the file.
    pub(super) fn new(
        settings: &settings::Auth,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, FileError> {
        let count = |source| metrics.auth.revocations.with_label_values(&[source]);
        metrics.auth.revocation_reloads.initialize(file::OUTCOMES);
        let follower = settings.revocations_file.as_deref();
        let revocations = Self {
            settings: settings.clone(),
            lists: RwLock::default(),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(()),
            follower: follower.map(|path| Follower::new(path, metrics)),
            clock,
            from_file: count("file"),
            in_memory: count("memory"),
        };
        if let Some(follower) = &revocations.follower {
            follower.open(&revocations)?;
        }
        Ok(revocations)
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Whether this token is still valid.
    pub(super) fn check(&self, token_identity: &TokenIdentity) -> Result<(), Reason> {
        self.clear(token_identity).map(drop)
    }

    /// Whether this token is still valid; if so, it stays valid in this generation.
    pub(super) fn clear(&self, token_identity: &TokenIdentity) -> Result<Generation, Reason> {
        let generation = self.generation();
        if token_identity.cleared.load(Ordering::Acquire) == generation.0 {
            return Ok(generation);
        }
        self.look_up(token_identity)
    }

    fn look_up(&self, token_identity: &TokenIdentity) -> Result<Generation, Reason> {
        let now = self.clock.now();
        let lists = self.read();
        if lists.file.revokes(token_identity, now) || lists.memory.revokes(token_identity, now) {
            return Err(Reason::Revoked);
        }
        // Nothing is added while the lists are locked, so this generation belongs to them.
        let generation = self.generation();
        token_identity.cleared.store(generation.0, Ordering::Release);
        Ok(generation)
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

    /// Adds an issuer's logout token to memory. Returns what it newly revokes. A token is accepted
    /// once.
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
        let added =
            self.add_to_memory(&mut lists, &Item { issuer, target: logout.target, expires })?;
        lists.logouts.insert(key, logout.end);
        Ok(added)
    }

    fn add_to_memory(&self, lists: &mut Lists, item: &Item) -> Result<List, RevokeError> {
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
        // Kept in memory even if the file has it: the file may change.
        if !lists.file.covers(item) {
            added.add(item);
            self.announce();
        }
        Ok(added)
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
        Some(self.follower.as_ref()?.look(self).await.unwrap_or_default())
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

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}

impl Cut {
    fn covers(self, other: Self) -> bool {
        self.issued_before >= other.issued_before && self.expires >= other.expires
    }

    /// A token without `iat` counts as issued before everything.
    fn revokes(self, issued: Option<Timestamp>, now: Timestamp) -> bool {
        now < self.expires && issued.is_none_or(|issued| issued < self.issued_before)
    }
}

impl Item {
    fn id(&self) -> &str {
        match &self.target {
            Target::Subject { sub: id, .. } | Target::Token(id) | Target::Session(id) => id,
        }
    }

    fn cut(&self) -> Cut {
        let issued_before = match self.target {
            Target::Subject { issued_before, .. } => issued_before,
            Target::Token(_) | Target::Session(_) => Timestamp::MAX,
        };
        Cut { issued_before, expires: self.expires }
    }
}

impl IssuerList {
    const fn of(&self, target: &Target) -> &Cuts {
        match target {
            Target::Subject { .. } => &self.subjects,
            Target::Token(_) => &self.tokens,
            Target::Session(_) => &self.sessions,
        }
    }

    const fn of_mut(&mut self, target: &Target) -> &mut Cuts {
        match target {
            Target::Subject { .. } => &mut self.subjects,
            Target::Token(_) => &mut self.tokens,
            Target::Session(_) => &mut self.sessions,
        }
    }

    fn all_mut(&mut self) -> [&mut Cuts; 3] {
        [&mut self.subjects, &mut self.tokens, &mut self.sessions]
    }
}

impl List {
    fn add(&mut self, item: &Item) {
        if self.covers(item) {
            return;
        }
        let cut = item.cut();
        let cuts = self.issuers.entry(item.issuer).or_default().of_mut(&item.target);
        let cuts = cuts.entry(item.id().into()).or_default();
        let before = cuts.len();
        cuts.retain(|known| !cut.covers(*known));
        let replaced = before.saturating_sub(cuts.len());
        cuts.push(cut);
        self.len = self.len.saturating_add(1).saturating_sub(replaced);
    }

    /// Whether adding it would change nothing.
    fn covers(&self, item: &Item) -> bool {
        self.same_name(item).iter().any(|known| known.covers(item.cut()))
    }

    /// Whether another entry would leave the list for it.
    fn would_replace(&self, item: &Item) -> bool {
        self.same_name(item).iter().any(|known| item.cut().covers(*known))
    }

    fn same_name(&self, item: &Item) -> &[Cut] {
        let named = self.issuers.get(&item.issuer);
        let cuts = named.and_then(|named| named.of(&item.target).get(item.id()));
        cuts.map_or(&[], Vec::as_slice)
    }

    /// Whether it revokes this token.
    pub(super) fn revokes(&self, token_identity: &TokenIdentity, now: Timestamp) -> bool {
        let TokenIdentity { issuer, claims, .. } = token_identity;
        let Some(named) = self.issuers.get(issuer) else { return false };
        let is_revoked = |cuts: &Cuts, id: Option<&str>| {
            let cuts = id.and_then(|id| cuts.get(id));
            cuts.is_some_and(|cuts| cuts.iter().any(|cut| cut.revokes(claims.iat, now)))
        };
        is_revoked(&named.subjects, claims.sub.as_deref())
            || is_revoked(&named.tokens, claims.jti.as_deref())
            || is_revoked(&named.sessions, claims.sid.as_deref())
    }

    /// Removes expired entries.
    fn sweep(&mut self, now: Timestamp) {
        let mut len: usize = 0;
        for cuts in self.issuers.values_mut().flat_map(IssuerList::all_mut) {
            cuts.retain(|_, cuts| {
                cuts.retain(|cut| now < cut.expires);
                len = len.saturating_add(cuts.len());
                !cuts.is_empty()
            });
        }
        self.len = len;
    }

    /// The subjects that it names, with the index of their issuer.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (usize, &str)> {
        let issuers = self.issuers.iter();
        issuers.flat_map(|(issuer, named)| named.subjects.keys().map(|sub| (*issuer, &**sub)))
    }

    /// Whether it names anything but subjects.
    pub(super) fn names_tokens_or_sessions(&self) -> bool {
        self.issuers.values().any(|named| !named.tokens.is_empty() || !named.sessions.is_empty())
    }

    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    const fn len(&self) -> usize {
        self.len
    }

    /// Its length, for a gauge.
    fn count(&self) -> i64 {
        i64::try_from(self.len).unwrap_or(i64::MAX)
    }
}
