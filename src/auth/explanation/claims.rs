//! Explains the checks of a token's claims to operators.
//!
//! Values are shown only of claims that are compared with settings (`iss`, `aud`, times, scopes). Of
//! other claims the output shows only whether and where they are present.

use serde_json::Value;

use super::{
    check::{Check, Suggestion},
    header::{issuer_hint, suggested_issuer},
    near_miss,
    text::{listed, member, quoted},
};
use crate::{
    auth::{
        credentials::Scheme,
        jwt::{CheckContext, ClaimCheck, Claims, Rules, Source, TYPE_CLAIMS, TokenType},
    },
    settings::{AudienceClaim, DpopMode},
};

impl Rules {
    /// An expected value with the setting that it comes from.
    pub(super) fn expects(&self, values: &str, key: &str) -> String {
        format!("{values} ({}.{key})", self.table)
    }

    /// Suggests a value for a setting of this issuer.
    pub(super) fn suggest(
        &self,
        key: &str,
        toml: Option<String>,
        meaning: impl Into<String>,
    ) -> Option<Suggestion> {
        let toml = format!("{}.{key} = {}", self.table, toml?);
        Some(Suggestion { toml, meaning: meaning.into() })
    }
}

impl ClaimCheck {
    /// The check's name in an explanation.
    pub(super) const fn name(self, source: Source) -> &'static str {
        match (self, source) {
            (Self::Issuer, _) => "iss",
            (Self::Subject, _) => "sub",
            (Self::Audience, _) => "aud",
            (Self::Confirmation, _) => "cnf",
            (Self::TokenType, Source::Jwt { .. }) => "use",
            (Self::TokenType, Source::Introspection) => "kind",
            (Self::RequiredClaims, _) => "required claim",
            (Self::Times, _) => "times",
            (Self::Expiry, _) => "expiry",
            (Self::Scopes, _) => "scope",
            (Self::Customer, _) => "customer",
        }
    }
}

/// Explains all checks of claims.
pub(in crate::auth) fn explain_claims(claims: &Claims, context: &CheckContext<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for check in ClaimCheck::of(claims.source) {
        let made = Check::of(check.name(claims.source), claims.check(check, context));
        checks.push(match check {
            ClaimCheck::Issuer => claims.explain_issuer(context, made),
            ClaimCheck::Subject => claims.explain_subject(made),
            ClaimCheck::Audience => claims.explain_audience(context, made),
            ClaimCheck::Confirmation => claims.explain_confirmation(context, made),
            ClaimCheck::TokenType => claims.explain_token_type(context, made),
            ClaimCheck::RequiredClaims => {
                checks.extend(claims.explain_required(context, made.name));
                continue;
            }
            ClaimCheck::Times => claims.explain_times(context, made),
            ClaimCheck::Expiry => claims.explain_expiry(context, made),
            ClaimCheck::Scopes => claims.explain_scopes(context, made),
            ClaimCheck::Customer => claims.explain_customer(context, made),
        });
    }
    checks
}

/// Describes a list of accepted values.
pub(super) fn one_of<T: AsRef<str>>(values: &[T]) -> String {
    match values {
        [value] => quoted(value.as_ref()),
        values => format!("one of {}", listed(values)),
    }
}

impl Claims {
    fn explain_issuer(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let rules = context.rules;
        let expected = &rules.settings.issuer;
        let iss = self.text("iss").unwrap_or_default();
        let near = near_miss::issuer(expected, iss);
        let suggestion = near
            .as_ref()
            .and_then(|near| suggested_issuer(near, &rules.table, &rules.settings, iss));
        made.finding(self.shown("iss"))
            .expecting(rules.expects(&quoted(expected), "issuer"))
            .hinting(near.map(|near| issuer_hint(&near, expected, iss)))
            .suggesting(suggestion)
    }

