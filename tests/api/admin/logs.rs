//! What the service writes of its work: one line a request, and nobody's data in it.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use juspay_bff::simulator::{Fault, FaultRule};
use serde_json::Value;

use crate::support::{Phone, World, guard, until};

/// Requests are told apart by their ids, as all worlds write into one log.
fn id() -> String {
    format!("test-{:032x}", rand::random::<u128>())
}

/// Sends a request, and gives the lines about it.
async fn lines_of(phone: &Phone, method: &str, target: &str, lines: &str) -> Vec<Value> {
    let id = id();
    let lines = format!("{lines}X-Request-Id: {id}\r\n");
    let reply = phone.request(method, target, &lines).await;
    assert_eq!(reply.header("x-request-id"), Some(&*id));
    logged(&id)
}

/// The lines that name a request. They are written before its answer is sent.
fn logged(id: &str) -> Vec<Value> {
    let parse = |line: String| serde_json::from_str(&line).expect("JSON");
    guard::log_lines(id).into_iter().map(parse).collect()
}

/// The one line of a request.
async fn line_of(phone: &Phone, method: &str, target: &str, lines: &str) -> Value {
    let mut lines = lines_of(phone, method, target, lines).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_line_with_all_that_matters() {
    let world = World::new().await;
    let alice = world.phone("alice.secret@example.com");
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

    let again = line_of(&alice, "HEAD", "/me/customer", "").await;
    assert_eq!((&again["method"], &again["cache"]), (&"HEAD".into(), &"hit".into()));
    assert_eq!(again["customer_ref"], reference, "lines about one customer can be found");
    assert_eq!(again["trace_id"], Value::Null);
    let bobs = line_of(&world.phone("bob"), "GET", "/me/customer", "").await;
    assert_ne!(bobs["customer_ref"], reference);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_end_badly_have_one_line_each() {
    let world = World::new().await;
    let (alice, stranger) = (world.phone("alice"), world.stranger());
    for (phone, method, target, route, status, code, cache) in [
        (&stranger, "GET", "/me/customer", "/me/customer", 401, "missing_token", "-"),
        (&alice, "PUT", "/me/customer", "/me/customer", 405, "method_not_allowed", "-"),
        (&alice, "GET", "/me/customer?access_token=x", "/me/customer", 400, "invalid_request", "-"),
        (&alice, "GET", "/hidden/path", "unmatched", 404, "not_found", "-"),
        (
            &world.phone("sim_not_found"),
            "GET",
            "/me/customer",
            "/me/customer",
            404,
            "customer_not_found",
            "not_found",
        ),
        (
            &world.phone("sim_500"),
            "GET",
            "/me/customer",
            "/me/customer",
            502,
            "upstream_error",
            "error",
        ),
    ] {
        let line = line_of(phone, method, target, "").await;
        assert_eq!(line["method"], method);
        assert_eq!((&line["route"], &line["status"]), (&route.into(), &status.into()));
        assert_eq!((&line["code"], &line["cache"]), (&code.into(), &cache.into()));
        assert!(!line.to_string().contains("hidden"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_too_long_makes_no_long_line() {
    let world = World::new().await;
    let longest = "M".repeat(32);
    let line = line_of(&world.phone("alice"), &longest, "/me/customer", "").await;
    assert_eq!((&line["method"], &line["status"]), (&longest.into(), &405.into()), "{line}");
    for length in [33, 20_000] {
        let method = "M".repeat(length);
        let line = line_of(&world.phone("alice"), &method, "/me/customer", "").await;
        assert_eq!(line["method"], "(too long)", "{line}");
        assert_eq!(line["status"], 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_waited_for_one_fetch_have_their_line() {
    let world = World::new().await;
    let gate = world.simulator().hold("alice");
    let ids: Vec<_> = (0..5).map(|_| id()).collect();
    let asking: Vec<_> = ids
        .iter()
        .map(|id| {
            let (phone, line) = (world.phone("alice"), format!("X-Request-Id: {id}\r\n"));
            tokio::spawn(async move { phone.request("GET", "/me/customer", &line).await })
        })
        .collect();
    let waiting = "juspay_bff_http_requests_waiting";
    until("all wait", async || world.metric(waiting).await > 4.0).await;
    gate.release();
    for request in asking {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let mut caches: Vec<_> = ids.iter().map(|id| logged(id)[0]["cache"].clone()).collect();
    caches.sort_by_key(Value::to_string);
    assert_eq!(caches, ["joined", "joined", "joined", "joined", "miss"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_to_juspay_is_told_once_whoever_waited() {
    let world = World::new().await;
    // No other test has it, as all write into one log.
    let error = Fault::Status { status: 507, headers: <_>::default(), body: String::new() };
    world.simulator().inject(FaultRule::always(error).of("alice"));
    let gate = world.simulator().hold("alice");
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let phone = world.phone("alice");
            tokio::spawn(async move { phone.me().await })
        })
        .collect();
    world.until_waiting(3).await;
    gate.release();
    for request in asking {
        assert_eq!(request.await.unwrap().status, 502);
    }
    assert_eq!(guard::log_lines("call to Juspay failed: Juspay answered with status 507").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_goes_on_to_juspay_with_a_parent_of_its_own() {
    let world = World::new().await;
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let header = format!("traceparent: 00-{trace}-{parent}-01\r\n");
    line_of(&world.phone("alice"), "GET", "/me/customer", &header).await;
    let request = world.simulator().requests().pop().unwrap();
    let sent = request.header("traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{trace}-")) && sent.ends_with("-01"), "{sent}");
    assert!(!sent.contains(parent), "{sent}");
    for header in ["", "traceparent: nonsense\r\n"] {
        let customer = format!("bob{}", header.len());
        let line = line_of(&world.phone(&customer), "GET", "/me/customer", header).await;
        assert_eq!(line["trace_id"], Value::Null);
        let request = world.simulator().requests().pop().unwrap();
        assert_eq!(request.header("traceparent"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_can_be_thinned_out() {
    for (access, good, bad) in
        [("all", 1, 1), ("errors", 0, 1), ("off", 0, 0), ("1/1000000000", 0, 1), ("1/1", 1, 1)]
    {
        let world = World::with(&format!("log.access = \"{access}\"")).await;
        let alice = world.phone("alice");
        assert_eq!(lines_of(&alice, "GET", "/me/customer", "").await.len(), good, "{access}");
        for (phone, target) in [
            (&world.stranger(), "/me/customer"),
            (&alice, "/x"),
            (&world.phone("sim_500"), "/me/customer"),
        ] {
            assert_eq!(lines_of(phone, "GET", target, "").await.len(), bad, "{access} {target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_the_reference_is_the_hmac_of_the_id() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "reference key\n").unwrap();
    let path = file.path().to_str().unwrap();
    let world = World::with(&format!("log.customer_ref_key_file = {path:?}")).await;
    let line = line_of(&world.phone("alice"), "GET", "/me/customer", "").await;
    let tag = sign(&Key::new(HMAC_SHA256, b"reference key"), b"alice");
    let first = u64::from_be_bytes(tag.as_ref()[..8].try_into().unwrap());
    assert_eq!(line["customer_ref"], format!("{first:016x}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_references_mean_nothing_after_a_restart() {
    let mut references = Vec::new();
    for _ in 0..2 {
        let world = World::new().await;
        let line = line_of(&world.phone("alice"), "GET", "/me/customer", "").await;
        references.push(line["customer_ref"].clone());
    }
    assert_ne!(references[0], references[1]);
}
