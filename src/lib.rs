//! `juspay-bff`: gives mobile apps their Juspay client auth token, and keeps the API key.
//!
//! The way of a request:
//!
//! 1. [`auth`]: who is calling? A verified [`auth::Caller`] is the only permit to go on.
//! 2. [`cache`]: the customer it names, from memory, or fetched once.
//! 3. [`juspay`]: the provider that is asked on a miss.
//! 4. [`response`]: the phone's JSON and headers; [`problem`] when something went wrong.
//!
//! [`application`] puts them together behind two listeners; [`routes`] says which path leads
//! where, and has a short way for those who were answered a moment ago. `tests/layers.rs` holds who
//! may use whom.

#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")
)]

pub mod algorithm;
pub mod application;
pub mod auth;
pub mod cache;
pub mod capacity;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod concurrency;
#[cfg(test)]
mod corpus;
pub mod credentials;
pub mod customer;
pub mod demo;
pub mod doctor;
pub mod json;
pub mod juspay;
#[cfg(test)]
mod kept_log;
pub mod loopback;
pub mod metrics;
pub mod problem;
pub mod process;
pub mod rate_limit;
pub mod regular_file;
pub mod response;
pub mod revocation;
pub mod routes;
pub mod secret_file;
pub mod settings;
pub mod simulator;
pub mod telemetry;
pub mod tls;
pub mod traces;

/// The version in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, or "unknown".
pub const COMMIT: &str = env!("BUILD_COMMIT");

/// Who we are to those whom we ask (RFC 9110 §10.1.5).
const USER_AGENT: &str = concat!("juspay-bff/", env!("CARGO_PKG_VERSION"));
