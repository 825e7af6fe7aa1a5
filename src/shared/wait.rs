//! The two loops around a look-up: polling while another replica fetches, and renewing a lease during a
//! fetch. Polling needs no notification: a fetch takes about 100 ms, which is five polls of 0.1 ms.

use std::{convert::Infallible, time::Duration};

use super::{Lease, LookUp, Request, SharedCustomer, SharedTier};
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
/// `deadline`, returns [`LookUp::Elsewhere`]. Returns also the latest value that did not fulfill the need.
pub async fn look_up(
    tier: &dyn SharedTier,
    clock: &dyn Clock,
    mut request: Request,
    deadline: Monotonic,
) -> (LookUp, Option<SharedCustomer>) {
    let mut pauses = PAUSES.iter().copied();
    let mut latest = None;
    loop {
        let id = match tier.look_up(request.clone()).await {
            LookUp::Elsewhere(id, value) => {
                latest = value.or(latest);
                id
            }
            LookUp::Fetch(lease, value) => {
                latest = value.or(latest);
                return (LookUp::Fetch(lease, None), latest);
            }
            ended @ (LookUp::Found(_)
            | LookUp::Failed(_)
            | LookUp::Limited(_)
            | LookUp::Away(_)) => {
                return (ended, latest);
            }
        };
        request.waited_for = Some(id);
        if let Some(value) = &latest {
            // It does not fulfill the need, so it need not be transferred again.
            request.need.newer_than = request.need.newer_than.max(Some(value.version));
        }
        let next = clock.monotonic().plus(pauses.next().unwrap_or(PAUSES[3]));
        if next >= deadline {
            return (LookUp::Elsewhere(id, None), latest);
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
