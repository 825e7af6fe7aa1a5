//! The checks of a token's header and claims (RFC 7519 §4.1, RFC 9068 §4), each listed once.
//!
//! Verification walks the lists and stops at the first failure. `explain-token` walks the same lists
//! and shows each check. All time checks use the service's [`Clock`](crate::clock::Clock).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Unverified, claimed_issuer,
    claims::{Claims, SCOPE_CLAIMS, Source, name},
    is_issuer,
    jws::{TokenAlgorithm, decode},
};
use crate::{
    auth::{
        credentials::Scheme,
        digest::Sha256,
        error::{AuthError, Reason},
    },
    clock::later,
    customer::{CustomerId, CustomerIdError, MobileNumber, NewCustomer},
    settings::{self, AudienceClaim, ClaimPath, ClaimValue, DpopMode, KeySource, RequiredClaim},
};

/// Claims that name the client application: RFC 9068 §2.2, OpenID Connect Core §2, Okta. A `sub`
/// equal to one of them is the application itself (client credentials grant), not a person.
const CLIENT_CLAIMS: [&str; 3] = ["client_id", "azp", "cid"];

/// Auth0 appends this to the client id in the `sub` of an application's own token.
const AUTH0_CLIENT_SUFFIX: &str = "@clients";

/// The rules for tokens of one issuer.
#[derive(Debug)]
pub(in crate::auth) struct Rules {
    /// The issuer's table in the settings, for an explanation: `auth.issuers.NAME`.
    pub(in crate::auth) table: String,
    /// `auth.issuers.NAME.*`
    pub(in crate::auth) settings: settings::Issuer,
    /// `auth.leeway`
    pub(in crate::auth) leeway: Duration,
    /// Prefixes of other issuers that start with this issuer's prefix. A customer id with one of
    /// them belongs to the other issuer.
    pub(in crate::auth) foreign_prefixes: Vec<String>,
}

/// The rules, the scheme and the time that claims are checked against.
pub(in crate::auth) struct CheckContext<'r> {
    pub(in crate::auth) rules: &'r Rules,
    /// The scheme that the token was sent with.
    pub(in crate::auth) scheme: Scheme,
    pub(in crate::auth) now: Timestamp,
}

/// A check that is made before the signature is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum HeaderCheck {
    Issuer,
    Algorithm,
    Type,
}

/// A check of claims that a signature or the issuer's response proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum ClaimCheck {
    /// Of an introspection response. The issuer of a signed token is a [`HeaderCheck`].
    Issuer,
    Subject,
    Audience,
    /// The key that the token is bound to (RFC 7800).
    Confirmation,
    TokenType,
    RequiredClaims,
    Times,
    Expiry,
    Scopes,
    Customer,
}

impl HeaderCheck {
    /// The checks in their order.
    pub(in crate::auth) const ALL: [Self; 3] = [Self::Issuer, Self::Algorithm, Self::Type];
}

impl ClaimCheck {
    const ALL: [Self; 10] = [
        Self::Issuer,
        Self::Subject,
        Self::Audience,
        Self::Confirmation,
        Self::TokenType,
        Self::RequiredClaims,
        Self::Times,
        Self::Expiry,
        Self::Scopes,
        Self::Customer,
    ];

    /// The checks of these claims in their order, which is that of the responses: invalid, expired,
    /// scope, customer.
    pub(in crate::auth) fn of(source: Source) -> impl Iterator<Item = Self> {
        let is_response = source == Source::Introspection;
        Self::ALL.into_iter().filter(move |check| is_response || *check != Self::Issuer)
    }
}

