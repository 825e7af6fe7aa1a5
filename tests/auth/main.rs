//! Tests of `Authenticator` through its public methods, with scripted issuers and a manual clock.
//!
//! Each file tests one part: which tokens are accepted (`jwt`), keys and their refreshes (`jwks`), cached
//! tokens, proofs of possession, introspection, revocations and logouts. Nothing sleeps: only the test
//! advances time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails, as it should"
)]

mod authenticator;
#[path = "../../src/captured_log.rs"]
mod captured_log;
mod dpop;
mod introspection;
mod jwks;
mod jwt;
mod logout;
mod revocation;
mod revocations_file;
#[path = "../../src/auth/testing.rs"]
mod testing;
mod token_cache;
mod world;

use juspay_bff::{clock, settings};
