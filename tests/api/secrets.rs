//! Secrets appear only where they are needed (promise P2 in SECURITY.md). Every test world checks
//! all output of its service (see `support::guard`); the first test here triggers every error.

use std::time::Duration;

use simulator::{Fault, MAGIC_CUSTOMERS, MintRequest, issuer::JWKS_PATH};

use crate::support::{Reply, World, guard};

/// Customers whose requests would wait for the deadline.
const NEVER_ANSWERED: &[&str] = &["sim_hang", "sim_slow", "sim_stalled_body"];

#[tokio::test(flavor = "multi_thread")]
async fn p2_no_error_reveals_a_secret() {
    let world = World::new().await;
    let mut answers = 0;
    for magic in MAGIC_CUSTOMERS.iter().filter(|magic| !NEVER_ANSWERED.contains(&magic.id)) {
        for path in ["/me/customer", "/me/customer?options.get_client_auth_token=false"] {
            let reply = world.client(magic.id).get(path).await;
            assert_ne!(reply.status, 500, "{}: {}", magic.id, reply.text());
            answers += 1;
            // Ends the hold of calls that the previous customer may have caused.
            world.clock.advance(Duration::from_secs(60));
        }
        assert!(world.simulator().calls(magic.id) > 0, "{}", magic.id);
    }
    assert!(answers > 40, "{answers}");
    for wish in [
        MintRequest::of("alice").with("cnf", serde_json::json!({"jkt": "x"})),
        MintRequest::of("alice").with("aud", "others"),
        MintRequest::of("a/b"),
        MintRequest { life: jiff::SignedDuration::from_hours(-1), ..MintRequest::of("alice") },
    ] {
        assert!([401, 403].contains(&world.client_with(&wish).me().await.status));
    }
    let client = world.client("alice");
    let token = client.token.clone().unwrap();
    let in_query = world.anonymous().get(&format!("/me/customer?access_token={token}")).await;
    assert_eq!(in_query.code(), "invalid_request");
    assert_eq!(world.client_with_token(&format!("{token}x")).me().await.status, 401);
    assert_eq!(client.get(&format!("/{token}")).await.code(), "not_found");
    assert_eq!(client.request("POST", "/me/customer", "").await.code(), "method_not_allowed");
    world.issuer().inject(JWKS_PATH, None, Fault::Html);
    world.issuer().rotate(false).unwrap();
    assert_eq!(world.client("alice").me().await.code(), "keys_unavailable");

    let metrics = world.admin().get("/metrics").await.text();
    for secret in [world.api_key.as_str(), "tkn_", "alice", "sim_"] {
        assert!(!metrics.contains(secret), "{secret} in /metrics");
    }
    assert!(guard::log_lines("\"status\":502").len() > 10, "the logs were watched");
    for id in ["alice", "sim_bad_key", "sim_ip_blocked"] {
        assert_eq!(guard::log_lines(&format!("\"{id}\"")), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_api_key_is_sent_only_to_juspay() {
    let world = World::new().await;
    assert_eq!(world.client("alice").me().await.status, 200);
    let requests = world.simulator().requests();
    assert!(requests.iter().all(|request| request.header("authorization").is_some()));
    assert!(world.issuer().requests().iter().all(|it| it.header("authorization").is_none()));
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

#[test]
#[should_panic(expected = "got out")]
fn guard_detects_an_api_key_in_a_response() {
    guard::answered("GET /me/customer HTTP/1.1", &reply(200, "canary_1"));
}

#[test]
#[should_panic(expected = "a client auth token got out")]
fn guard_detects_a_client_auth_token_in_an_error() {
    guard::answered("GET /me/customer HTTP/1.1", &reply(502, "tkn_1"));
}

#[test]
#[should_panic(expected = "got out")]
fn guard_detects_an_access_token_in_a_response() {
    guard::answered("GET /me/customer HTTP/1.1", &reply(200, "eyJhbGciOiJFUzI1NiJ9"));
}
