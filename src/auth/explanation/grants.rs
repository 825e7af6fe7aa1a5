//! Explains the checks of scopes and of required claims.

use serde_json::Value;

use super::{
    check::Check,
    near_miss,
    text::{listed, printable, quoted, toml_list, toml_text},
};
use crate::{
    auth::jwt::{CheckContext, Claims, SCOPE_CLAIMS},
    settings::{ClaimPath, ClaimValue, RequiredClaim},
};

/// Claims that grant permissions but are not scopes: Auth0, Keycloak, Spring, Entra.
const OTHER_GRANTS: [&str; 6] =
    ["permissions", "permission", "roles", "role", "authorities", "groups"];

/// Words in names of claims whose values are personal, without underscores.
const PERSONAL: [&str; 10] = [
    "sub",
    "email",
    "emails",
    "emailaddress",
    "phone",
    "phonenumber",
    "username",
    "preferredusername",
    "upn",
    "uniquename",
];

impl Claims {
    pub(super) fn explain_scopes(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let required = &context.rules.settings.required_scopes;
        if required.is_empty() {
            let found = format!("none is required ({}.required_scopes)", context.rules.table);
            return made.finding(found);
        }
        let found = SCOPE_CLAIMS.map(|claim| format!("{claim} {}", self.shown(claim))).join(", ");
        let expected = format!("{} in scope, scp or scopes", listed(required));
        let expected = context.rules.expects(&expected, "required_scopes");
        self.scope_help(context, required, made.finding(found).expecting(expected))
    }

    fn scope_help(&self, context: &CheckContext<'_>, required: &[String], made: Check) -> Check {
        let granted = self.words(&SCOPE_CLAIMS);
        let missing: Vec<_> =
            required.iter().filter(|scope| !granted.contains(&scope.as_str())).collect();
        let near =
            |scope: &str| granted.iter().find_map(|it| Some((*it, near_miss::text(scope, it)?)));
        let nears: Vec<_> = missing.iter().map(|scope| (*scope, near(scope))).collect();
        if let Some((scope, (word, difference))) =
            nears.iter().find_map(|(scope, near)| Some((scope, near.as_ref()?)))
        {
            let hint = format!("the token's {} {difference} from {}", quoted(word), quoted(scope));
            let replaced = required.iter().map(|scope| {
                let near = nears.iter().find(|(missing, _)| *missing == scope);
                near.and_then(|(_, near)| near.as_ref()).map_or(scope.as_str(), |(word, _)| *word)
            });
            let all_near = nears.iter().all(|(_, near)| near.is_some());
            let toml = toml_list(replaced).filter(|_| all_near);
            let meaning = "scopes are compared with their letter case: tokens with the previous spelling \
                           are then rejected";
            let suggestion = context.rules.suggest("required_scopes", toml, meaning);
            return made.hint(hint).suggesting(suggestion);
        }
        let elsewhere = OTHER_GRANTS.into_iter().find_map(|claim| {
            let words = self.words(&[claim]);
            let scope = missing.iter().find(|scope| words.contains(&scope.as_str()))?;
            Some(format!("{} is in the claim {claim}, which grants no scopes", quoted(scope)))
        });
        let has_comma = |scope: &&&String| {
            granted.iter().any(|it| it.split(',').any(|word| word.trim() == scope.as_str()))
        };
        let hint = elsewhere.or_else(|| {
            missing.iter().find(has_comma).map(|scope| {
                format!("{} is separated by a comma; scopes are separated by spaces", quoted(scope))
            })
        });
        made.hint(
            hint.unwrap_or_else(|| format!("the app must request the scope {}", listed(missing))),
        )
    }