/// The result of a token that passed all checks.
#[derive(Debug)]
pub(in crate::auth) struct Accepted {
    /// The customer that the token names.
    pub(in crate::auth) customer: CustomerId,
    /// When the token expires: `exp` or `max_token_age`. The leeway is added for a signed token only,
    /// as it is for clocks that differ.
    pub(in crate::auth) end: Timestamp,
    /// RFC 7638 thumbprint of the key that the client must prove possession of.
    pub(in crate::auth) bound_to: Option<Sha256>,
    /// What the customer is created from if it is missing. `None` if customers aren't created.
    pub(in crate::auth) new_customer: Option<Arc<NewCustomer>>,
    /// The index of the accepted audience that the token names.
    pub(in crate::auth) audience: Option<u16>,
}

/// Why a token names no usable customer. Shown only to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum CustomerClaimError {
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

impl Unverified<'_> {
    /// Makes one check.
    pub(in crate::auth) fn check(&self, check: HeaderCheck, rules: &Rules) -> Result<(), Reason> {
        let settings = &rules.settings;
        let (is_accepted, reason) = match check {
            HeaderCheck::Issuer => return self.claims.check_issuer(rules),
            HeaderCheck::Algorithm => {
                let is_accepted = match self.header.algorithm {
                    TokenAlgorithm::Signature(algorithm) => {
                        settings.algorithms.contains(&algorithm)
                    }
                    TokenAlgorithm::Hmac(algorithm) => {
                        let hmac = settings.keys.hmac();
                        hmac.is_some_and(|hmac| hmac.algorithms.contains(&algorithm))
                    }
                };
                (is_accepted, Reason::Algorithm)
            }
            HeaderCheck::Type => {
                let mut accepted = settings.typ.iter();
                (accepted.any(|typ| typ.eq_ignore_ascii_case(&self.header.typ)), Reason::Type)
            }
        };
        if is_accepted { Ok(()) } else { Err(reason) }
    }
}

impl Claims {
    /// Makes all checks.
    pub(super) fn check_all(&self, context: &CheckContext<'_>) -> Result<Accepted, AuthError> {
        ClaimCheck::of(self.source).try_for_each(|check| self.check(check, context))?;
        let end = self.end(context)?;
        Ok(Accepted {
            customer: self.customer(context.rules).map_err(|_| AuthError::NoCustomer)?,
            end: match self.source {
                Source::Jwt { .. } => later(end, context.rules.leeway),
                Source::Introspection => end,
            },
            bound_to: self.bound_to(context)?,
            new_customer: self.new_customer(context.rules).map(Arc::new),
            audience: self.audience(context.rules)?.and_then(|index| index.try_into().ok()),
        })
    }

    /// Makes one check.
    pub(in crate::auth) fn check(
        &self,
        check: ClaimCheck,
        context: &CheckContext<'_>,
    ) -> Result<(), AuthError> {
        let rules = context.rules;
        match check {
            // The service knows which issuer responded.
            ClaimCheck::Issuer if !self.members.has("iss") => {}
            ClaimCheck::Issuer => self.check_issuer(rules)?,
            ClaimCheck::Subject => self.check_subject()?,
            ClaimCheck::Audience => self.audience(rules).map(drop)?,
            ClaimCheck::Confirmation => self.bound_to(context).map(drop)?,
            ClaimCheck::TokenType => self.check_token_type(context)?,
            ClaimCheck::RequiredClaims => {
                let mut required = rules.settings.required_claims.iter();
                required.try_for_each(|required| self.check_required_claim(required))?;
            }
            ClaimCheck::Times => self.end(context).map(drop)?,
            ClaimCheck::Expiry => {
                if context.now >= later(self.end(context)?, rules.leeway) {
                    return Err(AuthError::ExpiredToken);
                }
            }
            ClaimCheck::Scopes => self.check_scopes(rules)?,
            ClaimCheck::Customer => {
                self.customer(rules).map(drop).map_err(|_| AuthError::NoCustomer)?;
            }
        }
        Ok(())
    }

    fn check_issuer(&self, rules: &Rules) -> Result<(), Reason> {
        let iss = claimed_issuer(&self.members)?;
        if is_issuer(iss, &rules.settings.issuer) { Ok(()) } else { Err(Reason::UnknownIssuer) }
    }

