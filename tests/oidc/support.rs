//! What the tests in `tests/api` stand on, as far as it is needed here: the same files.

#[path = "../api/support/clock.rs"]
pub mod clock;
#[path = "../api/support/guard.rs"]
pub mod guard;
#[path = "../api/support/patience.rs"]
pub mod patience;
#[path = "../api/support/pending.rs"]
pub mod pending;
#[path = "../api/support/phone.rs"]
pub mod phone;
#[path = "../api/support/prover.rs"]
pub mod prover;
#[path = "../api/support/recipes.rs"]
pub mod recipes;
#[path = "../api/support/turning.rs"]
pub mod turning;
#[path = "../api/support/world.rs"]
pub mod world;

pub use self::{
    clock::manual::ManualClock,
    patience::{until, within_reason},
    phone::{Phone, Reply},
    world::{Stage, World},
};
