//! Promise P1: a caller gets the customer that its verified token names, and no other.

use serde_json::json;
use simulator::{Algorithm, MintRequest, Running};

use super::{assert_rejected, second_issuer};
use crate::support::{Client, Stage, World, until};

const NO_PREFIX: &str = "customer_id_prefix = \"\"";
const WEB: &str = "customer_id_prefix = \"web-\"";

#[tokio::test(flavor = "multi_thread")]
async fn p1_nothing_in_a_request_chooses_another_customer() {
    let world = World::new().await;
    let attempts = [
        ("/me/customer?customer_id=bob", ""),
        ("/me/customer?id=bob&sub=bob&object_reference_id=bob", ""),
        ("/me/customer?options.customer_id=bob", ""),
        ("/me/customer?options.get_client_auth_token=true&customer_id=bob", ""),
        ("/me/customer#bob", ""),
        ("http://bob.example/me/customer", ""),
        ("/me/customer", "X-Customer-Id: bob\r\nX-Routing-Id: bob\r\n"),
        ("/me/customer", "X-MerchantId: bob\r\nX-User-Id: bob\r\nX-Sub: bob\r\n"),
        ("/me/customer", "X-Forwarded-User: bob\r\nX-Forwarded-Email: bob\r\n"),
        ("/me/customer", "X-Forwarded-For: bob\r\nForwarded: for=bob\r\nX-Real-IP: bob\r\n"),
        ("/me/customer", "X-Original-URL: /customers/bob\r\nX-Rewrite-URL: /customers/bob\r\n"),
        ("/me/customer", "X-HTTP-Method-Override: POST\r\nFrom: bob\r\n"),
        ("/me/customer", "Cookie: customer_id=bob; sub=bob\r\n"),
        ("/me/customer", "Proxy-Authorization: Basic Ym9iOg==\r\n"),
        ("/me/customer", "traceparent: bob\r\nbaggage: sub=bob\r\nX-Request-Id: bob\r\n"),
        ("/me/customer", "version: bob\r\nHost: bob.example\r\n"),
    ];
    for (n, (target, lines)) in attempts.into_iter().enumerate() {
        let subject = format!("alice-{n}");
        let reply = world.client(&subject).request("GET", target, lines).await;
        // A second Host, a fragment and the like may be rejected, but never select bob.
        if reply.status == 200 {
            assert_eq!(reply.json()["object_reference_id"], *subject, "{target} {lines}");
        } else {
            assert!(reply.status < 500, "{target} {lines}: {}", reply.text());
        }
    }
    for target in ["/me/customer/bob", "/me/customer/", "/customers/bob", "/me/customers/bob"] {
        let reply = world.client("alice").get(target).await;
        assert_eq!((reply.status, &*reply.code()), (404, "not_found"), "{target}");
    }
    assert_juspay_got_only_own_customers(&world);
}

