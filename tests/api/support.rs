//! What the tests stand on: a world with the simulator, the service and a clock, and phones in it.

pub mod clock;
pub mod guard;
pub mod patience;
pub mod phone;
pub mod process;
pub mod proxy;
pub mod world;

pub use self::{
    clock::manual::ManualClock,
    patience::{until, within_reason},
    phone::{Phone, Reply},
    world::{Stage, World},
};
