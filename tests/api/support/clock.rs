//! The clock module of the crate, plus the manual clock of its unit tests.

pub use juspay_bff::clock::*;

#[path = "../../../src/clock/manual.rs"]
pub mod manual;
