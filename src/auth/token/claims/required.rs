//! Checks `required_claims` of the issuer's settings.

use serde_json::Value;

use super::Claims;
use crate::{
    auth::{error::Reason, token::Rules},
    settings::{ClaimValue, RequiredClaim},
};

impl Claims {
    pub(super) fn check_required(&self, rules: &Rules) -> Result<(), Reason> {
        rules
            .settings
            .required_claims
            .iter()
            .try_for_each(|required| self.check_required_claim(required))
    }

    /// Checks that a claim equals one of the accepted values, in type and value.
    pub(super) fn check_required_claim(&self, required: &RequiredClaim) -> Result<(), Reason> {
        let value = self.0.at(&required.claim).ok_or(Reason::Claims)?;
        let is_accepted = required.accepted.iter().any(|accepted| equals(value, accepted));
        if is_accepted { Ok(()) } else { Err(Reason::Claims) }
    }
}

fn equals(value: &Value, accepted: &ClaimValue) -> bool {
    match accepted {
        ClaimValue::Text(text) => value.as_str() == Some(text),
        ClaimValue::Boolean(boolean) => value.as_bool() == Some(*boolean),
        ClaimValue::Integer(number) => value.as_i64() == Some(*number),
    }
}
