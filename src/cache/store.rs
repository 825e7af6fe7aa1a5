//! The memory: moka, bounded in number.
//!
//! moka isn't told of lives: what is over is buried by a sweep, by our own clock, and an entry that
//! has no timer of moka's takes less memory. Nor is it told to remove everything: that would hold up
//! whoever comes next, for a second with some 100,000 entries. What was there is no longer known, and
//! the sweep buries it, too.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{notification::RemovalCause, sync::Cache};
use prometheus::{IntCounter, IntGauge};

use super::lifetime::{Lifetime, Phase};
use crate::{
    clock::{Moment, Monotonic, jittered},
    customer::{CustomerJson, CustomerKey},
    metrics::Metrics,
};

/// A customer and the life of its token.
///
/// In the order in which a hit looks at it: with many customers, each line of memory costs a wait.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    /// It has left memory, or another one has come in its place.
    is_gone: AtomicBool,
    hand_outs: AtomicU32,
    pub(super) json: CustomerJson,
    pub(super) lifetime: Lifetime,
    /// When Juspay was asked for it.
    born: Monotonic,
    failed_refreshes: Mutex<Option<Failed>>,
}

/// Refreshes of an entry that have failed, one after the other.
#[derive(Debug, Clone, Copy)]
struct Failed {
    times: NonZeroU32,
    next: Monotonic,
}

impl Entry {
    pub(super) fn new(json: CustomerJson, lifetime: Lifetime, born: Monotonic) -> Self {
        Self {
            json,
            lifetime,
            born,
            hand_outs: AtomicU32::new(0),
            failed_refreshes: Mutex::default(),
            is_gone: AtomicBool::new(false),
        }
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        now.monotonic.since(self.born)
    }

    /// Whether the token may be handed out at all.
    pub(super) fn is_alive(&self, now: Moment) -> bool {
        self.lifetime.phase(now) != Phase::Expired
    }

    /// How often the token has been handed out.
    pub(super) fn hand_outs(&self) -> u32 {
        self.hand_outs.load(Ordering::Relaxed)
    }

    /// Whether there is a token that nobody has had yet.
    pub(super) fn is_unused(&self) -> bool {
        self.json.has_token() && self.hand_outs() == 0
    }

    pub(super) fn count_hand_out(&self) {
        self.hand_outs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last refresh has failed. The next one that succeeds brings another entry.
    pub(super) fn has_failed(&self) -> bool {
        self.failed().is_some()
    }

    /// Whether a refresh has failed so lately that the next one is to wait.
    pub(super) fn is_backing_off(&self, now: Moment) -> bool {
        self.failed().is_some_and(|failed| now.monotonic < failed.next)
    }

    /// Notes that a refresh has failed: the next one waits longer each time.
    pub(super) fn note_failure(&self, now: Monotonic) {
        let mut failed = self.failed();
        let before = failed.map_or(0, |failed| failed.times.get());
        let pause = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(before)).min(MAX_BACKOFF);
        let pause = jittered(pause);
        let times = NonZeroU32::MIN.saturating_add(before);
        *failed = Some(Failed { times, next: now.plus(pause) });
    }

    fn failed(&self) -> MutexGuard<'_, Option<Failed>> {
        self.failed_refreshes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two refreshes of a customer that fail, with jitter: the first pause and the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What is known of a customer.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// Juspay told about it.
    Customer(Arc<Entry>),
    /// Juspay said that there is none; not asked again before `until`.
    NotFound { until: Monotonic },
}

impl Slot {
    /// Whether nobody will be answered with it any more.
    pub(super) fn is_dead(&self, now: Moment) -> bool {
        match self {
            Self::Customer(entry) => entry.lifetime.phase(now) == Phase::Expired,
            Self::NotFound { until } => *until <= now.monotonic,
        }
    }

