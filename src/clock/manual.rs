//! A clock that a test turns by hand.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Clock, Monotonic};

/// Stands still until it is turned.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock(Arc<watch::Sender<Hands>>);

#[derive(Debug, Clone, Copy)]
struct Hands {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock whose wall clock shows `wall`.
    pub(crate) fn at(wall: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(Hands { wall, monotonic: Duration::ZERO })))
    }

    /// Lets time pass on both clocks and wakes whoever has slept enough.
    pub(crate) fn advance(&self, time: Duration) {
        self.0.send_modify(|hands| {
            hands.wall = hands.wall.checked_add(time).unwrap();
            hands.monotonic = hands.monotonic.checked_add(time).unwrap();
        });
    }

    /// Sets the wall clock forth or back; nobody wakes by that.
    pub(crate) fn jump_wall(&self, by: SignedDuration) {
        self.0.send_modify(|hands| hands.wall = hands.wall.checked_add(by).unwrap());
    }

    /// Waits until so many sleep, so that turning the clock finds them asleep.
    pub(crate) async fn sleepers(&self, number: usize) {
        while self.0.receiver_count() < number {
            tokio::task::yield_now().await;
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.borrow().wall
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.0.borrow().monotonic)
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut hands = self.0.subscribe();
        let keeps_ticking = Arc::clone(&self.0);
        Box::pin(async move {
            let awake = hands.wait_for(|hands| Monotonic::new(hands.monotonic) >= deadline);
            drop(awake.await.unwrap());
            drop(keeps_ticking);
        })
    }
}
