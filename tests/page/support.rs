//! The support files of `tests/api` that these tests need.

#[path = "../api/support/client.rs"]
pub mod client;
#[path = "../api/support/clock_control.rs"]
pub mod clock_control;
#[path = "../api/support/guard.rs"]
pub mod guard;
#[path = "../api/support/process.rs"]
pub mod process;
#[path = "../api/support/timeouts.rs"]
pub mod timeouts;
#[path = "../api/support/world.rs"]
pub mod world;

pub use clock::manual::ManualClock;

pub use self::{
    client::{Client, Reply},
    timeouts::{until, with_timeout},
    world::{Stage, World},
};
