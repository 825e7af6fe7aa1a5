//! What the tests stand on: a world with the simulator, the service and a clock, and phones in it.

pub mod clock;
pub mod guard;
pub mod phone;
pub mod world;

pub use self::{
    clock::manual::ManualClock,
    phone::{Phone, Reply},
    world::World,
};
