//! A clock that only tests advance. Compiled for tests only.

#![expect(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Clock, Moment, Monotonic};

/// Its time changes only when a test advances it. Clones share one clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<watch::Sender<Moment>>);

impl ManualClock {
    /// A clock with this wall-clock time.
    ///
    /// # Panics
    /// If `wall` isn't an RFC 3339 timestamp.
    #[must_use]
    pub fn at(wall: &str) -> Self {
        let monotonic = Monotonic::new(Duration::from_hours(1));
        Self(Arc::new(watch::Sender::new(Moment { wall: wall.parse().unwrap(), monotonic })))
    }

    /// Advances both clocks and wakes the sleepers whose deadlines have passed.
    pub fn advance(&self, time: Duration) {
        self.0.send_modify(|moment| *moment = moment.plus(time));
    }

    /// Sets the wall clock forward or back, as an administrator would. Sleepers don't notice.
    ///
    /// # Panics
    /// At the end of the calendar.
    pub fn jump_wall(&self, by: SignedDuration) {
        self.0.send_modify(|moment| moment.wall = moment.wall.checked_add(by).unwrap());
    }

    /// Waits until at least `number` tasks sleep, so that advancing the clock wakes them.
    pub async fn sleepers(&self, number: usize) {
        while self.0.receiver_count() < number {
            tokio::task::yield_now().await;
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.moment().wall
    }

    fn monotonic(&self) -> Monotonic {
        self.moment().monotonic
    }

    fn moment(&self) -> Moment {
        *self.0.borrow()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut moments = self.0.subscribe();
        let keeps_ticking = Arc::clone(&self.0);
        Box::pin(async move {
            let awake = moments.wait_for(|now| now.monotonic >= deadline);
            drop(awake.await.unwrap());
            drop(keeps_ticking);
        })
    }
}
