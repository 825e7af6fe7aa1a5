//! What is in a token: as RFC 9068 has it, unless told otherwise.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::algorithm;
use crate::{
    settings::Algorithm,
    simulator::span::{self, shifted},
};

/// The audience of tokens when none is asked for.
pub const DEFAULT_AUDIENCE: &str = "juspay-bff-demo";

/// A wish for a token. In JSON only `subject` is needed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// `sub`
    pub subject: String,
    /// `aud`
    #[serde(default = "default_audience")]
    pub audience: String,
    /// From `iat` to `exp`; negative: expired already. In JSON seconds, or `"1h"`.
    #[serde(default = "default_life", deserialize_with = "span::deserialize")]
    pub life: SignedDuration,
    /// `scope`, absent without.
    #[serde(default)]
    pub scope: Option<String>,
    /// The header's `typ`; absent when empty.
    #[serde(default = "default_typ")]
    pub typ: String,
    /// The header's `alg`.
    #[serde(default = "default_algorithm", deserialize_with = "algorithm::deserialize")]
    pub algorithm: Algorithm,
    /// A token that says nothing by itself: the issuer has to be asked about it.
    #[serde(default)]
    pub opaque: bool,
    /// Further claims. They go over the usual ones; a null takes a claim away.
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
    /// The usual token for `subject`: an hour, audience `juspay-bff-demo`, ES256, `at+jwt`.
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

    /// The usual token for `subject`, but opaque.
    #[must_use]
    pub fn opaque(subject: &str) -> Self {
        Self { opaque: true, ..Self::of(subject) }
    }

    /// This wish with a further claim.
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

    /// The claims of the issuer's token of that `number`.
    pub(super) fn claims(&self, issuer: &str, now: Timestamp, number: u64) -> Value {
        let mut claims = Map::new();
        let mut set = |claim: &str, value: Value| claims.insert(claim.to_owned(), value);
        set("iss", issuer.into());
        set("sub", self.subject.clone().into());
        set("aud", self.audience.clone().into());
        set("client_id", "juspay-bff-demo-app".into());
        // The time tells tokens of an issuer apart that was started again.
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
