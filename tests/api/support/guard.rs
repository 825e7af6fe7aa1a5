//! The outbound guard (promise P2): everything that leaves the service in the whole test run is
//! looked through for what must not get out.
//!
//! Answers are looked at as they come; logs (at `trace`) and what the simulator received when a
//! world ends.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use juspay_bff::{
    settings::{AccessLog, Log, LogFormat, LogLevel},
    simulator::{ReceivedRequest, Running, issuer::INTROSPECTION_PATH},
    telemetry,
};

use super::Reply;

/// What every test's API key begins with.
const KEY: &str = "canary_";
/// The Base64 of it.
const KEY_BASE64: &str = "Y2FuYXJ5X";
/// What every client auth token begins with.
const CLIENT_TOKEN: &str = "tkn_";
/// What every JWT begins with: `{"` in base64url.
const BEARER: &str = "eyJ";
/// What every opaque token begins with.
const OPAQUE: &str = "opq_";
/// What every secret begins with that an issuer is asked with. An API key's beginning is in it.
pub const CLIENT_SECRET: &str = "canary_client_";

/// Log lines that nobody has looked through yet, and all of them.
static LOGS: LazyLock<Arc<Mutex<Logs>>> = LazyLock::new(Arc::default);

#[derive(Default)]
struct Logs {
    text: String,
    looked_through: usize,
}

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

/// Keeps all log lines of the process from now on, as `serve` would write them at `trace`.
pub fn watch_logs() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let log = Log {
            level: LogLevel::Trace,
            format: LogFormat::Json,
            access: AccessLog::All,
            customer_ref_key_file: None,
        };
        tracing::dispatcher::set_global_default(telemetry::dispatch(&log, || LogWriter))
            .expect("nobody else has set one");
    });
    LazyLock::force(&ONCE);
}

/// The log lines that hold `text`.
pub fn log_lines(text: &str) -> Vec<String> {
    let logs = LOGS.lock().unwrap();
    logs.text.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Looks through an answer of the service's; not at a nonce (RFC 9449 §8), whose random letters may
/// begin like a secret.
pub fn answered(request: &str, reply: &Reply) {
    let headers: Vec<_> = reply.headers.iter().filter(|(name, _)| name != "dpop-nonce").collect();
    let whole = format!("{headers:?}\n{}", reply.text());
    for secret in [KEY, KEY_BASE64, BEARER, OPAQUE] {
        assert!(!whole.contains(secret), "{secret} got out: {whole}");
    }
    if whole.contains(CLIENT_TOKEN) {
        let asked_for_it = asks_for_it(request) && reply.status == 200;
        assert!(asked_for_it, "a client auth token got out: {whole}");
    }
}

/// Whether that is the one request whose answer may hold a client auth token. Its target may be a
/// whole address (RFC 9112 §3.2.2).
fn asks_for_it(request: &str) -> bool {
    let target = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let path = target.map(|target| match target.strip_prefix("http://") {
        Some(address) => address.find('/').map_or("", |at| &address[at..]),
        None => target,
    });
    path.is_some_and(|path| path.split(['?', '#']).next() == Some("/me/customer"))
}

/// Looks through the logs since the last look, and all that the simulator received.
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

/// The question's body (RFC 7662 §2.1) without the token, which may be there and nowhere else.
fn without_token(body: &str) -> &str {
    let asked = body.strip_prefix("token=").and_then(|rest| rest.split_once('&'));
    asked.map_or(body, |(_token, rest)| rest)
}

/// What is shown to the endpoint, but for the secret that is meant for it.
fn without_secret(authorization: &str) -> String {
    let shown = authorization.strip_prefix("Basic ").expect("Basic credentials");
    let shown = String::from_utf8(STANDARD.decode(shown).unwrap()).unwrap();
    shown.replacen(CLIENT_SECRET, "", 1)
}
