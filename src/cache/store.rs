//! The memory: moka, bounded in number and, as a backstop, in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, notification::RemovalCause, sync::Cache};
use prometheus::{IntCounter, IntGauge};

use super::lifetime::{Lifetime, Phase};
use crate::{
    clock::{Moment, Monotonic},
    customer::{CustomerJson, CustomerKey},
    metrics::Metrics,
};

/// A customer and the life of its token.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) json: CustomerJson,
    pub(super) lifetime: Lifetime,
}

/// What is known of a customer.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// Juspay told about it.
    Customer(Arc<Entry>),
    /// Juspay said that there is none; not asked again before `until`.
    NotFound { until: Monotonic, ttl: Duration },
}

impl Slot {
    /// Whether nobody will be answered with it any more.
    fn is_dead(&self, now: Moment) -> bool {
        match self {
            Self::Customer(entry) => entry.lifetime.phase(now) == Phase::Dead,
            Self::NotFound { until, .. } => *until <= now.monotonic,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Customer(this), Self::Customer(that)) => Arc::ptr_eq(this, that),
            (Self::NotFound { until: this, .. }, Self::NotFound { until: that, .. }) => {
                this == that
            }
            (Self::Customer(_), Self::NotFound { .. })
            | (Self::NotFound { .. }, Self::Customer(_)) => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Store {
    slots: Cache<CustomerKey, Slot>,
    entries: IntGauge,
    expired: IntCounter,
    removed: IntCounter,
}

impl Store {
    pub(super) fn new(capacity: u64, metrics: &Metrics) -> Self {
        let evicted = |cause| metrics.cache.evictions.with_label_values(&[cause]);
        let (by_size, by_time) = (evicted("size"), evicted("expired"));
        let slots = Cache::builder()
            .max_capacity(capacity)
            .expire_after(AtMost)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Size => by_size.inc(),
                RemovalCause::Expired => by_time.inc(),
                // Counted by whoever removes, who knows why.
                RemovalCause::Explicit | RemovalCause::Replaced => {}
            })
            .build();
        Self {
            slots,
            entries: metrics.cache.entries.clone(),
            expired: evicted("expired"),
            removed: evicted("removed"),
        }
    }

    pub(super) fn get(&self, key: &CustomerKey) -> Option<Slot> {
        self.slots.get(key)
    }

    pub(super) fn put(&self, key: &CustomerKey, slot: Slot) {
        self.slots.insert(key.clone(), slot);
    }

    /// Whether `seen` is still what is known.
    pub(super) fn holds(&self, key: &CustomerKey, seen: Option<&Slot>) -> bool {
        match (self.slots.get(key), seen) {
            (Some(current), Some(seen)) => current.is_same(seen),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Tells whether there was one.
    pub(super) fn remove(&self, key: &CustomerKey) -> bool {
        let removed = self.slots.remove(key).is_some();
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

    /// Removes everything, and tells how many there were.
    pub(super) fn clear(&self) -> u64 {
        self.slots.run_pending_tasks();
        let number = self.slots.entry_count();
        self.slots.invalidate_all();
        self.removed.inc_by(number);
        self.settle();
        number
    }

    /// The slots that nobody will be answered with any more.
    pub(super) fn dead(&self, now: Moment) -> Vec<(Arc<CustomerKey>, Slot)> {
        self.slots.iter().filter(|(_, slot)| slot.is_dead(now)).collect()
    }

    /// Does moka's pending work, such as freeing memory, and counts what is left.
    pub(super) fn settle(&self) {
        self.slots.run_pending_tasks();
        self.entries.set(i64::try_from(self.slots.entry_count()).unwrap_or(i64::MAX));
    }
}

/// moka's own expiry, on moka's own clock: a bound on memory, not on what is handed out.
struct AtMost;

impl AtMost {
    fn of(slot: &Slot) -> Duration {
        match slot {
            Slot::Customer(entry) => entry.lifetime.whole(),
            Slot::NotFound { ttl, .. } => *ttl,
        }
    }
}

impl Expiry<CustomerKey, Slot> for AtMost {
    fn expire_after_create(&self, _: &CustomerKey, slot: &Slot, _: Instant) -> Option<Duration> {
        Some(Self::of(slot))
    }

    /// moka's default would keep the old slot's time for the new one.
    fn expire_after_update(
        &self,
        _: &CustomerKey,
        slot: &Slot,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(Self::of(slot))
    }
}

#[cfg(test)]
mod tests {
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
        Slot::Customer(Arc::new(Entry { json, lifetime }))
    }

    fn not_found(ttl: Duration) -> Slot {
        Slot::NotFound { until: start().monotonic.plus(ttl), ttl }
    }

    #[test]
    fn a_new_slot_has_a_time_of_its_own_and_not_the_old_ones() {
        let (store, _) = store();
        let key = key("a");
        store.put(&key, not_found(Duration::ZERO));
        assert!(store.get(&key).is_none(), "over at once");
        store.put(&key, customer());
        assert!(store.get(&key).is_some());
        store.put(&key, not_found(Duration::ZERO));
        assert!(store.get(&key).is_none());
        store.put(&key, not_found(SEC * 60));
        assert!(store.get(&key).is_some());
    }

    #[test]
    fn moka_keeps_nothing_longer_than_its_whole_life() {
        assert_eq!(AtMost::of(&customer()), SEC * 900);
        assert_eq!(AtMost::of(&not_found(SEC)), SEC);
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
    fn only_the_slot_that_was_found_dead_is_buried() {
        let (store, metrics) = store();
        let (dead, new) = (customer(), customer());
        store.put(&key("a"), dead.clone());
        store.put(&key("b"), new.clone());
        let later = start().plus(SEC * 871);
        assert_eq!(store.dead(start().plus(SEC * 870)).len(), 0);
        assert_eq!(store.dead(later).len(), 2);

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
