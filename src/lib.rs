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
//! where. `tests/layers.rs` holds who may use whom.

pub mod auth;
pub mod clock;
pub mod customer;
pub mod juspay;
pub mod metrics;
pub mod secret_file;
pub mod settings;
pub mod tls;
// pub mod simulator;
