//! The response to a client: body, options, headers, methods, paths. `problems` covers errors,
//! `malformed_input` covers input that isn't HTTP (promise P7).

mod malformed_input;
mod problems;

use std::time::Duration;

use serde_json::Value;
use simulator::{Fault, FaultRule, ObjectFault};

use crate::support::{Reply, World, until};

const WITHOUT_TOKEN: &str = "/me/customer?options.get_client_auth_token=false";

/// The response from Juspay's documentation, with a token that lives for 15 minutes from the start
/// of the world.
const JUSPAYS: &str = r#"{
    "id": "cst_b9c0dd1e8c7d4bb8a3e0c6c1a2b3c4d5",
    "object": "customer",
    "object_reference_id": "alice",
    "mobile_number": "9988776655",
    "date_created": "2016-08-02T08:07:52+0000",
    "last_updated": "2020-03-17T14:45:26.987Z",
    "email_address": "a.b@example.com",
    "first_name": "Ünï \"quoted\"",
    "last_name": null,
    "mobile_country_code": "91",
    "juspay": {
        "client_auth_token_expiry": "2026-11-23T12:15:00Z",
        "client_auth_token": "tkn_8649cd66d30c47728b8dd2fb6279a4cc"
    }
}"#;

/// The client's response to it, without the closing brace.
const RESPONSE: &str = concat!(
    r#"{"id":"cst_b9c0dd1e8c7d4bb8a3e0c6c1a2b3c4d5","object":"customer","#,
    r#""object_reference_id":"alice","mobile_country_code":"91","mobile_number":"9988776655","#,
    r#""email_address":"a.b@example.com","first_name":"Ünï \"quoted\"","last_name":null,"#,
    r#""date_created":"2016-08-02T08:07:52Z","last_updated":"2020-03-17T14:45:26Z""#,
);

/// The conservative expiry: one second earlier, because Juspay's `Date` has whole seconds.
const OUR_TOKEN: &str = concat!(
    r#","juspay":{"client_auth_token":"tkn_8649cd66d30c47728b8dd2fb6279a4cc","#,
    r#""client_auth_token_expiry":"2026-11-23T12:14:59Z"}"#,
);

/// A world whose Juspay returns this body.
async fn documented(settings: &str) -> World {
    let world = World::with(settings).await;
    let body = JUSPAYS.to_owned();
    let response = Fault::Status { status: 200, headers: [].into(), body };
    world.simulator().inject(FaultRule::always(response));
    world
}

