//! Sliding windows: counts of events for the retry budget, and of customers for the breaker. Pure.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use crate::{clock::Monotonic, customer::CustomerId};

/// A window consists of this many slices and forgets one at a time.
const SLICES: u32 = 10;

/// Counts events over a window that ends now.
#[derive(Debug)]
pub(super) struct Window {
    slice: Duration,
    /// The oldest first; each with its start.
    slices: VecDeque<(Monotonic, Counts)>,
}

/// Number of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) all: u32,
    pub(super) marked: u32,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let slice = length / SLICES;
        Self { slice, slices: VecDeque::new() }
    }

    /// Counts one event, marked or not.
    pub(super) fn count(&mut self, now: Monotonic, is_marked: bool) {
        self.forget(now);
        let is_current =
            self.slices.back().is_some_and(|(start, _)| now.since(*start) < self.slice);
        if !is_current {
            self.slices.push_back((now, Counts::default()));
        }
        if let Some((_, counts)) = self.slices.back_mut() {
            counts.all += 1;
            counts.marked += u32::from(is_marked);
        }
    }

    /// The counts of the window.
    pub(super) fn total(&mut self, now: Monotonic) -> Counts {
        self.forget(now);
        self.slices.iter().fold(Counts::default(), |sum, (_, counts)| Counts {
            all: sum.all + counts.all,
            marked: sum.marked + counts.marked,
        })
    }

    fn forget(&mut self, now: Monotonic) {
        let length = self.slice * SLICES;
        while self.slices.front().is_some_and(|(start, _)| now.since(*start) >= length) {
            self.slices.pop_front();
        }
    }
}

/// Identifies a customer in counts without storing its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CustomerHash(u64);

/// Hashes customer ids with a random key of this process, so that clients can't choose ids with
/// equal hashes.
#[derive(Debug, Default)]
pub(super) struct CustomerHasher(RandomState);

impl CustomerHasher {
    pub(super) fn hash(&self, customer: &CustomerId) -> CustomerHash {
        CustomerHash(self.0.hash_one(customer))
    }
}

/// Maximum number of customers in one slice of a [`CustomerWindow`]. A full slice ends early. On a
/// busy service the window is therefore shorter than configured and holds the last 4,000 customers.
const MAX_CUSTOMERS_PER_SLICE: usize = 400;

/// Maximum number of slices of a [`CustomerWindow`]: the current one and a full window before it.
const MAX_SLICES: usize = 11;

/// Counts the customers with calls over a window that ends now. Each customer counts once, by its
/// last call.
#[derive(Debug)]
pub(super) struct CustomerWindow {
    slice: Duration,
    /// The oldest first.
    slices: VecDeque<Slice>,
}

#[derive(Debug)]
struct Slice {
    start: Monotonic,
    calls: u32,
    /// Whether the customer's last call failed.
    customers: HashMap<CustomerHash, bool>,
}

/// The counts of a [`CustomerWindow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CustomerCounts {
    pub(super) calls: u32,
    pub(super) customers: usize,
    /// Customers whose last call failed.
    pub(super) failing: usize,
}

impl CustomerWindow {
    pub(super) fn new(length: Duration) -> Self {
        let slice = length / SLICES;
        Self { slice, slices: VecDeque::new() }
    }

    /// Records the result of a call.
    pub(super) fn count(&mut self, customer: CustomerHash, now: Monotonic, has_failed: bool) {
        self.forget(now);
        for slice in &mut self.slices {
            slice.customers.remove(&customer);
        }
        let is_current = self.slices.back().is_some_and(|slice| {
            now.since(slice.start) < self.slice && slice.customers.len() < MAX_CUSTOMERS_PER_SLICE
        });
        if !is_current {
            self.slices.push_back(Slice { start: now, calls: 0, customers: HashMap::new() });
            if self.slices.len() > MAX_SLICES {
                self.slices.pop_front();
            }
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.calls += 1;
            slice.customers.insert(customer, has_failed);
        }
    }

    /// Whether the window contains a call of the customer.
    pub(super) fn contains(&mut self, customer: CustomerHash, now: Monotonic) -> bool {
        self.forget(now);
        self.slices.iter().any(|slice| slice.customers.contains_key(&customer))
    }

