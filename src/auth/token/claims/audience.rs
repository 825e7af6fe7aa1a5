//! Whom a token is for, by the claim that the issuer's settings name.

use serde_json::Value;

use super::Claims;
use crate::{
    auth::{error::Reason, token::Rules},
    settings::AudienceClaim,
};

impl Claims {
    /// That it is for us. An ID token for several must have been issued to us as well (OpenID Connect
    /// Core §3.1.3.7).
    pub(super) fn check_audience(&self, rules: &Rules) -> Result<(), Reason> {
        let ours = &rules.settings.audiences;
        match &rules.settings.audience_claim {
            AudienceClaim::Aud => self.check_aud(ours)?,
            AudienceClaim::Named(claim) => self.check_single(claim, ours)?,
            AudienceClaim::None => (),
        }
        let aud = self.0.get("aud").and_then(Value::as_array);
        let has_several = aud.is_some_and(|aud| aud.len() > 1);
        if rules.settings.accepts_id_tokens && has_several {
            return self.check_single("azp", ours).map_err(|_| Reason::Audience);
        }
        Ok(())
    }

    /// That one of these is in `aud`.
    pub(super) fn check_aud(&self, accepted: &[String]) -> Result<(), Reason> {
        let audiences = match self.0.get("aud") {
            Some(Value::Array(audiences)) => audiences.as_slice(),
            Some(audience @ Value::String(_)) => std::slice::from_ref(audience),
            _ => return Err(Reason::Claims),
        };
        let audiences: Option<Vec<&str>> = audiences.iter().map(Value::as_str).collect();
        let is_ours = |audience| accepted.iter().any(|ours| ours == audience);
        if audiences.ok_or(Reason::Claims)?.into_iter().any(is_ours) {
            Ok(())
        } else {
            Err(Reason::Audience)
        }
    }

    /// That another claim is one of these. Only `aud` may be a list.
    fn check_single(&self, claim: &str, accepted: &[String]) -> Result<(), Reason> {
        let audience = self.text(claim).ok_or(Reason::Claims)?;
        let is_ours = accepted.iter().any(|ours| ours == audience);
        if is_ours { Ok(()) } else { Err(Reason::Audience) }
    }
}
