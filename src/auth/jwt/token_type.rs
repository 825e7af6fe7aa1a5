//! Detects tokens that are not access tokens, by claims that prove it. A claim that any type of
//! token may have is no evidence: some issuers put `nonce` into access tokens too (RFC 7519 §4
//! requires that unknown claims are ignored).

use std::fmt;

use serde_json::Value;

use super::{
    checks::{CheckContext, Rules},
    claims::{Claims, Source},
};
use crate::auth::error::Reason;

/// Claims that name the type: Cognito, Keycloak, Django and RFC 7662.
pub(in crate::auth) const TYPE_CLAIMS: [&str; 3] = ["token_type", "token_use", "typ"];

/// [`TYPE_CLAIMS`] and `type`, which Flask-JWT-Extended uses. An introspection response may use
/// `type` for something else.
const NAMING_CLAIMS: [&str; 4] = ["token_type", "token_use", "typ", "type"];

/// Claims that only ID tokens have, unless the header names an access token (OpenID Connect Core
/// §3.1.3.6, §3.3.2.11).
const ID_TOKEN_CLAIMS: [&str; 2] = ["at_hash", "c_hash"];

/// Values that each of [`TYPE_CLAIMS`] may have in an introspection response, in lower case; `DPoP`
/// is also accepted. Introspection endpoints also describe refresh and ID tokens, so unknown values
/// are rejected.
const ACCEPTED_TYPES: [&[&str]; 3] =
    [&["bearer"], &["access_token", "access"], &["bearer", "at+jwt", "jwt"]];

/// A type of token other than an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum TokenType {
    Id,
    Refresh,
    /// A logout token, or another security event (RFC 8417).
    Event,
}

/// The type of a token and the claim that proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct Evidence {
    pub(in crate::auth) token_type: TokenType,
    claim: &'static str,
}

impl TokenType {
    /// Parses the name of a type in any form: `refresh`, `Refresh`, `refresh_token`.
    pub(in crate::auth) fn named(text: &str) -> Option<Self> {
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
    /// The evidence that this is not an access token. Types that no setting accepts come first.
    pub(in crate::auth) fn evidence(&self) -> Option<Evidence> {
        let has_access_token_type = self.source == Source::Jwt { has_access_token_type: true };
        let named = |wanted: TokenType| {
            let claim = NAMING_CLAIMS.into_iter().find(|claim| self.names_type(claim, wanted))?;
            Some(Evidence { token_type: wanted, claim })
        };
        let hash = || {
            let claim = ID_TOKEN_CLAIMS.into_iter().find(|claim| self.members.has(claim))?;
            (!has_access_token_type).then_some(Evidence { token_type: TokenType::Id, claim })
        };
        let event = self
            .members
            .has("events")
            .then_some(Evidence { token_type: TokenType::Event, claim: "events" });
        event
            .or_else(|| named(TokenType::Event))
            .or_else(|| named(TokenType::Refresh))
            .or_else(|| named(TokenType::Id))
            .or_else(hash)
    }

    /// Rejects a token that is provably of a type that the issuer's settings do not accept.
    pub(super) fn check_token_type(&self, context: &CheckContext<'_>) -> Result<(), Reason> {
        self.evidence().map_or(Ok(()), |evidence| evidence.token_type.check(context.rules))?;
        match self.source {
            Source::Jwt { .. } => Ok(()),
            Source::Introspection => {
                self.check_named_types(matches!(self.bound_to(context), Ok(Some(_))))
            }
        }
    }

    /// Checks the names of types in a response. A `DPoP` token must name its key (RFC 9449 §6.2). A
    /// token that names its key may be called a bearer token, as some issuers do. ID tokens may be
    /// named if the settings accept them.
    fn check_named_types(&self, is_bound: bool) -> Result<(), Reason> {
        for (claim, accepted) in TYPE_CLAIMS.into_iter().zip(ACCEPTED_TYPES) {
            let Some(value) = self.members.get(claim) else { continue };
            let name = value.as_str().ok_or(Reason::Claims)?;
            if name.eq_ignore_ascii_case("DPoP") {
                if is_bound {
                    continue;
                }
                return Err(Reason::Confirmation);
            }
            let is_id_token = TokenType::named(name) == Some(TokenType::Id);
            if !is_id_token && !accepted.iter().any(|accepted| name.eq_ignore_ascii_case(accepted))
            {
                return Err(Reason::Type);
            }
        }
        Ok(())
    }

    fn names_type(&self, claim: &str, wanted: TokenType) -> bool {
        let names = |value: &Value| value.as_str().and_then(TokenType::named) == Some(wanted);
        match self.members.get(claim) {
            Some(Value::Array(values)) => values.iter().any(names),
            Some(value) => names(value),
            None => false,
        }
    }
}

impl fmt::Display for TokenType {
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
        let Self { token_type, claim } = self;
        let why = match *claim {
            "events" => "it has the claim events".to_owned(),
            hash if ID_TOKEN_CLAIMS.contains(&hash) => {
                format!("it has the claim {hash}, and its header typ isn't at+jwt")
            }
            claim => format!("its claim {claim} says so"),
        };
        write!(f, "it is {token_type}: {why}")
    }
}
