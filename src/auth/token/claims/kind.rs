//! Detects tokens that are not access tokens, by claims that prove it. A claim that any kind of
//! token may have is no evidence: some issuers put `nonce` into access tokens too (RFC 7519 §4
//! requires that unknown claims are ignored).

use std::fmt;

use serde_json::Value;

use super::Claims;
use crate::auth::{error::Reason, token::Rules};

/// Claims that name the kind: Cognito, Keycloak, Django and RFC 7662.
pub(super) const KIND_CLAIMS: [&str; 3] = ["token_type", "token_use", "typ"];

/// [`KIND_CLAIMS`] and `type`, which Flask-JWT-Extended uses. An introspection response may use
/// `type` for something else.
const NAMING_CLAIMS: [&str; 4] = ["token_type", "token_use", "typ", "type"];

/// Claims that only ID tokens have, unless the header names an access token (OpenID Connect Core
/// §3.1.3.6, §3.3.2.11).
const ID_TOKEN_CLAIMS: [&str; 2] = ["at_hash", "c_hash"];

/// A kind of token that isn't an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth::token) enum Kind {
    Id,
    Refresh,
    /// A logout token, or another security event (RFC 8417).
    Event,
}

/// The kind of a token and the claim that proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) kind: Kind,
    claim: &'static str,
}

impl Kind {
    /// Parses the name of a kind in any spelling: `refresh`, `Refresh`, `refresh_token`.
    pub(in crate::auth::token) fn named(text: &str) -> Option<Self> {
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
    /// The evidence that this is not an access token. Kinds that no setting accepts come first.
    pub(super) fn evidence(&self, has_access_token_type: bool) -> Option<Evidence> {
        let named = |wanted: Kind| {
            let claim = NAMING_CLAIMS.into_iter().find(|claim| self.names_kind(claim, wanted))?;
            Some(Evidence { kind: wanted, claim })
        };
        let hash = || {
            let claim = ID_TOKEN_CLAIMS.into_iter().find(|claim| self.0.has(claim))?;
            (!has_access_token_type).then_some(Evidence { kind: Kind::Id, claim })
        };
        let event = self.0.has("events").then_some(Evidence { kind: Kind::Event, claim: "events" });
        event
            .or_else(|| named(Kind::Event))
            .or_else(|| named(Kind::Refresh))
            .or_else(|| named(Kind::Id))
            .or_else(hash)
    }

    /// Rejects a token that is provably of a kind the issuer's settings do not accept.
    pub(super) fn check_token_kind(
        &self,
        rules: &Rules,
        has_access_token_type: bool,
    ) -> Result<(), Reason> {
        self.evidence(has_access_token_type).map_or(Ok(()), |evidence| evidence.kind.check(rules))
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "an ID token",
            Self::Refresh => "a refresh token",
            Self::Event => "a logout token or another event",
        })
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, claim } = self;
        let why = match *claim {
            "events" => "it has the claim events".to_owned(),
            hash if ID_TOKEN_CLAIMS.contains(&hash) => {
                format!("it has the claim {hash}, and its header typ isn't at+jwt")
            }
            claim => format!("its claim {claim} says so"),
        };
        write!(f, "it is {kind}: {why}")
    }
}
