//! Replacement, eviction and purges of cached customers, and their counters.

use std::thread;

use super::*;
use crate::{
    cache::{
        Freshness, Lookup,
        lifetime::{LifetimePolicy, ReportedExpiry},
    },
    clock::{Clock, later, manual::ManualClock},
    customer::{Customer, CustomerId, FieldSet},
    settings::MaxHandOuts,
    traces::Parent,
};

const SEC: Duration = Duration::from_secs(1);

fn store() -> (Store, Metrics) {
    let metrics = Metrics::new("1", "1").unwrap();
    (store_of(100, &metrics), metrics)
}

fn store_of(capacity: u64, metrics: &Metrics) -> Store {
    let early_deaths = EarlyDeaths::new(MaxHandOuts::default(), metrics);
    Store::new(capacity, Arc::new(early_deaths), metrics)
}

fn key(customer: &str) -> CustomerKey {
    CustomerKey { merchant: "m".into(), customer: CustomerId::parse(customer).unwrap() }
}

fn start() -> Moment {
    ManualClock::at("2026-01-01T00:00:00Z").moment()
}

/// A token that lives for 900 s.
fn customer() -> Slot {
    customer_of(0)
}

/// The same, fetched in this generation.
fn customer_of(generation: Generation) -> Slot {
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
    Slot::Customer(Arc::new(Entry::new(json, lifetime, start().monotonic, generation)))
}

fn not_found(ttl: Duration) -> Slot {
    Slot::NotFound { until: start().monotonic.plus(ttl) }
}

#[test]
fn next_refresh_is_possible_when_the_pause_is_over() {
    let Slot::Customer(entry) = customer() else { panic!("a customer") };
    assert!(!entry.is_backing_off(start()));
    entry.note_failure(start().monotonic);
    let pause = entry.backoff().unwrap().until.since(start().monotonic);
    assert!(entry.is_backing_off(start().plus(pause.saturating_sub(Duration::from_nanos(1)))));
    assert!(!entry.is_backing_off(start().plus(pause)));
}

#[test]
fn slot_is_the_same_until_it_is_replaced() {
    let (store, _) = store();
    let key = key("a");
    assert!(store.holds(&key, None));
    let old = customer();
    assert!(!store.holds(&key, Some(&old)));
    store.put(&key, old.clone());
    assert!(store.holds(&key, Some(&old)));
    assert!(!store.holds(&key, None));
    assert!(!store.holds(&key, Some(&customer())), "an equal slot is not the same");
    assert!(!store.holds(&key, Some(&not_found(SEC))));

    store.put(&key, not_found(SEC * 60));
    assert!(store.holds(&key, Some(&not_found(SEC * 60))));
    assert!(!store.holds(&key, Some(&not_found(SEC * 61))));
    assert!(!store.holds(&key, Some(&old)));
}

#[test]
fn evicted_replaced_or_purged_entry_is_not_current() {
    let metrics = Metrics::new("1", "1").unwrap();
    let store = store_of(100_000, &metrics);
    let put = |name: &str| {
        let slot = customer_of(store.generation());
        store.put(&key(name), slot.clone());
        let Slot::Customer(entry) = slot else { panic!("a customer") };
        entry
    };
    let has = |entry: &Arc<Entry>| store.is_current(entry);
    let (old, removed) = (put("a"), put("b"));
    assert!(has(&old) && has(&removed));
    let new = put("a");
    assert!(!has(&old) && has(&new), "it was replaced");
    store.remove(&key("b"));
    assert!(!has(&removed));
    store.put(&key("a"), not_found(SEC * 60));
    assert!(!has(&new), "the customer doesn't exist any more");
    // This vector keeps the entries in memory.
    let many: Vec<_> = (0..20_000).map(|n| put(&n.to_string())).collect();
    assert!(many.iter().all(has));
    assert_eq!(store.clear().count(), 20_001);
    assert!(!many.iter().any(has));
    let new = put("1");
    assert!(has(&new));
}