/// Checks which customers Juspay was called for.
fn assert_juspay_got_only_own_customers(world: &World) {
    let requests = world.simulator().requests();
    assert!(requests.len() > 12, "most attempts succeed: {}", requests.len());
    for request in requests {
        assert!(request.path.starts_with("/customers/alice-"), "{}", request.path);
        let requested = request.path.trim_start_matches("/customers/");
        assert_eq!(request.query, "options.get_client_auth_token=true");
        assert_eq!(request.header("x-routing-id"), Some(requested));
        assert_eq!(request.header("x-merchantid"), Some(world.simulator().merchant()));
        assert_eq!(request.body, "");
        for (name, value) in &request.headers {
            assert!(!value.contains("bob"), "{name}: {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_nothing_in_a_body_chooses_another_customer() {
    let world = World::new().await;
    let client = world.client("alice");
    for body in [json!({"customer_id": "bob"}), json!("customer_id=bob")] {
        assert_eq!(client.post("/me/customer", &body).await.code(), "method_not_allowed");
        let lines = format!("Content-Length: {}\r\n", body.to_string().len());
        let reply = client.request("GET", "/me/customer", &lines).await;
        assert_eq!(reply.code(), "body_not_allowed");
    }
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_each_id_is_one_segment_of_the_path_to_juspay() {
    let world = World::new().await;
    for (subject, segment) in [
        ("a.b+c@example.com", "a.b%2Bc%40example.com"),
        ("+91 98765", "%2B91%2098765"),
        ("100%", "100%25"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("a;b=c&d", "a%3Bb%3Dc%26d"),
        ("ünïcode", "%C3%BCn%C3%AFcode"),
        ("...", "..."),
    ] {
        let reply = world.client(subject).me().await;
        assert_eq!(reply.json()["object_reference_id"], *subject);
        let request = world.simulator().requests().pop().unwrap();
        assert_eq!(request.path, format!("/customers/{segment}"));
        assert_eq!(request.query, "options.get_client_auth_token=true");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_and_prefix_form_the_customer_id() {
    let world = World::new().await;
    let wish = MintRequest::of("x").with("sub", 9_007_199_254_740_993_u64);
    let reply = world.client_with(&wish).me().await;
    assert_eq!(reply.json()["object_reference_id"], "9007199254740993");

    let world = World::with(
        "[auth.issuers.main]\ncustomer_id_claim = \"user_id\"\ncustomer_id_prefix = \"app-\"",
    )
    .await;
    let wish = MintRequest::of("anonymous").with("user_id", "7");
    assert_eq!(world.client_with(&wish).me().await.json()["object_reference_id"], "app-7");
    assert_rejected("no user_id", &world.client("anonymous").me().await, 403, "no_customer", None);
    assert_eq!(world.simulator().counts().len(), 1);
}

/// A world with a second trusted issuer.
async fn two_issuers(main: &str, second: &str, rest: &str) -> (World, Running) {
    let stage = Stage::set().await;
    let running = second_issuer(&stage).await;
    let world = stage.open(&format!(
        r#"{rest}
        [auth.issuers.main]
        {main}
        [auth.issuers.second]
        issuer = "{}"
        audiences = ["juspay-bff-demo"]
        algorithms = ["ES256"]
        discovery = true
        {second}
        "#,
        running.issuer().issuer_url(),
    ));
    for issuer in ["main", "second"] {
        let series = format!("juspay_bff_jwks_keys{{issuer=\"{issuer}\"}}");
        until("keys of both issuers", async || world.metric(&series).await > 0.0).await;
    }
    (world, running)
}

fn of_second(world: &World, second: &Running, subject: &str) -> Client {
    world.client_with_token(&second.issuer().mint(&MintRequest::of(subject)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_same_subject_of_two_issuers_names_two_customers() {
    let (world, second) = two_issuers(NO_PREFIX, WEB, "").await;
    let first = world.client("alice").me().await;
    let second = of_second(&world, &second, "alice").me().await;
    assert_eq!(first.json()["object_reference_id"], "alice");
    assert_eq!(second.json()["object_reference_id"], "web-alice");
    assert_ne!(first.token(), second.token());
    // An id of the first issuer that would be in the namespace of the second one.
    assert_rejected("web-bob", &world.client("web-bob").me().await, 403, "no_customer", None);
    let counts = world.simulator().counts();
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["alice", "web-alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_keys_of_one_issuer_do_not_verify_tokens_of_another() {
    let (world, second) = two_issuers(NO_PREFIX, WEB, "").await;
    let crossed = MintRequest::of("alice").with("iss", world.issuer().issuer_url());
    let token = second.issuer().mint(&crossed).unwrap();
    assert_eq!(world.client_with_token(&token).me().await.code(), "invalid_token");
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_can_share_customers() {
    let (world, second) = two_issuers("", "", "auth.shared_customer_ids = true").await;
    let first = world.client("alice").me().await;
    let second = of_second(&world, &second, "alice").me().await;
    assert_eq!(first.token(), second.token());
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_works_from_end_to_end() {
    use juspay_bff::settings::Algorithm as Accepted;
    // The simulator has its own list.
    assert_eq!(Algorithm::ALL.map(Algorithm::name), Accepted::ALL.map(Accepted::name));
    let stage = Stage::set().await;
    let wish = |algorithm| MintRequest { algorithm, ..MintRequest::of(&format!("{algorithm:?}")) };
    // The simulator creates the keys before the service fetches them.
    let tokens = Algorithm::ALL.map(|algorithm| stage.issuer().mint(&wish(algorithm)).unwrap());
    let settings = format!(
        "[auth.issuers.main]\ndiscovery = false\njwks_url = \"{}\"\nalgorithms = {:?}",
        stage.issuer().jwks_url(),
        Algorithm::ALL.map(|algorithm| format!("{algorithm:?}")),
    );
    let world = stage.open_ready(&settings).await;
    for (algorithm, token) in Algorithm::ALL.iter().zip(&tokens) {
        let reply = world.client_with_token(token).me().await;
        assert_eq!(reply.status, 200, "{algorithm:?}: {}", reply.text());
        assert_eq!(reply.json()["object_reference_id"], format!("{algorithm:?}"));
    }
    assert_eq!(world.issuer().calls("/jwks"), 1);
}
