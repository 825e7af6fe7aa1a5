//! A clock that never advances, so no timer of the service runs between requests, and every
//! response is the same. Valgrind does not support the system call that reads the machine's clock.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, pending};
use jiff::Timestamp;
use juspay_bff::clock::{Clock, Monotonic};

/// Always returns the same time.
#[derive(Debug)]
pub struct FixedClock;

/// 2026-01-01T00:00:00Z
const NOW: i64 = 1_767_225_600;

impl Clock for FixedClock {
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
