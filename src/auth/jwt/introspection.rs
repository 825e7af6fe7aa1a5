//! An introspection response (RFC 7662 §2.2).
//!
//! The issuer has verified the token. Whether the token is for this service, and which customer it
//! names, is checked here with the same checks as for signed claims.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    checks::{Accepted, CheckContext, Rules},
    claims::{Claims, Source},
};
use crate::{
    auth::{credentials::Scheme, error::AuthError, revocation::RevocationClaims},
    json::UniqueMembers,
};

/// The claims of an active token.
pub(in crate::auth) struct Introspected(Claims);

/// The response is not a valid introspection response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct MalformedResponse;

impl Introspected {
    /// Parses a response; `None` if the token is not active.
    pub(in crate::auth) fn parse(json: &[u8]) -> Result<Option<Self>, MalformedResponse> {
        let members: UniqueMembers = serde_json::from_slice(json).map_err(|_| MalformedResponse)?;
        match members.get("active") {
            Some(Value::Bool(true)) => Ok(Some(Self(Claims::new(members, Source::Introspection)))),
            Some(Value::Bool(false)) => Ok(None),
            _ => Err(MalformedResponse),
        }
    }

    /// The claims by which the token can be revoked.
    pub(in crate::auth) fn identity(&self) -> RevocationClaims {
        self.0.identity()
    }

    /// Checks the claims of a token that was sent with this scheme.
    pub(in crate::auth) fn check(
        &self,
        rules: &Rules,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Accepted, AuthError> {
        self.0.check_all(&CheckContext { rules, scheme, now })
    }

    /// The claims, for an explanation.
    pub(in crate::auth) const fn claims(&self) -> &Claims {
        &self.0
    }
}

#[cfg(test)]
mod tests;
