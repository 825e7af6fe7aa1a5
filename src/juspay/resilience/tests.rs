//! Attempts at Juspay and results for callers, by the millisecond on a manual clock.

mod breaker;
mod concurrency;
mod hold;
mod retries;
mod rig;
