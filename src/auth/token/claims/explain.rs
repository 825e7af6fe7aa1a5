//! Explains the checks of a token's claims to operators.
//!
//! The checks are those of [`Claims::check`] and [`Introspected::check`], called in the same order;
//! the attack corpus compares both. Values are shown only of claims that are compared with settings
//! (`iss`, `aud`, times, scopes). Of other claims the output shows only whether and where they are
//! present.

mod audience;
mod customer;
mod grants;
mod times;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Claims, Introspected,
    kind::{KIND_CLAIMS, Kind},
};
use crate::{
    auth::{
        bearer::Scheme,
        error::Reason,
        explanation::{Check, Suggestion, listed, member, quoted},
        near_miss,
        token::{
            Rules,
            explain::{issuer_hint, suggested_issuer},
        },
    },
    clock::later,
    customer::CustomerId,
    settings::{AudienceClaim, DpopMode},
};

/// What the claims are compared with.
pub(in crate::auth) struct CheckContext<'r> {
    pub(in crate::auth) rules: &'r Rules,
    /// The issuer's table in the settings.
    pub(in crate::auth) table: &'r str,
    pub(in crate::auth) scheme: Scheme,
    pub(in crate::auth) now: Timestamp,
}

/// The checks, and the customer that the token names.
pub(in crate::auth) type Explained = (Vec<Check>, Option<CustomerId>);

impl CheckContext<'_> {
    /// An expected value with the setting that it comes from.
    pub(in crate::auth::token) fn expects(&self, values: &str, key: &str) -> String {
        format!("{values} ({}.{key})", self.table)
    }

    /// Suggests a value for a setting of this issuer.
    pub(in crate::auth::token) fn suggest(
        &self,
        key: &str,
        toml: Option<String>,
        meaning: impl Into<String>,
    ) -> Option<Suggestion> {
        let toml = format!("{}.{key} = {}", self.table, toml?);
        Some(Suggestion { toml, meaning: meaning.into() })
    }
}

/// Describes a list of accepted values.
pub(in crate::auth::token) fn one_of<T: AsRef<str>>(values: &[T]) -> String {
    match values {
        [value] => quoted(value.as_ref()),
        values => format!("one of {}", listed(values)),
    }
}

impl Claims {
    /// Explains [`Claims::check`].
    pub(in crate::auth::token) fn explain(
        &self,
        context: &CheckContext<'_>,
        has_access_token_type: bool,
    ) -> Explained {
        let end = self.check_times(context.rules, context.now);
        let kind = self.check_token_kind(context.rules, has_access_token_type);
        let mut checks = vec![
            self.explain_subject(),
            self.explain_audience(context, self.check_audience(context.rules)),
            self.explain_binding(context),
            self.explain_kind("use", context, kind, has_access_token_type),
        ];
        checks.extend(self.explain_required(context));
        checks.extend(self.explain_times(context, end, end));
        self.explain_rest(context, checks)
    }

    fn explain_rest(&self, context: &CheckContext<'_>, mut checks: Vec<Check>) -> Explained {
        checks.push(self.explain_scopes(context));
        let (check, customer) = self.explain_customer(context);
        checks.push(check);
        (checks, customer)
    }

    fn explain_subject(&self) -> Check {
        let found = match self.0.get("sub") {
            None => "no sub",
            Some(Value::Array(_) | Value::Object(_)) => "a list or an object",
            Some(_) => "a single value",
        };
        Check::of("sub", self.check_subject(), found).wanting("a single value, or no sub")
    }

