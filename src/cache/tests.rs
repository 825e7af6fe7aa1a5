//! Tests of the cache as a whole, with a scripted Juspay and a manual clock.
//!
//! `answers` is the table of what is answered when; the others take one promise each. Nothing here
//! sleeps: a call to Juspay lasts until the test answers it, and time stands still until it is
//! turned.

mod answers;
mod any_order;
mod backoff;
mod counts;
mod epochs;
mod floors;
mod hand_outs;
mod juspay;
mod keys;
mod lives;
mod memory;
mod moody;
mod not_found;
mod one_flight;
mod outage;
mod panics;
mod refresh;
mod trapped_clock;
mod waiting_room;
mod workers;
mod world;
