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
    clock::{Moment, Monotonic},
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
        self.lifetime.phase(now) != Phase::Dead
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
        let pause = pause.mul_f64(rand::random_range(0.5..=1.0));
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
            Self::Customer(entry) => entry.lifetime.phase(now) == Phase::Dead,
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

/// What a sweep comes by.
#[derive(Debug)]
pub(super) enum Swept {
    /// Something that is known.
    Known(Slot),
    /// Something that was removed.
    Removed,
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
        self.slots.run_pending_tasks();
        let number = self.number();
        self.clearings.left.store(self.slots.entry_count(), Ordering::Release);
        self.clearings.number.fetch_add(1, Ordering::AcqRel);
        self.removed.inc_by(number);
        self.settle();
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

    /// All that is in memory. Others may come and go meanwhile.
    pub(super) fn all(&self) -> impl Iterator<Item = (Arc<CustomerKey>, Swept)> {
        let slots = self.slots.iter();
        slots.map(|(key, kept)| (key, self.current(kept).map_or(Swept::Removed, Swept::Known)))
    }

    /// Does moka's pending work, such as freeing memory, and counts what is left.
    pub(super) fn settle(&self) {
        self.slots.run_pending_tasks();
        self.entries.set(i64::try_from(self.number()).unwrap_or(i64::MAX));
    }

    /// How many are known, when moka has no work pending.
    fn number(&self) -> u64 {
        self.slots.entry_count().saturating_sub(self.clearings.left())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        cache::lifetime::{Policy, Report},
        clock::{Clock, later, manual::ManualClock},
        customer::{Customer, CustomerId, FieldSet},
    };

    const SEC: Duration = Duration::from_secs(1);

    fn store() -> (Store, Metrics) {
        let metrics = Metrics::new("1", "1").unwrap();
        (Store::new(100, &metrics), metrics)
    }

    fn key(customer: &str) -> CustomerKey {
        CustomerKey { merchant: "m".into(), customer: CustomerId::parse(customer).unwrap() }
    }

    fn start() -> Moment {
        ManualClock::at("2026-01-01T00:00:00Z").moment()
    }

    /// A token that lives for 900 s.
    fn customer() -> Slot {
        customer_of(Duration::ZERO)
    }

    /// The same, asked for at that time.
    fn customer_of(born: Duration) -> Slot {
        let policy = Policy {
            min_remaining: SEC * 120,
            refresh_ahead: SEC * 300,
            outage_min_remaining: SEC * 30,
            max_token_life: SEC * 900,
        };
        let wall = start().wall;
        let expiry = later(wall, SEC * 1000);
        let report = Report { expiry, date: Some(wall), sent: start(), received: wall };
        let lifetime = Lifetime::new(&policy, &report, 0.0).unwrap();
        let json = Customer::default().to_json(&FieldSet::all(), None);
        Slot::Customer(Arc::new(Entry::new(json, lifetime, Monotonic::new(born))))
    }

    fn not_found(ttl: Duration) -> Slot {
        Slot::NotFound { until: start().monotonic.plus(ttl) }
    }

    #[test]
    fn the_next_refresh_may_be_made_when_the_pause_is_over() {
        let Slot::Customer(entry) = customer() else { panic!("a customer") };
        assert!(!entry.is_backing_off(start()));
        entry.note_failure(start().monotonic);
        let pause = entry.failed().unwrap().next.since(start().monotonic);
        assert!(entry.is_backing_off(start().plus(pause.saturating_sub(Duration::from_nanos(1)))));
        assert!(!entry.is_backing_off(start().plus(pause)));
    }

    #[test]
    fn a_slot_is_the_same_only_while_nothing_else_came() {
        let (store, _) = store();
        let key = key("a");
        assert!(store.holds(&key, None));
        let old = customer();
        assert!(!store.holds(&key, Some(&old)));
        store.put(&key, old.clone());
        assert!(store.holds(&key, Some(&old)));
        assert!(!store.holds(&key, None));
        assert!(!store.holds(&key, Some(&customer())), "equal isn't the same");
        assert!(!store.holds(&key, Some(&not_found(SEC))));

        store.put(&key, not_found(SEC * 60));
        assert!(store.holds(&key, Some(&not_found(SEC * 60))));
        assert!(!store.holds(&key, Some(&not_found(SEC * 61))));
        assert!(!store.holds(&key, Some(&old)));
    }

