//! What the tests stand on: a world with the simulator, the service and a clock, and phones in it.

pub mod guard;
pub mod phone;
pub mod world;

/// The tests' own clock, the same file that the unit tests use.
pub mod clock {
    pub use juspay_bff::clock::*;

    #[path = "../../../src/clock/manual.rs"]
    pub mod manual;
}

pub use self::{
    clock::manual::ManualClock,
    phone::{Phone, Reply},
    world::World,
};
