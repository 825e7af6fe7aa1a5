//! Tests of `CustomerCache` through its public methods, with a fake Juspay and a manual clock.
//!
//! `responses` tests the response to every kind of request. Each other file tests one promise or
//! setting. Nothing sleeps: a call to Juspay runs until the test ends it, and only the test advances
//! time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails, as it should"
)]

mod any_order;
mod backoff;
mod blocking_clock;
#[path = "../../src/captured_log.rs"]
mod captured_log;
mod concurrency_limits;
mod creation;
mod early_death;
mod eviction;
mod fake_juspay;
mod fake_tier;
mod flaky_upstream;
mod floors;
mod hand_outs;
mod keys;
mod link;
mod metrics;
mod not_found;
mod outage;
mod panics;
mod purge;
mod refresh;
mod responses;
mod shared_tier;
mod single_flight;
mod tier_waits;
mod token_lives;
mod workers;
mod world;