    fn explain_binding(&self, context: &CheckContext<'_>) -> Check {
        let mode = context.rules.settings.dpop;
        let cnf = self.0.get("cnf");
        let token = if cnf.is_some() { "bound to a key (cnf)" } else { "bound to no key" };
        let scheme = match context.scheme {
            Scheme::Bearer => "sent as Bearer",
            Scheme::Dpop => "sent as DPoP",
        };
        let (name, expected) = match mode {
            DpopMode::Off => ("off", "a token bound to no key, sent as Bearer"),
            DpopMode::Optional => {
                ("optional", "a token bound to a key and sent as DPoP, or neither of both")
            }
            DpopMode::Required => ("required", "a token bound to a key (cnf.jkt), sent as DPoP"),
        };
        let has_thumbprint = cnf.and_then(|cnf| cnf.get("jkt")).is_some_and(Value::is_string);
        let hint = match (cnf.is_some(), mode, context.scheme) {
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
        let toml = (mode == DpopMode::Off && has_thumbprint).then(|| "\"optional\"".to_owned());
        let meaning = "tokens bound to a key are accepted with their DPoP proof only";
        Check::of(
            "cnf",
            self.bound_to(mode, context.scheme).map(drop),
            format!("{token}, {scheme}"),
        )
        .expecting(context.expects(expected, &format!("dpop: {name}")))
        .hinting(Some(hint))
        .suggesting(context.suggest("dpop", toml, meaning))
    }

    fn explain_kind(
        &self,
        name: &'static str,
        context: &CheckContext<'_>,
        result: Result<(), Reason>,
        has_access_token_type: bool,
    ) -> Check {
        let settings = &context.rules.settings;
        let (mode, expected) = if settings.accepts_id_tokens {
            ("accept", "an access token or an ID token")
        } else {
            ("reject", "an access token")
        };
        let evidence = self.evidence(has_access_token_type);
        let found = evidence.map_or_else(
            || "neither an ID token nor a refresh or logout token".to_owned(),
            |evidence| evidence.to_string(),
        );
        let is_id_token = evidence.is_some_and(|evidence| evidence.kind == Kind::Id);
        let hint = match evidence.map(|evidence| evidence.kind) {
            Some(Kind::Id) => {
                "the app must send its access token; set id_tokens only if the ID token is this issuer's \
                 credential for apps, as with Firebase, Google and Apple"
            }
            Some(Kind::Refresh) => "the app must send its access token, never its refresh token",
            Some(Kind::Event) => "the app must send its access token; this one is for servers",
            None => "",
        };
        let compares = settings.audience_claim != AudienceClaim::None;
        let toml = (is_id_token && compares).then(|| "\"accept\"".to_owned());
        let meaning = "ID tokens of this issuer then let an app in, as access tokens do";
        Check::of(name, result, found)
            .expecting(context.expects(expected, &format!("id_tokens: {mode}")))
            .hinting((!hint.is_empty()).then_some(hint))
            .suggesting(context.suggest("id_tokens", toml, meaning))
    }

    /// The value of a claim that may be shown to operators.
    fn shown(&self, claim: &str) -> String {
        member(&self.0, claim)
    }
}

impl Introspected {
    /// Explains [`Introspected::check`].
    pub(in crate::auth) fn explain(&self, context: &CheckContext<'_>) -> Explained {
        let (claims, rules) = (&self.0, context.rules);
        let is_bound = claims.bound_to(rules.settings.dpop, context.scheme);
        let kind = self.check_kind(rules, matches!(is_bound, Ok(Some(_))));
        let end = self.exp(rules).and_then(|exp| claims.check_times_until(exp, rules, context.now));
        let rejected = end.map(|end| later(end, rules.leeway));
        let mut kind = claims.explain_kind("kind", context, kind, false);
        let said = KIND_CLAIMS.map(|claim| format!("{claim} {}", claims.shown(claim))).join(", ");
        kind.found = format!("{said}; {}", kind.found);
        let mut checks = vec![
            self.explain_issuer(context),
            claims.explain_subject(),
            claims.explain_audience(context, self.check_audience(rules)),
            claims.explain_binding(context),
            kind,
        ];
        checks.extend(claims.explain_required(context));
        checks.extend(claims.explain_times(context, end, rejected));
        claims.explain_rest(context, checks)
    }

    fn explain_issuer(&self, context: &CheckContext<'_>) -> Check {
        let (claims, settings) = (&self.0, &context.rules.settings);
        let result = if claims.0.has("iss") { claims.check_issuer(context.rules) } else { Ok(()) };
        let iss = claims.text("iss").unwrap_or_default();
        let near = near_miss::issuer(&settings.issuer, iss);
        let suggestion =
            near.as_ref().and_then(|near| suggested_issuer(near, context.table, settings, iss));
        Check::of("iss", result, claims.shown("iss"))
            .expecting(context.expects(&quoted(&settings.issuer), "issuer"))
            .hinting(near.map(|near| issuer_hint(&near, &settings.issuer, iss)))
            .suggesting(suggestion)
    }
}
