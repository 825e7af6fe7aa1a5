//! Tests of `ResilientClient` around a scripted Juspay: the attempts that Juspay sees and the results
//! that callers get, to the millisecond of a manual clock.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails, as it should"
)]

mod breaker;
mod concurrency;
mod hold;
mod retries;
mod rig;
