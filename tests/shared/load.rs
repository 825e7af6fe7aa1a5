//! A steady stream of look-ups, and how long each waited.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use juspay_bff::{
    clock::Clock as _,
    shared::{LookUp, SharedTier as _},
};
use tokio::task::JoinHandle;

use super::replica::{Replica, pause, request, until};

/// Customers of the load.
const CUSTOMERS: usize = 50;

/// More than a look-up may wait: twice the timeout of the tests, on a busy machine.
pub(super) const BOUND: Duration = Duration::from_millis(400);

/// Look-ups that may wait for a timeout before the tier knows that the server is gone: those in flight,
/// with those of the probes.
const WAITING: usize = 80;

/// A running load. Must be used on a `LocalSet`.
pub(super) struct Load {
    results: Rc<Results>,
    task: JoinHandle<()>,
    timeout: Duration,
}

#[derive(Default)]
struct Results {
    waits: RefCell<Vec<Duration>>,
    served: Cell<u64>,
    away: Cell<u64>,
}

impl Load {
    /// Stores the customers, then looks one up about every 5 ms. `timeout` is the replica's.
    pub(super) async fn start(replica: &Replica, timeout: Duration) -> Self {
        for number in 0..CUSTOMERS {
            if let LookUp::Fetch(lease, _) = replica.look_up(&format!("load-{number}")).await {
                replica.store(lease).await;
            }
        }
        let results = Rc::<Results>::default();
        let (tier, clock) = (replica.tier.clone(), std::sync::Arc::clone(&replica.clock));
        let own_results = Rc::clone(&results);
        let task = tokio::task::spawn_local(async move {
            for number in 0.. {
                let request = request(&format!("load-{}", number % CUSTOMERS));
                let (tier, clock, results) =
                    (tier.clone(), std::sync::Arc::clone(&clock), Rc::clone(&own_results));
                tokio::task::spawn_local(async move {
                    let start = clock.monotonic();
                    let result = tier.look_up(request).await;
                    results.waits.borrow_mut().push(clock.monotonic().since(start));
                    let count =
                        if let LookUp::Away(_) = result { &results.away } else { &results.served };
                    count.set(count.get() + 1);
                });
                pause().await;
            }
        });
        Self { results, task, timeout }
    }

    /// Waits until look-ups are away, so the failure has been noticed.
    pub(super) async fn until_away(&self) {
        let before = self.results.away.get();
        until("look-ups are away", async || self.results.away.get() > before + 10).await;
    }

    /// Waits until ten look-ups in a row are served, and returns the time.
    pub(super) async fn until_served(&self) -> Duration {
        let clock = juspay_bff::clock::SystemClock;
        let start = clock.monotonic();
        let (mut served, mut away) = (self.results.served.get(), self.results.away.get());
        until("look-ups are served", async || {
            if self.results.away.get() != away {
                (served, away) = (self.results.served.get(), self.results.away.get());
            }
            self.results.served.get() >= served + 10
        })
        .await;
        clock.monotonic().since(start)
    }

    /// Ends the load. No look-up may have waited longer than the bound, and few may have waited at all.
    pub(super) fn end(self) {
        self.task.abort();
        let waits = self.results.waits.borrow();
        let longest = waits.iter().max().copied().unwrap_or_default();
        let waiting = waits.iter().filter(|wait| **wait >= self.timeout).count();
        println!("{} look-ups, longest {longest:?}, {waiting} of a timeout", waits.len());
        assert!(longest < BOUND, "a look-up waited {longest:?}");
        assert!(waiting <= WAITING, "{waiting} look-ups waited for a timeout");
    }
}
