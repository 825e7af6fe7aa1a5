//! The control API.

use std::io::ErrorKind;

use serde_json::json;

use super::*;
use crate::MAGIC_CUSTOMERS;

fn bare(method: &str, path: &str) -> String {
    format!("{method} /_simulator{path} HTTP/1.1\r\n\r\n")
}

fn control(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /_simulator{path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn faults_are_added_listed_and_removed() {
    let (_running, mut peer) = simulator().await;
    let rule = r#"{"customer": "alice", "times": 2, "fault": {"error": "not_found"}}"#;
    let listed = peer.exchange(&control("/faults", rule)).await;
    let expected = json!([{"customer": "alice", "times": 2, "fault": {"error": "not_found"}}]);
    assert_eq!((listed.status, listed.json()), (200, expected));
    assert_eq!(peer.exchange(&get("alice")).await.status, 404);
    assert_eq!(peer.exchange(&bare("GET", "/faults")).await.json()[0]["times"], 1);
    assert_eq!(peer.exchange(&bare("DELETE", "/faults")).await.status, 200);
    assert_eq!(peer.exchange(&get("alice")).await.status, 200);
}

#[tokio::test]
async fn invalid_control_requests_are_rejected() {
    let (_running, mut peer) = simulator().await;
    for (path, body, why) in [
        ("/faults", r#"{"fault": "hangs"}"#, "unknown variant `hangs`"),
        ("/faults", "", "EOF"),
        ("/keys", r#"{"key": "a"}"#, "missing field `enabled`"),
        ("/connections", r#"{"faults": "reset"}"#, "unknown field `faults`"),
        ("/clock", r#"{"offset": "soon"}"#, "-1h"),
        ("/tokens/use", r#"{"tokn": "a"}"#, "unknown field `tokn`"),
    ] {
        let response = peer.exchange(&control(path, body)).await;
        let error = response.json()["error"].to_string();
        assert_eq!(response.status, 400);
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(peer.exchange(&bare("GET", "/nothing")).await.status, 404);
    let juspays = peer.exchange("GET /_simulators HTTP/1.1\r\n\r\n").await;
    assert_eq!((juspays.status, juspays.body.starts_with("<html>")), (404, true));
}

#[tokio::test]
async fn stale_connections_fail_on_their_next_request() {
    let (running, mut steering) = simulator().await;
    for fault in ["reset", "close", "hang"] {
        let mut used = Peer::of(running.simulator().base_url()).await;
        let mut unused = Peer::of(running.simulator().base_url()).await;
        assert_eq!(used.exchange(&get("alice")).await.status, 200);
        let body = format!(r#"{{"fault": "{fault}"}}"#);
        assert_eq!(steering.exchange(&control("/connections", &body)).await.status, 200);
        used.send(&get("alice")).await;
        match fault {
            "reset" => assert_eq!(used.broken().await, ErrorKind::ConnectionReset),
            "close" => assert_eq!(used.rest().await, ""),
            _ => {}
        }
        assert_eq!(unused.exchange(&get("bob")).await.status, 200);
        assert_eq!(unused.exchange(&get("bob")).await.status, 200);
        assert!(fault != "hang" || used.is_silent());
    }
    assert_eq!(steering.exchange(&bare("DELETE", "/faults")).await.status, 200);
}

#[tokio::test]
async fn keys_and_clock_are_set() {
    let (_, config) = manual();
    let (_running, mut peer) = running(config).await;
    peer.exchange(&control("/keys", r#"{"key": "sim_key", "enabled": false}"#)).await;
    assert_eq!(peer.exchange(&get("a")).await.status, 401);
    peer.exchange(&control("/keys", r#"{"key": "sim_key", "enabled": true}"#)).await;
    assert_eq!(peer.exchange(&get("a")).await.status, 200);
    let set = peer.exchange(&control("/clock", r#"{"offset": "-1h"}"#)).await;
    assert_eq!(set.json(), json!({"now": "2026-11-23T11:00:00.9Z"}));
    let date = peer.exchange(&get("a")).await;
    assert_eq!(date.header("date"), Some("Mon, 23 Nov 2026 11:00:00 GMT"));
    peer.exchange(&control("/clock", r#"{"offset": 60}"#)).await;
    let date = peer.exchange(&get("a")).await;
    assert_eq!(date.header("date"), Some("Mon, 23 Nov 2026 12:01:00 GMT"));
}

#[tokio::test]
async fn received_requests_are_listed() {
    let (_, config) = manual();
    let (running, mut peer) = running(config).await;
    peer.exchange(&get("a%40b")).await;
    let mut second = Peer::of(running.simulator().base_url()).await;
    second.exchange(&post("/customers?x=1", "object_reference_id=carol&mobile_number=1")).await;
    second.exchange("GET /elsewhere HTTP/1.1\r\n\r\n").await;
    let read = peer.exchange(&bare("GET", "/requests")).await.json();
    assert_eq!(read["total"], 3, "the control API itself isn't counted");
    assert_eq!(
        read["requests"][1],
        json!({
            "number": 2,
            "connection": 2,
            "time": "2026-11-23T12:00:00.9Z",
            "method": "POST",
            "path": "/customers",
            "query": "x=1",
            "headers": [
                ["Authorization", "Basic c2ltX2tleTo="],
                ["x-merchantid", "sim_merchant"],
                ["Content-Length", "41"],
            ],
            "body": "object_reference_id=carol&mobile_number=1",
            "form": [["object_reference_id", "carol"], ["mobile_number", "1"]],
        })
    );
    assert_eq!(read["requests"][0].get("form"), None);
    assert!(!format!("{running:?}").contains("c2ltX2tleTo="));
    assert_eq!(running.simulator().requests()[0].header("X-MerchantID"), Some("sim_merchant"));
    assert_eq!(peer.exchange(&bare("GET", "/counts")).await.json(), json!({"a@b": 1, "carol": 1}));
    assert_eq!(peer.exchange(&bare("DELETE", "/requests")).await.status, 200);
    let read = peer.exchange(&bare("GET", "/requests")).await.json();
    assert_eq!((&read["total"], &read["requests"]), (&json!(3), &json!([])));
    assert_eq!(running.simulator().calls("carol"), 0);
}

#[tokio::test]
async fn recorded_requests_are_limited_to_ten_thousand() {
    let (running, mut peer) = simulator().await;
    let many = "GET /nowhere HTTP/1.1\r\n\r\n".repeat(10);
    for _ in 0..1_001 {
        peer.send(&many).await;
        for _ in 0..10 {
            peer.read_response().await;
        }
    }
    let kept = running.simulator().requests();
    assert_eq!((kept.len(), kept[0].number), (10_000, 11));
    assert_eq!(running.simulator().total_requests(), 10_010);
}

#[tokio::test]
async fn token_use_reports_exhausted_and_expired_tokens() {
    let (clock, config) = manual();
    let (_running, mut peer) = running(Config { token_uses: 2, ..config }).await;
    let token = peer.exchange(&get("a")).await.json()["juspay"]["client_auth_token"].clone();
    let spend = control("/tokens/use", &json!({"token": token}).to_string());
    assert_eq!(peer.exchange(&spend).await.json(), json!({"remaining": 1}));
    assert_eq!(peer.exchange(&spend).await.json(), json!({"remaining": 0}));
    let rejected = peer.exchange(&spend).await;
    assert_eq!((rejected.status, rejected.json()), (401, json!({"error": "used_up"})));
    let born_used_up = peer.exchange(&get("sim_used_up")).await.json()["juspay"].clone();
    let unknown = json!({"client_auth_token": "tkn_nobody"});
    let expiring = peer.exchange(&get("sim_expires_20s")).await.json()["juspay"].clone();
    clock.advance(std::time::Duration::from_secs(20));
    for (juspay, why) in [(born_used_up, "used_up"), (unknown, "unknown"), (expiring, "expired")] {
        let body = json!({"token": juspay["client_auth_token"]}).to_string();
        let rejected = peer.exchange(&control("/tokens/use", &body)).await;
        assert_eq!((rejected.status, rejected.json()), (401, json!({"error": why})));
    }
}

#[tokio::test]
async fn page_lists_magic_customers_and_control_api() {
    let (_running, mut peer) = simulator().await;
    let page = peer.exchange(&bare("GET", "")).await;
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
    for magic in MAGIC_CUSTOMERS {
        let line = format!("  {:<22} {:<34} {}\n", magic.id, magic.answer, magic.scenario);
        assert!(page.body.contains(&line) && page.body.contains(magic.description), "{line}");
    }
    assert!(page.body.contains("/_simulator/tokens/use") && page.body.contains("real SDK"));
}
