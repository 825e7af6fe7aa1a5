//! Performs operations on a world and writes each response as one line, without its random parts.
//! Operations run one at a time, and each waits for the background work that it started.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use aws_lc_rs::digest;
use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{ApiError, Fault, FaultRule, MintRequest, TokenFault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::operations::{Admin, Juspay, Kind, Operation, PLAIN, TOKENS, UNUSUAL, USUAL};
use crate::support::{Reply, World, guard, keep_alive, with_timeout};

/// The scope that the issuer's tokens need.
const SCOPE: &str = "pay";

/// The counters that a recording ends with.
const COUNTERS: [&str; 7] = [
    "auth_failures_total",
    "cache_refreshes_total",
    "cache_requests_total",
    "http_requests_total",
    "jwks_refreshes_total",
    "token_remaining_seconds_count",
    "upstream_requests_total",
];

/// Counts the recorder's own requests as well.
const UNMATCHED: &str =
    "juspay_bff_http_requests_total{code=\"not_found\",route=\"unmatched\",status=\"404\"}";

/// Header fields that have a fixed place in a line, and `date`, which shows the real time.
const SHOWN: [&str; 7] = [
    "cache-status",
    "content-length",
    "content-type",
    "date",
    "juspay-token-expires-in",
    "retry-after",
    "x-request-id",
];

/// Header fields that a line shows only if they have another value.
const EXPECTED: [(&str, &str); 2] = [("cache-control", "no-store"), ("connection", "close")];

/// A long step ends with three of these, each longer than the time between two sweeps.
const LAST_PARTS: Duration = Duration::from_secs(6);

struct Recorder {
    world: World,
    tokens: Vec<AccessToken>,
    /// Number of access tokens issued.
    logins: usize,
    /// The client auth tokens, in the order of their first occurrence.
    seen: HashMap<String, usize>,
    /// Calls that Juspay had received at the end of the last operation.
    calls: u64,
    /// Requests of the recorder itself.
    probes: u64,
    lines: String,
}

/// A client's token.
#[derive(Default, Clone)]
struct AccessToken {
    /// Its `jti`.
    id: String,
    text: String,
}

/// Performs the operations, and returns the recording.
pub async fn record(world: World, operations: &[Operation]) -> String {
    let mut recorder = Recorder {
        world,
        tokens: vec![AccessToken::default(); TOKENS.len()],
        logins: 0,
        seen: HashMap::new(),
        calls: 0,
        probes: 0,
        lines: String::new(),
    };
    for (number, operation) in operations.iter().enumerate() {
        let line = recorder.perform(*operation).await;
        writeln!(recorder.lines, "{:03} {line}", number + 1).unwrap();
    }
    recorder.write_counters().await;
    recorder.lines
}

impl Recorder {
    async fn perform(&mut self, operation: Operation) -> String {
        match operation {
            Operation::Request { token, form } => {
                let (name, request) = self.request(token, form);
                let reply = self.exchange(&request).await;
                format!("{name}, {} -> {}", name_of(token), self.line(&request, &reply).await)
            }
            Operation::Pair { token } => {
                let [first, second] = self.pair(token).await;
                format!("two GET, {} -> {first} && {second}", name_of(token))
            }
            Operation::LogIn { token } => {
                self.log_in(token);
                format!("log in {}", name_of(token))
            }
            Operation::Advance(time) => {
                self.advance(time).await;
                format!("clock +{} ms", time.as_millis())
            }
            Operation::Rotate { overlap } => {
                self.world.issuer().rotate(overlap).unwrap();
                format!("rotate, overlap {overlap}")
            }
            Operation::Admin(request) => self.admin(request).await,
            Operation::Juspay(change) => self.change_juspay(change),
        }
    }

    async fn admin(&self, request: Admin) -> String {
        let now = self.world.clock_seconds();
        let expires = now + 86_400;
        let (title, path, body) = match request {
            Admin::RevokeSubject { token } => {
                let sub = TOKENS[token].0;
                let entry = json!({"issuer": "main", "sub": sub, "issued_before": now + 1, "expires": expires});
                (format!("revoke {sub}"), "/revocations", entry)
            }
            Admin::RevokeToken { token } => {
                let jti = &self.tokens[token].id;
                let entry = json!({"issuer": "main", "jti": jti, "expires": expires});
                (format!("revoke {}", name_of(token)), "/revocations", entry)
            }
            Admin::Purge { token } => {
                let customer = TOKENS[token].0;
                let body = json!({"customer_id": customer});
                (format!("purge {customer}"), "/cache/purge", body)
            }
            Admin::PurgeAll => ("purge all".to_owned(), "/cache/purge", json!({"all": true})),
        };
        let reply = self.world.admin().post(path, &body).await;
        self.world.service.run_pending_tasks().await;
        format!("{title} -> {} purged={}", reply.status, reply.json()["purged"])
    }

    fn change_juspay(&self, change: Juspay) -> String {
        let simulator = self.world.simulator();
        match change {
            Juspay::Down { html } => {
                let status = Fault::Status { status: 503, headers: [].into(), body: String::new() };
                simulator.inject(FaultRule::always(if html { Fault::Html } else { status }));
                format!("Juspay is down, with HTML {html}")
            }
            Juspay::Unknown { token } => {
                let rule = FaultRule::always(Fault::Error(ApiError::NotFound));
                simulator.inject(rule.of(TOKENS[token].0));
                format!("Juspay does not know {}", TOKENS[token].0)
            }
            Juspay::Tokenless { token } => {
                let rule = FaultRule::always(Fault::Token(TokenFault::Missing));
                simulator.inject(rule.of(TOKENS[token].0));
                format!("Juspay has no token for {}", TOKENS[token].0)
            }
            Juspay::Up => {
                simulator.clear_faults();
                "Juspay is up".to_owned()
            }
        }
    }

    /// Advances the clock. The cache evicts expired entries every five seconds, in an order that varies,
    /// and may pause once. Before a long step ends, at least one such sweep has evicted all of them.
    async fn advance(&self, time: Duration) {
        let parts = [LAST_PARTS; 3];
        let first = time.checked_sub(parts.iter().sum()).map(|first| [first]);
        let steps = if first.is_some() { &parts[..] } else { &[time] };
        for step in first.iter().flatten().chain(steps) {
            self.world.clock.advance(*step);
            self.world.service.run_pending_tasks().await;
        }
    }

    fn log_in(&mut self, token: usize) {
        let (customer, kind) = TOKENS[token];
        self.logins += 1;
        let id = format!("login-{}", self.logins);
        let valid = MintRequest {
            life: SignedDuration::from_hours(24 * 7),
            scope: Some(SCOPE.to_owned()),
            ..MintRequest::of(customer)
        }
        .with("jti", id.clone());
        let wish = match kind {
            Kind::Valid | Kind::Forged => valid,
            // The leeway is 30 s.
            Kind::Expiring => MintRequest { life: SignedDuration::from_secs(-29), ..valid }
                .with("iat", self.world.clock_seconds() - 600),
            Kind::WrongScope => MintRequest { scope: Some("read".to_owned()), ..valid },
            Kind::OtherAudience => MintRequest { audience: "another".to_owned(), ..valid },
            Kind::NoCustomer => valid.with("sub", Value::Null),
            Kind::Malformed => {
                let text = "not.a.token".to_owned();
                self.tokens[token] = AccessToken { id, text };
                return;
            }
        };
        let mut text = self.world.issuer().mint(&wish).unwrap();
        if kind == Kind::Forged {
            let at = text.rfind('.').unwrap() + 10;
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            text.replace_range(at..=at, other);
        }
        self.tokens[token] = AccessToken { id, text };
    }

    /// The name of the form, and the request.
    fn request(&self, token: usize, form: usize) -> (&'static str, String) {
        let token = &self.tokens[token].text;
        let (name, lines) = if let Some((name, target, lines)) = USUAL.get(form) {
            let head = "HTTP/1.1\nHost: localhost\nAuthorization: Bearer {token}\n";
            (*name, format!("{target} {head}Connection: close\n{lines}"))
        } else {
            let (name, lines) = UNUSUAL[form - USUAL.len()];
            (name, format!("{lines}Connection: close\n"))
        };
        let has_body = lines.contains("\n\n");
        let lines = if has_body { lines } else { lines + "\n" };
        (name, lines.replace("{token}", token).replace('\n', "\r\n"))
    }

    async fn exchange(&self, request: &str) -> Reply {
        let mut stream = self.world.anonymous().open(request).await.unwrap();
        let mut bytes = Vec::new();
        with_timeout(request, stream.read_to_end(&mut bytes)).await.unwrap();
        checked(request, Reply::parse(&bytes).expect("a response"))
    }

    async fn pair(&mut self, token: usize) -> [String; 2] {
        let (_, last) = self.request(token, PLAIN);
        let first = last.replace("Connection: close\r\n", "");
        let mut stream = self.world.anonymous().open(&first).await.unwrap();
        let reply = checked(&first, keep_alive::answer(&mut stream).await);
        let first = self.line(&first, &reply).await;
        stream.write_all(last.as_bytes()).await.unwrap();
        let bytes = keep_alive::rest(stream).await;
        let reply = checked(&last, Reply::parse(&bytes).expect("a response"));
        [first, self.line(&last, &reply).await]
    }

    /// A response's line. Waits until the background work of its request has ended.
    async fn line(&mut self, request: &str, reply: &Reply) -> String {
        self.settle().await;
        let mut line = reply.status.to_string();
        let mut add = |name: &str, value: &str| write!(line, " {name}={value}").unwrap();
        let content_type = reply.header("content-type").unwrap_or("none");
        if content_type == "application/problem+json" && !reply.body.is_empty() {
            add("code", &reply.code());
        }
        for (name, title) in [("cache-status", "cache"), ("juspay-token-expires-in", "expires-in")]
        {
            if let Some(value) = reply.header(name) {
                add(title, value.trim_start_matches("juspay-bff; "));
            }
        }
        // It has a random part, also in the body.
        let retry_after = reply.header("retry-after");
        if retry_after.is_some() {
            add("retry-after", "N");
        }
        if let Some(length) = reply.header("content-length") {
            let random = retry_after.map_or(0, str::len);
            add("length", &(length.parse::<usize>().unwrap() - random).to_string());
        }
        add("type", content_type.trim_start_matches("application/"));
        let id = reply.header("x-request-id").unwrap_or("none");
        let is_own = request.contains(&format!("X-Request-Id: {id}\r\n"));
        add("id", if is_own { id } else { "new" });
        line + &self.body(reply) + &other_headers(reply) + &self.calls()
    }

    /// The number of the client auth token, and a digest of the body.
    fn body(&mut self, reply: &Reply) -> String {
        let mut body = reply.text();
        let mut part = String::new();
        if let Some(seconds) = reply.header("retry-after") {
            body = body.replace(&format!("\"retry_after\":{seconds}"), "\"retry_after\":N");
        }
        if let Some(id) = reply.header("x-request-id") {
            body = body.replace(id, "ID");
        }
        if let Some(token) = client_token(&body) {
            let next = self.seen.len() + 1;
            let number = self.seen.entry(token.clone()).or_insert(next);
            write!(part, " token={number}").unwrap();
            body = body.replace(&token, "TOKEN");
        }
        if !body.is_empty() {
            write!(part, " body={}", short_digest(&body)).unwrap();
        }
        part
    }

    /// The number of calls to Juspay so far, and the trace of a new one.
    fn calls(&mut self) -> String {
        let simulator = self.world.simulator();
        let before = std::mem::replace(&mut self.calls, simulator.total_requests());
        let mut part = format!(" juspay={}", self.calls);
        if self.calls != before
            && let Some(call) = simulator.requests().last()
            && let Some((_, trace)) =
                call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent"))
        {
            // The id of this service's span is random.
            write!(part, " trace={}", trace.split('-').nth(1).unwrap()).unwrap();
        }
        part
    }

    /// Lets background refreshes end. The only worker runs its tasks in the order in which they were
    /// woken, so a refresh that the last request has started calls Juspay before the worker handles
    /// another connection.
    async fn settle(&mut self) {
        loop {
            self.probe().await;
            if self.world.count("juspay_bff_upstream_in_flight").await == 0 {
                break;
            }
        }
        // The call's end is counted before its result is stored.
        self.probe().await;
    }

    async fn probe(&mut self) {
        self.probes += 1;
        assert_eq!(self.world.anonymous().get("/probe").await.status, 404);
    }

    async fn write_counters(&mut self) {
        let text = self.world.admin().get("/metrics").await.text();
        for line in text.lines() {
            let Some((series, count)) = line.rsplit_once(' ') else { continue };
            let Some(name) = series.strip_prefix("juspay_bff_") else { continue };
            let is_counter =
                COUNTERS.iter().any(|counter| name.split('{').next() == Some(*counter));
            if !is_counter {
                continue;
            }
            let probes = if series == UNMATCHED { self.probes } else { 0 };
            let count = count.parse::<u64>().unwrap() - probes;
            if count > 0 {
                writeln!(self.lines, "{name} {count}").unwrap();
            }
        }
    }
}

fn checked(request: &str, reply: Reply) -> Reply {
    // The guard compares the path in its usual form.
    guard::answered(&request.replace("/%63ustomer", "/customer"), &reply);
    reply
}

/// Header fields that a response rarely has.
fn other_headers(reply: &Reply) -> String {
    let mut others: Vec<_> = reply.headers.iter().collect();
    others.retain(|(name, value)| {
        !SHOWN.contains(&&**name) && !EXPECTED.contains(&(&**name, &**value))
    });
    others.sort();
    others.iter().fold(String::new(), |part, (name, value)| format!("{part} {name}={value}"))
}

/// Such as `c0's token 1`, or `c5's forged token 13`.
fn name_of(token: usize) -> String {
    let (customer, kind) = TOKENS[token];
    let kind = match kind {
        Kind::Valid => "",
        Kind::Expiring => "expiring ",
        Kind::WrongScope => "wrong-scope ",
        Kind::OtherAudience => "other-audience ",
        Kind::NoCustomer => "no-customer ",
        Kind::Malformed => "malformed ",
        Kind::Forged => "forged ",
    };
    format!("{customer}'s {kind}token {token}")
}

/// The client auth token in a body.
fn client_token(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("\"client_auth_token\":\"")?;
    rest.split_once('"').map(|(token, _)| token.to_owned())
}

fn short_digest(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(4).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