#[test]
fn purge_of_all_frees_memory_at_once_and_counts_each_customer_once() {
    let (store, metrics) = store();
    let entries_gauge = || {
        let slots = store.slots();
        slots.run_pending_tasks();
        store.count_entries(&slots);
        metrics.cache.entries.get()
    };
    let mut entries = Vec::new();
    for name in ["a", "b", "c"] {
        let Slot::Customer(entry) = customer() else { panic!("a customer") };
        entries.push(Arc::downgrade(&entry));
        store.put(&key(name), Slot::Customer(entry));
    }
    let removed = store.clear();
    assert_eq!(metrics.cache.entries.get(), 0);
    assert_eq!((removed.count(), entries_gauge(), store.slots().iter().count()), (3, 0, 0));
    assert!(entries.iter().all(|entry| entry.upgrade().is_none()));
    assert!(!store.remove(&key("c")), "it was removed before");

    store.put(&key("a"), customer_of(1));
    assert_eq!((entries_gauge(), store.slots().iter().count()), (1, 1));
    assert_eq!(store.clear().count(), 1, "each is removed once");
    store.put(&key("a"), customer_of(2));
    assert_eq!((entries_gauge(), store.slots().iter().count()), (1, 1));
    assert!(store.get(&key("a")).is_some());
    let evictions = |cause| metrics.cache.evictions.with_label_values(&[cause]).get();
    assert_eq!(["removed", "size", "expired"].map(evictions), [4, 0, 0]);
}

#[test]
fn entry_from_before_a_purge_of_all_is_not_current_after_it() {
    let (store, _) = store();
    let key = key("a");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let purges = store.generation();
                let Some(Slot::Customer(entry)) = store.get(&key) else { continue };
                assert!(purges <= entry.generation, "{purges} > {}", entry.generation);
            }
        });
        for number in 0..1_000 {
            store.put(&key, customer_of(number));
            store.clear().count();
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn replaced_slot_is_not_evicted() {
    let (store, metrics) = store();
    let (expired, new) = (customer(), customer());
    store.put(&key("a"), expired.clone());
    store.put(&key("b"), new.clone());
    let later = start().plus(SEC * 871);
    let number_expired =
        |now| store.slots().iter().filter(|(_, slot)| slot.is_expired(now)).count();
    assert_eq!([start().plus(SEC * 870), later].map(number_expired), [0, 2]);

    store.put(&key("a"), new.clone());
    store.evict(&key("a"), &expired);
    assert!(store.holds(&key("a"), Some(&new)), "it was replaced since the check");
    store.evict(&key("b"), &new);
    let slots = store.slots();
    slots.run_pending_tasks();
    store.count_entries(&slots);
    assert!(store.get(&key("b")).is_none());
    let evictions = |cause| metrics.cache.evictions.with_label_values(&[cause]).get();
    assert_eq!((evictions("expired"), evictions("removed")), (1, 0));
    assert_eq!(metrics.cache.entries.get(), 1);
}

#[test]
fn count_that_began_before_a_purge_of_all_is_not_noted() {
    let metrics = Metrics::new("1", "1").unwrap();
    let store = store_of(4, &metrics);
    for name in ["a", "b", "c", "d"] {
        store.put(&key(name), customer());
    }
    let before = store.slots();
    before.run_pending_tasks();
    store.count_entries(&before);
    assert_eq!((metrics.cache.entries.get(), store.is_nearly_full()), (4, true));
    drop(store.clear());
    store.count_entries(&before);
    assert_eq!((metrics.cache.entries.get(), store.is_nearly_full()), (0, false));
}

#[test]
fn store_notices_that_it_fills_up_before_the_next_sweep() {
    let (store, _) = store();
    store.put(&key("alice"), customer());
    assert!(!store.is_nearly_full());
    // moka counts new entries in batches of 64.
    for number in 0..200 {
        store.put(&key(&format!("c{number}")), customer());
    }
    assert!(store.is_nearly_full());
}

fn no_cache(customer: &str) -> Lookup {
    Lookup {
        customer: CustomerId::parse(customer).unwrap(),
        want_token: true,
        want_body: true,
        freshness: Freshness { no_cache: true, ..Freshness::default() },
        traceparent: None,
        new_customer: None,
        trace: Parent::default(),
        requester: None,
    }
}

/// Another replica's tokens end here as well, but this process does not learn whether they died.
#[test]
fn tokens_of_other_replicas_do_not_hide_a_limit_on_uses() {
    let metrics = Metrics::new("1", "1").unwrap();
    let early_deaths = Arc::new(EarlyDeaths::new(MaxHandOuts::Auto, &metrics));
    let store = Store::new(100, Arc::clone(&early_deaths), &metrics);
    for number in 0..115 {
        let customer = format!("customer_{number}");
        let Slot::Customer(entry) = customer_of(0) else { panic!("a customer") };
        (0..7).for_each(|_| entry.count_hand_out());
        store.put(&key(&customer), Slot::Customer(Arc::clone(&entry)));
        if number >= 100 {
            early_deaths.note_no_cache(&entry, &no_cache(&customer), true, start());
        }
        assert!(store.remove(&key(&customer)));
    }
    assert_eq!(metrics.cache.max_hand_outs.get(), 5);
}
