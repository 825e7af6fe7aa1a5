//! Responses without a valid customer: each has its status, code and outcome in the metrics, and
//! none is cached.

use std::{collections::BTreeMap, time::Duration};

use simulator::{ApiError, Fault, FaultRule, ObjectFault};

use super::owner;
use crate::support::{ScriptedServer, World};

/// The client's status and code, and the outcome of the call.
type Expected = (u16, &'static str, &'static str);

const INVALID: Expected = (502, "upstream_invalid_response", "invalid_response");
const CREDENTIALS: Expected = (502, "upstream_rejected_credentials", "rejected_credentials");
const ORIGIN: Expected = (502, "upstream_rejected_origin", "rejected_origin");
const CLIENT_ERROR: Expected = (502, "upstream_error", "client_error");
const SERVER_ERROR: Expected = (502, "upstream_error", "server_error");
const CONNECTION: Expected = (502, "upstream_error", "connection");
const TOO_MANY: Expected = (503, "upstream_unavailable", "too_many_requests");

/// Maximum time for which a customer's first failed fetch is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

/// A valid object with this status.
fn status(status: u16) -> Fault {
    let body = r#"{"object_reference_id": "customer", "juspay": {"client_auth_token": "tkn_0",
        "client_auth_token_expiry": "2026-11-23T12:15:00Z"}}"#;
    Fault::Status { status, headers: BTreeMap::new(), body: body.to_owned() }
}

fn response(status: u16, body: &str) -> Fault {
    Fault::Status { status, headers: BTreeMap::new(), body: body.to_owned() }
}

