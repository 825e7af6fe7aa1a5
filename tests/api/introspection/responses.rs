//! Responses that do not state whether the token is valid cause a 503, never a 401 (promise P6).
//! The response for another token is never used (promise P1).

use std::{collections::BTreeMap, time::Duration};

use simulator::{Fault, issuer::INTROSPECTION_PATH};

use super::{Setup, assert_unavailable, owner};

/// A response for a valid token of another customer.
const ANOTHER_CUSTOMER: &str =
    r#"{"active":true,"sub":"mallory","aud":"juspay-bff-demo","exp":4102444800}"#;

fn status(status: u16, media_type: &str, body: &str) -> Fault {
    let headers = BTreeMap::from([("Content-Type".to_owned(), media_type.to_owned())]);
    Fault::Status { status, headers, body: body.to_owned() }
}

fn json(body: &str) -> Fault {
    status(200, "application/json", body)
}

/// Injects each fault once; the next request of the same client succeeds.
async fn each_is_a_503(rows: impl IntoIterator<Item = (Fault, &'static str)>) {
    let setup = Setup::new().await;
    let client = setup.client("alice");
    for (fault, outcome) in rows {
        setup.world.clock.advance(Duration::from_secs(60));
        let (before, calls) = (setup.outcome(outcome).await, setup.calls());
        setup.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault.clone());
        let reply = client.me().await;
        assert_eq!(reply.status, 503, "{fault:?}");
        assert_unavailable(&reply);
        assert_eq!(setup.outcome(outcome).await, before + 1, "{outcome} {fault:?}");
        assert_eq!(owner(&client.me().await), "alice", "{fault:?}");
        assert_eq!(setup.calls(), calls + 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_invalid_response_is_a_503() {
    let huge = format!("{}{}", " ".repeat(65 * 1024), r#"{"active":true}"#);
    each_is_a_503([
        (Fault::CutBody { whole_json: false }, "invalid_response"),
        (Fault::CutBody { whole_json: true }, "invalid_response"),
        (Fault::NoLength, "invalid_response"),
        (Fault::Empty, "invalid_response"),
        (Fault::Html, "invalid_response"),
        (Fault::Huge { bytes: 64 * 1024 }, "invalid_response"),
        (json(&huge), "invalid_response"),
        (json("{}"), "invalid_response"),
        (json("true"), "invalid_response"),
        (json(r#"{"active":"true"}"#), "invalid_response"),
        (json(r#"{"active":false,"active":true}"#), "invalid_response"),
        (status(200, "text/html", ANOTHER_CUSTOMER), "invalid_response"),
        (status(200, "application/token-introspection+jwt", "eyJ"), "invalid_response"),
        (Fault::Close, "unreachable"),
        (Fault::Reset, "unreachable"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_response_is_accepted() {
    let setup = Setup::new().await;
    let fault = Fault::Huge { bytes: 63 * 1024 };
    setup.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
    assert_eq!(owner(&setup.client("alice").me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_any_other_status_is_a_503_regardless_of_the_body() {
    let statuses = [201, 202, 204, 206, 300, 304, 400, 404, 405, 429, 500, 502, 503, 599];
    let others = statuses.map(|code| (status(code, "application/json", ANOTHER_CUSTOMER), "error"));
    each_is_a_503(others).await;
    let assert_rejected = [401, 403]
        .map(|code| (status(code, "application/json", ANOTHER_CUSTOMER), "rejected_credentials"));
    each_is_a_503(assert_rejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_redirects_are_not_followed() {
    for code in [301, 302, 303, 307, 308] {
        let setup = Setup::new().await;
        let location = format!("{}/elsewhere", setup.world.issuer().issuer_url());
        let headers = BTreeMap::from([("Location".to_owned(), location)]);
        let fault = Fault::Status { status: code, headers, body: String::new() };
        setup.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
        assert_unavailable(&setup.client("alice").me().await);
        assert_eq!(setup.world.issuer().calls("/elsewhere"), 0, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_unexpected_1xx_does_not_shift_responses_to_another_token() {
    let setup = Setup::with("server.workers = 1").await;
    for code in [100, 102, 103, 199] {
        let (alice, bob) = (setup.client("alice"), setup.client("bob"));
        let fault = Fault::Interim { status: code, gap_ms: 5 };
        setup.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
        assert_unavailable(&alice.me().await);
        // The real response arrives while another token's request is in progress.
        let pending_request = bob.begin().await;
        setup.world.clock.advance(Duration::from_millis(5));
        assert_eq!(owner(&pending_request.reply().await), "bob", "{code}");
        assert_eq!(owner(&alice.me().await), "alice", "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_surplus_response_is_discarded() {
    let setup = Setup::with("server.workers = 1").await;
    for round in 0..5 {
        let names = [format!("alice{round}"), format!("bob{round}")];
        let [alice, bob] = [&names[0], &names[1]].map(|name| setup.client(name));
        let fault = Fault::Surplus { gap_ms: 5 };
        setup.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
        assert_eq!(owner(&alice.me().await), names[0]);
        let pending_request = bob.begin().await;
        setup.world.clock.advance(Duration::from_millis(5));
        assert_eq!(owner(&pending_request.reply().await), names[1]);
    }
    let requests = setup.world.issuer().requests();
    let introspections = requests.iter().filter(|request| request.path == INTROSPECTION_PATH);
    let mut connections: Vec<_> = introspections.map(|request| request.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), 10, "each request has a connection of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_missing_response_is_a_503_after_two_seconds() {
    for fault in [Fault::Hang, Fault::UnfinishedHead, Fault::StalledBody] {
        let setup = Setup::new().await;
        let (alice, bob) = (setup.client("alice"), setup.client("bob"));
        setup.world.issuer().inject(INTROSPECTION_PATH, Some(2), fault.clone());
        let pending = [alice.begin().await, bob.begin().await];
        setup.world.until_waiting(2).await;
        setup.world.advance(Duration::from_millis(1999)).await;
        assert!(!pending[0].is_answered() && !pending[1].is_answered(), "{fault:?}");
        setup.world.clock.advance(Duration::from_millis(1));
        for pending in pending {
            assert_unavailable(&pending.reply().await);
        }
        assert_eq!(setup.outcome("timeout").await, 2, "{fault:?}");
        assert_eq!(owner(&alice.me().await), "alice", "{fault:?}");
    }
}
