//! The claims of a token whose signature is good (RFC 7519 §4.1, RFC 9068 §4).
//!
//! All checks go by our [`Clock`](crate::clock::Clock). `audience` checks whom a token is
//! for, `confirmation` tells which key a token is bound
//! to, `explain` tells operators of each check, `identity` holds by what a token can be revoked,
//! `introspection` what issuers say of tokens, `kind` classifies tokens by evidence, `logout` holds the
//! claims of logout tokens, `required` checks what the settings require.

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
    explain::{Against, Explained},
    identity::Identity,
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

/// Claims that name the application: RFC 9068 §2.2, OpenID Connect Core §2, Okta. A `sub` that names
/// the same client stands for the application (client credentials grant), not for a person.
const CLIENT_CLAIMS: [&str; 3] = ["client_id", "azp", "cid"];

/// Claims that grant scopes, each as a text with spaces or as a list: RFC 9068 §2.2.3, Okta and
/// Microsoft Entra (`scp`), Laravel Passport (`scopes`). Duende writes `scope` as a list.
const SCOPE_CLAIMS: [&str; 3] = ["scope", "scp", "scopes"];

/// Auth0 appends this to the client's id in the `sub` of such a token.
const AUTH0_CLIENT_SUFFIX: &str = "@clients";

/// The claims of a token. But for [`Claims::issue_time`], they are read only when the signature is good.
pub(super) struct Claims(Object);

/// What a good token says.
#[derive(Debug)]
pub(in crate::auth) struct Accepted {
    /// Whom it names.
    pub(in crate::auth) customer: CustomerId,
    /// From when on it is refused: `exp`, or the greatest age, and the leeway.
    pub(in crate::auth) end: Timestamp,
    /// RFC 7638 thumbprint of the key that its bearer must have, when it is bound to one.
    pub(in crate::auth) bound_to: Option<Sha256>,
}

/// Why a token names no usable customer. Only operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Nobody {
    #[error("the claim is missing")]
    Missing,
    #[error("the claim is neither a string nor an integer, nor a list of one")]
    NoName,
    #[error(
        "it is the application's own token: sub names the client, as client_id, azp or cid does"
    )]
    Client,
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

    /// `iat`, if it is a time: also for a token whose signature was not checked.
    pub(super) fn issue_time(&self) -> Option<Timestamp> {
        self.time("iat").ok().flatten()
    }

    /// Checks everything; the order is that of the answers: invalid, expired, scope, customer.
    pub(super) fn check(
        &self,
        rules: &Rules,
        says_access_token: bool,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Accepted, AuthError> {
        self.check_parties(rules)?;
        let bound_to = self.bound_to(rules.settings.dpop, scheme)?;
        self.check_use(rules, says_access_token)?;
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

    /// The token's end, once the other times are good.
    fn check_times(&self, rules: &Rules, now: Timestamp) -> Result<Timestamp, Reason> {
        let exp = self.time("exp")?.ok_or(Reason::Claims)?;
        Ok(later(self.check_times_until(exp, rules, now)?, rules.leeway))
    }

    /// The end without the leeway, of a token that ends at `exp`.
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
        // An item is one scope: a space in it separates nothing.
        let listed = claims().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        let granted: Vec<&str> = spaced.chain(listed).collect();
        if rules.settings.required_scopes.iter().all(|scope| granted.contains(&scope.as_str())) {
            Ok(())
        } else {
            Err(AuthError::InsufficientScope(rules.settings.required_scopes.join(" ").into()))
        }
    }

    /// The customer, when the token names one inside its issuer's own namespace.
    fn customer(&self, rules: &Rules) -> Result<CustomerId, Nobody> {
        let claim = &rules.settings.customer_id_claim;
        let value = self.0.at(claim).ok_or(Nobody::Missing)?;
        // Azure AD B2C has `emails` with one item.
        let value = match value.as_array().map(Vec::as_slice) {
            None => value,
            Some([item]) => item,
            Some(_) => return Err(Nobody::NoName),
        };
        let named = name(value).ok_or(Nobody::NoName)?;
        if claim.is("sub") && self.is_applications_own(&named) {
            return Err(Nobody::Client);
        }
        if let Some(twin) = claim.verified_claim() {
            self.check_verified(&twin, rules.settings.assumes_verified)?;
        }
        if named.is_empty() {
            return Err(CustomerIdError::Empty.into());
        }
        let id = format!("{}{named}", rules.settings.customer_id_prefix);
        if rules.foreign_prefixes.iter().any(|prefix| id.starts_with(prefix.as_str())) {
            return Err(Nobody::Foreign);
        }
        Ok(CustomerId::parse(&id)?)
    }

    fn check_verified(&self, twin: &ClaimPath, is_assumed: bool) -> Result<(), Nobody> {
        match self.0.at(twin) {
            // The claim may be nested where its twin isn't, as in Firebase's identities.
            None if is_assumed => match twin.segments().last().and_then(|name| self.0.get(name)) {
                Some(twin) if !is_true(twin) => Err(Nobody::NotVerified),
                Some(_) | None => Ok(()),
            },
            None => Err(Nobody::Unverified),
            Some(twin) if is_true(twin) => Ok(()),
            Some(_) => Err(Nobody::NotVerified),
        }
    }

    /// Whether that subject is the application to which the token was issued.
    fn is_applications_own(&self, sub: &str) -> bool {
        let without_suffix = sub.strip_suffix(AUTH0_CLIENT_SUFFIX);
        CLIENT_CLAIMS.iter().filter_map(|claim| name(self.0.get(claim)?)).any(|client| {
            let client = client.as_str();
            client == sub || Some(client) == without_suffix
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Reason> {
        self.0.get(name).map(|value| numeric_date(value).ok_or(Reason::Claims)).transpose()
    }
}

/// What a claim calls the customer: a text, or a whole number in decimal.
fn name(claim: &Value) -> Option<String> {
    let number = claim.as_number().filter(|number| number.is_i64() || number.is_u64());
    claim.as_str().map(str::to_owned).or_else(|| number.map(ToString::to_string))
}

/// Whether a `_verified` twin says so. Cognito and Apple write it as a text.
fn is_true(twin: &Value) -> bool {
    *twin == Value::Bool(true) || twin.as_str() == Some("true")
}

/// RFC 7519 §2 `NumericDate`: seconds since 1970, whole or not; `None` outside our calendar.
pub(in crate::auth) fn numeric_date(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    let since = if let Some(seconds) = number.as_i64() {
        SignedDuration::from_secs(seconds)
    } else {
        SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?
    };
    calendar::since_1970(since).filter(|date| *date >= Timestamp::UNIX_EPOCH)
}
