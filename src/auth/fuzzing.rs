//! What must hold whatever a caller or an issuer sends. For the fuzz targets and the tests only:
//! no program has this in it.
//!
//! Each function takes any bytes and panics where a promise is broken.

mod keys;
mod token;

pub use self::{keys::key_set, token::bearer_token};