/// Names of the members, in order.
fn names(reply: &Reply) -> Vec<String> {
    // serde_json sorts members, so the order comes from the text.
    let mut names: Vec<String> = reply.json().as_object().unwrap().keys().cloned().collect();
    let text = reply.text();
    names.sort_by_key(|name| text.find(&format!("\"{name}\":")));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn client_gets_its_customer_with_a_token() {
    let world = documented("").await;
    let client = world.client("alice");
    for cache_status in ["juspay-bff; fwd=uri-miss; stored; ttl=779", "juspay-bff; hit; ttl=779"] {
        let reply = client.me().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.text(), format!("{RESPONSE}{OUR_TOKEN}}}"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("juspay-token-expires-in"), Some("899"));
        assert_eq!(reply.cache_status(), cache_status);
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn object_without_token_is_the_same_from_juspay_and_cache() {
    let world = documented("").await;
    let client = world.client("alice");
    for cache_status in ["juspay-bff; fwd=uri-miss; stored; ttl=779", "juspay-bff; hit; ttl=779"] {
        let reply = client.get(WITHOUT_TOKEN).await;
        assert_eq!(reply.text(), format!("{RESPONSE}}}"));
        assert_eq!(reply.header("juspay-token-expires-in"), None);
        assert_eq!(reply.cache_status(), cache_status);
    }
    // Its entry also serves requests with a token.
    assert_eq!(client.me().await.text(), format!("{RESPONSE}{OUR_TOKEN}}}"));
    assert_eq!(world.simulator().calls("alice"), 1);
    let request = world.simulator().requests().pop().unwrap();
    assert_eq!(request.query, "options.get_client_auth_token=true");
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_with_an_unusable_token_is_served_without_it() {
    let world = World::new().await;
    for customer in ["sim_no_token", "sim_null_juspay", "sim_expired", "sim_expires_20s"] {
        let client = world.client(customer);
        assert_eq!(client.me().await.code(), "upstream_invalid_response", "{customer}");
        let reply = client.get(WITHOUT_TOKEN).await;
        assert_eq!(reply.status, 200, "{customer}");
        assert_eq!(reply.json()["object_reference_id"], customer);
        assert_eq!(reply.json()["juspay"], Value::Null);
        assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss", "nothing is stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_option_is_boolean_and_other_options_are_ignored() {
    let world = World::new().await;
    let client = world.client("alice");
    for (query, has_token) in [
        ("", true),
        ("options.get_client_auth_token=true", true),
        ("options.get_client_auth_token=false", false),
        ("utm_source=x&options%2Eget_client_auth_token=false&&=&y", false),
        ("options.other=1&get_client_auth_token=false", true),
        ("%ff=%zz&+", true),
    ] {
        let reply = client.get(&format!("/me/customer?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        assert_eq!(names(&reply).contains(&"juspay".to_owned()), has_token, "{query}");
    }
    for value in ["", "=", "=1", "=TRUE", "=false%20", "=true&options.get_client_auth_token=true"] {
        let reply = client.get(&format!("/me/customer?options.get_client_auth_token{value}")).await;
        assert_eq!((reply.status, &*reply.code()), (400, "invalid_request"), "{value}");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_does_not_count_as_a_returned_token() {
    let world = documented("").await;
    let client = world.client("alice");
    for (method, count) in [("HEAD", 0), ("HEAD", 0), ("GET", 1), ("HEAD", 1), ("GET", 2)] {
        assert_eq!(client.request(method, "/me/customer", "").await.status, 200);
        assert_eq!(world.count("juspay_bff_token_remaining_seconds_count").await, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_returns_get_without_the_body() {
    let world = documented("").await;
    let client = world.client("alice");
    let request = |method, path| client.request(method, path, "X-Request-Id: same\r\n");
    let first = request("HEAD", "/me/customer").await;
    assert_eq!((first.status, &*first.body), (200, &b""[..]));
    assert_eq!(first.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    for path in ["/me/customer", WITHOUT_TOKEN, "/me/customer?access_token=x", "/nothing"] {
        let (get, head) = (request("GET", path).await, request("HEAD", path).await);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.body, b"", "{path}");
        assert_eq!(get.header("content-length"), Some(&*get.body.len().to_string()), "{path}");
        let but_for_the_time = |reply: Reply| {
            let mut headers = reply.headers;
            headers.retain(|(name, _)| name != "date");
            headers.sort();
            headers
        };
        assert_eq!(but_for_the_time(head), but_for_the_time(get), "{path}");
    }
    let anonymous = world.anonymous().request("HEAD", "/me/customer", "").await;
    assert_eq!((anonymous.status, anonymous.body.len()), (401, 0));
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer realm=\"juspay-bff\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn response_contains_only_wanted_fields() {
    for (fields, expected) in [
        ("\"juspay\", \"first_name\", \"id\"", &["id", "first_name", "juspay"][..]),
        ("\"juspay\"", &["juspay"]),
        ("\"email_address\"", &["email_address"]),
    ] {
        let world = documented(&format!("response.fields = [{fields}]")).await;
        let reply = world.client("alice").me().await;
        assert_eq!(names(&reply), expected);
        let has_token = expected.contains(&"juspay");
        assert_eq!(reply.header("juspay-token-expires-in").is_some(), has_token, "{fields}");
        let without = world.client("alice").get(WITHOUT_TOKEN).await;
        let expected: Vec<_> = expected.iter().copied().filter(|name| *name != "juspay").collect();
        assert_eq!(names(&without), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_missing_fields_are_tolerated() {
    let world = World::new().await;
    let documented = [
        "id",
        "object",
        "object_reference_id",
        "mobile_country_code",
        "mobile_number",
        "email_address",
        "first_name",
        "last_name",
        "date_created",
        "last_updated",
        "juspay",
    ];
    let mut with_customer_id = documented.to_vec();
    with_customer_id.insert(3, "customer_id");
    let mut with_customer_id_only = with_customer_id.clone();
    with_customer_id_only.remove(2);
    for (fault, expected) in [
        (ObjectFault::UnknownFields, documented.to_vec()),
        (ObjectFault::CustomerIdToo, with_customer_id),
        (ObjectFault::CustomerIdOnly, with_customer_id_only),
        (ObjectFault::Sparse, vec!["object_reference_id", "juspay"]),
    ] {
        let customer = format!("{fault:?}");
        world.simulator().inject(FaultRule::always(Fault::Object(fault)).of(&customer));
        let reply = world.client(&customer).me().await;
        assert_eq!(names(&reply), expected, "{fault:?}");
        if expected.contains(&"customer_id") {
            assert_eq!(reply.json()["customer_id"], customer);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_status_names_the_source() {
    let world = World::new().await;
    let client = world.client("alice");
    let latch = world.simulator().hold("alice");
    let request = || {
        let client = client.clone();
        tokio::spawn(async move { client.me().await })
    };
    let first = request();
    latch.arrived(1).await;
    let second = request();
    let waiting = "juspay_bff_http_requests_waiting";
    until("the second one waits", async || world.metric(waiting).await > 1.0).await;
    latch.release();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(first.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(second.cache_status(), "juspay-bff; fwd=uri-miss; collapsed");
    assert_eq!(first.token(), second.token());

    world.clock.advance(Duration::from_millis(10_500));
    let hit = client.me().await;
    assert_eq!(hit.cache_status(), "juspay-bff; hit; ttl=768");
    assert_eq!(hit.header("juspay-token-expires-in"), Some("888"));
    // Below cache.min_remaining.
    world.clock.advance(Duration::from_mins(13));
    // Expiries have whole seconds; half of this second has passed on the server's clock.
    let stale = client.me().await;
    assert_eq!(stale.cache_status(), "juspay-bff; fwd=stale; stored; ttl=778");
    assert_ne!(stale.token(), hit.token());
    assert_eq!(world.simulator().calls("alice"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_request_id_is_returned_and_others_are_replaced() {
    let world = World::new().await;
    let longest = "x".repeat(128);
    let long = "x".repeat(129);
    for (target, client) in [
        ("/me/customer", world.client("alice")),
        ("/me/customer", world.anonymous()),
        ("/nothing", world.anonymous()),
    ] {
        for sane in ["7f3d2c1a-4b5e_6.7", &*longest] {
            let reply = client.request("GET", target, &format!("X-Request-Id: {sane}\r\n")).await;
            assert_eq!(reply.header("x-request-id"), Some(sane));
        }
        for invalid in ["", "X-Request-Id: a b\r\n", &format!("X-Request-Id: {long}\r\n")] {
            let made = client.request("GET", target, invalid).await;
            let id = made.header("x-request-id").unwrap().to_owned();
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            let another = client.request("GET", target, invalid).await;
            assert_ne!(another.header("x-request-id"), Some(&*id));
        }
    }
}