    /// The words in these claims. Each claim is a string or a list.
    fn words<'v>(&'v self, claims: &[&str]) -> Vec<&'v str> {
        let values = claims.iter().filter_map(|name| self.members.get(name));
        let words = |value: &'v Value| -> Vec<&'v str> {
            if let Some(items) = value.as_array() {
                return items.iter().filter_map(Value::as_str).collect();
            }
            value.as_str().map_or_else(Vec::new, |text| text.split(' ').collect())
        };
        values.flat_map(words).collect()
    }

    /// One check per required claim.
    pub(super) fn explain_required(
        &self,
        context: &CheckContext<'_>,
        name: &'static str,
    ) -> impl Iterator<Item = Check> {
        let required = &context.rules.settings.required_claims;
        required.iter().map(move |required| {
            let made = Check::of(name, self.check_required_claim(required));
            self.explain_required_claim(context, required, made)
        })
    }

    fn explain_required_claim(
        &self,
        context: &CheckContext<'_>,
        required: &RequiredClaim,
        made: Check,
    ) -> Check {
        let claim = required.claim.as_str();
        let value = self.members.at(&required.claim);
        let is_personal = is_personal(context, &required.claim);
        let found = match value {
            None => "none".to_owned(),
            Some(Value::Array(_) | Value::Object(_)) => "a list or an object".to_owned(),
            Some(_) if is_personal && made.failure().is_none() => "the value, not shown".to_owned(),
            Some(_) if is_personal => "another value, not shown".to_owned(),
            Some(value) => printable(&value.to_string()),
        };
        let accepted = required.accepted.iter().map(shown).collect::<Vec<_>>().join(" or ");
        let expected = context.rules.expects(&format!("{claim} {accepted}"), "required_claims");
        let made = made.finding(format!("{claim} {found}")).expecting(expected);
        match value {
            None => made.hint(self.elsewhere(&required.claim)),
            Some(value) => {
                let mut made = required_help(context, required, value, made);
                made.suggestion.take_if(|_| is_personal);
                made
            }
        }
    }

    fn elsewhere(&self, claim: &ClaimPath) -> String {
        let name = claim.segments().last().map(String::as_str).unwrap_or_default();
        let mut places = self.places(name);
        places.retain(|place| place != claim.as_str());
        let trusted = places.iter().find(|place| ClaimPath::trusted(place).is_some());
        let Some(place) = trusted.or(places.first()) else {
            return "the claim is missing; the issuer has to add it".to_owned();
        };
        let editable = if trusted.is_none() { ", which users can edit" } else { "" };
        format!("the claim is missing; the token has it as {}{editable}", quoted(place))
    }
}

/// Whether the claim's value may identify a person: an address, or the customer.
fn is_personal(context: &CheckContext<'_>, claim: &ClaimPath) -> bool {
    let customer = context.rules.settings.customer_id_claim.segments();
    let is_personal = |word: &str| {
        let word = word.replace('_', "");
        PERSONAL.iter().any(|name| name.eq_ignore_ascii_case(&word))
    };
    let mut words = claim.segments().iter().flat_map(|segment| segment.split(['/', '.', ':']));
    claim.segments().starts_with(customer) || words.any(is_personal)
}

fn shown(value: &ClaimValue) -> String {
    match value {
        ClaimValue::Text(text) => quoted(text),
        ClaimValue::Boolean(boolean) => boolean.to_string(),
        ClaimValue::Integer(number) => number.to_string(),
    }
}

/// Names a value that differs only in type or letter case.
fn required_help(
    context: &CheckContext<'_>,
    required: &RequiredClaim,
    value: &Value,
    made: Check,
) -> Check {
    let toml = match value {
        Value::String(text) => toml_text(text),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let difference = required.accepted.iter().find_map(|accepted| {
        let word = match accepted {
            ClaimValue::Text(text) => text.clone(),
            other @ (ClaimValue::Boolean(_) | ClaimValue::Integer(_)) => shown(other),
        };
        match (value, accepted) {
            (Value::String(text), ClaimValue::Text(expected)) => near_miss::text(expected, text),
            (Value::String(text), _) => (*text == word).then(|| "is a string".to_owned()),
            (Value::Bool(boolean), _) => {
                (boolean.to_string() == word).then(|| "is a boolean, not a string".to_owned())
            }
            (Value::Number(number), _) => {
                (number.to_string() == word).then(|| "is a number, not a string".to_owned())
            }
            _ => None,
        }
    });
    let Some(difference) = difference else {
        let is_list = value.is_array() || value.is_object();
        let hint = "a list or an object equals no value; name an item of it with a JSON Pointer";
        return made.hinting(is_list.then_some(hint));
    };
    let claim = required.claim.as_str();
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let is_bare = !claim.is_empty() && claim.bytes().all(is_bare);
    let key = if is_bare { Some(claim.to_owned()) } else { toml_text(claim) };
    let suggestion = key.and_then(|key| {
        let meaning = "type and letter case count: the previous value is then rejected";
        context.rules.suggest(&format!("required_claims.{key}"), toml, meaning)
    });
    made.hint(format!("the token's value {difference}")).suggesting(suggestion)
}
