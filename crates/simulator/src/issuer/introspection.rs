//! Token introspection (RFC 7662) and revocation (RFC 7009) at the issuer. Both require client
//! credentials (RFC 6749 §2.3.1).

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{bounded_map::BoundedMap, http::Request, response::Response};

/// Path of the introspection endpoint.
pub const INTROSPECTION_PATH: &str = "/introspect";

/// Path of the revocation endpoint.
pub const REVOCATION_PATH: &str = "/revoke";

/// Default client id and secret.
pub const DEFAULT_CLIENT: (&str, &str) = ("juspay-bff", "sim_client_secret");

/// Maximum number of tokens. A new one replaces the oldest.
const CAPACITY: usize = 100_000;

/// The issued tokens, and the client that may introspect them.
pub(super) struct IssuedTokens {
    /// The claims, or `None` after revocation.
    tokens: Mutex<BoundedMap<String, Option<Value>>>,
    client: Mutex<(String, String)>,
}

impl IssuedTokens {
    pub(super) fn new() -> Self {
        let (id, secret) = DEFAULT_CLIENT;
        Self {
            tokens: Mutex::new(BoundedMap::new(CAPACITY)),
            client: Mutex::new((id.to_owned(), secret.to_owned())),
        }
    }

    pub(super) fn set_client(&self, id: &str, secret: &str) {
        *lock(&self.client) = (id.to_owned(), secret.to_owned());
    }

    pub(super) fn note(&self, token: &str, claims: Value) {
        lock(&self.tokens).get_or_insert_with(&token.to_owned(), || Some(claims));
    }

    pub(super) fn revoke(&self, token: &str) {
        if let Some(claims) = lock(&self.tokens).get_mut(token) {
            *claims = None;
        }
    }

    /// RFC 7662 §2.2: all claims of an active token, and nothing about others.
    pub(super) fn introspect(&self, request: &Request, now: Timestamp) -> Response {
        if !self.is_client(request) {
            return unauthorized();
        }
        let token = request.form_value("token").unwrap_or_default();
        let claims = lock(&self.tokens).get(&token).cloned().flatten();
        let exp = |claims: &Value| claims.get("exp").and_then(Value::as_i64);
        let is_valid = |claims: &Value| exp(claims).is_none_or(|exp| now.as_second() < exp);
        let response = match claims.filter(is_valid) {
            Some(Value::Object(mut members)) => {
                members.insert("active".to_owned(), true.into());
                members.retain(|_, value| !value.is_null());
                // RFC 9449 §6.2
                let kind = if members.contains_key("cnf") { "DPoP" } else { "Bearer" };
                members.entry("token_type").or_insert(kind.into());
                Value::Object(members)
            }
            _ => json!({"active": false}),
        };
        Response::json(200, &response).with("Cache-Control", "no-store")
    }

    /// RFC 7009 §2.2: the response for revoked and unknown tokens is the same.
    pub(super) fn revocation(&self, request: &Request) -> Response {
        if !self.is_client(request) {
            return unauthorized();
        }
        self.revoke(&request.form_value("token").unwrap_or_default());
        Response::json(200, &json!({}))
    }

    fn is_client(&self, request: &Request) -> bool {
        let credentials =
            request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
        let credentials = credentials.and_then(|credentials| STANDARD.decode(credentials).ok());
        let credentials = credentials
            .and_then(|credentials| String::from_utf8(credentials).ok())
            .unwrap_or_default();
        let Some((id, secret)) = credentials.split_once(':') else { return false };
        let decoded = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        *lock(&self.client) == (decoded(id), decoded(secret))
    }
}

fn unauthorized() -> Response {
    Response::json(401, &json!({"error": "invalid_client"}))
        .with("WWW-Authenticate", "Basic realm=\"simulator\"")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
