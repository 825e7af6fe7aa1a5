//! Limits the request rate of each customer: GCRA with a burst of the whole count (`limits.*`).
//!
//! A caller that holds a customer's [`Allowance`] spends from it without a lookup. governor's keyed
//! limiter has no handle on one key, so each cache hit would look the customer up a second time.
//! So this map holds one governor limiter per customer. [`CustomerRateLimit::sweep`] drops
//! allowances that are full again and that no caller holds, so memory grows with the customers of
//! the last period.

use std::{fmt, sync::Arc, time::Duration};

use dashmap::DashMap;
use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};

use crate::{
    clock::{Clock, Monotonic},
    customer::CustomerId,
    settings::Rate,
};

/// A request rate limit for each customer. Without a rate, requests are unlimited.
pub struct CustomerRateLimit {
    quota: Option<Quota>,
    customers: DashMap<CustomerId, Arc<Limiter>>,
    clock: GovernorClock,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Nanos>>;

/// How many requests one customer may still make; unlimited by default.
#[derive(Debug, Clone, Default)]
pub struct Allowance(Option<Arc<Limiter>>);

impl CustomerRateLimit {
    /// A limit that every customer starts with a full allowance.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        Self {
            quota: rate.and_then(quota),
            customers: DashMap::new(),
            clock: GovernorClock { start: clock.monotonic(), clock },
        }
    }

    /// The customer's allowance. All holders share it.
    #[must_use]
    pub fn allowance(&self, customer: &CustomerId) -> Allowance {
        let Some(quota) = self.quota else { return Allowance::default() };
        if let Some(limiter) = self.customers.get(customer) {
            return Allowance(Some(Arc::clone(&limiter)));
        }
        let new = || Arc::new(RateLimiter::direct_with_clock(quota, self.clock.clone()));
        let limiter = self.customers.entry(customer.clone()).or_insert_with(new);
        Allowance(Some(Arc::clone(&limiter)))
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
        let Some(limiter) = &allowance.0 else { return Ok(()) };
        limiter.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Drops allowances that are full again.
    pub fn sweep(&self) {
        let Some(quota) = self.quota else { return };
        // Spending the whole burst succeeds only if the allowance is full.
        let is_full = |limiter: &Limiter| matches!(limiter.check_n(quota.burst_size()), Ok(Ok(())));
        // A held allowance must stay: otherwise its holder and a new one would both spend a full
        // allowance.
        self.customers.retain(|_, limiter| Arc::strong_count(limiter) > 1 || !is_full(limiter));
        self.customers.shrink_to_fit();
    }
}

/// A burst of `count`, then one request every `per / count`.
fn quota(rate: Rate) -> Option<Quota> {
    let interval = rate.per.checked_div(rate.count.get())?;
    Quota::with_period(interval).map(|quota| quota.allow_burst(rate.count))
}

impl fmt::Debug for CustomerRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let customers = self.customers.len();
        f.debug_struct("CustomerRateLimit").field("customers", &customers).finish_non_exhaustive()
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
        assert_eq!(limit.customers.len(), 1000);
        clock.advance(Duration::from_secs(61));
        assert_eq!(limit.spend(&id("late")), Ok(()));
        limit.sweep();
        assert_eq!(limit.customers.len(), 1);
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
        assert!(limit.customers.is_empty());
    }

    #[test]
    fn disabled_limit_admits_everything() {
        let limit = CustomerRateLimit::new(None, Arc::new(ManualClock::at("2026-01-01T00:00:00Z")));
        assert!((0..10_000).all(|_| limit.spend(&id("a")).is_ok()));
        assert!(limit.customers.is_empty());
    }
}
