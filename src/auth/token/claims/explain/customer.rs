//! Explains which customer a token names. Shows where a claim is, never its value.

use serde_json::Value;

use super::Against;
use crate::{
    auth::{
        error::AuthError,
        explanation::{Check, Suggestion, printable, quoted, toml_text},
        token::claims::{Claims, Nobody},
    },
    customer::CustomerId,
    settings::{AudienceClaim, ClaimPath},
};

/// Claims that name a customer where `sub` does not, or another one: Entra, Okta, Cognito, Django.
const CUSTOMER_CLAIMS: [&str; 5] = ["customer_id", "user_id", "uid", "oid", "sub"];

/// Claims whose members describe another party: the actor of a delegation (RFC 8693 §4.1, §4.4).
const OTHER_PARTIES: [&str; 2] = ["act", "may_act"];

impl Claims {
    pub(super) fn explain_customer(&self, against: &Against<'_>) -> (Check, Option<CustomerId>) {
        let customer = self.customer(against.rules);
        let claim = &against.rules.settings.customer_id_claim;
        let found = match &customer {
            Ok(_) => format!("the claim {} names a customer", quoted(claim.as_str())),
            Err(why) => format!("the claim {} names none: {why}", quoted(claim.as_str())),
        };
        let (hint, suggestion) = match &customer {
            Ok(_) => (None, None),
            Err(why) => self.customer_help(against, *why),
        };
        let expected = format!("a customer in the claim {}", quoted(claim.as_str()));
        let result = customer.as_ref().map(drop).map_err(|_| AuthError::NoCustomer);
        let check = Check::of("customer", result, found)
            .expecting(against.expects(&expected, "customer_id_claim"))
            .hinting(hint)
            .suggesting(suggestion);
        (check, customer.ok())
    }

    fn customer_help(
        &self,
        against: &Against<'_>,
        why: Nobody,
    ) -> (Option<String>, Option<Suggestion>) {
        let claim = &against.rules.settings.customer_id_claim;
        let hint = match why {
            Nobody::Missing => return self.missing_customer(against, claim),
            Nobody::Unverified => {
                let twin = claim.verified_claim().map(|twin| twin.as_str().to_owned());
                let hint = format!(
                    "the claim {} is missing; customer_id_verified decides about that",
                    quoted(&twin.unwrap_or_default())
                );
                let toml = Some("\"assumed\"".to_owned());
                let meaning =
                    "only for an issuer that verifies every address before it issues a token";
                return (Some(hint), against.suggest("customer_id_verified", toml, meaning));
            }
            Nobody::NotVerified => {
                "the issuer did not verify this address; no setting changes that"
            }
            Nobody::Client => {
                "the token was issued by the client credentials grant; the app must send the token of a \
                 signed-in user"
            }
            Nobody::Foreign => "customer_id_prefix of another issuer begins with this one's",
            Nobody::NoName => "it must be a string, an integer or a list of one of them",
            Nobody::Malformed(_) => return (None, None),
        };
        (Some(hint.to_owned()), None)
    }

    /// The claim may be one level deeper, at the top, or written differently.
    fn missing_customer(
        &self,
        against: &Against<'_>,
        claim: &ClaimPath,
    ) -> (Option<String>, Option<Suggestion>) {
        let name = claim.segments().last().map(String::as_str).unwrap_or_default();
        let places = self.places(name);
        let trusted: Vec<_> = places
            .iter()
            .filter(|place| ClaimPath::trusted(place).is_some_and(|path| path != *claim))
            .filter(|place| !is_audience(against, place))
            .collect();
        if let Some(place) = trusted.first() {
            let hint = format!("the token has it as {}", quoted(place));
            let meaning = "only if the issuer or your backend sets that claim, never users";
            let suggestion = against.suggest("customer_id_claim", toml_text(place), meaning);
            return (Some(hint), suggestion);
        }
        if let Some(place) = places.first() {
            let hint = format!("the token has it as {}, which users can edit", quoted(place));
            return (Some(hint), None);
        }
        let others = CUSTOMER_CLAIMS.into_iter().filter(|other| self.0.has(other));
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
        for outer in self.0.names() {
            if is_it(outer) {
                let is_pointer = outer.starts_with('/');
                let name = if is_pointer { format!("/{}", escape(outer)) } else { outer.clone() };
                places.push(name);
            }
            if OTHER_PARTIES.contains(&outer.as_str()) {
                continue;
            }
            if let Some(Value::Object(members)) = self.0.get(outer) {
                let inner = members.keys().filter(|inner| is_it(inner));
                places.extend(inner.map(|inner| format!("/{}/{}", escape(outer), escape(inner))));
            }
        }
        places.retain(|place| printable(place) == *place);
        places
    }
}

/// The customer's claim is never that of the audience.
fn is_audience(against: &Against<'_>, place: &str) -> bool {
    let claim = &against.rules.settings.audience_claim;
    matches!(claim, AudienceClaim::Aud | AudienceClaim::Named(_))
        && ClaimPath::trusted(place)
            .is_some_and(|path| path.segments().first().map(String::as_str) == claim.name())
}
