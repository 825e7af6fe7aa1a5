//! Stores cached customers in a moka cache, limited in number.
//!
//! moka's own expiry isn't used: tests can't advance its clock, and its timers take memory for each
//! entry. A sweep evicts expired entries instead. A purge of all customers swaps in an empty moka
//! cache, which frees the memory at once: moka's `invalidate_all` defers that to later calls, which
//! block for about a second with 100,000 entries.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use moka::{notification::RemovalCause, sync::Cache};
use prometheus::{IntCounter, IntGauge};

use super::{
    backoff::Backoff,
    early_death::{EarlyDeaths, Predecessor},
    lifetime::{Lifetime, Phase},
    replication::SharedState,
};
use crate::{
    clock::{Moment, Monotonic},
    customer::{CustomerJson, CustomerKey},
    metrics::Metrics,
};

/// A customer and the lifetime of its token.
///
/// The fields that a hit reads come first, in few cache lines: with many customers, each one costs a
/// wait for memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    /// It was evicted or replaced.
    is_gone: AtomicBool,
    /// It was reported not to work, although its life isn't over.
    has_died: AtomicBool,
    /// This process fetched it, not another replica.
    is_fetched_here: AtomicBool,
    hand_outs: AtomicU32,
    /// The store's generation when it was fetched.
    generation: Generation,
    pub(super) json: CustomerJson,
    pub(super) lifetime: Lifetime,
    /// When the request to Juspay was sent.
    born: Monotonic,
    /// Set once the entry is in the shared tier.
    shared: OnceLock<Box<SharedState>>,
    /// Set if it replaced a token that phones may still have.
    predecessor: OnceLock<Box<Predecessor>>,
    /// After a failed refresh. A successful refresh brings a new entry.
    backoff: Mutex<Option<Backoff>>,
}

/// Counts purges of all customers.
pub(super) type Generation = u64;

impl Entry {
    pub(super) fn new(
        json: CustomerJson,
        lifetime: Lifetime,
        born: Monotonic,
        generation: Generation,
    ) -> Self {
        Self {
            is_gone: AtomicBool::new(false),
            has_died: AtomicBool::new(false),
            is_fetched_here: AtomicBool::new(false),
            hand_outs: AtomicU32::new(0),
            generation,
            json,
            lifetime,
            born,
            shared: OnceLock::new(),
            predecessor: OnceLock::new(),
            backoff: Mutex::default(),
        }
    }

    /// When the request to Juspay was sent.
    pub(super) const fn born(&self) -> Monotonic {
        self.born
    }

    /// What the shared tier knows of the entry, if it is there.
    pub(super) fn shared(&self) -> Option<&SharedState> {
        self.shared.get().map(Box::as_ref)
    }

    /// Records that the entry is in the shared tier.
    pub(super) fn set_shared(&self, state: SharedState) {
        // Never set twice: an entry is stored or found once.
        self.shared.set(Box::new(state)).unwrap_or_default();
    }