    pub(super) fn check_subject(&self) -> Result<(), Reason> {
        match self.members.get("sub") {
            Some(Value::Array(_) | Value::Object(_)) => Err(Reason::Claims),
            _ => Ok(()),
        }
    }

    /// The index of the accepted audience, if one is required. An ID token for several audiences must
    /// also have been issued to one of the accepted clients (OpenID Connect Core §3.1.3.7).
    fn audience(&self, rules: &Rules) -> Result<Option<usize>, Reason> {
        let accepted = &rules.settings.audiences;
        let audience = match &rules.settings.audience_claim {
            AudienceClaim::Aud if self.may_lack_audience(rules) => return Ok(None),
            AudienceClaim::Aud => Some(self.aud(accepted)?),
            AudienceClaim::Named(claim) => Some(self.single_valued(claim, accepted)?),
            AudienceClaim::None => None,
        };
        let aud = self.members.get("aud").and_then(Value::as_array);
        let has_several = aud.is_some_and(|aud| aud.len() > 1);
        if rules.settings.accepts_id_tokens && has_several {
            return self.single_valued("azp", accepted).map(Some).map_err(|_| Reason::Audience);
        }
        Ok(audience)
    }

    /// `introspection_allow_no_audience`
    fn may_lack_audience(&self, rules: &Rules) -> bool {
        let KeySource::Introspection(introspection) = &rules.settings.keys else { return false };
        let is_response = self.source == Source::Introspection;
        is_response && introspection.allow_no_audience && !self.members.has("aud")
    }

    /// The index of the first accepted audience in `aud`.
    pub(super) fn aud(&self, accepted: &[String]) -> Result<usize, Reason> {
        let audiences = match self.members.get("aud") {
            Some(Value::Array(audiences)) => audiences.as_slice(),
            Some(audience @ Value::String(_)) => std::slice::from_ref(audience),
            _ => return Err(Reason::Claims),
        };
        let audiences: Option<Vec<&str>> = audiences.iter().map(Value::as_str).collect();
        let mut audiences = audiences.ok_or(Reason::Claims)?.into_iter();
        audiences.find_map(|audience| index_in(accepted, audience)).ok_or(Reason::Audience)
    }

    /// The index of the accepted audience that another claim is. Only `aud` may be a list.
    fn single_valued(&self, claim: &str, accepted: &[String]) -> Result<usize, Reason> {
        let audience = self.text(claim).ok_or(Reason::Claims)?;
        index_in(accepted, audience).ok_or(Reason::Audience)
    }

    /// The thumbprint of the key that the client must prove possession of (RFC 7800 §3.1, RFC 9449
    /// §6.1); `None` for a bearer token. Rejects a token with any other confirmation method, or sent
    /// with the wrong scheme.
    pub(super) fn bound_to(&self, context: &CheckContext<'_>) -> Result<Option<Sha256>, Reason> {
        match (self.members.get("cnf"), context.rules.settings.dpop, context.scheme) {
            (None, DpopMode::Off | DpopMode::Optional, Scheme::Bearer) => Ok(None),
            (None, _, _) => Err(Reason::Unbound),
            (Some(_), DpopMode::Off, _) | (Some(_), _, Scheme::Bearer) => Err(Reason::Confirmation),
            (Some(cnf), DpopMode::Optional | DpopMode::Required, Scheme::Dpop) => {
                thumbprint(cnf).map(Some).ok_or(Reason::Confirmation)
            }
        }
    }

    /// Checks that a claim equals one of the accepted values, in type and value.
    pub(in crate::auth) fn check_required_claim(
        &self,
        required: &RequiredClaim,
    ) -> Result<(), Reason> {
        let value = self.members.at(&required.claim).ok_or(Reason::Claims)?;
        let is_accepted = required.accepted.iter().any(|accepted| match accepted {
            ClaimValue::Text(text) => value.as_str() == Some(text),
            ClaimValue::Boolean(boolean) => value.as_bool() == Some(*boolean),
            ClaimValue::Integer(number) => value.as_i64() == Some(*number),
        });
        if is_accepted { Ok(()) } else { Err(Reason::Claims) }
    }

