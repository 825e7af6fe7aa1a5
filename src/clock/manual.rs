//! A clock that is turned by hand, for tests.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Clock, Monotonic, later};

/// Stands still until it is turned.
#[derive(Debug)]
pub(crate) struct ManualClock {
    wall: Mutex<Timestamp>,
    monotonic: watch::Sender<Monotonic>,
}

impl ManualClock {
    /// A clock that shows `wall`, an hour after its start.
    pub(crate) fn at(wall: Timestamp) -> Arc<Self> {
        let monotonic = Monotonic::new(Duration::from_hours(1));
        Arc::new(Self { wall: Mutex::new(wall), monotonic: watch::Sender::new(monotonic) })
    }

    /// Lets time pass on both clocks and ends the sleeps that are due.
    pub(crate) fn advance(&self, duration: Duration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = later(*wall, duration);
        self.monotonic.send_modify(|now| *now = now.plus(duration));
    }

    /// Sets the wall clock forward or back, as an administrator or NTP does.
    pub(crate) fn jump(&self, by: SignedDuration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = wall.checked_add(by).unwrap();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.wall.lock().unwrap()
    }

    fn monotonic(&self) -> Monotonic {
        *self.monotonic.borrow()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut now = self.monotonic.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= deadline).await.is_err() {
                pending::<()>().await;
            }
        })
    }
}