    /// The token that it replaced, if phones may still have that one.
    pub(super) fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor.get().map(Box::as_ref)
    }

    /// Records the token that it replaced.
    pub(super) fn set_predecessor(&self, predecessor: Predecessor) {
        // Never set twice: an entry is stored once.
        self.predecessor.set(Box::new(predecessor)).unwrap_or_default();
    }

    /// Whether it was reported not to work, although its life isn't over.
    pub(super) fn has_died(&self) -> bool {
        self.has_died.load(Ordering::Relaxed)
    }

    /// Records that. Returns whether this is the first report.
    pub(super) fn begin_death(&self) -> bool {
        !self.has_died.swap(true, Ordering::Relaxed)
    }

    /// Whether this process fetched it, not another replica.
    pub(super) fn is_fetched_here(&self) -> bool {
        self.is_fetched_here.load(Ordering::Relaxed)
    }

    /// Records that.
    pub(super) fn set_fetched_here(&self) {
        self.is_fetched_here.store(true, Ordering::Relaxed);
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        now.monotonic.since(self.born)
    }

    /// Whether the token may be returned at all.
    pub(super) fn is_alive(&self, now: Moment) -> bool {
        self.lifetime.phase(now) != Phase::Expired
    }

    /// How often this process returned the token.
    pub(super) fn own_hand_outs(&self) -> u32 {
        self.hand_outs.load(Ordering::Relaxed)
    }

    /// How often the token was returned, by all replicas as far as known.
    pub(super) fn hand_outs(&self) -> u32 {
        let by_others = self.shared().map_or(0, SharedState::hand_outs_of_others);
        self.own_hand_outs().saturating_add(by_others)
    }

    /// Whether there is a token that was never returned. False if other replicas can return it.
    pub(super) fn is_unused(&self) -> bool {
        self.json.has_token() && self.hand_outs() == 0 && self.shared().is_none()
    }

    pub(super) fn count_hand_out(&self) {
        self.hand_outs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last refresh failed.
    pub(super) fn has_failed(&self) -> bool {
        self.backoff().is_some()
    }

    /// Whether a refresh failed so recently that the next one has to wait.
    pub(super) fn is_backing_off(&self, now: Moment) -> bool {
        self.backoff().is_some_and(|backoff| backoff.is_running(now.monotonic))
    }

    fn note_failure(&self, now: Monotonic) {
        let mut backoff = self.backoff();
        *backoff = Some(Backoff::after(*backoff, now));
    }

    fn backoff(&self) -> MutexGuard<'_, Option<Backoff>> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cache's entry for a customer.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// Juspay returned it.
    Customer(Arc<Entry>),
    /// Juspay reported that it doesn't exist; not fetched again before `until`.
    NotFound { until: Monotonic },
}

impl Slot {
    /// Whether it can no longer be used for a response.
    pub(super) fn is_expired(&self, now: Moment) -> bool {
        match self {
            Self::Customer(entry) => !entry.is_alive(now),
            Self::NotFound { until } => *until <= now.monotonic,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Customer(this), Self::Customer(that)) => Arc::ptr_eq(this, that),
            (Self::NotFound { until: this }, Self::NotFound { until: that }) => this == that,
            (Self::Customer(_), Self::NotFound { .. })
            | (Self::NotFound { .. }, Self::Customer(_)) => false,
        }
    }
}

type Slots = Cache<CustomerKey, Slot, RandomState>;

/// The customers that a purge of all has removed.
#[must_use]
pub(super) struct Removed<'s> {
    slots: Arc<Slots>,
    removed: &'s IntCounter,
}

impl Removed<'_> {
    /// Counts them, and frees their memory.
    pub(super) fn count(self) -> u64 {
        self.slots.run_pending_tasks();
        let number = self.slots.entry_count();
        self.removed.inc_by(number);
        number
    }
}

/// The cached customers. Changes are made with the table of fetches locked, reads without.
#[derive(Debug)]
pub(super) struct Store {
    slots: ArcSwap<Slots>,
    early_deaths: Arc<EarlyDeaths>,
    generation: AtomicU64,
    capacity: u64,
    /// Whether more than three quarters of the capacity were used at the last count.
    is_nearly_full: AtomicBool,
    entries: IntGauge,
    by_size: IntCounter,
    expired: IntCounter,
    removed: IntCounter,
}

impl Store {
    pub(super) fn new(capacity: u64, early_deaths: Arc<EarlyDeaths>, metrics: &Metrics) -> Self {
        let evicted = |cause| metrics.cache.evictions.with_label_values(&[cause]);
        metrics.cache.capacity.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        let by_size = evicted("size");
        Self {
            slots: ArcSwap::from_pointee(slots(capacity, by_size.clone(), &early_deaths)),
            early_deaths,
            generation: AtomicU64::new(0),
            capacity,
            is_nearly_full: AtomicBool::new(false),
            entries: metrics.cache.entries.clone(),
            by_size,
            expired: evicted("expired"),
            removed: evicted("removed"),
        }
    }

