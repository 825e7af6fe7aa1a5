//! The two loops around a look-up: polling while another replica fetches, and renewing a lease during a
//! fetch. Polling needs no notification: a fetch takes about 100 ms, which is five polls of 0.1 ms. If many
//! requests of a process poll, each does it less often, so that a herd does not overload the server.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{Lease, LookUp, Request, SharedCustomer, SharedTier};
use crate::clock::{Clock, Monotonic};

/// Pauses between polls; the last one repeats.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(15),
    Duration::from_millis(20),
    Duration::from_millis(25),
];

/// The time between two polls of a process: 1,000 requests that wait for other replicas poll every 100 ms.
const POLL_EVERY: Duration = Duration::from_micros(100);

/// Time between two renewals of a lease: a third of [`super::LEASE_TIME`].
pub const RENEW_EVERY: Duration = Duration::from_millis(500);

/// The look-ups of a process that wait for other replicas.
#[derive(Debug, Default)]
pub struct Polls(AtomicU32);

/// Counts one of them until dropped.
struct Poll<'p>(&'p AtomicU32);

impl Polls {
    /// Looks up a customer, and waits while another replica fetches it. If that has not ended at
    /// `deadline`, returns [`LookUp::Elsewhere`]. Returns also the latest value that did not fulfill the
    /// need.
    pub async fn look_up(
        &self,
        tier: &dyn SharedTier,
        clock: &dyn Clock,
        mut request: Request,
        deadline: Monotonic,
    ) -> (LookUp, Option<SharedCustomer>) {
        let mut pauses = PAUSES.iter().copied();
        let (mut latest, mut poll) = (None, None);
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
            let polls = poll.get_or_insert_with(|| Poll::new(&self.0)).others();
            let pause = pauses.next().unwrap_or(PAUSES[3]).max(POLL_EVERY.saturating_mul(polls));
            let next = clock.monotonic().plus(pause);
            if next >= deadline {
                return (LookUp::Elsewhere(id, None), latest);
            }
            clock.sleep_until(next).await;
        }
    }
}

impl<'p> Poll<'p> {
    fn new(polls: &'p AtomicU32) -> Self {
        polls.fetch_add(1, Ordering::Relaxed);
        Self(polls)
    }

    fn others(&self) -> u32 {
        self.0.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
