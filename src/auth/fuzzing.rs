//! Invariants of input from clients and issuers, for fuzz targets and tests. Not part of any
//! program.
//!
//! Each function accepts any bytes and panics if an invariant does not hold.

#![expect(clippy::expect_used, reason = "a panic reports a violated invariant")]

mod discovery;
mod introspection;
mod key_file;
mod keys;
pub(super) mod reparsed;
mod token;

pub use self::{
    discovery::discovery_document, introspection::introspection_answer, key_file::key_file,
    keys::key_set, token::bearer_token,
};
pub use super::{dpop::fuzzing::dpop_proof, revocation::fuzzing::revocations_file};
