//! Explains which customer a token names. Shows where a claim is, never its value.

use serde_json::Value;

use super::{
    check::Check,
    text::{printable, quoted, toml_text},
};
use crate::{
    auth::jwt::{CheckContext, Claims, CustomerClaimError},
    settings::{AudienceClaim, ClaimPath},
};

/// Claims that commonly name the customer: Entra, Okta, Cognito, Django.
const CUSTOMER_CLAIMS: [&str; 5] = ["customer_id", "user_id", "uid", "oid", "sub"];

/// The prefix of Firebase issuers.
const FIREBASE: &str = "https://securetoken.google.com/";

/// Claims whose members describe another party: the actor of a delegation (RFC 8693 §4.1, §4.4).
const OTHER_PARTIES: [&str; 2] = ["act", "may_act"];

impl Claims {
    pub(super) fn explain_customer(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let customer = self.customer(context.rules);
        let claim = &context.rules.settings.customer_id_claim;
        let found = match &customer {
            Ok(_) => {
                let creation = self.explain_creation(context).unwrap_or_default();
                format!("the claim {} names a customer{creation}", quoted(claim.as_str()))
            }
            Err(why) => format!("the claim {} names none: {why}", quoted(claim.as_str())),
        };
        let expected = format!("a customer in the claim {}", quoted(claim.as_str()));
        let expected = context.rules.expects(&expected, "customer_id_claim");
        let made = made.finding(found).expecting(expected);
        let Err(why) = customer else { return made };
        let hint = match why {
            CustomerClaimError::Missing => return self.missing_customer(context, claim, made),
            CustomerClaimError::Unverified => return unverified(context, claim, made),
            CustomerClaimError::NotVerified => {
                "the issuer did not verify this address; no setting changes that"
            }
            CustomerClaimError::ClientSubject => {
                "the token was issued by the client credentials grant; the app must send the token of a \
                 signed-in user"
            }
            CustomerClaimError::Foreign => {
                "customer_id_prefix of another issuer begins with this one's"
            }
            CustomerClaimError::UnsupportedType => {
                "it must be a string, an integer or a list of one of them"
            }
            CustomerClaimError::Malformed(_) => return made,
        };
        made.hint(hint)
    }

    /// Whether the customer can be created if Juspay doesn't know it; `None` if customers aren't created.
    fn explain_creation(&self, context: &CheckContext<'_>) -> Option<String> {
        let claim = &context.rules.settings.new_customer.as_ref()?.mobile_number;
        if self.new_customer(context.rules)?.is_complete() {
            return Some(", which is created if Juspay doesn't know it".to_owned());
        }
        let verified = claim.verified_claim().map(|_| "verified ").unwrap_or_default();
        Some(format!(
            ", which is not created if Juspay doesn't know it: the claim {} is no {verified}number with \
             a country code",
            quoted(claim.as_str())
        ))
    }

    /// Looks for the claim one level deeper, at the top, or in another letter case.
    fn missing_customer(
        &self,
        context: &CheckContext<'_>,
        claim: &ClaimPath,
        made: Check,
    ) -> Check {
        let name = claim.segments().last().map(String::as_str).unwrap_or_default();
        let places = self.places(name);
        let trusted: Vec<_> = places
            .iter()
            .filter(|place| ClaimPath::trusted(place).is_some_and(|path| path != *claim))
            .filter(|place| !is_audience(context, place))
            .collect();
        if let Some(place) = trusted.first() {
            let hint = format!("the token has it as {}", quoted(place));
            let meaning = "only if the issuer or your backend sets that claim, never users";
            let suggestion = context.rules.suggest("customer_id_claim", toml_text(place), meaning);
            return made.hint(hint).suggesting(suggestion);
        }
        if let Some(place) = places.first() {
            return made
                .hint(format!("the token has it as {}, which users can edit", quoted(place)));
        }
        let others: Vec<_> =
            CUSTOMER_CLAIMS.into_iter().filter(|other| self.members.has(other)).collect();
        if others.is_empty() {
            return made.hint("the issuer has to add the claim to its access tokens");
        }
        made.hint(format!("of the usual claims the token has {}", others.join(", ")))
    }

    /// Where members of this name are, in any letter case: at the top, and one level deeper.
    pub(super) fn places(&self, name: &str) -> Vec<String> {
        let is_it = |other: &str| !other.is_empty() && other.eq_ignore_ascii_case(name);
        let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
        let mut places = Vec::new();
        for outer in self.members.names() {
            if is_it(outer) {
                let is_pointer = outer.starts_with('/');
                let name = if is_pointer { format!("/{}", escape(outer)) } else { outer.clone() };
                places.push(name);
            }
            if OTHER_PARTIES.contains(&outer.as_str()) {
                continue;
            }
            if let Some(Value::Object(members)) = self.members.get(outer) {
                let inner = members.keys().filter(|inner| is_it(inner));
                places.extend(inner.map(|inner| format!("/{}/{}", escape(outer), escape(inner))));
            }
        }
        places.retain(|place| printable(place) == *place);
        places
    }
}

/// Only Firebase is known to verify each phone number, and only at a sign-in by phone.
fn unverified(context: &CheckContext<'_>, claim: &ClaimPath, made: Check) -> Check {
    let verified = claim.verified_claim();
    let verified = quoted(verified.as_ref().map_or("", ClaimPath::as_str));
    let is_firebase = context.rules.settings.issuer.starts_with(FIREBASE);
    if !(is_firebase && claim.is("phone_number")) {
        return made.hint(format!(
            "the claim {verified} is missing; the issuer has to verify the address and add it, \
             or use an id that users can't change instead"
        ));
    }
    let meaning = "only for an issuer that verifies every address before it issues a token, and with \
                   required_claims.\"/firebase/sign_in_provider\" = \"phone\"";
    let toml = Some("\"assumed\"".to_owned());
    made.hint(format!("the claim {verified} is missing; customer_id_verified decides about that"))
        .suggesting(context.rules.suggest("customer_id_verified", toml, meaning))
}

/// Whether `place` is the audience claim, which never names the customer.
fn is_audience(context: &CheckContext<'_>, place: &str) -> bool {
    let claim = &context.rules.settings.audience_claim;
    matches!(claim, AudienceClaim::Aud | AudienceClaim::Named(_))
        && ClaimPath::trusted(place)
            .is_some_and(|path| path.segments().first().map(String::as_str) == claim.name())
}
