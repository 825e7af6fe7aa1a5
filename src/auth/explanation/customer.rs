//! Explains which customer a token names. Shows where a claim is, never its value.

use serde_json::Value;

use super::{
    check::{Check, Suggestion},
    text::{printable, quoted, toml_text},
};
use crate::{
    auth::jwt::{CheckContext, Claims, CustomerClaimError},
    settings::{AudienceClaim, ClaimPath},
};

/// Claims that commonly name the customer: Entra, Okta, Cognito, Django.
const CUSTOMER_CLAIMS: [&str; 5] = ["customer_id", "user_id", "uid", "oid", "sub"];

/// How issuers of Firebase begin.
const FIREBASE: &str = "https://securetoken.google.com/";

/// Claims whose members describe another party: the actor of a delegation (RFC 8693 §4.1, §4.4).
const OTHER_PARTIES: [&str; 2] = ["act", "may_act"];

impl Claims {
    pub(super) fn explain_customer(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let customer = self.customer(context.rules);
        let claim = &context.rules.settings.customer_id_claim;
        let found = match &customer {
            Ok(_) => format!("the claim {} names a customer", quoted(claim.as_str())),
            Err(why) => format!("the claim {} names none: {why}", quoted(claim.as_str())),
        };
        let (hint, suggestion) = match &customer {
            Ok(_) => (None, None),
            Err(why) => self.customer_help(context, *why),
        };
        let expected = format!("a customer in the claim {}", quoted(claim.as_str()));
        made.finding(found)
            .expecting(context.rules.expects(&expected, "customer_id_claim"))
            .hinting(hint)
            .suggesting(suggestion)
    }

    fn customer_help(
        &self,
        context: &CheckContext<'_>,
        why: CustomerClaimError,
    ) -> (Option<String>, Option<Suggestion>) {
        let claim = &context.rules.settings.customer_id_claim;
        let hint = match why {
            CustomerClaimError::Missing => return self.missing_customer(context, claim),
            CustomerClaimError::Unverified => {
                let twin = claim.verified_claim().map(|twin| twin.as_str().to_owned());
                return unverified(context, claim, &twin.unwrap_or_default());
            }
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
            CustomerClaimError::Malformed(_) => return (None, None),
        };
        (Some(hint.to_owned()), None)
    }

    /// Looks for the claim one level deeper, at the top, or in another letter case.
    fn missing_customer(
        &self,
        context: &CheckContext<'_>,
        claim: &ClaimPath,
    ) -> (Option<String>, Option<Suggestion>) {
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
            return (Some(hint), suggestion);
        }
        if let Some(place) = places.first() {
            let hint = format!("the token has it as {}, which users can edit", quoted(place));
            return (Some(hint), None);
        }
        let others = CUSTOMER_CLAIMS.into_iter().filter(|other| self.members.has(other));
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            return (Some("the issuer has to add the claim to its access tokens".to_owned()), None);
        }
        let others = others.join(", ");
        (Some(format!("of the usual claims the token has {others}")), None)
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
fn unverified(
    context: &CheckContext<'_>,
    claim: &ClaimPath,
    twin: &str,
) -> (Option<String>, Option<Suggestion>) {
    let missing = format!("the claim {} is missing", quoted(twin));
    let is_firebase = context.rules.settings.issuer.starts_with(FIREBASE);
    if !(is_firebase && claim.is("phone_number")) {
        let hint = "the issuer has to verify the address and add it, or use an id that users can't \
                    change instead";
        return (Some(format!("{missing}; {hint}")), None);
    }
    let meaning = "only for an issuer that verifies every address before it issues a token, and with \
                   required_claims.\"/firebase/sign_in_provider\" = \"phone\"";
    let toml = Some("\"assumed\"".to_owned());
    let suggestion = context.rules.suggest("customer_id_verified", toml, meaning);
    (Some(format!("{missing}; customer_id_verified decides about that")), suggestion)
}

/// Whether `place` is the audience claim, which never names the customer.
fn is_audience(context: &CheckContext<'_>, place: &str) -> bool {
    let claim = &context.rules.settings.audience_claim;
    matches!(claim, AudienceClaim::Aud | AudienceClaim::Named(_))
        && ClaimPath::trusted(place)
            .is_some_and(|path| path.segments().first().map(String::as_str) == claim.name())
}
