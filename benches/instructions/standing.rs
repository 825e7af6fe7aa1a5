//! A clock that stands still: no timer of the service's comes in between, and all is answered as
//! at the first moment. (The machine's can't be read under valgrind the way the service does it.)

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, pending};
use jiff::Timestamp;
use juspay_bff::clock::{Clock, Monotonic};

/// Shows the same moment for ever.
#[derive(Debug)]
pub struct StandingClock;

/// 2026-01-01T00:00:00Z
const NOW: i64 = 1_767_225_600;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(Duration::from_hours(1))
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        if deadline <= self.monotonic() {
            std::future::ready(()).boxed()
        } else {
            pending().boxed()
        }
    }
}
