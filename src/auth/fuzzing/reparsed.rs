//! Parses the claims of a token with a second, independent parser, and checks them against an issuer's
//! rules.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    auth::jwt::Rules,
    customer::CustomerId,
    settings::{self, Sources},
};

/// 2026-01-01T00:00:00Z.
pub(super) const NOW: i64 = 1_767_225_600;
pub(super) const ISSUER: &str = "https://id.example";
const LEEWAY: Duration = Duration::from_secs(30);
const PREFIX: &str = "m.";
/// The prefix of another issuer.
const FOREIGN_PREFIX: &str = "m.n.";
const SETTINGS: &str = r#"
juspay = { base_url = "https://api.juspay.in", merchant_id = "merchant", api_key = "key" }

[auth.issuers.main]
issuer = "https://id.example"
audiences = ["api"]
algorithms = ["ES256", "EdDSA"]
customer_id_prefix = "m."
required_scopes = ["pay"]
discovery = true
"#;

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

/// A JWS of two JSON texts, one per line, with an invalid signature.
pub(in crate::auth) fn unsigned(texts: &[u8]) -> Option<String> {
    let end = texts.iter().position(|byte| *byte == b'\n').filter(|_| texts.starts_with(b"{"))?;
    let (header, claims) = texts.split_at_checked(end)?;
    let [header, claims] = [header, claims.trim_ascii_start()].map(|it| URL_SAFE_NO_PAD.encode(it));
    Some(format!("{header}.{claims}.AAAA"))
}

/// The requirements that an issuer's settings have for tokens.
pub(super) struct Requirements {
    /// `audience_claim`
    audience_claim: &'static str,
    /// `customer_id_claim`, as a JSON Pointer.
    customer: &'static str,
    /// `required_claims`: JSON Pointers, and the accepted values as JSON.
    required: &'static [(&'static str, &'static [&'static str])],
    /// These requirements as settings.
    settings: &'static str,
}

/// The requirements without further settings.
pub(super) const DEFAULT: Requirements =
    Requirements { audience_claim: "aud", customer: "/sub", required: &[], settings: "" };

/// Requirements with another `audience_claim`, a nested `customer_id_claim`, and `required_claims`.
pub(super) const OTHER_CLAIMS: Requirements = Requirements {
    audience_claim: "client_id",
    customer: "/app_metadata/customer_id",
    required: &[
        ("/token_use", &["\"access\""]),
        ("/is_anonymous", &["false"]),
        ("/acr/level", &["1", "2"]),
    ],
    settings: r#"
audience_claim = "client_id"
customer_id_claim = "/app_metadata/customer_id"
required_claims = { token_use = "access", is_anonymous = false, "/acr/level" = [1, 2] }
"#,
};

/// Requirements of an issuer with a shared secret.
pub(super) const SHARED: Requirements = Requirements {
    audience_claim: "azp",
    customer: "/ids/0",
    required: &[("/is_anonymous", &["false"])],
    settings: r#"
audience_claim = "azp"
customer_id_claim = "/ids/0"
required_claims = { is_anonymous = false }
"#,
};

/// The rules of an issuer with these changes to its settings.
pub(super) fn rules(change: impl FnOnce(&mut settings::Issuer)) -> Rules {
    rules_of(&DEFAULT, change)
}

/// The rules of an issuer with these requirements and changes.
pub(super) fn rules_of(
    requirements: &Requirements,
    change: impl FnOnce(&mut settings::Issuer),
) -> Rules {
    let text = format!("{SETTINGS}{}", requirements.settings);
    let loaded = Sources::default().text("fuzz.toml", text).load().expect("settings");
    let mut settings = loaded.settings.auth.issuers.into_values().next().expect("an issuer");
    change(&mut settings);
    let table = "auth.issuers.main".to_owned();
    Rules { table, settings, leeway: LEEWAY, foreign_prefixes: vec![FOREIGN_PREFIX.to_owned()] }
}

/// Whether a text can be a JSON object, judged by its first byte and its encoding.
pub(super) fn may_be_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{") && std::str::from_utf8(json).is_ok()
}

