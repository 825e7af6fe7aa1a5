//! The claims of a token: those of RFC 9068, with the requested changes.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::algorithm::{self, Algorithm};
use crate::time::{self, shifted};

/// The default audience.
pub const DEFAULT_AUDIENCE: &str = "juspay-bff-demo";

/// A request for a token. In JSON only `subject` is required.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// `sub`
    pub subject: String,
    /// `aud`
    #[serde(default = "default_audience")]
    pub audience: String,
    /// From `iat` to `exp`; negative for an expired token. In JSON seconds, or `"1h"`.
    #[serde(default = "default_life", deserialize_with = "time::deserialize")]
    pub life: SignedDuration,
    /// `scope`; absent if none.
    #[serde(default)]
    pub scope: Option<String>,
    /// The header's `typ`; absent if empty.
    #[serde(default = "default_typ")]
    pub typ: String,
    /// The header's `alg`.
    #[serde(default = "default_algorithm", deserialize_with = "algorithm::deserialize")]
    pub algorithm: Algorithm,
    /// Whether the token is opaque, so that it needs introspection.
    #[serde(default)]
    pub opaque: bool,
    /// Additional claims. They replace default ones; null removes a claim.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

fn default_audience() -> String {
    DEFAULT_AUDIENCE.to_owned()
}

const fn default_life() -> SignedDuration {
    SignedDuration::from_hours(1)
}

fn default_typ() -> String {
    "at+jwt".to_owned()
}

const fn default_algorithm() -> Algorithm {
    algorithm::DEFAULT
}

impl MintRequest {
    /// The default token for `subject`: an hour, audience `juspay-bff-demo`, ES256, `at+jwt`.
    #[must_use]
    pub fn of(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            audience: default_audience(),
            life: default_life(),
            scope: None,
            typ: default_typ(),
            algorithm: default_algorithm(),
            opaque: false,
            claims: Map::new(),
        }
    }

    /// An opaque token for `subject`, otherwise the default.
    #[must_use]
    pub fn opaque(subject: &str) -> Self {
        Self { opaque: true, ..Self::of(subject) }
    }

    /// Adds a claim.
    #[must_use]
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(claim.to_owned(), value.into());
        self
    }

    pub(super) fn header(&self, kid: &str) -> Value {
        let alg = self.algorithm.name();
        if self.typ.is_empty() {
            json!({"alg": alg, "kid": kid})
        } else {
            json!({"alg": alg, "kid": kid, "typ": self.typ})
        }
    }

    /// The claims of the issuer's token with this `number`.
    pub(super) fn claims(&self, issuer: &str, now: Timestamp, number: u64) -> Value {
        let mut claims = Map::new();
        let mut set = |claim: &str, value: Value| claims.insert(claim.to_owned(), value);
        set("iss", issuer.into());
        set("sub", self.subject.clone().into());
        set("aud", self.audience.clone().into());
        set("client_id", "juspay-bff-demo-app".into());
        // The time distinguishes tokens from those of an earlier process.
        set("jti", format!("{}-{number}", now.as_millisecond()).into());
        set("iat", now.as_second().into());
        set("exp", shifted(now, self.life).as_second().into());
        if let Some(scope) = &self.scope {
            set("scope", scope.clone().into());
        }
        claims.extend(self.claims.clone());
        claims.retain(|_, value| !value.is_null());
        Value::Object(claims)
    }
}
