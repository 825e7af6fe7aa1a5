//! The claims of a token whose signature is valid (RFC 7519 §4.1, RFC 9068 §4).
//!
//! All time checks use the service's [`Clock`](crate::clock::Clock). Each submodule has one job:
//!
//! - `audience`: whether the token is for this service
//! - `confirmation`: the key that the token is bound to
//! - `explain`: each check as `explain-token` shows it
//! - `identity`: the claims by which a token can be revoked
//! - `introspection`: introspection responses
//! - `kind`: ID, refresh and logout tokens
//! - `logout`: the claims of logout tokens
//! - `required`: `required_claims` of the settings

mod audience;
mod confirmation;
mod explain;
mod identity;
mod introspection;
mod kind;
mod logout;
mod required;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub(super) use self::{explain::one_of, kind::Kind};
pub(in crate::auth) use self::{
    explain::{CheckContext, Explained},
    identity::RevocationClaims,
    introspection::Introspected,
    logout::Logout,
};
use super::{Rules, claimed_issuer, is_issuer, json::Object};
use crate::{
    auth::{
        Sha256,
        bearer::Scheme,
        error::{AuthError, Reason},
    },
    clock::{calendar, later},
    customer::{CustomerId, CustomerIdError},
    settings::ClaimPath,
};

/// Claims that name the client application: RFC 9068 §2.2, OpenID Connect Core §2, Okta. A `sub`
/// equal to one of them is the application itself (client credentials grant), not a person.
const CLIENT_CLAIMS: [&str; 3] = ["client_id", "azp", "cid"];

/// Claims that grant scopes, as a space-separated string or a list: RFC 9068 §2.2.3, Okta and
/// Microsoft Entra (`scp`), Laravel Passport (`scopes`). Duende writes `scope` as a list.
const SCOPE_CLAIMS: [&str; 3] = ["scope", "scp", "scopes"];

/// Auth0 appends this to the client id in the `sub` of an application's own token.
const AUTH0_CLIENT_SUFFIX: &str = "@clients";

/// The claims of a token. Except for [`Claims::issue_time`], they are used only after the signature
/// was checked.
pub(super) struct Claims(Object);

/// The result of a token that passed all checks.
#[derive(Debug)]
pub(in crate::auth) struct Accepted {
    /// The customer that the token names.
    pub(in crate::auth) customer: CustomerId,
    /// When the service starts to reject the token: `exp` or `max_token_age`, plus the leeway.
    pub(in crate::auth) end: Timestamp,
    /// RFC 7638 thumbprint of the key that the client must prove possession of.
    pub(in crate::auth) bound_to: Option<Sha256>,
}

/// Why a token names no usable customer. Shown only to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum CustomerClaimError {
    #[error("the claim is missing")]
    Missing,
    #[error("the claim is neither a string nor an integer, nor a list of one")]
    UnsupportedType,
    #[error(
        "it is the application's own token: sub names the client, as client_id, azp, cid or audiences \
         does"
    )]
    ClientSubject,
    #[error("its _verified twin is missing, and customer_id_verified is \"required\"")]
    Unverified,
    #[error("its _verified twin isn't true")]
    NotVerified,
    #[error("with that prefix it is another issuer's customer")]
    Foreign,
    #[error(transparent)]
    Malformed(#[from] CustomerIdError),
}

impl Claims {
    pub(super) const fn new(members: Object) -> Self {
        Self(members)
    }

    /// `iat` if it is a valid time. Also read before the signature is checked.
    pub(super) fn issue_time(&self) -> Option<Timestamp> {
        self.time("iat").ok().flatten()
    }