    fn explain_subject(&self, made: Check) -> Check {
        let found = match self.members.get("sub") {
            None => "no sub",
            Some(Value::Array(_) | Value::Object(_)) => "a list or an object",
            Some(_) => "a single value",
        };
        made.finding(found).wanting("a single value, or no sub")
    }

    fn explain_confirmation(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let setting = context.rules.settings.dpop;
        let cnf = self.members.get("cnf");
        let token = if cnf.is_some() { "bound to a key (cnf)" } else { "bound to no key" };
        let scheme = match context.scheme {
            Scheme::Bearer => "sent as Bearer",
            Scheme::Dpop => "sent as DPoP",
        };
        let (name, expected) = match setting {
            DpopMode::Off => ("off", "a token bound to no key, sent as Bearer"),
            DpopMode::Optional => {
                ("optional", "a token bound to a key and sent as DPoP, or neither of both")
            }
            DpopMode::Required => ("required", "a token bound to a key (cnf.jkt), sent as DPoP"),
        };
        let has_thumbprint = cnf.and_then(|cnf| cnf.get("jkt")).is_some_and(Value::is_string);
        let hint = match (cnf.is_some(), setting, context.scheme) {
            (true, ..) if !has_thumbprint => {
                "cnf has no jkt: the binding is not DPoP, and this service cannot check it"
            }
            (true, DpopMode::Off, _) => {
                "the app has to send such a token as DPoP, with a proof in each request"
            }
            (true, _, Scheme::Bearer) => "send it as DPoP, with a proof in each request",
            (true, _, Scheme::Dpop) => "cnf must have jkt only, which must be a SHA-256 thumbprint",
            (false, DpopMode::Required, _) => "the app has to request a token with a DPoP proof",
            (false, ..) => "send it as Bearer",
        };
        let toml = (setting == DpopMode::Off && has_thumbprint).then(|| "\"optional\"".to_owned());
        let meaning = "tokens bound to a key are accepted with their DPoP proof only";
        made.finding(format!("{token}, {scheme}"))
            .expecting(context.rules.expects(expected, &format!("dpop: {name}")))
            .hint(hint)
            .suggesting(context.rules.suggest("dpop", toml, meaning))
    }

    fn explain_token_type(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let settings = &context.rules.settings;
        let (setting, expected) = if settings.accepts_id_tokens {
            ("accept", "an access token or an ID token")
        } else {
            ("reject", "an access token")
        };
        let evidence = self.evidence();
        let mut found = evidence.map_or_else(
            || "neither an ID token nor a refresh or logout token".to_owned(),
            |evidence| evidence.to_string(),
        );
        if self.source == Source::Introspection {
            let named = TYPE_CLAIMS.map(|claim| format!("{claim} {}", self.shown(claim)));
            found = format!("{}; {found}", named.join(", "));
        }
        let is_id_token = evidence.is_some_and(|evidence| evidence.token_type == TokenType::Id);
        let hint = match evidence.map(|evidence| evidence.token_type) {
            Some(TokenType::Id) => {
                "the app must send its access token; set id_tokens only if the ID token is this issuer's \
                 credential for apps, as with Firebase, Google and Apple"
            }
            Some(TokenType::Refresh) => {
                "the app must send its access token, never its refresh token"
            }
            Some(TokenType::Event) => "the app must send its access token; this one is for servers",
            None => "",
        };
        let compares = settings.audience_claim != AudienceClaim::None;
        let toml = (is_id_token && compares).then(|| "\"accept\"".to_owned());
        let meaning = "ID tokens of this issuer then let an app in, as access tokens do";
        made.finding(found)
            .expecting(context.rules.expects(expected, &format!("id_tokens: {setting}")))
            .hinting((!hint.is_empty()).then_some(hint))
            .suggesting(context.rules.suggest("id_tokens", toml, meaning))
    }

    /// The value of a claim that may be shown to operators.
    pub(super) fn shown(&self, claim: &str) -> String {
        member(&self.members, claim)
    }
}
