//! What must hold whatever a caller or an issuer sends. For the fuzz targets and the tests only:
//! no program has this in it.
//!
//! Each function takes any bytes and panics where a promise is broken.

#![expect(clippy::expect_used, reason = "what can't be is a finding")]

mod discovery;
mod introspection;
mod key_file;
mod keys;
pub(super) mod said;
mod token;

pub use self::{
    discovery::discovery_document, introspection::introspection_answer, key_file::key_file,
    keys::key_set, token::bearer_token,
};
pub use super::{dpop::fuzzing::dpop_proof, revocations::fuzzing::revocations_file};
