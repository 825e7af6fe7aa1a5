//! Test support: a world with the simulator, the service, a clock and clients.

pub mod authority;
pub mod client;
pub mod clock_control;
pub mod connect_proxy;
pub mod dpop_key;
pub mod guard;
pub mod keep_alive;
pub mod pending;
pub mod process;
pub mod proxy;
pub mod recipes;
pub mod scripted_server;
pub mod timeouts;
pub mod tls;
pub mod world;

pub use clock::manual::ManualClock;

pub use self::{
    client::{Client, Reply},
    pending::Pending,
    scripted_server::ScriptedServer,
    timeouts::{until, with_timeout},
    world::{Stage, World, shipped},
};