    /// When the token expires, without the leeway. Fails if a time claim is invalid. `exp` is optional
    /// in an introspection response if `max_token_age` limits the token's age.
    pub(in crate::auth) fn end(&self, context: &CheckContext<'_>) -> Result<Timestamp, Reason> {
        let rules = context.rules;
        let (exp, nbf, iat) = (self.time("exp")?, self.time("nbf")?, self.time("iat")?);
        let end = match (exp, rules.settings.max_token_age) {
            (None, None) => return Err(Reason::Claims),
            (None, _) if self.source != Source::Introspection => return Err(Reason::Claims),
            (exp, Some(age)) => {
                let oldest = later(iat.ok_or(Reason::Claims)?, age);
                exp.map_or(oldest, |exp| exp.min(oldest))
            }
            (Some(exp), None) => exp,
        };
        if nbf.max(iat).is_some_and(|begin| begin > later(context.now, rules.leeway)) {
            return Err(Reason::NotYetValid);
        }
        Ok(end)
    }

    fn check_scopes(&self, rules: &Rules) -> Result<(), AuthError> {
        let claims = || SCOPE_CLAIMS.into_iter().filter_map(|name| self.members.get(name));
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
    pub(in crate::auth) fn customer(
        &self,
        rules: &Rules,
    ) -> Result<CustomerId, CustomerClaimError> {
        let claim = &rules.settings.customer_id_claim;
        let value = self.members.at(claim).ok_or(CustomerClaimError::Missing)?;
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

    /// What the customer is created from if it is missing; `None` if customers aren't created.
    pub(in crate::auth) fn new_customer(&self, rules: &Rules) -> Option<NewCustomer> {
        let claims = rules.settings.new_customer.as_ref()?;
        let verified = |claim: &ClaimPath| {
            let check = |twin| self.check_verified_claim(&twin, rules.settings.assumes_verified);
            let is_verified = claim.verified_claim().is_none_or(|twin| check(twin).is_ok());
            self.members.at(claim).filter(|_| is_verified)?.as_str()
        };
        let text = |claim: &ClaimPath| self.members.at(claim).and_then(Value::as_str);
        Some(NewCustomer::new(
            verified(&claims.mobile_number).and_then(MobileNumber::parse),
            verified(&claims.email),
            text(&claims.first_name),
            text(&claims.last_name),
        ))
    }

    fn check_verified_claim(
        &self,
        verified_claim: &ClaimPath,
        is_assumed: bool,
    ) -> Result<(), CustomerClaimError> {
        match self.members.at(verified_claim) {
            // Firebase nests the claim (`identities`), but not its `_verified` claim.
            None if is_assumed => {
                match verified_claim.segments().last().and_then(|name| self.members.get(name)) {
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
        let mut clients = CLIENT_CLAIMS.iter().filter_map(|claim| name(self.members.get(claim)?));
        clients.any(|client| is_it(&client))
            || rules.settings.audiences.iter().any(|audience| is_it(audience))
    }
}

fn index_in(accepted: &[String], audience: &str) -> Option<usize> {
    accepted.iter().position(|accepted| accepted == audience)
}

/// `jkt`, if it is the only member. The service can prove no other confirmation method.
fn thumbprint(cnf: &Value) -> Option<Sha256> {
    let members = cnf.as_object().filter(|members| members.len() == 1)?;
    digest_in(members.get("jkt")?.as_str()?)
}

/// Parses a SHA-256 digest in canonical base64url.
pub(in crate::auth) fn digest_in(text: &str) -> Option<Sha256> {
    decode(text).ok()?.try_into().ok()
}

/// Whether a `_verified` claim is true. Cognito and Apple send it as a string.
fn is_verified(verified_claim: &Value) -> bool {
    *verified_claim == Value::Bool(true) || verified_claim.as_str() == Some("true")
}