    #[test]
    fn what_has_left_is_not_what_is_known() {
        let metrics = Metrics::new("1", "1").unwrap();
        let store = Store::new(100_000, &metrics);
        let put = |name: &str| {
            let slot = customer();
            store.put(&key(name), slot.clone());
            let Slot::Customer(entry) = slot else { panic!("a customer") };
            (entry, store.clearings())
        };
        let has = |(entry, clearings): &(Arc<Entry>, u64)| store.still_has(entry, *clearings);
        let (old, removed) = (put("a"), put("b"));
        assert!(has(&old) && has(&removed));
        let new = put("a");
        assert!(!has(&old) && has(&new), "another one has come in its place");
        store.remove(&key("b"));
        assert!(!has(&removed));
        store.put(&key("a"), not_found(SEC * 60));
        assert!(!has(&new), "there is no such customer any more");
        // In memory until a sweep, all the same.
        let many: Vec<_> = (0..20_000).map(|n| put(&n.to_string())).collect();
        assert!(many.iter().all(has));
        store.clear();
        assert!(!many.iter().any(has));
        let again = put("1");
        assert!(has(&again));
    }

    #[test]
    fn what_was_cleared_counts_no_more_and_leaves_memory_by_a_sweep() {
        let (store, metrics) = store();
        let in_memory = || store.all().count();
        let known = || {
            store.settle();
            metrics.cache.entries.get()
        };
        for name in ["a", "b", "c"] {
            store.put(&key(name), customer());
        }
        assert_eq!((store.clear(), known(), in_memory()), (3, 0, 3));
        assert!(store.all().all(|(_, swept)| matches!(swept, Swept::Removed)));
        assert!(!store.remove(&key("c")), "it was removed before");
        assert_eq!((known(), in_memory()), (0, 2));

        store.put(&key("a"), customer());
        assert_eq!((known(), in_memory()), (1, 2), "in the place of the removed one");
        assert_eq!(store.clear(), 1, "each is removed once");
        store.put(&key("a"), customer());
        for name in ["a", "b", "c"] {
            store.bury_removed(&key(name));
        }
        assert_eq!((known(), in_memory()), (1, 1));
        assert!(store.get(&key("a")).is_some());
        let evictions = |cause| metrics.cache.evictions.with_label_values(&[cause]).get();
        assert_eq!(["removed", "size", "expired"].map(evictions), [4, 0, 0]);

        // As if one had left while it was counted.
        store.clearings.left.store(1, Ordering::Release);
        store.swept(1);
        assert_eq!(known(), 0, "all have been removed since that sweep began");
        store.swept(2);
        assert_eq!(known(), 1);
    }

    #[test]
    fn nobody_finds_under_a_new_count_what_was_cleared_before_it() {
        let (store, _) = store();
        let key = key("a");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let clearings = store.clearings();
                    let Some(Slot::Customer(entry)) = store.get(&key) else { continue };
                    // Each was born as many nanoseconds after zero as clearings came before it.
                    let before = entry.born.since(Monotonic::new(Duration::ZERO)).as_nanos();
                    assert!(u128::from(clearings) <= before, "{clearings} > {before}");
                }
            });
            for number in 0..20_000 {
                store.put(&key, customer_of(Duration::from_nanos(number)));
                store.clear();
            }
            is_over.store(true, Ordering::Relaxed);
            looking.join().unwrap();
        });
    }

    #[test]
    fn only_the_slot_that_was_found_dead_is_buried() {
        let (store, metrics) = store();
        let (dead, new) = (customer(), customer());
        store.put(&key("a"), dead.clone());
        store.put(&key("b"), new.clone());
        let later = start().plus(SEC * 871);
        let is_dead = |swept: &Swept, now| matches!(swept, Swept::Known(slot) if slot.is_dead(now));
        let number_dead = |now| store.all().filter(|(_, swept)| is_dead(swept, now)).count();
        assert_eq!([start().plus(SEC * 870), later].map(number_dead), [0, 2]);

        store.put(&key("a"), new.clone());
        store.bury(&key("a"), &dead);
        assert!(store.holds(&key("a"), Some(&new)), "it came after the look");
        store.bury(&key("b"), &new);
        store.settle();
        assert!(store.get(&key("b")).is_none());
        let evictions = |cause| metrics.cache.evictions.with_label_values(&[cause]).get();
        assert_eq!((evictions("expired"), evictions("removed")), (1, 0));
        assert_eq!(metrics.cache.entries.get(), 1);
    }
}