/// Requests the customer once with each fault, then without it.
async fn assert_each(rows: impl IntoIterator<Item = (Fault, Expected)>) {
    let world = World::new().await;
    let client = world.client("customer");
    for (fault, (status, code, outcome)) in rows {
        world.purge_all().await;
        world.simulator().clear_requests();
        world.simulator().inject(FaultRule::once(fault.clone()));
        let counted = world.upstream(outcome).await;
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{fault:?}");
        assert_eq!(world.upstream(outcome).await, counted + 1, "{fault:?}");
        assert_eq!(reply.header("www-authenticate"), None, "{fault:?}");
        world.clock.advance(REMEMBERED_FOR);
        let reply = client.me().await;
        assert_eq!(owner(&reply), "customer", "{fault:?}");
        assert!(reply.cache_status().contains("fwd=uri-miss; stored"), "{fault:?}");
        assert_eq!(world.simulator().calls("customer"), 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_or_other_bodies_are_invalid() {
    let faults = [
        Fault::CutBody { whole_json: false },
        Fault::CutBody { whole_json: true },
        Fault::CutChunked { whole_json: false },
        Fault::NoLength,
        Fault::Empty,
        Fault::Html,
        Fault::Huge { bytes: 64 * 1024 },
        Fault::Huge { bytes: 8 * 1024 * 1024 },
        Fault::Object(ObjectFault::OtherCustomer),
        response(200, "null"),
        response(200, "[]"),
        response(200, "\"customer\""),
        response(200, "{\"object_reference_id\": \"customer\"} trailing"),
        response(200, "{\u{feff}\"object_reference_id\": \"customer\"}"),
    ];
    assert_each(faults.map(|fault| (fault, INVALID))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undocumented_2xx_statuses_are_invalid() {
    let statuses = [201, 202, 203, 204, 205, 206, 207, 226, 299];
    assert_each(statuses.map(|code| (status(code), INVALID))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_invalid() {
    let statuses = [300, 301, 302, 303, 304, 305, 307, 308, 399];
    assert_each(statuses.map(|code| (status(code), INVALID))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_juspays_rejection_is_not_a_401_for_clients() {
    assert_each([
        (Fault::Error(ApiError::AccessDenied), CREDENTIALS),
        (status(401), CREDENTIALS),
        (response(401, ""), CREDENTIALS),
        (Fault::Error(ApiError::BadOrigin), ORIGIN),
        (status(403), ORIGIN),
        (response(403, "<html>"), ORIGIN),
        // Only the status matters, for any length of the page.
        (response(401, &"<html>".repeat(20_000)), CREDENTIALS),
        (response(403, &"<html>".repeat(20_000)), ORIGIN),
        (response(418, &"<html>".repeat(20_000)), CLIENT_ERROR),
        (Fault::Error(ApiError::MandatoryFieldsMissing), CLIENT_ERROR),
        (status(407), CLIENT_ERROR),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_disabled_api_key_logs_no_client_out() {
    let world = World::new().await;
    world.simulator().set_key(&world.api_key, false);
    let reply = world.client("alice").me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_rejected_credentials"));
    assert_eq!(reply.json()["retryable"], true);
    world.simulator().set_key(&world.api_key, true);
    world.clock.advance(REMEMBERED_FOR);
    assert_eq!(owner(&world.client("alice").me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_4xx_of_juspay_are_upstream_errors() {
    let statuses = [400, 402, 405, 406, 408, 409, 410, 415, 418, 422, 431, 451, 499];
    assert_each(statuses.map(|code| (status(code), CLIENT_ERROR))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undocumented_404_is_an_upstream_error() {
    assert_each([
        (response(404, "<html><h1>404 Not Found</h1></html>"), CLIENT_ERROR),
        (response(404, ""), CLIENT_ERROR),
        (response(404, "{}"), CLIENT_ERROR),
        (response(404, r#"{"error_code": "route_not_found"}"#), CLIENT_ERROR),
        (status(404), CLIENT_ERROR),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn juspay_5xx_is_an_error_and_429_is_unavailable() {
    let statuses = [500, 501, 502, 503, 504, 511, 599, 600, 999];
    assert_each(statuses.map(|code| (status(code), SERVER_ERROR))).await;
    assert_each([(status(429), TOO_MANY), (response(429, ""), TOO_MANY)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_closed_without_a_response_is_an_error() {
    assert_each([(Fault::Reset, CONNECTION), (Fault::Close, CONNECTION)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_redirect_is_not_followed() {
    let elsewhere = ScriptedServer::new().await;
    let world = World::new().await;
    for (n, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let location = format!("http://{}/customers/alice", elsewhere.address);
        let headers = [("Location".to_owned(), location)].into();
        let fault = Fault::Status { status, headers, body: String::new() };
        world.simulator().inject(FaultRule::once(fault));
        let reply = world.client(&format!("customer{n}")).me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"), "{status}");
        assert_eq!(reply.header("location"), None);
    }
    let location = format!("http://{}/", elsewhere.address);
    world.simulator().inject(FaultRule::always(Fault::Redirect { location }));
    assert_eq!(world.client("alice").me().await.code(), "upstream_invalid_response");
    assert!(!elsewhere.was_contacted());
}

/// awc doesn't distinguish a truncated chunked body from a complete one. A complete object shows
/// that nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn complete_object_without_last_chunk_is_valid() {
    let world = World::new().await;
    world.simulator().inject(FaultRule::once(Fault::CutChunked { whole_json: true }));
    assert_eq!(owner(&world.client("alice").me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn object_of_64_kib_is_accepted() {
    let world = World::new().await;
    let object = r#"{"object_reference_id": "alice"}"#;
    for (size, status) in [(64 * 1024, 200), (64 * 1024 + 1, 502)] {
        let padded = format!("{object}{}", " ".repeat(size - object.len()));
        world.simulator().inject(FaultRule::once(response(200, &padded)));
        let path = "/me/customer?options.get_client_auth_token=false";
        assert_eq!(world.client("alice").get(path).await.status, status, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_in_a_thousand_pieces_is_accepted() {
    let world = World::new().await;
    world.simulator().inject(FaultRule::once(Fault::ByteByByte));
    assert_eq!(owner(&world.client("alice").me().await), "alice");
}
