//! What Juspay sees and callers get, to the millisecond of a clock turned by hand.

mod breaking;
mod holding;
mod places;
mod retries;
mod rig;
