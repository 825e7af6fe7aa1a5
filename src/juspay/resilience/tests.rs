//! Attempts that Juspay sees and results that callers get, to the millisecond of a manual clock.

mod breaking;
mod holding;
mod places;
mod retries;
mod rig;
