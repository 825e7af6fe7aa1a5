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
