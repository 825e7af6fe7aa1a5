//! The clock that tests turn by hand: the same file that the unit tests use.

pub use juspay_bff::clock::*;

#[path = "../../../src/clock/manual.rs"]
pub mod manual;
