//! Every check of a token's claims, told one by one to operators.
//!
//! The checks are those of [`Claims::check`] and [`Introspected::check`], called in their order; that
//! both come to the same end is held by the tests over the corpus of attacks. Told are values of claims
//! that operators set or compare (`iss`, `aud`, times, scopes); of all others only whether they are
//! there.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Claims, Introspected, SCOPE_CLAIMS, kind::KIND_CLAIMS};
use crate::{
    auth::{
        bearer::Scheme,
        error::{AuthError, Reason},
        explanation::{Check, listed, plain, shown, told},
        token::Rules,
    },
    clock::later,
    customer::CustomerId,
    settings::{AudienceClaim, ClaimValue, DpopMode, RequiredClaim},
};

/// What the claims are held against.
pub(in crate::auth) struct Against<'r> {
    pub(in crate::auth) rules: &'r Rules,
    /// The issuer's table in the settings.
    pub(in crate::auth) table: &'r str,
    pub(in crate::auth) scheme: Scheme,
    pub(in crate::auth) now: Timestamp,
}

/// The checks, and whom the token names if it is anybody.
pub(in crate::auth) type Explained = (Vec<Check>, Option<CustomerId>);

impl Claims {
    /// Each check of [`Claims::check`].
    pub(in crate::auth::token) fn explain(
        &self,
        against: &Against<'_>,
        says_access_token: bool,
    ) -> Explained {
        let end = self.check_times(against.rules, against.now);
        let mut checks = vec![
            self.explain_subject(),
            Check::of("aud", self.check_audience(against.rules), self.audience(against)),
            self.explain_binding(against),
            self.explain_use(against, says_access_token),
        ];
        checks.extend(self.explain_required(against));
        checks.extend(self.explain_times(against, end, end));
        self.explain_rest(against, checks)
    }

    fn explain_rest(&self, against: &Against<'_>, mut checks: Vec<Check>) -> Explained {
        checks.push(self.explain_scopes(against));
        let customer = self.customer(against.rules);
        let claim = against.rules.settings.customer_id_claim.as_str();
        let named = format!("{} of {}.customer_id_claim", shown(claim), against.table);
        let found = match &customer {
            Ok(_) => format!("the claim {named} names a customer"),
            Err(why) => format!("the claim {named} names none: {why}"),
        };
        let result = customer.as_ref().map(drop).map_err(|_| AuthError::NoCustomer);
        checks.push(Check::of("customer", result, found));
        (checks, customer.ok())
    }

    fn explain_subject(&self) -> Check {
        let found = match self.0.get("sub") {
            None => "there is none",
            Some(Value::Array(_) | Value::Object(_)) => "it is a list or an object",
            Some(_) => "a single value",
        };
        Check::of("sub", self.check_subject(), found)
    }

    fn audience(&self, against: &Against<'_>) -> String {
        let (settings, table) = (&against.rules.settings, against.table);
        let Some(claim) = settings.audience_claim.name() else {
            return format!("not compared; {table}.audience_claim: \"none\"");
        };
        let azp = settings.accepts_id_tokens && self.0.get("aud").is_some_and(Value::is_array);
        let azp = if azp { format!(", azp {}", self.told("azp")) } else { String::new() };
        let setting = match &settings.audience_claim {
            AudienceClaim::Named(name) => format!("{table}.audience_claim: {}, ", shown(name)),
            AudienceClaim::Aud | AudienceClaim::None => String::new(),
        };
        let ours = listed(&settings.audiences);
        let found =
            format!("{claim} {}{azp}; {setting}{table}.audiences: {ours}", self.told(claim));
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        if !self.0.get(claim).is_none_or(is_empty) {
            return found;
        }
        let others = ["aud", "client_id", "azp", "cid"].into_iter().filter(|other| *other != claim);
        let others: Vec<_> = others
            .filter(|other| self.text(other).is_some())
            .map(|other| format!("{other} {}", self.told(other)))
            .collect();
        if others.is_empty() {
            return found;
        }
        format!("{found}; {table}.audience_claim could name one of these: {}", others.join(", "))
    }

    fn explain_binding(&self, against: &Against<'_>) -> Check {
        let is_bound = self.0.has("cnf");
        let token = if is_bound { "bound to a key (cnf)" } else { "bound to no key" };
        let scheme = match against.scheme {
            Scheme::Bearer => "came as Bearer",
            Scheme::Dpop => "came as DPoP",
        };
        let mode = match against.rules.settings.dpop {
            DpopMode::Off => "off",
            DpopMode::Optional => "optional",
            DpopMode::Required => "required",
        };
        let found = format!("{token}, {scheme}; {}.dpop: {mode}", against.table);
        let result = self.bound_to(against.rules.settings.dpop, against.scheme).map(drop);
        Check::of("cnf", result, found)
    }

    fn explain_use(&self, against: &Against<'_>, says_access_token: bool) -> Check {
        Check::of(
            "use",
            self.check_use(against.rules, says_access_token),
            self.kind(against, says_access_token),
        )
    }

    fn kind(&self, against: &Against<'_>, says_access_token: bool) -> String {
        let id_tokens = if against.rules.settings.accepts_id_tokens { "accept" } else { "reject" };
        let setting = format!("{}.id_tokens: {id_tokens}", against.table);
        match self.evidence(says_access_token) {
            Some(evidence) => format!("{evidence}; {setting}"),
            None => format!("neither an ID token nor a refresh or logout token; {setting}"),
        }
    }

