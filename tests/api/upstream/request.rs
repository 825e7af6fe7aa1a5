//! The exact request to Juspay, which contains nothing of the client's request.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use simulator::ReceivedRequest;

use super::owner;
use crate::support::World;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";

fn last(world: &World) -> Arc<ReceivedRequest> {
    Arc::clone(world.simulator().requests().last().expect("a request"))
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_id_is_sent_as_one_path_segment() {
    let world = World::new().await;
    for (id, segment, routing_id) in [
        ("alice", "alice", "alice"),
        ("a.b+c@example.com", "a.b%2Bc%40example.com", "a.b+c@example.com"),
        ("+91 98765 43210", "%2B91%2098765%2043210", "%2B91%2098765%2043210"),
        ("a b", "a%20b", "a%20b"),
        ("a%20b", "a%2520b", "a%2520b"),
        ("a%2Fb", "a%252Fb", "a%252Fb"),
        ("%2e%2e", "%252e%252e", "%252e%252e"),
        ("100%", "100%25", "100%25"),
        ("a..b", "a..b", "a..b"),
        ("...", "...", "..."),
        ("münchen", "m%C3%BCnchen", "m%C3%BCnchen"),
        (
            "ग्राहक",
            "%E0%A4%97%E0%A5%8D%E0%A4%B0%E0%A4%BE%E0%A4%B9%E0%A4%95",
            "%E0%A4%97%E0%A5%8D%E0%A4%B0%E0%A4%BE%E0%A4%B9%E0%A4%95",
        ),
        ("a?b=c&d#e", "a%3Fb%3Dc%26d%23e", "a?b=c&d#e"),
        ("a;b:c,d", "a%3Bb%3Ac%2Cd", "a;b:c,d"),
        ("~-_.", "~-_.", "~-_."),
        ("\"<>|`{}^", "%22%3C%3E%7C%60%7B%7D%5E", "\"<>|`{}^"),
    ] {
        assert_eq!(owner(&world.client(id).me().await), id);
        let received = last(&world);
        assert_eq!(received.method, "GET", "{id}");
        assert_eq!(received.path, format!("/customers/{segment}"), "{id}");
        assert_eq!(received.query, "options.get_client_auth_token=true", "{id}");
        assert_eq!(received.header("x-routing-id"), Some(routing_id), "{id}");
        assert_eq!(received.body, "", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_id_that_is_no_segment_is_never_sent() {
    let world = World::new().await;
    for id in ["..", ".", "a/b", "a\\b", "/", "a\nb", "a\0", " a", "a ", &"x".repeat(257)] {
        let reply = world.client(id).me().await;
        assert_eq!((reply.status, &*reply.code()), (403, "no_customer"), "{id:?}");
    }
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn base_url_may_have_a_path() {
    let world = World::new().await;
    let base_url = format!("juspay.base_url = \"{}/v1/\"", world.simulator().base_url());
    let below = World::with(&base_url).await;
    assert_eq!(below.client("alice").me().await.code(), "upstream_error", "nothing is there");
    assert_eq!(last(&world).path, "/v1/customers/alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_request_headers_contain_nothing_from_the_client() {
    let world = World::new().await;
    let lines = "Cookie: session=1\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n\
        X-Merchantid: other\r\nX-Routing-Id: other\r\nX-Api-Key: other\r\nVersion: 1999-01-01\r\n\
        User-Agent: client/1.0\r\nAccept: text/html\r\nAccept-Language: hi\r\nX-Request-Id: 7\r\n\
        tracestate: a=b\r\nbaggage: a=b\r\nOrigin: https://example.com\r\n\
        If-None-Match: \"1\"\r\nRange: bytes=0-1\r\nTE: trailers\r\n";
    let reply = world.client("alice").request("GET", "/me/customer", lines).await;
    assert_eq!(owner(&reply), "alice");
    let received = last(&world);
    let mut headers: Vec<_> =
        received.headers.iter().map(|(name, value)| (name.to_lowercase(), &**value)).collect();
    // Set by awc: the time of the request.
    headers.retain(|(name, _)| name != "date");
    headers.sort_unstable();
    let host = world.simulator().base_url().strip_prefix("http://").unwrap();
    let credentials = format!("Basic {}", STANDARD.encode(format!("{}:", world.api_key)));
    let user_agent = format!("juspay-bff/{}", env!("CARGO_PKG_VERSION"));
    let expected = [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("authorization", &credentials),
        ("content-length", "0"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", host),
        ("user-agent", &user_agent),
        ("x-merchantid", world.simulator().merchant()),
        ("x-routing-id", "alice"),
    ];
    assert!(
        headers.iter().map(|(name, value)| (&**name, *value)).eq(expected),
        "{:?}",
        headers.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn api_version_is_sent_if_configured() {
    let world = World::with("juspay.api_version = \"2019-05-07\"").await;
    assert_eq!(owner(&world.client("alice").me().await), "alice");
    assert_eq!(last(&world).header("version"), Some("2019-05-07"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_continues_at_juspay_with_a_new_parent() {
    let world = World::new().await;
    let mut parents = Vec::new();
    for (id, flags) in [("alice", "01"), ("bob", "00")] {
        let line = format!("traceparent: 00-{TRACE_ID}-{PARENT_ID}-{flags}\r\n");
        assert_eq!(world.client(id).request("GET", "/me/customer", &line).await.status, 200);
        let received = last(&world);
        let passed_on = received.header("traceparent").expect("a traceparent");
        let parts: Vec<_> = passed_on.split('-').collect();
        let ["00", TRACE_ID, parent, its_flags] = parts[..] else { panic!("{passed_on}") };
        assert_eq!(its_flags, flags);
        assert_eq!(parent.len(), 16);
        assert_ne!(parent, PARENT_ID);
        parents.push(parent.to_owned());
    }
    assert_ne!(parents[0], parents[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_traceparent_is_not_passed_on() {
    let world = World::new().await;
    for (n, header) in [
        String::new(),
        "1".to_owned(),
        format!("00-{}-{PARENT_ID}-01", TRACE_ID.to_uppercase()),
        format!("00-{}-{PARENT_ID}-01", "0".repeat(32)),
        format!("00-{TRACE_ID}-{}-01", "0".repeat(16)),
        format!("ff-{TRACE_ID}-{PARENT_ID}-01"),
        format!("00-{TRACE_ID}-{PARENT_ID}-01-more"),
        format!("00-{TRACE_ID}-{PARENT_ID}-01, 00-{TRACE_ID}-{PARENT_ID}-01"),
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("traceparent: {header}\r\n");
        let client = world.client(&format!("customer{n}"));
        assert_eq!(client.request("GET", "/me/customer", &line).await.status, 200, "{header}");
        assert_eq!(last(&world).header("traceparent"), None, "{header}");
    }
}
