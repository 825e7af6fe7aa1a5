//! The claims by which a token can be revoked.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Claims, name};
use crate::revocation::MAX_ID_BYTES;

/// The claims that revocations match. A claim that is missing, or longer than a revocation entry
/// allows, is `None`, because no entry can name it. No `Debug`: claims are personal data.
pub(in crate::auth) struct RevocationClaims {
    /// Shares its memory with the customer id if both are the same.
    pub(in crate::auth) sub: Option<Arc<str>>,
    pub(in crate::auth) jti: Option<Box<str>>,
    pub(in crate::auth) sid: Option<Box<str>>,
    pub(in crate::auth) iat: Option<Timestamp>,
}

impl Claims {
    pub(in crate::auth::token) fn identity(&self) -> RevocationClaims {
        RevocationClaims {
            sub: self.id("sub"),
            jti: self.id("jti"),
            sid: self.id("sid"),
            iat: self.time("iat").ok().flatten(),
        }
    }

    fn id<T: From<String>>(&self, claim: &str) -> Option<T> {
        let id = self.0.get(claim).and_then(name)?;
        (1..=MAX_ID_BYTES).contains(&id.len()).then(|| id.into())
    }
}