/// The members of a JSON object, parsed by `serde_json`.
pub(super) struct Reparsed(Map<String, Value>);

impl Reparsed {
    /// Parses the object. Returns `None` if the text is not an object.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.get(name).map(|value| value.as_f64().expect("a number"))
    }

    /// The value at a JSON Pointer without escapes.
    fn at(&self, pointer: &str) -> Option<&Value> {
        let (_, path) = pointer.split_once('/')?;
        let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        self.get(first)?.pointer(rest)
    }

    /// Checks audience, times, scopes, required claims and the customer.
    pub(super) fn check(&self, customer: &CustomerId, requirements: &Requirements) {
        let aud = self.get(requirements.audience_claim).expect("an audience");
        let audiences = match aud.as_array() {
            Some(audiences) if requirements.audience_claim == "aud" => audiences.as_slice(),
            _ => std::slice::from_ref(aud),
        };
        assert!(audiences.contains(&json!("api")), "another audience");
        for (pointer, accepted) in requirements.required {
            let value = self.at(pointer).expect("a required claim").to_string();
            assert!(accepted.contains(&&*value), "{pointer} is {value}");
        }
        for begin in ["nbf", "iat"].into_iter().filter_map(|name| self.number(name)) {
            assert!(begin <= seconds(now()) + LEEWAY.as_secs_f64(), "not valid before {begin}");
        }
        assert!(self.is_granted("pay"), "required scope is missing");
        let sub = self.at(requirements.customer).expect("a customer");
        let several = sub.as_array().map_or(std::slice::from_ref(sub), Vec::as_slice);
        assert_eq!(several.len(), 1, "several customers");
        let sub = several.first().expect("a customer");
        let sub = sub.as_str().map_or_else(|| sub.to_string(), str::to_owned);
        let customer = customer.as_str();
        assert_eq!(customer, format!("{PREFIX}{sub}"));
        assert!(
            !sub.is_empty() && !customer.starts_with(FOREIGN_PREFIX),
            "a customer of another issuer"
        );
        for client in ["client_id", "azp", "cid"].into_iter().filter_map(|name| self.text(name)) {
            let is_own = sub == client || sub == format!("{client}@clients");
            assert!(
                !is_own || requirements.customer != DEFAULT.customer,
                "the customer is an application"
            );
        }
        let is_audience = ["api", "api@clients"].contains(&sub.as_str());
        assert!(
            !is_audience || requirements.customer != DEFAULT.customer,
            "the customer is an audience"
        );
    }

    /// Checks that no claim proves another kind of token.
    pub(super) fn check_token_type(&self, has_access_token_type: bool) {
        assert!(!self.has("events"), "an event");
        for hash in ["at_hash", "c_hash"] {
            assert!(has_access_token_type || !self.has(hash), "an ID token");
        }
        for claim in
            ["token_use", "token_type", "typ"].into_iter().filter_map(|name| self.text(name))
        {
            let kind = claim.to_ascii_lowercase();
            let others = ["id", "refresh", "offline", "logout", "id_token", "refresh_token"];
            assert!(!others.contains(&&*kind), "token kind {kind}");
        }
    }

    /// Checks that `end` is not after `exp`, except for the leeway.
    pub(super) fn check_end(&self, end: Timestamp, leeway: bool) {
        let leeway = if leeway { LEEWAY } else { Duration::ZERO };
        let exp = self.number("exp").expect("an exp");
        assert!(seconds(end) <= exp + leeway.as_secs_f64() + 1e-3, "accepted after its exp");
        assert!(exp + LEEWAY.as_secs_f64() > seconds(now()), "expired");
    }

    fn is_granted(&self, scope: &str) -> bool {
        ["scope", "scp", "scopes"].into_iter().filter_map(|name| self.get(name)).any(|value| {
            match value {
                Value::String(scopes) => scopes.split(' ').any(|other| other == scope),
                Value::Array(scopes) => scopes.contains(&json!(scope)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
            }
        })
    }
}

fn seconds(moment: Timestamp) -> f64 {
    moment.as_duration().as_secs_f64()
}
