//! Checks everything that leaves the service during the whole test run for secrets (promise P2).
//!
//! Responses are checked when they arrive. Logs (at `trace`) and the simulator's received requests
//! are checked when a world is dropped. `contract` also compares each response with the OpenAPI document.

#[path = "contract.rs"]
pub mod contract;

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use juspay_bff::{
    settings::{AccessLog, Log, LogFormat, LogLevel},
    telemetry,
};
use simulator::{ReceivedRequest, Running, issuer::INTROSPECTION_PATH};

use super::Reply;

/// Prefix of every test's API key.
const KEY: &str = "canary_";
/// The prefix in Base64.
const KEY_BASE64: &str = "Y2FuYXJ5X";
/// Prefix of every client auth token.
const CLIENT_TOKEN: &str = "tkn_";
/// Prefix of every JWT: `{"` in base64url.
const BEARER: &str = "eyJ";
/// Prefix of every opaque token.
const OPAQUE: &str = "opq_";
/// Prefix of every client secret for introspection. It contains the prefix of the API keys.
pub const CLIENT_SECRET: &str = "canary_client_";

/// All log lines, and which of them are unchecked.
static LOGS: LazyLock<Arc<Mutex<Logs>>> = LazyLock::new(Arc::default);

#[derive(Default)]
struct Logs {
    text: String,
    looked_through: usize,
}

/// The path of `server.public_url` in tests that need one.
pub const BASE_PATH: &str = "/pay/bff";

/// Writes into [`LOGS`].
#[derive(Clone)]
struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.lock().unwrap().text.push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures the log of the process from now on, as `serve` would write it at `trace`.
pub fn watch_logs() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let log = Log {
            level: LogLevel::Trace,
            format: LogFormat::Json,
            access: AccessLog::All,
            customer_ref_key_file: None,
        };
        let (dispatch, _) = telemetry::dispatch(&log, || LogWriter);
        tracing::dispatcher::set_global_default(dispatch).expect("no other subscriber is set");
    });
    LazyLock::force(&ONCE);
}

/// The log lines that contain `text`.
pub fn log_lines(text: &str) -> Vec<String> {
    let logs = LOGS.lock().unwrap();
    logs.text.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Checks a response of the service. Skips nonces (RFC 9449 §8), whose random characters may look
/// like a secret.
pub fn answered(request: &str, reply: &Reply) {
    let headers: Vec<_> = reply.headers.iter().filter(|(name, _)| name != "dpop-nonce").collect();
    let whole = format!("{headers:?}\n{}", reply.text());
    for secret in [KEY, KEY_BASE64, BEARER, OPAQUE] {
        assert!(!whole.contains(secret), "{secret} got out: {whole}");
    }
    if whole.contains(CLIENT_TOKEN) {
        let asked_for_it = may_contain_token(request) && reply.status == 200;
        assert!(asked_for_it, "a client auth token got out: {whole}");
    }
    contract::check(request, reply);
}

/// Whether the response to this request may contain a client auth token. Its target may be an
/// absolute URL (RFC 9112 §3.2.2).
fn may_contain_token(request: &str) -> bool {
    let target = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let path = target.map(|target| match target.strip_prefix("http://") {
        Some(address) => address.find('/').map_or("", |at| &address[at..]),
        None => target,
    });
    let path = path.and_then(|path| path.split(['?', '#']).next());
    let path = path.map(|path| path.strip_prefix(BASE_PATH).unwrap_or(path));
    // The OpenAPI document has examples.
    matches!(path, Some("/me/customer" | "/me/sdk-payload" | "/openapi.json"))
}

/// Checks the log lines since the last check, and all requests that the simulator received.
pub fn check(api_key: &str, simulator: &Running) {
    assert!(api_key.starts_with(KEY));
    let mut logs = LOGS.lock().unwrap();
    let new = &logs.text[logs.looked_through..];
    for line in new.lines() {
        for secret in [KEY, KEY_BASE64, CLIENT_TOKEN, BEARER, OPAQUE] {
            assert!(!line.contains(secret), "{secret} in the log: {line}");
        }
    }
    logs.looked_through = logs.text.len();
    drop(logs);
    for request in simulator.simulator().requests() {
        received(&request, true);
    }
    for request in simulator.issuer().requests() {
        received(&request, false);
    }
}

fn received(request: &ReceivedRequest, by_juspay: bool) {
    let ReceivedRequest { method, path, query, headers, body, .. } = request;
    let is_question = !by_juspay && (&**method, &**path) == ("POST", INTROSPECTION_PATH);
    let body = if is_question { without_token(body) } else { body };
    let mut rest = format!("{path}?{query}\n{body}\n");
    for (name, value) in headers {
        let is_authorization = name.eq_ignore_ascii_case("authorization");
        if is_question && is_authorization {
            rest.extend([&*without_secret(value), "\n"]);
        } else if !(by_juspay && is_authorization) {
            rest.extend([name, ": ", value, "\n"]);
        }
    }
    for secret in [KEY, KEY_BASE64, CLIENT_TOKEN, BEARER, OPAQUE] {
        assert!(!rest.contains(secret), "{secret} went upstream: {rest}");
    }
}

/// The request's body (RFC 7662 §2.1) without the token, which may appear only there.
fn without_token(body: &str) -> &str {
    let token_field = body.strip_prefix("token=").and_then(|rest| rest.split_once('&'));
    token_field.map_or(body, |(_token, rest)| rest)
}

/// The `Authorization` for the endpoint, without the endpoint's own secret.
fn without_secret(authorization: &str) -> String {
    let shown = authorization.strip_prefix("Basic ").expect("Basic credentials");
    let shown = String::from_utf8(STANDARD.decode(shown).unwrap()).unwrap();
    shown.replacen(CLIENT_SECRET, "", 1)
}
