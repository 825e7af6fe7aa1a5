//! Explains the audience check.

use serde_json::Value;

use super::{
    check::{Check, Suggestion},
    claims::one_of,
    near_miss,
    text::{quoted, toml_list},
};
use crate::{
    auth::jwt::{CheckContext, Claims},
    settings::{AudienceClaim, Issuer, KeySource},
};

/// Claims that `audience_claim` may name: `aud`, and the claims that name the client application.
const STAND_INS: [&str; 4] = ["aud", "client_id", "azp", "cid"];

/// Audiences that every app of an issuer can get: clients of each Keycloak realm, Microsoft Graph and its
/// predecessor.
const COMMON_AUDIENCES: [&str; 7] = [
    "account",
    "broker",
    "realm-management",
    "https://graph.microsoft.com",
    "00000003-0000-0000-c000-000000000000",
    "https://graph.windows.net",
    "00000002-0000-0000-c000-000000000000",
];

/// Suffixes of such audiences: Auth0's user info endpoint and its Management API.
const COMMON_ENDS: [&str; 2] = ["/userinfo", "/api/v2/"];

/// Why such an audience is not suggested.
const IS_COMMON: &str =
    "any app of this issuer can get that audience; the issuer has to add one for this API";

impl Claims {
    pub(super) fn explain_audience(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let settings = &context.rules.settings;
        let Some(claim) = settings.audience_claim.name() else {
            let found = format!("not compared ({}.audience_claim: \"none\")", context.rules.table);
            return made.finding(found);
        };
        let aud = self.members.get("aud").and_then(Value::as_array);
        let needs_azp = settings.accepts_id_tokens && aud.is_some_and(|aud| aud.len() > 1);
        let mut found = format!("{claim} {}", self.shown(claim));
        let mut expected = format!("{claim} {}", one_of(&settings.audiences));
        if needs_azp && claim != "azp" {
            found = format!("{found}, azp {}", self.shown("azp"));
            expected = format!("{expected}, and one of them in azp");
        }
        let mut key = "audiences".to_owned();
        if matches!(settings.audience_claim, AudienceClaim::Named(_)) {
            key = format!("audiences, {}.audience_claim", context.rules.table);
        }
        let made = made.finding(found).expecting(context.rules.expects(&expected, &key));
        self.audience_help(context, claim, needs_azp, made)
    }

    fn audience_help(
        &self,
        context: &CheckContext<'_>,
        claim: &str,
        needs_azp: bool,
        made: Check,
    ) -> Check {
        let accepted = &context.rules.settings.audiences;
        let (values, is_malformed) = match self.members.get(claim) {
            None => return self.missing_audience(context, claim, made),
            Some(Value::Array(values)) if values.is_empty() => {
                return self.missing_audience(context, claim, made);
            }
            Some(Value::String(value)) => (vec![value.as_str()], false),
            Some(Value::Array(values)) if claim == "aud" => {
                let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                let is_malformed = texts.len() < values.len();
                (texts, is_malformed)
            }
            Some(_) => (Vec::new(), true),
        };
        if is_malformed {
            let form = if claim == "aud" { "a string or a list of strings" } else { "a string" };
            return made.hint(format!("{claim} must be {form}"));
        }
        if needs_azp && values.iter().any(|value| accepted.iter().any(|accepted| accepted == value))
        {
            return made.hint(
                "an ID token with several audiences must have been issued to one of audiences (azp)",
            );
        }
        let values: Vec<_> = values.into_iter().filter(|value| !is_common(value)).collect();
        if values.is_empty() {
            return made.hint(IS_COMMON);
        }
        let pairs =
            accepted.iter().flat_map(|accepted| values.iter().map(move |value| (accepted, *value)));
        let near = pairs.into_iter().find_map(|(accepted, value)| {
            Some((accepted, value, near_miss::audience(accepted, value)?))
        });
        if let Some((accepted, value, difference)) = near {
            let hint = format!("{} {difference} from {}", quoted(value), quoted(accepted));
            let meaning = "the token's spelling of the audience is then accepted as well";
            return made.hint(hint).suggesting(append(context, value, meaning));
        }
        let [value] = values[..] else {
            return made.hint("if one of them names this API, add it to audiences");
        };
        let hint =
            "the token was issued for another API or app: the app must request one for this API";
        let meaning = "tokens issued for that API or app are then accepted: only if it is this one";
        made.hint(hint).suggesting(append(context, value, meaning))
    }

    fn missing_audience(&self, context: &CheckContext<'_>, claim: &str, made: Check) -> Check {
        let settings = &context.rules.settings;
        let customer = settings.customer_id_claim.segments().first();
        let candidates = STAND_INS
            .into_iter()
            .filter(|other| *other != claim && customer.is_none_or(|customer| customer != other));
        let candidates: Vec<_> =
            candidates.filter_map(|other| Some((other, self.text(other)?))).collect();
        let (common, candidates): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|(_, value)| is_common(value));
        let is_accepted = |value: &str| settings.audiences.iter().any(|accepted| accepted == value);
        let best = candidates.iter().find(|(_, value)| is_accepted(value)).or(candidates.first());
        let Some((name, value)) = best else {
            let why = match common.first() {
                Some((name, value)) => format!("{name} is {}: {IS_COMMON}", quoted(value)),
                None => format!("the token has none of {}", STAND_INS.join(", ")),
            };
            return made.hint(format!("{claim} is missing, and {why}"));
        };
        let found: Vec<_> =
            candidates.iter().map(|(name, _)| format!("{name} {}", self.shown(name))).collect();
        let made = made.hint(format!(
            "{claim} is missing; {}.audience_claim could name one of these: {}",
            context.rules.table,
            found.join(", ")
        ));
        if excludes_stand_ins(settings) {
            return made;
        }
        let meaning = "the app that a token was issued to is then compared, not the API: every token of \
                       that app is accepted";
        let mut suggestion =
            context.rules.suggest("audience_claim", Some(format!("\"{name}\"")), meaning);
        if !is_accepted(value) {
            let audiences = toml_list([*value]);
            let audiences = context.rules.suggest("audiences", audiences, meaning);
            suggestion = suggestion.zip(audiences).map(|(claim, audiences)| Suggestion {
                toml: format!("{}\n{}", claim.toml, audiences.toml),
                meaning: format!("{meaning}: only if it is this app; audiences is replaced"),
            });
        }
        made.suggesting(suggestion)
    }
}

/// Whether every app of the issuer can get a token for that audience.
fn is_common(audience: &str) -> bool {
    let plain = audience.trim_end_matches('/');
    COMMON_AUDIENCES.iter().any(|common| common.eq_ignore_ascii_case(plain))
        || COMMON_ENDS.iter().any(|end| audience.ends_with(end) || plain.ends_with(end))
}

/// `introspection_allow_no_audience` is about `aud` only.
fn excludes_stand_ins(settings: &Issuer) -> bool {
    matches!(&settings.keys, KeySource::Introspection(it) if it.allow_no_audience)
}

/// Suggests to add an audience to the accepted ones.
fn append(context: &CheckContext<'_>, value: &str, meaning: &str) -> Option<Suggestion> {
    let accepted = context.rules.settings.audiences.iter().map(String::as_str);
    let toml = toml_list(accepted.chain([value])).filter(|_| !value.is_empty());
    context.rules.suggest("audiences", toml, meaning)
}
