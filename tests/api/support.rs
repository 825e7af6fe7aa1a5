//! Test support: a world with the simulator, the service, a clock and clients.

pub mod authority;
pub mod clock;
pub mod guard;
pub mod impostor;
pub mod kept;
pub mod patience;
pub mod pending;
pub mod phone;
pub mod process;
pub mod prover;
pub mod proxy;
pub mod tls;
pub mod turning;
pub mod world;

pub use self::{
    clock::manual::ManualClock,
    impostor::Impostor,
    patience::{until, within_reason},
    pending::Pending,
    phone::{Phone, Reply},
    world::{Stage, World, shipped},
};
