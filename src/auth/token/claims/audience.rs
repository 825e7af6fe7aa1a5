//! Checks that a token is for this service, by the claim in `audience_claim`.

use serde_json::Value;

use super::Claims;
use crate::{
    auth::{error::Reason, token::Rules},
    settings::AudienceClaim,
};

impl Claims {
    /// Checks the audience. An ID token for several audiences must also have been issued to one of
    /// the accepted clients (OpenID Connect Core §3.1.3.7).
    pub(super) fn check_audience(&self, rules: &Rules) -> Result<(), Reason> {
        let accepted = &rules.settings.audiences;
        match &rules.settings.audience_claim {
            AudienceClaim::Aud => self.check_aud(accepted)?,
            AudienceClaim::Named(claim) => self.check_single_valued(claim, accepted)?,
            AudienceClaim::None => (),
        }
        let aud = self.0.get("aud").and_then(Value::as_array);
        let has_several = aud.is_some_and(|aud| aud.len() > 1);
        if rules.settings.accepts_id_tokens && has_several {
            return self.check_single_valued("azp", accepted).map_err(|_| Reason::Audience);
        }
        Ok(())
    }

    /// Checks that `aud` contains an accepted audience.
    pub(super) fn check_aud(&self, accepted: &[String]) -> Result<(), Reason> {
        let audiences = match self.0.get("aud") {
            Some(Value::Array(audiences)) => audiences.as_slice(),
            Some(audience @ Value::String(_)) => std::slice::from_ref(audience),
            _ => return Err(Reason::Claims),
        };
        let audiences: Option<Vec<&str>> = audiences.iter().map(Value::as_str).collect();
        let is_ours = |audience| accepted.iter().any(|accepted| accepted == audience);
        if audiences.ok_or(Reason::Claims)?.into_iter().any(is_ours) {
            Ok(())
        } else {
            Err(Reason::Audience)
        }
    }

    /// Checks that another claim is an accepted audience. Only `aud` may be a list.
    fn check_single_valued(&self, claim: &str, accepted: &[String]) -> Result<(), Reason> {
        let audience = self.text(claim).ok_or(Reason::Claims)?;
        let is_ours = accepted.iter().any(|accepted| accepted == audience);
        if is_ours { Ok(()) } else { Err(Reason::Audience) }
    }
}
