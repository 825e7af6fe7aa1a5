//! What kind of token it is, by what its claims prove. A claim that any kind may have proves
//! nothing: `nonce` is in access tokens of some issuers too (RFC 7519 §4: unknown claims are ignored).

use std::fmt;

use serde_json::Value;

use super::Claims;
use crate::auth::{error::Reason, token::Rules};

/// Claims in which issuers name the kind: Cognito, Keycloak, Django and RFC 7662.
pub(super) const KIND_CLAIMS: [&str; 3] = ["token_type", "token_use", "typ"];

/// The same, and where Flask-JWT-Extended names the kind; an introspection answer may have it for
/// something else.
const NAMING_CLAIMS: [&str; 4] = ["token_type", "token_use", "typ", "type"];

/// Claims that only an ID token has, unless its header says that it is an access token (OpenID Connect
/// Core §3.1.3.6, §3.3.2.11).
const ID_TOKEN_CLAIMS: [&str; 2] = ["at_hash", "c_hash"];

/// A kind of token that isn't an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Id,
    Refresh,
    /// A logout token, or another security event (RFC 8417).
    Event,
}

/// That a token is of that kind, and the claim that proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) kind: Kind,
    claim: &'static str,
}

impl Kind {
    /// The kind that a claim names, in any case: `refresh`, `Refresh`, `refresh_token`.
    pub(super) fn named(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix("application/").unwrap_or(&text);
        let ends = ["_token", "-token", " token", "token", "+jwt"];
        match ends.into_iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text) {
            "id" => Some(Self::Id),
            "refresh" | "offline" => Some(Self::Refresh),
            "logout" => Some(Self::Event),
            _ => None,
        }
    }

    fn check(self, rules: &Rules) -> Result<(), Reason> {
        match self {
            Self::Id if rules.settings.accepts_id_tokens => Ok(()),
            Self::Id => Err(Reason::IdToken),
            Self::Refresh | Self::Event => Err(Reason::Type),
        }
    }
}

impl Claims {
    /// What proves that it is no access token, first what no setting admits.
    pub(super) fn evidence(&self, says_access_token: bool) -> Option<Evidence> {
        let named = |wanted: Kind| {
            let claim = NAMING_CLAIMS.into_iter().find(|claim| self.names_kind(claim, wanted))?;
            Some(Evidence { kind: wanted, claim })
        };
        let hash = || {
            let claim = ID_TOKEN_CLAIMS.into_iter().find(|claim| self.0.has(claim))?;
            (!says_access_token).then_some(Evidence { kind: Kind::Id, claim })
        };
        let event = self.0.has("events").then_some(Evidence { kind: Kind::Event, claim: "events" });
        event
            .or_else(|| named(Kind::Event))
            .or_else(|| named(Kind::Refresh))
            .or_else(|| named(Kind::Id))
            .or_else(hash)
    }

    /// Rejects what is proven to be another kind of token than the issuer's settings admit.
    pub(super) fn check_use(&self, rules: &Rules, says_access_token: bool) -> Result<(), Reason> {
        self.evidence(says_access_token).map_or(Ok(()), |evidence| evidence.kind.check(rules))
    }

    fn names_kind(&self, claim: &str, kind: Kind) -> bool {
        let names = |value: &Value| value.as_str().and_then(Kind::named) == Some(kind);
        match self.0.get(claim) {
            Some(Value::Array(values)) => values.iter().any(names),
            Some(value) => names(value),
            None => false,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, claim } = self;
        let kind = match kind {
            Kind::Id => "an ID token",
            Kind::Refresh => "a refresh token",
            Kind::Event => "a logout token or another event",
        };
        let why = match *claim {
            "events" => "it has the claim events".to_owned(),
            hash if ID_TOKEN_CLAIMS.contains(&hash) => {
                format!("it has the claim {hash}, and its typ isn't at+jwt")
            }
            claim => format!("its claim {claim} says so"),
        };
        write!(f, "it is {kind}: {why}")
    }
}
