//! Attempts that Juspay sees and results that callers get, to the millisecond of a manual clock.

mod breaker;
mod concurrency;
mod hold;
mod retries;
mod rig;