    /// A check for each claim that is required.
    fn explain_required(&self, against: &Against<'_>) -> Vec<Check> {
        let required = &against.rules.settings.required_claims;
        let explain = |required: &RequiredClaim| {
            let claim = required.claim.as_str();
            let found = self.0.at(&required.claim);
            let found = found.map_or_else(|| "none".to_owned(), |value| plain(&value.to_string()));
            let accepted = required.accepted.iter().map(|value| match value {
                ClaimValue::Text(text) => shown(text),
                ClaimValue::Boolean(boolean) => boolean.to_string(),
                ClaimValue::Integer(number) => number.to_string(),
            });
            let accepted = accepted.collect::<Vec<_>>().join(" or ");
            let found = format!("{claim} {found}; {}.required_claims: {accepted}", against.table);
            Check::of("required claim", self.check_one(required), found)
        };
        required.iter().map(explain).collect()
    }

    /// `end` is when its life ends by what it says, `refused` from when on it is.
    fn explain_times(
        &self,
        against: &Against<'_>,
        end: Result<Timestamp, Reason>,
        refused: Result<Timestamp, Reason>,
    ) -> [Check; 2] {
        let times = ["exp", "nbf", "iat"].map(|name| {
            let told = match self.time(name) {
                Ok(Some(time)) => relative(time, against.now),
                Ok(None) => "none".to_owned(),
                Err(_) => format!("no NumericDate: {}", self.told(name)),
            };
            format!("{name} {told}")
        });
        let age = against.rules.settings.max_token_age.map(|age| {
            format!(
                "; {}.max_token_age {}",
                against.table,
                span(age.try_into().unwrap_or_default())
            )
        });
        let found = format!("{}{}", times.join(", "), age.unwrap_or_default());
        let leeway = span(against.rules.leeway.try_into().unwrap_or_default());
        let expiry = match refused {
            Ok(refused) => {
                let result =
                    if against.now < refused { Ok(()) } else { Err(AuthError::ExpiredToken) };
                let found = format!(
                    "refused from {} on (auth.leeway {leeway})",
                    relative(refused, against.now)
                );
                Check::of("expiry", result, found)
            }
            Err(_) => Check::open("expiry", "it has no end that can be told"),
        };
        [Check::of("times", end.map(drop), found), expiry]
    }

    fn explain_scopes(&self, against: &Against<'_>) -> Check {
        let required = &against.rules.settings.required_scopes;
        let found = match required.as_slice() {
            [] => format!("{}.required_scopes is empty", against.table),
            required => format!(
                "{}; {}.required_scopes: {}",
                SCOPE_CLAIMS.map(|claim| format!("{claim} {}", self.told(claim))).join(", "),
                against.table,
                listed(required)
            ),
        };
        Check::of("scope", self.check_scopes(against.rules), found)
    }

    /// The value of a claim as operators may see it.
    fn told(&self, claim: &str) -> String {
        told(&self.0, claim)
    }
}

impl Introspected {
    /// Each check of [`Introspected::check`].
    pub(in crate::auth) fn explain(&self, against: &Against<'_>) -> Explained {
        let (claims, rules) = (&self.0, against.rules);
        let iss = if claims.0.has("iss") { claims.check_issuer(rules) } else { Ok(()) };
        let is_bound = claims.bound_to(rules.settings.dpop, against.scheme);
        let kind = self.check_kind(rules, matches!(is_bound, Ok(Some(_))));
        let end = self.exp(rules).and_then(|exp| claims.check_times_until(exp, rules, against.now));
        let refused = end.map(|end| later(end, rules.leeway));
        let mut checks = vec![
            Check::of(
                "iss",
                iss,
                format!(
                    "{}; {}.issuer: {}",
                    claims.told("iss"),
                    against.table,
                    shown(&rules.settings.issuer)
                ),
            ),
            claims.explain_subject(),
            Check::of("aud", self.check_audience(rules), claims.audience(against)),
            claims.explain_binding(against),
            Check::of(
                "kind",
                kind,
                format!(
                    "{}; {}",
                    KIND_CLAIMS.map(|claim| format!("{claim} {}", claims.told(claim))).join(", "),
                    claims.kind(against, false)
                ),
            ),
        ];
        checks.extend(claims.explain_required(against));
        checks.extend(claims.explain_times(against, end, refused));
        claims.explain_rest(against, checks)
    }
}

/// A moment, and how far from now it is.
fn relative(time: Timestamp, now: Timestamp) -> String {
    let second = Timestamp::from_second(time.as_second()).unwrap_or(time);
    let distance = time.duration_since(now);
    if distance.is_negative() {
        format!("{second} ({} ago)", span(distance.abs()))
    } else {
        format!("{second} (in {})", span(distance))
    }
}

fn span(duration: SignedDuration) -> String {
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_with_its_distance_in_whole_seconds() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        for (time, now, told) in [
            (90_999, 0, "1970-01-01T00:01:30Z (in 1m 30s)"),
            (90_000, 90_000, "1970-01-01T00:01:30Z (in 0s)"),
            (0, 3_600_000, "1970-01-01T00:00:00Z (1h ago)"),
            (0, 1_500, "1970-01-01T00:00:00Z (1s ago)"),
        ] {
            assert_eq!(relative(at(time), at(now)), told);
        }
    }
}
