//! Reads the key that a token is bound to (RFC 7800 §3.1, RFC 9449 §6.1) and checks whether the
//! issuer's `dpop` setting accepts such a token.

use serde_json::Value;

use super::Claims;
use crate::{
    auth::{Sha256, bearer::Scheme, dpop, error::Reason},
    settings::DpopMode,
};

impl Claims {
    /// The thumbprint of the key that the client must prove possession of; `None` for a bearer
    /// token. Rejects a token with any other confirmation method, or sent with the wrong scheme.
    pub(super) fn bound_to(
        &self,
        mode: DpopMode,
        scheme: Scheme,
    ) -> Result<Option<Sha256>, Reason> {
        match (self.0.get("cnf"), mode, scheme) {
            (None, DpopMode::Off | DpopMode::Optional, Scheme::Bearer) => Ok(None),
            (None, _, _) => Err(Reason::Unbound),
            (Some(_), DpopMode::Off, _) | (Some(_), _, Scheme::Bearer) => Err(Reason::Confirmation),
            (Some(cnf), DpopMode::Optional | DpopMode::Required, Scheme::Dpop) => {
                thumbprint(cnf).map(Some).ok_or(Reason::Confirmation)
            }
        }
    }
}

/// `jkt`, if it is the only member. The service can prove no other confirmation method.
fn thumbprint(cnf: &Value) -> Option<Sha256> {
    let members = cnf.as_object().filter(|members| members.len() == 1)?;
    dpop::digest_in(members.get("jkt")?.as_str()?)
}
