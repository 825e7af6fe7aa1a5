//! Errors as clients see them: one format for all, and stable codes.

use serde_json::Value;

use crate::support::{Client, Reply, World};

/// Checks what `Reply::code` doesn't.
fn problem(reply: &Reply) -> Value {
    let code = reply.code();
    let problem = reply.json();
    let members: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        ["code", "detail", "request_id", "retry_after", "retryable", "status", "title", "type"]
    );
    assert_eq!(problem["type"], format!("urn:juspay-bff:problem:{code}"));
    assert_eq!(problem["retryable"], problem["retry_after"].is_u64());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("cache-status"), None);
    assert_eq!(reply.header("juspay-token-expires-in"), None);
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_not_found_with_or_without_a_token() {
    let world = World::new().await;
    for client in [world.client("alice"), world.anonymous()] {
        for path in [
            "/",
            "/me",
            "/me/",
            "/me/customer/",
            "/me/customer/x",
            "/me/customers",
            "//me/customer",
            "/ME/CUSTOMER",
            "/me/./customer",
            "/me/x/../customer",
            "/me%2Fcustomer",
            "/livez",
            "/readyz",
            "/metrics",
            "/cache/purge",
            "/_simulator",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                let reply = client.request(method, path, "").await;
                assert_eq!(reply.status, 404, "{method} {path}");
                assert_eq!(problem(&reply)["code"], "not_found", "{method} {path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_rejected_with_allow() {
    let world = World::new().await;
    for client in [world.client("alice"), world.anonymous()] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "PURGE"] {
            let reply = client.request(method, "/me/customer", "").await;
            assert_eq!(reply.status, 405, "{method}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{method}");
            assert_eq!(problem(&reply)["code"], "method_not_allowed");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(world.simulator().total_requests(), 0);
}

/// A request that lets the service decide whether to keep the connection.
fn keep_alive(client: &Client, method: &str, lines: &str, body: &str) -> String {
    let token = client.token.as_deref().unwrap();
    format!(
        "{method} /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         {lines}\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn request_body_is_rejected_and_closes_the_connection() {
    let world = World::new().await;
    let client = world.client("alice");
    let large = "x".repeat(1024 * 1024);
    for (lines, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Content-Length: 1048576\r\n", &*large),
        ("Content-Length: 99999999999\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0;a=b\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5"),
    ] {
        // It returns: the service closes, although the client didn't request it.
        let reply = client.raw(&keep_alive(&client, "GET", lines, body)).await;
        assert_eq!(reply.status, 413, "{lines}");
        assert_eq!(reply.header("connection"), Some("close"), "{lines}");
        assert_eq!(problem(&reply)["code"], "body_not_allowed");
    }
    assert_eq!(world.simulator().total_requests(), 0);
    let none = client.request("GET", "/me/customer", "Content-Length: 0\r\n").await;
    assert_eq!(none.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_body_is_never_parsed_as_the_next_request() {
    let world = World::new().await;
    let client = world.client("alice");
    let hidden = keep_alive(&world.client("bob"), "GET", "Connection: close\r\n", "");
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let length = format!("Content-Length: {}\r\n", hidden.len());
    for method in ["GET", "POST"] {
        for (lines, body) in [(&*length, &*hidden), ("Transfer-Encoding: chunked\r\n", &*chunked)] {
            let request =
                keep_alive(&client, method, &format!("{lines}Connection: close\r\n"), body);
            let response = client.garbage(request.as_bytes()).await;
            let response = String::from_utf8(response).unwrap();
            assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{method} {lines}: {response}");
        }
    }
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_has_up_to_50_percent_jitter() {
    let world = World::with(
        "cache.not_found_ttl = \"10s\"
         juspay.breaker.min_calls = 1000",
    )
    .await;
    for (customer, code, range) in [
        ("sim_not_found", "customer_not_found", 10..=15),
        // As long as the customer's failure is remembered.
        ("sim_500", "upstream_error", 1..=2),
        ("sim_html", "upstream_invalid_response", 1..=2),
        // As long as Juspay's `Retry-After`.
        ("sim_429", "upstream_unavailable", 7..=11),
    ] {
        let client = world.client(customer);
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let problem = problem(&client.me().await);
            assert_eq!(problem["code"], code);
            drawn.insert(problem["retry_after"].as_u64().unwrap());
        }
        assert!(drawn.iter().all(|seconds| range.contains(seconds)), "{code}: {drawn:?}");
        assert!(drawn.len() > 1, "{code}: no jitter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_key_or_address_is_retryable_after_a_second() {
    for (customer, code) in [
        ("sim_bad_key", "upstream_rejected_credentials"),
        ("sim_ip_blocked", "upstream_rejected_origin"),
    ] {
        let world = World::new().await;
        let reply = world.client(customer).me().await;
        assert_eq!(reply.status, 502);
        let problem = problem(&reply);
        assert_eq!((&problem["code"], &problem["retryable"]), (&code.into(), &true.into()));
        let seconds = problem["retry_after"].as_u64().unwrap();
        assert!((1..=2).contains(&seconds), "a second, and half of it for jitter: {seconds}");
        assert_eq!(reply.header("www-authenticate"), None, "the client's token is valid");
    }
}
