//! Which key a token is bound to (RFC 7800 §3.1, RFC 9449 §6.1), and whether it may be.

use serde_json::Value;

use super::Claims;
use crate::{
    auth::{Sha256, bearer::Scheme, dpop, error::Reason},
    settings::DpopMode,
};

impl Claims {
    /// The thumbprint of the key whose possession must be shown; `None` when none must. What is bound
    /// in another way, or came without its scheme, is refused.
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

/// `jkt`, when it is the only member: what else there may be, nobody here can prove.
fn thumbprint(cnf: &Value) -> Option<Sha256> {
    let members = cnf.as_object().filter(|members| members.len() == 1)?;
    dpop::digest_in(members.get("jkt")?.as_str()?)
}
