//! Tests of the cache as a whole, with a scripted Juspay and a manual clock.
//!
//! `answers` is the table of responses; the others test one promise each. Nothing here
//! sleeps: a call to Juspay lasts until the test answers it, and time stands still until it is
//! turned.

mod answers;
mod any_order;
mod backoff;
mod blocking_clock;
mod concurrency_limits;
mod counts;
mod flaky_upstream;
mod floors;
mod hand_outs;
mod juspay;
mod keys;
mod lives;
mod memory;
mod not_found;
mod outage;
mod panics;
mod purge;
mod refresh;
mod single_flight;
mod workers;
mod world;
