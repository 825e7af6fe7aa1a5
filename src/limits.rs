//! How often one customer may ask: GCRA with a burst of the whole count (`limits.*`).
//!
//! Memory is bounded by the customers of the last period: [`CustomerLimit::sweep`] forgets those
//! whose allowance is whole again.

use std::{fmt, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter, clock::Clock as _, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::DefaultKeyedStateStore,
};

use crate::{
    clock::{Clock, Monotonic},
    customer::CustomerId,
    settings::Rate,
};

/// A limit for each customer; without a rate, none.
pub struct CustomerLimit {
    limiter: Option<Limiter>,
    clock: OurClock,
}

type Limiter =
    RateLimiter<CustomerId, DefaultKeyedStateStore<CustomerId>, OurClock, NoOpMiddleware<Nanos>>;

impl CustomerLimit {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let clock = OurClock { start: clock.monotonic(), clock };
        let limiter = rate
            .and_then(quota)
            .map(|quota| RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock.clone()));
        Self { limiter, clock }
    }

    /// Spends one of the customer's allowance, or tells when there will be one again.
    ///
    /// # Errors
    /// With the time to wait.
    pub fn spend(&self, customer: &CustomerId) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check_key(customer).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Forgets customers whose allowance is whole again.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// How many customers are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }

    /// Whether none are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `count` at once, and one more each `per / count`.
fn quota(rate: Rate) -> Option<Quota> {
    let each = rate.per.checked_div(rate.count.get())?;
    Quota::with_period(each).map(|quota| quota.allow_burst(rate.count))
}

impl fmt::Debug for CustomerLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomerLimit").field("customers", &self.len()).finish_non_exhaustive()
    }
}

/// The service's clock, as governor wants it.
#[derive(Debug, Clone)]
struct OurClock {
    start: Monotonic,
    clock: Arc<dyn Clock>,
}

impl governor::clock::Clock for OurClock {
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

    fn limit(count: u32, per: u64) -> (CustomerLimit, ManualClock) {
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let rate = Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(per) };
        (CustomerLimit::new(Some(rate), Arc::new(clock.clone())), clock)
    }

    fn id(text: &str) -> CustomerId {
        CustomerId::parse(text).unwrap()
    }

    #[test]
    fn each_customer_has_a_burst_and_then_its_rate() {
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
    fn who_has_not_asked_lately_leaves_memory() {
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
    fn off_is_no_limit() {
        let limit = CustomerLimit::new(None, Arc::new(ManualClock::at("2026-01-01T00:00:00Z")));
        assert!((0..10_000).all(|_| limit.spend(&id("a")).is_ok()));
        assert!(limit.is_empty());
    }
}