    /// Makes all checks, in the order of the responses: invalid, expired, scope, customer.
    pub(super) fn check(
        &self,
        rules: &Rules,
        has_access_token_type: bool,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Accepted, AuthError> {
        self.check_parties(rules)?;
        let bound_to = self.bound_to(rules.settings.dpop, scheme)?;
        self.check_token_kind(rules, has_access_token_type)?;
        self.check_required(rules)?;
        let end = self.check_times(rules, now)?;
        if now >= end {
            return Err(AuthError::ExpiredToken);
        }
        self.check_scopes(rules)?;
        let customer = self.customer(rules).map_err(|_| AuthError::NoCustomer)?;
        Ok(Accepted { customer, end, bound_to })
    }

    fn check_parties(&self, rules: &Rules) -> Result<(), Reason> {
        self.check_issuer(rules)?;
        self.check_subject()?;
        self.check_audience(rules)
    }

    fn check_issuer(&self, rules: &Rules) -> Result<(), Reason> {
        let iss = claimed_issuer(&self.0)?;
        if is_issuer(iss, &rules.settings.issuer) { Ok(()) } else { Err(Reason::UnknownIssuer) }
    }

    fn check_subject(&self) -> Result<(), Reason> {
        match self.0.get("sub") {
            Some(Value::Array(_) | Value::Object(_)) => Err(Reason::Claims),
            _ => Ok(()),
        }
    }

    /// When the token expires. Fails if another time claim is invalid.
    fn check_times(&self, rules: &Rules, now: Timestamp) -> Result<Timestamp, Reason> {
        let exp = self.time("exp")?.ok_or(Reason::Claims)?;
        Ok(later(self.check_times_until(exp, rules, now)?, rules.leeway))
    }

    /// When a token with this `exp` expires, without the leeway.
    fn check_times_until(
        &self,
        exp: Timestamp,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Timestamp, Reason> {
        let (nbf, iat) = (self.time("nbf")?, self.time("iat")?);
        let end = match rules.settings.max_token_age {
            Some(age) => exp.min(later(iat.ok_or(Reason::Claims)?, age)),
            None => exp,
        };
        if nbf.max(iat).is_some_and(|begin| begin > later(now, rules.leeway)) {
            return Err(Reason::NotYetValid);
        }
        Ok(end)
    }

    fn check_scopes(&self, rules: &Rules) -> Result<(), AuthError> {
        let claims = || SCOPE_CLAIMS.into_iter().filter_map(|name| self.0.get(name));
        let spaced = claims().filter_map(Value::as_str).flat_map(|scopes| scopes.split(' '));
        // Each list item is one scope, even if it contains a space.
        let listed = claims().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        let granted: Vec<&str> = spaced.chain(listed).collect();
        if rules.settings.required_scopes.iter().all(|scope| granted.contains(&scope.as_str())) {
            Ok(())
        } else {
            Err(AuthError::InsufficientScope(rules.settings.required_scopes.join(" ").into()))
        }
    }

    /// The customer. Its id must be within the namespace of the token's issuer.
    fn customer(&self, rules: &Rules) -> Result<CustomerId, CustomerClaimError> {
        let claim = &rules.settings.customer_id_claim;
        let value = self.0.at(claim).ok_or(CustomerClaimError::Missing)?;
        // Azure AD B2C sends `emails`, a list with one item.
        let value = match value.as_array().map(Vec::as_slice) {
            None => value,
            Some([item]) => item,
            Some(_) => return Err(CustomerClaimError::UnsupportedType),
        };
        let named = name(value).ok_or(CustomerClaimError::UnsupportedType)?;
        if claim.is("sub") && self.is_client_subject(rules, &named) {
            return Err(CustomerClaimError::ClientSubject);
        }
        if let Some(verified_claim) = claim.verified_claim() {
            self.check_verified_claim(&verified_claim, rules.settings.assumes_verified)?;
        }
        if named.is_empty() {
            return Err(CustomerIdError::Empty.into());
        }
        let id = format!("{}{named}", rules.settings.customer_id_prefix);
        if rules.foreign_prefixes.iter().any(|prefix| id.starts_with(prefix.as_str())) {
            return Err(CustomerClaimError::Foreign);
        }
        Ok(CustomerId::parse(&id)?)
    }

    fn check_verified_claim(
        &self,
        verified_claim: &ClaimPath,
        is_assumed: bool,
    ) -> Result<(), CustomerClaimError> {
        match self.0.at(verified_claim) {
            // Firebase nests the claim (`identities`), but not its `_verified` claim.
            None if is_assumed => {
                match verified_claim.segments().last().and_then(|name| self.0.get(name)) {
                    Some(verified_claim) if !is_verified(verified_claim) => {
                        Err(CustomerClaimError::NotVerified)
                    }
                    Some(_) | None => Ok(()),
                }
            }
            None => Err(CustomerClaimError::Unverified),
            Some(verified_claim) if is_verified(verified_claim) => Ok(()),
            Some(_) => Err(CustomerClaimError::NotVerified),
        }
    }

    /// Whether `sub` is the client application of the token, or one of the listed
    /// audiences: Laravel Passport names the client in `aud` alone.
    fn is_client_subject(&self, rules: &Rules, sub: &str) -> bool {
        let without_suffix = sub.strip_suffix(AUTH0_CLIENT_SUFFIX);
        let is_it = |client: &str| client == sub || Some(client) == without_suffix;
        let mut clients = CLIENT_CLAIMS.iter().filter_map(|claim| name(self.0.get(claim)?));
        clients.any(|client| is_it(&client))
            || rules.settings.audiences.iter().any(|audience| is_it(audience))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Reason> {
        self.0.get(name).map(|value| numeric_date(value).ok_or(Reason::Claims)).transpose()
    }
}

/// The customer id in a claim: a string, or an integer in decimal.
fn name(claim: &Value) -> Option<String> {
    let number = claim.as_number().filter(|number| number.is_i64() || number.is_u64());
    claim.as_str().map(str::to_owned).or_else(|| number.map(ToString::to_string))
}

/// Whether a `_verified` claim is true. Cognito and Apple send it as a string.
fn is_verified(verified_claim: &Value) -> bool {
    *verified_claim == Value::Bool(true) || verified_claim.as_str() == Some("true")
}

/// Parses a `NumericDate` (RFC 7519 §2): seconds since 1970, possibly with a fraction. `None` if
/// the time is outside the supported calendar.
pub(in crate::auth) fn numeric_date(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    let since = if let Some(seconds) = number.as_i64() {
        SignedDuration::from_secs(seconds)
    } else {
        SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?
    };
    calendar::since_1970(since).filter(|date| *date >= Timestamp::UNIX_EPOCH)
}
