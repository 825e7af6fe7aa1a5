//! Tests of the service over sockets, against the simulator. Each file covers one promise or topic.
//! Tests of a promise begin with its number.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unchecked_time_subtraction,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` marks what tests may use of their support files")]

mod admin;
mod auth;
mod base_path;
mod blocking_files;
mod caching;
mod commands;
mod cors;
mod creation;
mod customer;
mod directives;
mod doctor;
mod explain_token;
mod gateway;
mod healthcheck;
mod introspection;
mod isolation;
mod json_format;
mod loopback;
mod magic_customers;
mod manifests;
mod openapi;
mod outage;
mod prepare;
mod recorded;
mod resilience;
mod revocations;
mod sdk_payload;
mod secrets;
mod settings;
mod shutdown;
mod support;
mod transport;
mod upstream;
