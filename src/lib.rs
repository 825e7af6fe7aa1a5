//! `juspay-bff` returns client auth tokens of Juspay to mobile apps, caches them, and keeps the API
//! key on the server.
//!
//! `public/handler.rs` defines what happens to a request, from top to bottom. It uses these modules:
//!
//! 1. [`auth`] validates the access token. Only a verified [`auth::Caller`] can proceed.
//! 2. [`cache`] looks up the customer of the caller, or starts or joins a fetch.
//! 3. [`juspay`] calls Juspay's API on a miss.
//! 4. [`problem`] builds error responses.
//!
//! [`app`] builds the service, [`server`] has the two listeners, and [`admin`] is the one for operators.
//! `tests/layers.rs` lists which modules may use which.

pub mod admin;
pub mod algorithm;
pub mod app;
pub mod auth;
pub mod basic_auth;
pub mod cache;
#[cfg(test)]
mod captured_log;
pub mod cli;
pub mod commands;
pub mod concurrency;
pub mod connection_info;
#[cfg(test)]
mod corpus;
pub mod customer;
#[cfg(feature = "simulator")]
pub mod demo;
/// The functions that the fuzz targets call: each accepts any bytes and panics if an invariant does not
/// hold. Not part of the program.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        auth::fuzzing::{
            bearer_token, discovery_document, dpop_proof, introspection_answer, key_file, key_set,
            revocations_file,
        },
        cache::fuzzing::juspay_answer,
        server::fuzzing::pipelining_guard,
        settings::fuzzing::settings_file,
    };
}
mod http_client;
pub mod json;
pub mod juspay;
pub mod metrics;
pub mod net;
pub mod operator;
pub mod problem;
pub mod process;
pub mod public;
pub mod rate_limit;
pub mod regular_file;
pub mod revocation;
pub mod secret_file;
pub mod server;
pub mod settings;
pub mod shared;
mod single_flight;
pub mod telemetry;
pub mod tls;
pub mod traces;
pub mod watched_file;

pub use ::clock;

/// The version in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, or "unknown".
pub const COMMIT: &str = env!("BUILD_COMMIT");

/// The `User-Agent` of calls to Juspay and issuers (RFC 9110 §10.1.5).
const USER_AGENT: &str = concat!("juspay-bff/", env!("CARGO_PKG_VERSION"));
