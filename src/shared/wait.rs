//! The two loops around a look-up: polling while another replica fetches, and renewing a lease during a
//! fetch. Polling needs no notification: a fetch takes about 100 ms, which is five polls of 0.1 ms.

use std::{convert::Infallible, time::Duration};

use super::{Lease, LookUp, Request, SharedTier};
use crate::clock::{Clock, Monotonic};

/// Pauses between polls; the last one repeats.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(15),
    Duration::from_millis(20),
    Duration::from_millis(25),
];

/// Time between two renewals of a lease: a third of [`super::LEASE_TIME`].
pub const RENEW_EVERY: Duration = Duration::from_millis(500);

/// Looks up a customer, and waits while another replica fetches it. If that has not ended at
/// `deadline`, returns [`LookUp::Elsewhere`].
pub async fn look_up(
    tier: &dyn SharedTier,
    clock: &dyn Clock,
    mut request: Request,
    deadline: Monotonic,
) -> LookUp {
    let mut pauses = PAUSES.iter().copied();
    let mut latest_fallback = None;
    loop {
        let (id, fallback) = match tier.look_up(request.clone()).await {
            LookUp::Elsewhere(id, fallback) => (id, fallback),
            LookUp::Fetch(lease, fallback) => {
                return LookUp::Fetch(lease, fallback.or(latest_fallback));
            }
            ended @ (LookUp::Found(_) | LookUp::Failed(_) | LookUp::Limited | LookUp::Away(_)) => {
                return ended;
            }
        };
        request.waited_for = Some(id);
        if let Some(fallback) = fallback {
            // It does not fulfill the need, so it need not be transferred again.
            request.need.newer_than = request.need.newer_than.max(Some(fallback.version));
            latest_fallback = Some(fallback);
        }
        let next = clock.monotonic().plus(pauses.next().unwrap_or(PAUSES[3]));
        if next >= deadline {
            return LookUp::Elsewhere(id, latest_fallback);
        }
        clock.sleep_until(next).await;
    }
}

/// Runs a fetch, and renews its lease meanwhile. A short fetch never renews.
pub async fn renewed<F: Future>(
    tier: &dyn SharedTier,
    clock: &dyn Clock,
    lease: &Lease,
    fetch: F,
) -> F::Output {
    tokio::select! {
        biased;
        output = fetch => output,
        never = renew(tier, clock, lease) => match never {},
    }
}

async fn renew(tier: &dyn SharedTier, clock: &dyn Clock, lease: &Lease) -> Infallible {
    loop {
        clock.sleep_until(clock.monotonic().plus(RENEW_EVERY)).await;
        tier.renew(lease).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::manual::ManualClock,
        customer::CustomerId,
        shared::{FailureCode, LeaseId, Need, fake::FakeTier},
    };

    fn request() -> Request {
        let customer = CustomerId::parse("alice").unwrap();
        Request { customer, need: Need::default(), charge: None, waited_for: None }
    }

    #[tokio::test]
    async fn polls_until_the_other_replica_has_failed() {
        let clock = ManualClock::at("2026-11-29T12:00:00Z");
        let tier = FakeTier::default();
        let id = LeaseId::random();
        for _ in 0..6 {
            tier.answer(LookUp::Elsewhere(id, None));
        }
        let code = FailureCode::new("server_error").unwrap();
        tier.answer(LookUp::Failed(code.clone()));
        let start = clock.monotonic();
        let deadline = start.plus(Duration::from_secs(5));
        let polling = look_up(&tier, &clock, request(), deadline);
        let passing = async {
            for (polls, pause) in (1..).zip([10, 15, 20, 25, 25, 25]) {
                while tier.requests().len() < polls {
                    tokio::task::yield_now().await;
                }
                clock.sleepers(1).await;
                clock.advance(Duration::from_millis(pause));
            }
        };
        let (ended, ()) = tokio::join!(polling, passing);
        assert!(matches!(ended, LookUp::Failed(failed) if failed == code));
        let waited_for: Vec<_> = tier.requests().iter().map(|it| it.waited_for).collect();
        assert_eq!(waited_for[0], None);
        assert!(waited_for[1..].iter().all(|it| *it == Some(id)) && waited_for.len() == 7);
    }

    #[tokio::test]
    async fn polling_ends_at_the_deadline() {
        let clock = ManualClock::at("2026-11-29T12:00:00Z");
        let tier = FakeTier::default();
        let id = LeaseId::random();
        tier.answer(LookUp::Elsewhere(id, None));
        let deadline = clock.monotonic().plus(Duration::from_millis(10));
        let ended = look_up(&tier, &clock, request(), deadline).await;
        assert!(matches!(ended, LookUp::Elsewhere(same, None) if same == id));
    }

    #[tokio::test]
    async fn lease_is_renewed_during_a_long_fetch() {
        let clock = ManualClock::at("2026-11-29T12:00:00Z");
        let tier = Arc::new(FakeTier::default());
        let LookUp::Fetch(lease, None) = tier.look_up(request()).await else { panic!() };
        let end = clock.monotonic().plus(Duration::from_millis(1200));
        let fetch = clock.sleep_until(end);
        let passing = async {
            for renewals in 0..2 {
                while tier.renewals() < renewals {
                    tokio::task::yield_now().await;
                }
                clock.sleepers(2).await;
                clock.advance(RENEW_EVERY);
            }
            while tier.renewals() < 2 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_millis(200));
        };
        let running = renewed(&*tier, &clock, &lease, fetch);
        tokio::join!(running, passing);
        assert_eq!(tier.renewals(), 2);
        renewed(&*tier, &clock, &lease, async {}).await;
        assert_eq!(tier.renewals(), 2, "a short fetch never renews");
    }
}
