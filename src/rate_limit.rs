//! Limits the request rate of each customer: GCRA with a burst of the whole count (`limits.*`).
//!
//! A caller that holds a customer's [`Allowance`] spends from it without a lookup. Memory grows
//! with the customers of the last period: [`CustomerRateLimit::sweep`] drops allowances that are
//! full again and that no caller holds.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use dashmap::DashMap;
use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};

use crate::{
    clock::{Clock, Monotonic},
    customer::CustomerId,
    settings::Rate,
};

/// A request rate limit for each customer. Without a rate, requests are unlimited.
pub struct CustomerRateLimit {
    limiter: Option<Limiter>,
    customers: DashMap<CustomerId, Allowance>,
    clock: GovernorClock,
}

type Limiter = RateLimiter<Allowance, AllowanceStore, GovernorClock, NoOpMiddleware<Nanos>>;

/// How many requests one customer may still make.
#[derive(Clone, Default)]
pub struct Allowance(Arc<InMemoryState>);

impl CustomerRateLimit {
    /// A limit that every customer starts with a full allowance.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let clock = GovernorClock { start: clock.monotonic(), clock };
        let limiter = rate
            .and_then(quota)
            .map(|quota| RateLimiter::new(quota, AllowanceStore, clock.clone()));
        Self { limiter, customers: DashMap::new(), clock }
    }

    /// The customer's allowance. All holders share it.
    #[must_use]
    pub fn allowance(&self, customer: &CustomerId) -> Allowance {
        if self.limiter.is_none() {
            return Allowance::default();
        }
        if let Some(allowance) = self.customers.get(customer) {
            return allowance.clone();
        }
        self.customers.entry(customer.clone()).or_default().clone()
    }

    /// Spends one request of the customer's allowance.
    ///
    /// # Errors
    /// The time to wait, if the allowance is empty.
    pub fn spend(&self, customer: &CustomerId) -> Result<(), Duration> {
        self.spend_from(&self.allowance(customer))
    }

    /// Spends one request of an allowance.
    ///
    /// # Errors
    /// The time to wait, if the allowance is empty.
    pub fn spend_from(&self, allowance: &Allowance) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check_key(allowance).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Drops allowances that are full again.
    pub fn sweep(&self) {
        let now = self.clock.now();
        // A held allowance must stay: otherwise its holder and a new one would both spend a full
        // allowance.
        self.customers
            .retain(|_, allowance| Arc::strong_count(&allowance.0) > 1 || !allowance.is_full(now));
        self.customers.shrink_to_fit();
    }

    /// Number of customers in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.customers.len()
    }

    /// Whether no customer is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Allowance {
    fn is_full(&self, now: Nanos) -> bool {
        // Returning an error makes governor store nothing.
        let is_before =
            |due: Option<Nanos>| Err::<((), Nanos), _>(due.is_none_or(|due| due <= now));
        self.0.measure_and_replace(&NotKeyed::NonKey, is_before).is_err_and(|is_before| is_before)
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allowance(…)")
    }
}

impl PartialEq for Allowance {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Allowance {}

impl Hash for Allowance {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// Lets governor keep an allowance's state in the allowance itself.
struct AllowanceStore;

impl StateStore for AllowanceStore {
    type Key = Allowance;

    fn measure_and_replace<T, F, E>(&self, allowance: &Allowance, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        allowance.0.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

/// A burst of `count`, then one request every `per / count`.
fn quota(rate: Rate) -> Option<Quota> {
    let interval = rate.per.checked_div(rate.count.get())?;
    Quota::with_period(interval).map(|quota| quota.allow_burst(rate.count))
}

impl fmt::Debug for CustomerRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomerRateLimit").field("customers", &self.len()).finish_non_exhaustive()
    }
}

/// Adapts the service's clock to governor.
#[derive(Debug, Clone)]
struct GovernorClock {
    start: Monotonic,
    clock: Arc<dyn Clock>,
}

impl governor::clock::Clock for GovernorClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.clock.monotonic().since(self.start).into()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::clock::manual::ManualClock;

    fn limit(count: u32, per: u64) -> (CustomerRateLimit, ManualClock) {
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let rate = Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(per) };
        (CustomerRateLimit::new(Some(rate), Arc::new(clock.clone())), clock)
    }

    fn id(text: &str) -> CustomerId {
        CustomerId::parse(text).unwrap()
    }

    #[test]
    fn each_customer_has_a_burst_then_its_rate() {
        let (limit, clock) = limit(3, 60);
        for _ in 0..3 {
            assert_eq!(limit.spend(&id("a")), Ok(()));
        }
        assert_eq!(limit.spend(&id("a")), Err(Duration::from_secs(20)));
        assert_eq!(limit.spend(&id("b")), Ok(()), "others have their own");
        clock.advance(Duration::from_millis(19_999));
        assert_eq!(limit.spend(&id("a")), Err(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(limit.spend(&id("a")), Ok(()));
        assert!(limit.spend(&id("a")).is_err());
    }

    #[test]
    fn full_allowances_are_dropped() {
        let (limit, clock) = limit(2, 60);
        for n in 0..1000 {
            assert_eq!(limit.spend(&id(&format!("c{n}"))), Ok(()));
        }
        limit.sweep();
        assert_eq!(limit.len(), 1000);
        clock.advance(Duration::from_secs(61));
        assert_eq!(limit.spend(&id("late")), Ok(()));
        limit.sweep();
        assert_eq!(limit.len(), 1);
    }

    #[test]
    fn held_allowance_is_not_dropped() {
        let (limit, clock) = limit(2, 60);
        let held = limit.allowance(&id("a"));
        assert_eq!((limit.spend_from(&held), limit.spend(&id("a"))), (Ok(()), Ok(())));
        assert!(limit.spend_from(&held).is_err(), "it is the same for all");
        clock.advance(Duration::from_secs(61));
        limit.sweep();
        assert_eq!((limit.spend(&id("a")), limit.spend_from(&held)), (Ok(()), Ok(())));
        assert!(limit.spend(&id("a")).is_err(), "no other one has come beside it");
        drop(held);
        clock.advance(Duration::from_secs(61));
        limit.sweep();
        assert!(limit.is_empty());
    }

    #[test]
    fn disabled_limit_admits_everything() {
        let limit = CustomerRateLimit::new(None, Arc::new(ManualClock::at("2026-01-01T00:00:00Z")));
        assert!((0..10_000).all(|_| limit.spend(&id("a")).is_ok()));
        assert!(limit.is_empty());
    }
}
