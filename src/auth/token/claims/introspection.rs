//! Checks an introspection response (RFC 7662 §2.2).
//!
//! The issuer has verified the token. Whether the token is for this service, and which customer it
//! names, is checked here with the same code as for signed claims.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Accepted, Claims, RevocationClaims,
    kind::{KIND_CLAIMS, Kind},
};
use crate::{
    auth::{
        bearer::Scheme,
        error::{AuthError, Reason},
        token::{Rules, json::Object},
    },
    clock::later,
    settings::{AudienceClaim, KeySource},
};

/// Values that each of [`KIND_CLAIMS`] may have, in lower case; `DPoP` is also accepted.
/// Introspection endpoints also describe refresh and ID tokens, so unknown values are rejected.
const ACCEPTED_KINDS: [&[&str]; 3] =
    [&["bearer"], &["access_token", "access"], &["bearer", "at+jwt", "jwt"]];

/// The claims of an active token.
pub(in crate::auth) struct Introspected(pub(super) Claims);

/// The response is not a valid introspection response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct MalformedResponse;

impl Introspected {
    /// Parses a response; `None` if the token is not active.
    pub(in crate::auth) fn parse(json: &[u8]) -> Result<Option<Self>, MalformedResponse> {
        let members: Object = serde_json::from_slice(json).map_err(|_| MalformedResponse)?;
        match members.get("active") {
            Some(Value::Bool(true)) => Ok(Some(Self(Claims::new(members)))),
            Some(Value::Bool(false)) => Ok(None),
            _ => Err(MalformedResponse),
        }
    }

    /// The claims by which the token can be revoked.
    pub(in crate::auth) fn identity(&self) -> RevocationClaims {
        self.0.identity()
    }

    /// Makes all checks, in the order of [`Claims::check`]. The end does not include the leeway,
    /// which is only for clocks that differ.
    pub(in crate::auth) fn check(
        &self,
        rules: &Rules,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Accepted, AuthError> {
        let claims = &self.0;
        self.check_parties(rules)?;
        let bound_to = claims.bound_to(rules.settings.dpop, scheme)?;
        self.check_kind(rules, bound_to.is_some())?;
        claims.check_required(rules)?;
        let exp = self.exp(rules)?;
        let end = claims.check_times_until(exp, rules, now)?;
        if now >= later(end, rules.leeway) {
            return Err(AuthError::ExpiredToken);
        }
        claims.check_scopes(rules)?;
        let customer = claims.customer(rules).map_err(|_| AuthError::NoCustomer)?;
        Ok(Accepted { customer, end, bound_to })
    }

    /// Checks issuer, subject and audience. `iss` is optional, because the service knows which
    /// issuer responded. `aud` is optional only if the settings say so.
    fn check_parties(&self, rules: &Rules) -> Result<(), Reason> {
        let claims = &self.0;
        if claims.0.has("iss") {
            claims.check_issuer(rules)?;
        }
        claims.check_subject()?;
        self.check_audience(rules)
    }

    pub(super) fn check_audience(&self, rules: &Rules) -> Result<(), Reason> {
        let by_aud = rules.settings.audience_claim == AudienceClaim::Aud;
        if by_aud && !self.0.0.has("aud") && may_lack_audience(&rules.settings.keys) {
            return Ok(());
        }
        self.0.check_audience(rules)
    }

    /// Checks the kind. A `DPoP` token must name its key (RFC 9449 §6.2). A token that names its
    /// key may be called a bearer token, as some issuers do. ID tokens may be named if the settings
    /// accept them.
    pub(super) fn check_kind(&self, rules: &Rules, is_bound: bool) -> Result<(), Reason> {
        self.0.check_token_kind(rules, false)?;
        for (name, accepted) in KIND_CLAIMS.into_iter().zip(ACCEPTED_KINDS) {
            let Some(value) = self.0.0.get(name) else { continue };
            let kind = value.as_str().ok_or(Reason::Claims)?;
            if kind.eq_ignore_ascii_case("DPoP") {
                if is_bound {
                    continue;
                }
                return Err(Reason::Confirmation);
            }
            let is_id_token = Kind::named(kind) == Some(Kind::Id);
            if !is_id_token && !accepted.iter().any(|accepted| kind.eq_ignore_ascii_case(accepted))
            {
                return Err(Reason::Type);
            }
        }
        Ok(())
    }

    /// `exp`. It is optional if `max_token_age` limits the token's age.
    pub(super) fn exp(&self, rules: &Rules) -> Result<Timestamp, Reason> {
        match (self.0.time("exp")?, rules.settings.max_token_age) {
            (Some(exp), _) => Ok(exp),
            (None, Some(_)) => Ok(Timestamp::MAX),
            (None, None) => Err(Reason::Claims),
        }
    }
}

const fn may_lack_audience(keys: &KeySource) -> bool {
    match keys {
        KeySource::Introspection(introspection) => introspection.allow_no_audience,
        KeySource::Url(_) | KeySource::File(_) | KeySource::Discovery(_) | KeySource::Hmac(_) => {
            false
        }
    }
}

#[cfg(test)]
mod tests;