    /// It isn't what is known of the customer any more.
    fn leave(&self) {
        if let Self::Customer(entry) = self {
            entry.is_gone.store(true, Ordering::Release);
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

/// A slot in memory.
#[derive(Debug, Clone)]
struct Kept {
    slot: Slot,
    /// How often all had been removed when it came.
    clearings: u64,
}

/// How often all slots were removed, and how many of those are still in memory.
#[derive(Debug, Default)]
struct Clearings {
    number: AtomicU64,
    left: AtomicU64,
}

impl Clearings {
    fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Counts one that leaves memory; tells whether it had been removed before.
    fn leaves(&self, kept: &Kept) -> bool {
        let was_removed = kept.clearings != self.number();
        if was_removed {
            let one_less = |left: u64| left.checked_sub(1);
            // None is left where it came while all were removed.
            self.left
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)
                .unwrap_or_default();
        }
        was_removed
    }
}

#[derive(Debug)]
pub(super) struct Store {
    slots: Cache<CustomerKey, Kept>,
    clearings: Arc<Clearings>,
    entries: IntGauge,
    expired: IntCounter,
    removed: IntCounter,
}

impl Store {
    pub(super) fn new(capacity: u64, metrics: &Metrics) -> Self {
        let evicted = |cause| metrics.cache.evictions.with_label_values(&[cause]);
        let by_size = evicted("size");
        metrics.cache.capacity.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        let clearings = Arc::<Clearings>::default();
        let cleared = Arc::clone(&clearings);
        let slots = Cache::builder()
            .max_capacity(capacity)
            .eviction_listener(move |_, kept: Kept, cause| {
                kept.slot.leave();
                // Others are counted by whoever removes, who knows why.
                if !cleared.leaves(&kept) && cause == RemovalCause::Size {
                    by_size.inc();
                }
            })
            .build();
        Self {
            slots,
            clearings,
            entries: metrics.cache.entries.clone(),
            expired: evicted("expired"),
            removed: evicted("removed"),
        }
    }

    pub(super) fn get(&self, key: &CustomerKey) -> Option<Slot> {
        self.current(self.slots.get(key)?)
    }

    fn current(&self, kept: Kept) -> Option<Slot> {
        (kept.clearings == self.clearings()).then_some(kept.slot)
    }

    /// To be noted before an entry is looked for that is to be found without a look, later.
    pub(super) fn clearings(&self) -> u64 {
        self.clearings.number()
    }

    /// Whether an entry that was found after so many clearings is still what is known.
    pub(super) fn still_has(&self, entry: &Entry, clearings: u64) -> bool {
        !entry.is_gone.load(Ordering::Acquire) && self.clearings() == clearings
    }

    pub(super) fn put(&self, key: &CustomerKey, slot: Slot) {
        self.slots.insert(key.clone(), Kept { slot, clearings: self.clearings() });
    }

    /// Whether `seen` is still what is known.
    pub(super) fn holds(&self, key: &CustomerKey, seen: Option<&Slot>) -> bool {
        match (self.get(key), seen) {
            (Some(current), Some(seen)) => current.is_same(seen),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Tells whether there was one.
    pub(super) fn remove(&self, key: &CustomerKey) -> bool {
        let removed = self.slots.remove(key).and_then(|kept| self.current(kept)).is_some();
        self.removed.inc_by(u64::from(removed));
        removed
    }

    /// Removes a dead slot, unless another one has come in its place.
    pub(super) fn bury(&self, key: &CustomerKey, dead: &Slot) {
        if self.holds(key, Some(dead)) {
            self.slots.invalidate(key);
            self.expired.inc();
        }
    }

    /// Removes everything, and tells how many there were. They leave memory by a sweep.
    pub(super) fn clear(&self) -> u64 {
        self.catch_up();
        let number = self.number();
        self.clearings.left.store(self.len(), Ordering::Release);
        self.clearings.number.fetch_add(1, Ordering::AcqRel);
        self.removed.inc_by(number);
        self.entries.set(0);
        number
    }

    /// Lets one leave memory that was removed, unless another one has come in its place.
    pub(super) fn bury_removed(&self, key: &CustomerKey) {
        if self.get(key).is_none() {
            self.slots.invalidate(key);
        }
    }

    /// A refresh of the customer has failed.
    pub(super) fn note_failure(&self, key: &CustomerKey, now: Monotonic) {
        if let Some(Slot::Customer(entry)) = self.get(key) {
            entry.note_failure(now);
        }
    }

    /// A sweep that began after so many clearings has come by all that was in memory.
    pub(super) fn swept(&self, clearings: u64) {
        if clearings == self.clearings() {
            // Also where one left while it was counted.
            self.clearings.left.store(0, Ordering::Release);
        }
    }

    /// All that is in memory; `None` where it was removed. Others may come and go meanwhile.
    pub(super) fn all(&self) -> impl Iterator<Item = (Arc<CustomerKey>, Option<Slot>)> {
        self.slots.iter().map(|(key, kept)| (key, self.current(kept)))
    }

    /// Does moka's pending work, such as freeing memory.
    pub(super) fn catch_up(&self) {
        self.slots.run_pending_tasks();
    }

    /// The same, and counts what is left.
    pub(super) fn settle(&self) {
        self.catch_up();
        self.entries.set(i64::try_from(self.number()).unwrap_or(i64::MAX));
    }

    /// How many are in memory, by moka's last count.
    pub(super) fn len(&self) -> u64 {
        self.slots.entry_count()
    }

    /// How many are known, when moka has no work pending.
    fn number(&self) -> u64 {
        self.len().saturating_sub(self.clearings.left())
    }
}

#[cfg(test)]
mod tests;
