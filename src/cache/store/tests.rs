//! What the memory holds, counts and lets go.

use std::thread;

use super::*;
use crate::{
    cache::lifetime::{LifetimePolicy, ReportedExpiry},
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
    let policy = LifetimePolicy {
        min_remaining: SEC * 120,
        refresh_ahead: SEC * 300,
        outage_min_remaining: SEC * 30,
        max_token_life: SEC * 900,
    };
    let wall = start().wall;
    let expiry = later(wall, SEC * 1000);
    let report = ReportedExpiry { expiry, date: Some(wall), sent: start(), received: wall };
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
    assert!(store.all().all(|(_, slot)| slot.is_none()));
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
    let number_dead = |now| {
        let known = store.all().filter_map(|(_, slot)| slot);
        known.filter(|slot| slot.is_dead(now)).count()
    };
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
