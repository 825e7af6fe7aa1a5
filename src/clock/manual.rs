//! A clock for tests, turned by hand. Part of the test builds only.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Clock, Moment, Monotonic};

/// Stands still until told otherwise.
#[derive(Debug, Clone)]
pub struct ManualClock {
    moment: Arc<Mutex<Moment>>,
    turned: Arc<watch::Sender<Monotonic>>,
}

impl ManualClock {
    /// A clock whose wall says `wall`.
    pub fn at(wall: &str) -> Self {
        let monotonic = Monotonic::new(Duration::from_secs(1_000_000));
        let wall = wall.parse().expect("a timestamp");
        Self {
            moment: Arc::new(Mutex::new(Moment { wall, monotonic })),
            turned: Arc::new(watch::Sender::new(monotonic)),
        }
    }

    /// Turns both clocks on, and wakes those whose time has come.
    pub fn advance(&self, duration: Duration) {
        let mut moment = self.moment.lock().expect("no panic with the lock");
        *moment = moment.plus(duration);
        self.turned.send_replace(moment.monotonic);
    }

    /// Sets the wall clock forward or back; the monotonic one doesn't notice.
    pub fn jump_wall(&self, by: SignedDuration) {
        let mut moment = self.moment.lock().expect("no panic with the lock");
        moment.wall = moment.wall.checked_add(by).expect("within the calendar");
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
        *self.moment.lock().expect("no panic with the lock")
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut turned = self.turned.subscribe();
        // The sender lives as long as the clock; without it, time stands still for good.
        let keep = Arc::clone(&self.turned);
        Box::pin(async move {
            turned.wait_for(|now| *now >= deadline).await.expect("the clock is kept");
            drop(keep);
        })
    }
}
