//! Limits rates with governor: GCRA with a burst of the whole count (`limits.*`).
//!
//! [`CustomerRateLimit`] has an allowance for each customer, and [`CustomerRateLimit::sweep`] drops those
//! that are full again. [`RateLimit`] has one allowance for all.

use std::{fmt, sync::Arc, time::Duration};

use foldhash::quality::RandomState;
use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, keyed::DashMapStateStore},
};

use crate::{
    clock::{Clock, Monotonic},
    customer::CustomerId,
    settings::Rate,
};

/// A request rate limit for each customer. Without a rate, requests are unlimited.
pub struct CustomerRateLimit {
    limiter: Option<Limiter>,
    clock: GovernorClock,
}

type Limiter = RateLimiter<
    CustomerId,
    DashMapStateStore<CustomerId, RandomState>,
    GovernorClock,
    NoOpMiddleware<Nanos>,
>;

impl CustomerRateLimit {
    /// A limit that every customer starts with a full allowance.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let clock = GovernorClock { start: clock.monotonic(), clock };
        let limiter = rate.and_then(quota).map(|quota| {
            Limiter::dashmap_with_clock_and_hasher(quota, clock.clone(), RandomState::default())
        });
        Self { limiter, clock }
    }

    /// Spends one request of the customer's allowance.
    ///
    /// # Errors
    /// The time to wait, if the allowance is empty.
    pub fn spend(&self, customer: &CustomerId) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check_key(customer).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Drops allowances that are full again.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }
}

/// One limit for all customers together. Without a rate, nothing is limited.
pub struct RateLimit {
    limiter: Option<RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Nanos>>>,
    clock: GovernorClock,
}

impl RateLimit {
    /// A limit that starts with a full allowance.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let clock = GovernorClock { start: clock.monotonic(), clock };
        let limiter = rate.and_then(quota);
        let limiter = limiter.map(|quota| RateLimiter::direct_with_clock(quota, clock.clone()));
        Self { limiter, clock }
    }

    /// Spends one unit of the allowance.
    ///
    /// # Errors
    /// The time to wait, if the allowance is empty.
    pub fn spend(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("is_limited", &self.limiter.is_some())
            .finish_non_exhaustive()
    }
}

/// A burst of `count`, then one request every `per / count`.
fn quota(rate: Rate) -> Option<Quota> {
    Quota::with_period(rate.interval()).map(|quota| quota.allow_burst(rate.count))
}

impl fmt::Debug for CustomerRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let customers = self.len();
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
        assert_eq!(limit.spend(&id("b")), Ok(()), "customers have separate allowances");
        clock.advance(Duration::from_millis(19_999));
        assert_eq!(limit.spend(&id("a")), Err(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(limit.spend(&id("a")), Ok(()));
        assert!(limit.spend(&id("a")).is_err());
    }

    #[test]
    fn one_limit_has_one_allowance() {
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let rate = Some("2/s".parse().unwrap());
        let limit = RateLimit::new(rate, Arc::new(clock.clone()));
        assert_eq!([limit.spend(), limit.spend()], [Ok(()), Ok(())]);
        assert_eq!(limit.spend(), Err(Duration::from_millis(500)));
        clock.advance(Duration::from_millis(500));
        assert_eq!(limit.spend(), Ok(()));
        assert!(limit.spend().is_err());
        let off = RateLimit::new(None, Arc::new(clock));
        assert!((0..10_000).all(|_| off.spend().is_ok()));
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
    fn disabled_limit_admits_everything() {
        let limit = CustomerRateLimit::new(None, Arc::new(ManualClock::at("2026-01-01T00:00:00Z")));
        assert!((0..10_000).all(|_| limit.spend(&id("a")).is_ok()));
        assert_eq!(limit.len(), 0);
    }
}
