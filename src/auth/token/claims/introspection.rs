//! What an issuer says of a token when it is asked (RFC 7662 §2.2), held to the rules of claims.
//!
//! The issuer has checked the token; whether it is meant for us, and whom it names, is checked here
//! with the same code as for signed claims.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Accepted, Claims, Identity,
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

/// The kinds that each of [`KIND_CLAIMS`] may name, in lower case, as well as `DPoP`. Issuers that
/// are asked say more than those that sign, so that a kind that isn't known here is rejected.
const ACCEPTED: [&[&str]; 3] =
    [&["bearer"], &["access_token", "access"], &["bearer", "at+jwt", "jwt"]];

/// An answer about a token that is active.
pub(in crate::auth) struct Introspected(pub(super) Claims);

/// The answer can't be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct NoAnswer;

impl Introspected {
    /// Reads an answer; `None` when the token isn't active.
    pub(in crate::auth) fn parse(json: &[u8]) -> Result<Option<Self>, NoAnswer> {
        let members: Object = serde_json::from_slice(json).map_err(|_| NoAnswer)?;
        match members.get("active") {
            Some(Value::Bool(true)) => Ok(Some(Self(Claims::new(members)))),
            Some(Value::Bool(false)) => Ok(None),
            _ => Err(NoAnswer),
        }
    }

    /// By what the token can be revoked.
    pub(in crate::auth) fn identity(&self) -> Identity {
        self.0.identity()
    }

    /// Checks everything, in the order of [`Claims::check`]. The end is the token's own, without
    /// the leeway, which is only for clocks that differ.
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

    /// `iss` may be left out: it is known who was asked. `aud` only where the settings say so.
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

    /// What is called bound to a key must say to which one (RFC 9449 §6.2). What says to which one
    /// may be called a bearer token all the same: some issuers do so. ID tokens, where they are
    /// accepted, may be called so.
    pub(super) fn check_kind(&self, rules: &Rules, is_bound: bool) -> Result<(), Reason> {
        self.0.check_use(rules, false)?;
        for (name, taken) in KIND_CLAIMS.into_iter().zip(ACCEPTED) {
            let Some(value) = self.0.0.get(name) else { continue };
            let kind = value.as_str().ok_or(Reason::Claims)?;
            if kind.eq_ignore_ascii_case("DPoP") {
                if is_bound {
                    continue;
                }
                return Err(Reason::Confirmation);
            }
            let is_id_token = Kind::named(kind) == Some(Kind::Id);
            if !is_id_token && !taken.iter().any(|taken| kind.eq_ignore_ascii_case(taken)) {
                return Err(Reason::Type);
            }
        }
        Ok(())
    }

    /// `exp`. It may be left out where `max_token_age` ends the token's life, too.
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
