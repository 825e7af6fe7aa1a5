//! CORS headers and `OPTIONS` on the wire (`cors.origins`). `tests/page` tests them with a real browser.

use crate::support::{Client, Reply, World};

const ORIGINS: &str =
    "cors.origins = ['https://shop.example', 'capacitor://localhost', 'http://localhost']";

const PREFLIGHT: &str =
    "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";

impl Client {
    async fn preflight(&self, origin: &str) -> Reply {
        self.request("OPTIONS", "/me/customer", &format!("Origin: {origin}\r\n{PREFLIGHT}")).await
    }
}

fn cors_headers(reply: &Reply) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .filter(|(name, _)| name.starts_with("access-control-"))
        .collect();
    headers.sort_unstable();
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_of_a_listed_origin_is_answered_without_a_token() {
    let world = World::with(ORIGINS).await;
    for origin in ["https://shop.example", "capacitor://localhost", "http://localhost"] {
        let reply = world.anonymous().preflight(origin).await;
        assert_eq!((reply.status, reply.text()), (204, String::new()));
        assert_eq!(
            cors_headers(&reply),
            [
                (
                    "access-control-allow-headers",
                    "Authorization, Cache-Control, DPoP, X-Request-Id, traceparent"
                ),
                ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
                ("access-control-allow-origin", origin),
                (
                    "access-control-expose-headers",
                    "Cache-Status, DPoP-Nonce, Juspay-Token-Expires-In, Retry-After, WWW-Authenticate, X-Request-Id"
                ),
                ("access-control-max-age", "7200"),
            ]
        );
        assert_eq!(
            (reply.header("vary"), reply.header("allow")),
            (Some("Origin"), Some("GET, HEAD, OPTIONS"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_get_no_cors_headers() {
    let world = World::with(ORIGINS).await;
    for origin in [
        "https://shop.example.evil",
        "https://shop.example:444",
        "http://shop.example",
        "https://SHOP.example",
        "https://shop.example/",
        "null",
        "",
        "https://shop.example, https://evil.example",
    ] {
        let reply = world.anonymous().preflight(origin).await;
        assert_eq!((reply.status, cors_headers(&reply).len()), (204, 0), "{origin}");
        let lines = format!("Origin: {origin}\r\n");
        let reply = world.client("alice").request("GET", "/me/customer", &lines).await;
        assert_eq!((reply.status, cors_headers(&reply).len()), (200, 0), "{origin}");
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    let two = "Origin: https://shop.example\r\nOrigin: https://shop.example\r\n";
    let reply = world.client("alice").request("GET", "/me/customer", two).await;
    assert_eq!(cors_headers(&reply), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_answers_have_cors_headers_and_never_credentials() {
    let world = World::with(ORIGINS).await;
    let alice = world.client("alice");
    let origin = "Origin: https://shop.example\r\n";
    for (client, method, target, more, status) in [
        (&alice, "GET", "/me/customer", "", 200),
        (&world.anonymous(), "GET", "/me/customer", "", 401),
        (&alice, "GET", "/elsewhere", "", 404),
        (&alice, "OPTIONS", "/elsewhere", "", 404),
        (&alice, "DELETE", "/me/customer", "", 405),
        (&alice, "GET", "/me/customer?access_token=x", "", 400),
        (&alice, "OPTIONS", "/me/customer", "Content-Length: 1\r\n\r\nx", 413),
        (&alice, "POST", "/me/prepare", "", 202),
    ] {
        let reply = client.request(method, target, &format!("{origin}{more}")).await;
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("https://shop.example"),
            "{target}"
        );
        assert!(reply.header("access-control-expose-headers").unwrap().contains("X-Request-Id"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert_eq!(reply.header("access-control-max-age"), None, "only for a preflight");
    }
    let delete = alice.request("DELETE", "/me/customer", origin).await;
    assert_eq!(delete.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_origins_nothing_is_allowed() {
    let world = World::new().await;
    let reply = world.anonymous().preflight("https://shop.example").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    let lines = "Origin: https://shop.example\r\n";
    let reply = world.client("alice").request("GET", "/me/customer", lines).await;
    assert_eq!((reply.status, cors_headers(&reply).len(), reply.header("vary")), (200, 0, None));
}
