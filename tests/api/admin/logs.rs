//! The access log: one line for each request, without personal data.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use jiff::SignedDuration;
use serde_json::Value;
use simulator::{Fault, FaultRule, MintRequest, issuer::JWKS_PATH};

use crate::support::{Client, Stage, World, guard, until};

/// A unique request id. All worlds write to one log, so tests find their lines by id.
fn id() -> String {
    format!("test-{:032x}", rand::random::<u128>())
}

/// Sends a request, and returns its log lines.
async fn lines_of(client: &Client, method: &str, target: &str, lines: &str) -> Vec<Value> {
    let id = id();
    let lines = format!("{lines}X-Request-Id: {id}\r\n");
    let reply = client.request(method, target, &lines).await;
    assert_eq!(reply.header("x-request-id"), Some(&*id));
    logged(&id)
}

/// The lines about a request. They are written before its response is sent.
fn logged(id: &str) -> Vec<Value> {
    lines_with(id, "request")
}

/// The lines with this request id whose message starts with `message`.
fn lines_with(id: &str, message: &str) -> Vec<Value> {
    let parse = |line: String| -> Value { serde_json::from_str(&line).expect("JSON") };
    let has_message = |line: &Value| line["message"].as_str().unwrap().starts_with(message);
    guard::log_lines(id).into_iter().map(parse).filter(has_message).collect()
}