    pub(super) fn get(&self, key: &CustomerKey) -> Option<Slot> {
        self.slots.load().get(key)
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether an entry that was found before is still the customer's.
    pub(super) fn is_current(&self, entry: &Entry) -> bool {
        !entry.is_gone.load(Ordering::Acquire) && entry.generation == self.generation()
    }

    pub(super) fn put(&self, key: &CustomerKey, slot: Slot) {
        let slots = self.slots.load();
        slots.insert(key.clone(), slot);
        self.note_fullness(slots.entry_count());
    }

    /// Whether a lookup would still find the same slot.
    pub(super) fn holds(&self, key: &CustomerKey, found: Option<&Slot>) -> bool {
        match (self.get(key), found) {
            (Some(current), Some(found)) => current.is_same(found),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Removes this entry of the customer, unless it was replaced.
    pub(super) fn remove_entry(&self, key: &CustomerKey, entry: &Arc<Entry>) {
        if self.holds(key, Some(&Slot::Customer(Arc::clone(entry)))) {
            self.remove(key);
        }
    }

    /// Removes the customer. Returns whether it was cached.
    pub(super) fn remove(&self, key: &CustomerKey) -> bool {
        let was_there = self.slots.load().remove(key).is_some();
        self.removed.inc_by(u64::from(was_there));
        was_there
    }

    /// Evicts an expired slot, unless it was replaced.
    pub(super) fn evict(&self, key: &CustomerKey, expired: &Slot) {
        if self.holds(key, Some(expired)) {
            self.slots.load().invalidate(key);
            self.expired.inc();
        }
    }

    /// Removes all customers, and returns them. [`Removed::count`] and dropping them take time, so
    /// the caller does that without the lock.
    pub(super) fn clear(&self) -> Removed<'_> {
        let empty = slots(self.capacity, self.by_size.clone(), &self.early_deaths);
        let slots = self.slots.swap(Arc::new(empty));
        // After the swap: an entry of the new generation is never one of the old cache.
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.note_entry_count(0);
        Removed { slots, removed: &self.removed }
    }

    /// Records a failed refresh of the customer.
    pub(super) fn note_failure(&self, key: &CustomerKey, now: Monotonic) {
        if let Some(Slot::Customer(entry)) = self.get(key) {
            entry.note_failure(now);
        }
    }

    /// All slots, for a sweep.
    pub(super) fn slots(&self) -> Arc<Slots> {
        self.slots.load_full()
    }

    /// Updates `cache_entries`, unless a purge of all has replaced these slots. moka's pending tasks must
    /// have run.
    pub(super) fn count_entries(&self, slots: &Arc<Slots>) {
        if Arc::ptr_eq(slots, &self.slots.load()) {
            self.note_entry_count(slots.entry_count());
        }
    }

    fn note_entry_count(&self, count: u64) {
        self.entries.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.note_fullness(count);
    }

    fn note_fullness(&self, count: u64) {
        let is_nearly_full = count.saturating_mul(4) > self.capacity.saturating_mul(3);
        self.is_nearly_full.store(is_nearly_full, Ordering::Relaxed);
    }

    /// Whether customers may soon be evicted for lack of capacity. Costs one atomic read; updated with
    /// each new customer and with `cache_entries`.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.is_nearly_full.load(Ordering::Relaxed)
    }
}

fn slots(capacity: u64, by_size: IntCounter, early_deaths: &Arc<EarlyDeaths>) -> Slots {
    let early_deaths = Arc::clone(early_deaths);
    Cache::builder()
        .max_capacity(capacity)
        .eviction_listener(move |_, slot: Slot, cause| {
            if let Slot::Customer(entry) = slot {
                entry.is_gone.store(true, Ordering::Release);
                early_deaths.note_end(&entry);
            }
            // The other causes are counted where the store removes the slot.
            if cause == RemovalCause::Size {
                by_size.inc();
            }
        })
        .build_with_hasher(RandomState::default())
}

#[cfg(test)]
mod tests;
