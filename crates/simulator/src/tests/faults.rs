//! How each fault looks on the wire.

use std::{io::ErrorKind, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::{ApiError, Fault, FaultRule, MAGIC_CUSTOMERS, ObjectFault, TokenFault};

/// Requests `alice` under a fault.
async fn under(fault: Fault) -> (Running, Peer) {
    let (running, mut peer) = simulator().await;
    running.simulator().inject(FaultRule::once(fault));
    peer.send(&get("alice")).await;
    (running, peer)
}

async fn object(fault: Fault) -> Value {
    under(fault).await.1.read_response().await.json()
}

/// Head and body of everything before the end.
async fn head_and_rest(fault: Fault) -> (String, String) {
    let (_running, mut peer) = under(fault).await;
    let all = peer.rest().await;
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn announced(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

#[tokio::test]
async fn unsolicited_103_has_its_own_packet() {
    let (clock, config) = manual();
    let (running, mut peer) = running(config).await;
    running.simulator().inject(FaultRule::once(Fault::Interim { status: 103, gap_ms: 20 }));
    peer.send(&get("alice")).await;
    assert_eq!(
        peer.packet().await,
        "HTTP/1.1 103 Unasked\r\nLink: </style.css>; rel=preload\r\n\r\n"
    );
    clock.sleepers(1).await;
    assert!(peer.is_silent());
    clock.advance(Duration::from_millis(20));
    let response = peer.read_response().await;
    assert_eq!((response.status, &response.json()["object_reference_id"]), (200, &json!("alice")));
    assert_eq!(peer.exchange(&get("bob")).await.json()["object_reference_id"], "bob", "kept alive");
}

#[tokio::test]
async fn surplus_response_arrives_on_the_idle_connection() {
    let (clock, config) = manual();
    let (running, mut peer) = running(config).await;
    running.simulator().inject(FaultRule::once(Fault::Surplus { gap_ms: 5 }));
    let first = peer.exchange(&get("alice")).await;
    clock.sleepers(1).await;
    assert!(peer.is_silent());
    clock.advance(Duration::from_millis(5));
    let surplus = peer.read_response().await;
    assert_eq!((first.head, first.body), (surplus.head, surplus.body));
    assert_eq!(peer.exchange(&get("bob")).await.json()["object_reference_id"], "bob");
}

#[tokio::test]
async fn latency_follows_the_clock() {
    let (clock, config) = manual();
    let (running, mut peer) = running(config).await;
    running.simulator().inject(FaultRule::once(Fault::Latency { ms: 200 }));
    peer.send(&get("alice")).await;
    clock.sleepers(1).await;
    clock.advance(Duration::from_millis(199));
    tokio::task::yield_now().await;
    assert!(peer.is_silent());
    clock.advance(Duration::from_millis(1));
    assert_eq!(peer.read_response().await.status, 200);
}

#[tokio::test]
async fn reset_and_close_differ() {
    let (_running, mut peer) = under(Fault::Reset).await;
    assert_eq!(peer.broken().await, ErrorKind::ConnectionReset);
    let (_running, mut peer) = under(Fault::Close).await;
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn hanging_connection_stays_open() {
    let (running, mut peer) = under(Fault::Hang).await;
    while running.simulator().calls("alice") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(peer.is_silent());

    let (_running, mut peer) = under(Fault::UnfinishedHead).await;
    let head = peer.until("sim_merchan").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.ends_with('\n'), "{head}");
    assert!(peer.is_silent());

    let (_running, mut peer) = under(Fault::StalledBody).await;
    let (head, body) = {
        let all = peer.until("\r\n\r\n{").await;
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    assert_eq!(body.len(), announced(&head) / 2);
    assert!(peer.is_silent());
}

#[tokio::test]
async fn cut_body_is_shorter_than_announced() {
    let (head, body) = head_and_rest(Fault::CutBody { whole_json: false }).await;
    assert_eq!(body.len(), announced(&head) / 2);
    assert!(!is_json(&body));
    let (head, body) = head_and_rest(Fault::CutBody { whole_json: true }).await;
    assert_eq!(body.len() + 10, announced(&head));
    assert!(is_json(&body));
}

#[tokio::test]
async fn cut_chunked_body_has_no_last_chunk() {
    for whole_json in [false, true] {
        let (head, body) = head_and_rest(Fault::CutChunked { whole_json }).await;
        assert!(head.contains("\r\nTransfer-Encoding: chunked"));
        assert!(!head.contains("Content-Length"));
        let (size, chunk) = body.split_once("\r\n").unwrap();
        let chunk = chunk.strip_suffix("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(size, 16).unwrap(), chunk.len());
        assert_eq!(is_json(chunk), whole_json);
    }
}

#[tokio::test]
async fn body_without_length_ends_with_the_connection() {
    let (head, body) = head_and_rest(Fault::NoLength).await;
    assert!(!head.contains("Content-Length") && !head.contains("Transfer-Encoding"));
    assert!(is_json(&body));
}

#[tokio::test]
async fn bodies_can_be_empty_html_or_huge() {
    let (_running, mut peer) = under(Fault::Empty).await;
    let empty = peer.read_response().await;
    assert_eq!((empty.status, empty.header("content-length")), (200, Some("0")));
    let (_running, mut peer) = under(Fault::Html).await;
    let html = peer.read_response().await;
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let (_running, mut peer) = under(Fault::Huge { bytes: 100_000 }).await;
    let huge = peer.read_response().await;
    assert!(huge.body.len() > 100_000 && is_json(&huge.body));
}

#[tokio::test]
async fn byte_by_byte_response_is_complete() {
    assert_eq!(object(Fault::ByteByByte).await["object_reference_id"], "alice");
}

#[tokio::test]
async fn redirect_has_its_location() {
    let (_running, mut peer) = under(Fault::Redirect { location: "http://x/".to_owned() }).await;
    let response = peer.read_response().await;
    assert_eq!((response.status, response.header("location")), (302, Some("http://x/")));
}

#[tokio::test]
async fn dates_can_be_missing_or_old() {
    let (_running, mut peer) = under(Fault::NoDate).await;
    assert_eq!(peer.read_response().await.header("date"), None);
    let (_running, mut peer) = under(Fault::Age { seconds: 60 }).await;
    let response = peer.read_response().await;
    assert_eq!((response.header("age"), response.header("date").is_some()), (Some("60"), true));
}

#[tokio::test]
async fn custom_status_headers_and_body_are_sent() {
    let fault = json!({"status": {"status": 502, "headers": {"retry-after": "3", "content-type": "x/y"}, "body": "no"}});
    let (_running, mut peer) = under(serde_json::from_value(fault).unwrap()).await;
    let response = peer.read_response().await;
    assert!(response.head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    assert_eq!(response.header("retry-after"), Some("3"));
    assert_eq!((response.header("content-type"), response.body.as_str()), (Some("x/y"), "no"));
    assert!(!response.head.contains("Content-Type"), "given fields replace the usual ones");
}

#[tokio::test]
async fn documented_errors_are_sent() {
    let (_running, mut peer) = under(Fault::Error(ApiError::BadOrigin)).await;
    let response = peer.read_response().await;
    assert_eq!(response.status, 403);
    assert_eq!(
        response.body,
        r#"{"error":true,"error_message":"Internal Server error.","user_message":"Bad Origin.","error_info":{"code":"BAD_ORIGIN","category":"USER_ERROR","user_message":"Bad Origin.","developer_message":"IP Verification Failed"}}"#
    );
    for (error, status) in [
        (ApiError::MandatoryFieldsMissing, 400),
        (ApiError::EmptyValue, 400),
        (ApiError::Duplicate, 400),
        (ApiError::AccessDenied, 401),
        (ApiError::NotFound, 404),
    ] {
        let (_running, mut peer) = under(Fault::Error(error)).await;
        assert_eq!(peer.read_response().await.status, status, "{error:?}");
    }
}

#[tokio::test]
async fn objects_can_be_unusual() {
    let other = object(Fault::Object(ObjectFault::OtherCustomer)).await;
    assert_eq!(other["object_reference_id"], "sim_somebody_else");
    assert!(other["juspay"]["client_auth_token"].is_string());
    let too = object(Fault::Object(ObjectFault::CustomerIdToo)).await;
    assert_eq!(
        (&too["customer_id"], &too["object_reference_id"]),
        (&json!("alice"), &json!("alice"))
    );
    let only = object(Fault::Object(ObjectFault::CustomerIdOnly)).await;
    assert_eq!((&only["customer_id"], only.get("object_reference_id")), (&json!("alice"), None));
    let sparse = object(Fault::Object(ObjectFault::Sparse)).await;
    let names: Vec<_> = sparse.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["juspay", "object_reference_id"]);
    let more = object(Fault::Object(ObjectFault::UnknownFields)).await;
    assert_eq!((&more["gstin"], &more["metadata"]["visits"]), (&json!(null), &json!(3)));
    assert_eq!(more["object_reference_id"], "alice");
}

/// The `juspay` member at noon under a fault, with `T` in place of a real token.
async fn juspay(fault: TokenFault) -> Option<Value> {
    let (_, config) = manual();
    let (running, mut peer) = running(config).await;
    running.simulator().inject(FaultRule::once(Fault::Token(fault)));
    let mut juspay = peer.exchange(&get("alice")).await.json().get("juspay")?.clone();
    if juspay["client_auth_token"].as_str().is_some_and(|token| token.starts_with("tkn_")) {
        juspay["client_auth_token"] = json!("T");
    }
    Some(juspay)
}

#[tokio::test]
async fn tokens_can_be_missing_or_unreadable() {
    assert_eq!(juspay(TokenFault::Missing).await, None);
    assert_eq!(juspay(TokenFault::Null).await, Some(json!(null)));
    assert_eq!(juspay(TokenFault::NoExpiry).await, Some(json!({"client_auth_token": "T"})));
    let usual = json!("2026-11-23T12:15:00Z");
    for (fault, token, expiry) in [
        (TokenFault::NullToken, json!(null), usual.clone()),
        (TokenFault::EmptyToken, json!(""), usual.clone()),
        (TokenFault::NullExpiry, json!("T"), json!(null)),
        (TokenFault::UnreadableExpiry, json!("T"), json!("in a while")),
        (TokenFault::UsedUp, json!("T"), usual),
    ] {
        let expected = json!({"client_auth_token": token, "client_auth_token_expiry": expiry});
        assert_eq!(juspay(fault).await, Some(expected), "{fault:?}");
    }
}

#[tokio::test]
async fn expiries_have_all_formats_and_lengths() {
    for (fault, expiry) in [
        (TokenFault::OffsetExpiry, "2026-11-23T12:15:00+0000"),
        (TokenFault::FractionalExpiry, "2026-11-23T12:15:00.900Z"),
        (TokenFault::Life { seconds: 20 }, "2026-11-23T12:00:20Z"),
        (TokenFault::Life { seconds: -60 }, "2026-11-23T11:59:00Z"),
        (TokenFault::ReportedLate { seconds: 300 }, "2026-11-23T12:20:00Z"),
    ] {
        let expected = json!({"client_auth_token": "T", "client_auth_token_expiry": expiry});
        assert_eq!(juspay(fault).await, Some(expected), "{fault:?}");
    }
}

#[tokio::test]
async fn rules_and_magic_customers_apply_to_their_customer_only() {
    let (running, mut peer) = simulator().await;
    running.simulator().inject(FaultRule::always(Fault::Empty).of("alice").times(2));
    running.simulator().inject(FaultRule::once(Fault::Html).of("sim_not_found"));
    assert_ne!(peer.exchange(&get("bob")).await.body, "");
    assert_eq!(peer.exchange(&get("alice")).await.body, "");
    assert_eq!(peer.exchange(&get("%61lice")).await.body, "", "the decoded id counts");
    assert_ne!(peer.exchange(&get("alice")).await.body, "");
    assert_eq!(peer.exchange(&get("sim_not_found")).await.status, 200, "rules take precedence");
    assert_eq!(peer.exchange(&get("sim_not_found")).await.status, 404);
    let limited = peer.exchange(&get("sim_429")).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("7")));
    running.simulator().inject(FaultRule::always(Fault::Empty));
    running.simulator().clear_faults();
    assert_eq!(peer.exchange(&get("alice")).await.status, 200);
    assert_eq!(
        peer.exchange(&get("sim_500")).await.status,
        500,
        "magic customers keep their fault"
    );
}

#[tokio::test]
async fn magic_customer_exists_without_its_fault() {
    let (_running, mut peer) = simulator().await;
    for magic in MAGIC_CUSTOMERS {
        let Some(fault) = Some(magic.fault("http://here")).filter(|fault| fault.token().is_some())
        else {
            continue;
        };
        let response = peer.exchange(&get(magic.id)).await;
        assert_eq!(response.json()["object_reference_id"], magic.id, "{fault:?}");
    }
    let redirect = peer.exchange(&get("sim_redirect")).await;
    assert!(redirect.header("location").unwrap().ends_with("/customers/sim_redirected"));
    assert!(redirect.header("location").unwrap().starts_with("http://127.0.0.1:"));
}