    pub(super) fn total(&mut self, now: Monotonic) -> CustomerCounts {
        self.forget(now);
        self.slices.iter().fold(CustomerCounts::default(), |sum, slice| {
            let failing = slice.customers.values().filter(|has_failed| **has_failed).count();
            CustomerCounts {
                calls: sum.calls + slice.calls,
                customers: sum.customers + slice.customers.len(),
                failing: sum.failing + failing,
            }
        })
    }

    /// The customers whose last call failed.
    pub(super) fn failing(&self) -> impl Iterator<Item = CustomerHash> {
        let all = self.slices.iter().flat_map(|slice| &slice.customers);
        all.filter(|(_, has_failed)| **has_failed).map(|(customer, _)| *customer)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slices.clear();
    }

    fn forget(&mut self, now: Monotonic) {
        let length = self.slice * SLICES;
        while self.slices.front().is_some_and(|slice| now.since(slice.start) >= length) {
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The customer with this number.
    pub(in crate::juspay) const fn customer(number: u64) -> CustomerHash {
        CustomerHash(number)
    }

    fn counts(calls: u32, customers: usize, failing: usize) -> CustomerCounts {
        CustomerCounts { calls, customers, failing }
    }

    #[test]
    fn customer_counts_once_by_its_last_call() {
        let mut window = CustomerWindow::new(Duration::from_secs(10));
        for millis in 0..100 {
            window.count(customer(1), at(millis * 90), true);
        }
        window.count(customer(2), at(9_000), false);
        assert_eq!(window.total(at(9_000)).failing, 1);
        assert_eq!(window.total(at(9_000)).customers, 2);
        window.count(customer(1), at(9_100), false);
        window.count(customer(2), at(9_100), true);
        assert_eq!(window.total(at(9_100)), counts(103, 2, 1));
        assert_eq!(window.failing().collect::<Vec<_>>(), [customer(2)]);
    }

    #[test]
    fn customers_leave_the_window_with_their_last_call() {
        let mut window = CustomerWindow::new(Duration::from_secs(10));
        window.count(customer(1), at(0), true);
        window.count(customer(2), at(0), true);
        window.count(customer(2), at(5_000), true);
        assert_eq!(window.total(at(9_999)), counts(3, 2, 2));
        assert!(window.contains(customer(1), at(9_999)));
        assert!(!window.contains(customer(1), at(10_000)));
        assert_eq!(window.total(at(10_000)), counts(1, 1, 1));
        assert!(window.contains(customer(2), at(14_999)));
        assert_eq!(window.total(at(15_000)), CustomerCounts::default());
    }

    #[test]
    fn number_of_customers_is_limited_to_the_latest() {
        let mut window = CustomerWindow::new(Duration::from_secs(10));
        for number in 0..100_000 {
            window.count(customer(number), at(number / 100), number >= 95_000);
            assert!(window.slices.len() <= MAX_SLICES);
        }
        let CustomerCounts { customers, failing, .. } = window.total(at(1_000));
        assert!((4_000..=4_400).contains(&customers), "{customers}");
        assert_eq!(failing, customers, "the older ones have left");
        window.clear();
        assert_eq!(window.total(at(1_000)), CustomerCounts::default());
    }

    #[test]
    fn hashes_differ_by_process_and_customer() {
        let id = |text| CustomerId::parse(text).unwrap();
        let (one, other) = (CustomerHasher::default(), CustomerHasher::default());
        assert_eq!(one.hash(&id("alice")), one.hash(&id("alice")));
        assert_ne!(one.hash(&id("alice")), one.hash(&id("bob")));
        assert_ne!(one.hash(&id("alice")), other.hash(&id("alice")));
    }

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(millis))
    }

    #[test]
    fn window_forgets_a_tenth_at_a_time() {
        let mut window = Window::new(Duration::from_secs(10));
        window.count(at(500), true);
        window.count(at(1499), false);
        window.count(at(1500), false);
        assert_eq!(window.total(at(10_499)), Counts { all: 3, marked: 1 });
        assert_eq!(window.total(at(10_500)), Counts { all: 1, marked: 0 });
        assert_eq!(window.total(at(11_500)), Counts::default());
    }

    #[test]
    fn window_memory_is_limited() {
        let mut window = Window::new(Duration::from_secs(10));
        for millis in 0..100_000 {
            window.count(at(millis), false);
            assert!(window.slices.len() <= 11, "{}", window.slices.len());
        }
        assert_eq!(window.total(at(99_999)).all, 10_000);
    }
}