/// The only line of a request.
async fn line_of(client: &Client, method: &str, target: &str, lines: &str) -> Value {
    let mut lines = lines_of(client, method, target, lines).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn request_has_one_line_with_all_fields() {
    let world = World::new().await;
    let alice = world.client("alice.secret@example.com");
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let line = line_of(&alice, "GET", "/me/customer?utm_source=hidden", trace).await;
    let mut members: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "cache",
            "code",
            "customer_ref",
            "duration_us",
            "level",
            "message",
            "method",
            "request_id",
            "route",
            "status",
            "target",
            "timestamp",
            "trace_id",
        ]
    );
    assert_eq!(line["message"], "request");
    assert_eq!(line["level"], "INFO");
    assert_eq!((&line["method"], &line["route"]), (&"GET".into(), &"/me/customer".into()));
    assert_eq!((&line["status"], &line["code"]), (&200.into(), &"ok".into()));
    assert!(line["duration_us"].is_u64());
    assert_eq!(line["cache"], "miss");
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let reference = line["customer_ref"].as_str().unwrap();
    assert!(reference.len() == 16 && reference.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for hidden in ["alice", "secret", "example.com", "hidden", "utm"] {
        assert!(!line.to_string().contains(hidden), "{hidden}: {line}");
    }

    let repeated = line_of(&alice, "HEAD", "/me/customer", "").await;
    assert_eq!((&repeated["method"], &repeated["cache"]), (&"HEAD".into(), &"hit".into()));
    assert_eq!(
        repeated["customer_ref"], reference,
        "lines about one customer have the same reference"
    );
    assert_eq!(repeated["trace_id"], Value::Null);
    let bobs = line_of(&world.client("bob"), "GET", "/me/customer", "").await;
    assert_ne!(bobs["customer_ref"], reference);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_requests_have_one_line_each() {
    let world = World::new().await;
    let (alice, anonymous) = (world.client("alice"), world.anonymous());
    for (client, method, target, route, status, code, cache) in [
        (&anonymous, "GET", "/me/customer", "/me/customer", 401, "missing_token", "-"),
        (&alice, "PUT", "/me/customer", "/me/customer", 405, "method_not_allowed", "-"),
        (&alice, "GET", "/me/customer?access_token=x", "/me/customer", 400, "invalid_request", "-"),
        (&alice, "GET", "/hidden/path", "unmatched", 404, "not_found", "-"),
        (
            &world.client("sim_not_found"),
            "GET",
            "/me/customer",
            "/me/customer",
            404,
            "customer_not_found",
            "not_found",
        ),
        (
            &world.client("sim_500"),
            "GET",
            "/me/customer",
            "/me/customer",
            502,
            "upstream_error",
            "error",
        ),
    ] {
        let line = line_of(client, method, target, "").await;
        assert_eq!(line["method"], method);
        assert_eq!((&line["route"], &line["status"]), (&route.into(), &status.into()));
        assert_eq!((&line["code"], &line["cache"]), (&code.into(), &cache.into()));
        assert!(!line.to_string().contains("hidden"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_method_is_not_logged() {
    let world = World::new().await;
    let longest = "M".repeat(32);
    let line = line_of(&world.client("alice"), &longest, "/me/customer", "").await;
    assert_eq!((&line["method"], &line["status"]), (&longest.into(), &405.into()), "{line}");
    for length in [33, 20_000] {
        let method = "M".repeat(length);
        let line = line_of(&world.client("alice"), &method, "/me/customer", "").await;
        assert_eq!(line["method"], "(too long)", "{line}");
        assert_eq!(line["status"], 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_share_a_fetch_have_one_line_each() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let ids: Vec<_> = (0..5).map(|_| id()).collect();
    let requests: Vec<_> = ids
        .iter()
        .map(|id| {
            let (client, line) = (world.client("alice"), format!("X-Request-Id: {id}\r\n"));
            tokio::spawn(async move { client.request("GET", "/me/customer", &line).await })
        })
        .collect();
    let waiting = "juspay_bff_http_requests_waiting";
    until("all wait", async || world.metric(waiting).await > 4.0).await;
    latch.release();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let mut caches: Vec<_> = ids.iter().map(|id| logged(id)[0]["cache"].clone()).collect();
    caches.sort_by_key(Value::to_string);
    assert_eq!(caches, ["joined", "joined", "joined", "joined", "miss"]);
}

/// The warnings about failed calls to Juspay that this request started.
fn warnings(id: &str) -> Vec<Value> {
    lines_with(id, "call to Juspay failed")
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_call_to_juspay_is_logged_once_with_its_request() {
    let world = World::new().await;
    let error = Fault::Status { status: 507, headers: <_>::default(), body: String::new() };
    world.simulator().inject(FaultRule::always(error).of("alice"));
    let latch = world.simulator().hold("alice");
    let ids: Vec<_> = (0..3).map(|_| id()).collect();
    let mut requests = Vec::new();
    for (before, id) in ids.iter().enumerate() {
        let (client, line) = (world.client("alice"), format!("X-Request-Id: {id}\r\n"));
        requests
            .push(tokio::spawn(async move { client.request("GET", "/me/customer", &line).await }));
        world.until_waiting(u64::try_from(before).unwrap() + 1).await;
    }
    latch.release();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 502);
    }
    let warnings: Vec<_> = ids.iter().map(|id| warnings(id)).collect();
    assert_eq!(warnings.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0]);
    let warning = &warnings[0][0];
    assert_eq!(warning["message"], "call to Juspay failed: Juspay returned status 507");
    assert_eq!((&warning["level"], &warning["outcome"]), (&"WARN".into(), &"server_error".into()));
    for id in &ids {
        let request = &logged(id)[0];
        assert_eq!(request["cause"], "server_error");
        assert_eq!(request["customer_ref"], warning["customer_ref"]);
    }
    assert_eq!(warning["customer_ref"].as_str().unwrap().len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_refresh_is_logged_with_its_request() {
    let world = World::new().await;
    let alice = world.client("alice");
    let stored = line_of(&alice, "GET", "/me/customer", "").await;
    world.simulator().inject(FaultRule::always(Fault::Reset).of("alice"));
    world.clock.advance(Duration::from_secs(700));
    let id = id();
    let reply = alice.request("GET", "/me/customer", &format!("X-Request-Id: {id}\r\n")).await;
    assert_eq!(reply.status, 200, "the old token is still usable");
    until("the warning", async || !warnings(&id).is_empty()).await;
    let warning = warnings(&id).remove(0);
    assert_eq!(warning["cause"], "connection");
    assert_eq!(warning["customer_ref"], stored["customer_ref"]);
    // The request itself succeeded, so it has no cause.
    let line = &logged(&id)[0];
    assert_eq!((&line["status"], &line["cause"]), (&200.into(), &Value::Null));
}

/// A token with a valid issuer and the signature of another issuer.
async fn forged(world: &World) -> String {
    let mut config = simulator::Config::on_free_ports();
    config.clock = Arc::new(world.clock.clone());
    let other = simulator::start(config).await.expect("free ports");
    let valid = world.client("alice").token.unwrap();
    let foreign = other.issuer().mint(&MintRequest::of("alice")).unwrap();
    let (message, signature) =
        (valid.rsplit_once('.').unwrap().0, foreign.rsplit_once('.').unwrap().1);
    format!("{message}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn rejection_has_its_reason_in_the_log_only() {
    let world = World::with("auth.issuers.main.required_scopes = [\"pay\"]").await;
    let base = MintRequest { scope: Some("pay".to_owned()), ..MintRequest::of("alice") };
    let revoked = MintRequest { subject: "revoked".to_owned(), ..base.clone() };
    let now = world.clock_seconds();
    let entry = serde_json::json!({
        "issuer": "main", "sub": "revoked", "issued_before": now + 1, "expires": now + 86_400,
    });
    let reply = world.admin().post("/revocations", &entry).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let expired = MintRequest { life: SignedDuration::from_hours(-1), ..base.clone() };
    let no_customer = MintRequest { subject: "a/b".to_owned(), ..base.clone() };
    let other_audience = MintRequest { audience: "x".to_owned(), ..base.clone() };
    let no_scope = MintRequest { scope: None, ..base.clone() };
    let cases = [
        (world.anonymous(), 401, "missing_token"),
        (world.client_with_token("garbage"), 401, "not_jws"),
        (world.client_with_token(&forged(&world).await), 401, "signature"),
        (world.client_with(&expired), 401, "expired"),
        (world.client_with(&other_audience), 401, "audience"),
        (
            world.client_with(&base.clone().with("iss", "https://other.example")),
            401,
            "unknown_issuer",
        ),
        (world.client_with(&revoked), 401, "revoked"),
        (world.client_with_token(&"x".repeat(8193)), 400, "too_long"),
        (world.client_with(&no_scope), 403, "insufficient_scope"),
        (world.client_with(&no_customer), 403, "no_customer"),
    ];
    for (client, status, reason) in cases {
        let id = id();
        let line = format!("X-Request-Id: {id}\r\n");
        let reply = client.request("GET", "/me/customer", &line).await;
        let line = logged(&id).remove(0);
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()));
        assert_eq!(line["cause"], Value::Null);
        let setting = (reason == "too_long").then_some("auth.max_token_bytes");
        assert_eq!(line["setting"], setting.map_or(Value::Null, Value::from));
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        if reply.code() == "invalid_token" {
            assert_eq!(detail, "The access token is not valid. Get a new one, then retry once.");
        }
        let labels = format!("juspay_bff_auth_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(world.count(&labels).await, 1, "{reason}");
    }
    let line = line_of(&world.client_with(&base), "GET", "/me/customer", "").await;
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_has_its_cause_in_the_log() {
    let world = World::new().await;
    for (customer, lines, status, cause) in [
        ("sim_500", "", 502, Some("server_error")),
        ("sim_bad_request", "", 502, Some("client_error")),
        ("sim_reset", "", 502, Some("connection")),
        ("sim_429", "", 503, Some("too_many_requests")),
        ("sim_html", "", 502, Some("json")),
        ("sim_huge", "", 502, Some("too_large")),
        ("sim_redirect", "", 502, Some("redirect")),
        ("sim_other_customer", "", 502, Some("other_customer")),
        ("sim_no_token", "", 502, Some("no_token")),
        ("sim_no_expiry", "", 502, Some("no_expiry")),
        ("sim_expired", "", 502, Some("too_short_lived")),
        ("bob", "Cache-Control: only-if-cached\r\n", 504, Some("not_cached")),
        ("sim_not_found", "", 404, None),
        ("bob", "Cache-Control: max-age=x\r\n", 200, None),
        ("sim_ip_blocked", "", 502, Some("rejected_origin")),
    ] {
        // The pause after the previous failures is over, so Juspay is called.
        world.clock.advance(Duration::from_secs(10));
        let line = line_of(&world.client(customer), "GET", "/me/customer", lines).await;
        assert_eq!(line["status"], status, "{customer}");
        assert_eq!(line["cause"], cause.map_or(Value::Null, Value::from), "{customer}");
        assert_eq!(line["reason"], Value::Null, "{customer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_no_cache_request_has_the_failure_of_the_call_as_cause() {
    let world = World::new().await;
    let alice = world.client("alice");
    assert_eq!(alice.me().await.status, 200);
    world.clock.advance(Duration::from_secs(120));
    let error = Fault::Status { status: 500, headers: <_>::default(), body: String::new() };
    world.simulator().inject(FaultRule::always(error).of("alice"));
    let line = line_of(&alice, "GET", "/me/customer", "Cache-Control: no-cache\r\n").await;
    assert_eq!((&line["status"], &line["code"]), (&503.into(), &"upstream_unavailable".into()));
    assert_eq!(line["cause"], "server_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_breaker_and_missing_keys_are_causes() {
    let world = World::with("juspay.breaker.min_calls = 1").await;
    let error = Fault::Status { status: 500, headers: <_>::default(), body: String::new() };
    world.simulator().inject(FaultRule::always(error));
    for customer in ["alice", "bob", "carol", "dave", "erin", "frank", "gina"] {
        world.client(customer).me().await;
    }
    let line = line_of(&world.client("henry"), "GET", "/me/customer", "").await;
    assert_eq!((&line["status"], &line["cause"]), (&503.into(), &"breaker_open".into()));

    let stage = Stage::set().await;
    stage.issuer().inject(JWKS_PATH, None, Fault::Reset);
    let world = stage.open("");
    let failures = "juspay_bff_jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"}";
    world.until_count(failures, 1).await;
    let line = line_of(&world.client("alice"), "GET", "/me/customer", "").await;
    assert_eq!((&line["status"], &line["cause"]), (&503.into(), &"keys_unavailable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_is_propagated_to_juspay_with_a_new_parent() {
    let world = World::new().await;
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let header = format!("traceparent: 00-{trace}-{parent}-01\r\n");
    line_of(&world.client("alice"), "GET", "/me/customer", &header).await;
    let request = world.simulator().requests().pop().unwrap();
    let sent = request.header("traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{trace}-")) && sent.ends_with("-01"), "{sent}");
    assert!(!sent.contains(parent), "{sent}");
    for header in ["", "traceparent: nonsense\r\n"] {
        let customer = format!("bob{}", header.len());
        let line = line_of(&world.client(&customer), "GET", "/me/customer", header).await;
        assert_eq!(line["trace_id"], Value::Null);
        let request = world.simulator().requests().pop().unwrap();
        assert_eq!(request.header("traceparent"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_log_can_be_sampled() {
    for (access, successes, errors) in
        [("all", 1, 1), ("errors", 0, 1), ("off", 0, 0), ("1/1000000000", 0, 1), ("1/1", 1, 1)]
    {
        let world = World::with(&format!("log.access = \"{access}\"")).await;
        let alice = world.client("alice");
        assert_eq!(lines_of(&alice, "GET", "/me/customer", "").await.len(), successes, "{access}");
        for (client, target) in [
            (&world.anonymous(), "/me/customer"),
            (&alice, "/x"),
            (&world.client("sim_500"), "/me/customer"),
        ] {
            assert_eq!(
                lines_of(client, "GET", target, "").await.len(),
                errors,
                "{access} {target}"
            );
        }
    }
}

/// The reference of a customer in the log.
fn reference(key: &[u8], customer: &str) -> String {
    let tag = sign(&Key::new(HMAC_SHA256, key), customer.as_bytes());
    let first = u64::from_be_bytes(tag.as_ref()[..8].try_into().unwrap());
    format!("{first:016x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn reference_is_the_hmac_of_the_id() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "reference key\n").unwrap();
    let path = file.path().to_str().unwrap();
    let world = World::with(&format!("log.customer_ref_key_file = {path:?}")).await;
    let line = line_of(&world.client("alice"), "GET", "/me/customer", "").await;
    assert_eq!(line["customer_ref"], reference(b"reference key", "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_key_changes_the_reference_of_a_cached_customer() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "reference key\n").unwrap();
    let path = file.path().to_str().unwrap();
    let world = World::with(&format!("log.customer_ref_key_file = {path:?}")).await;
    let alice = world.client("alice");
    for cache in ["miss", "hit", "hit"] {
        let line = line_of(&alice, "GET", "/me/customer", "").await;
        assert_eq!(line["cache"], cache);
        assert_eq!(line["customer_ref"], reference(b"reference key", "alice"), "{cache}");
    }
    std::fs::write(&file, "new key\n").unwrap();
    let mut others = 0;
    let is_new = async || {
        others += 1;
        let other = format!("other{others}");
        let line = line_of(&world.client(&other), "GET", "/me/customer", "").await;
        line["customer_ref"] == reference(b"new key", &other)
    };
    world.advance_until("the new key", Duration::from_secs(10), is_new).await;
    let line = line_of(&alice, "GET", "/me/customer", "").await;
    assert_eq!(line["cache"], "hit");
    assert_eq!(line["customer_ref"], reference(b"new key", "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn references_change_at_a_restart_without_a_key() {
    let mut references = Vec::new();
    for _ in 0..2 {
        let world = World::new().await;
        let line = line_of(&world.client("alice"), "GET", "/me/customer", "").await;
        references.push(line["customer_ref"].clone());
    }
    assert_ne!(references[0], references[1]);
}
