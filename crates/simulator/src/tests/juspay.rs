//! Responses that Juspay documents.

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::Simulator;

fn get_with(id: &str, headers: &str) -> String {
    format!("GET /customers/{id} HTTP/1.1\r\n{headers}\r\n")
}

#[tokio::test]
async fn customer_has_a_token_if_requested() {
    let (_, config) = manual();
    let (running, mut peer) = running(config).await;
    let response = peer.exchange(&get("alice")).await;
    let juspay_id = Simulator::juspay_id("alice");
    assert!(juspay_id.len() == 24 && juspay_id.starts_with("cst_"));
    let object = response.json();
    let token = object["juspay"]["client_auth_token"].as_str().unwrap();
    assert_eq!(
        object,
        json!({
            "id": juspay_id,
            "object": "customer",
            "object_reference_id": "alice",
            "mobile_number": object["mobile_number"],
            "date_created": "2026-11-23T12:00:00+0000",
            "last_updated": "2026-11-23T12:00:00+0000",
            "email_address": "alice@example.com",
            "first_name": object["first_name"],
            "last_name": "Sharma",
            "mobile_country_code": "91",
            "juspay": {
                "client_auth_token": token,
                "client_auth_token_expiry": "2026-11-23T12:15:00Z",
            },
        })
    );
    assert!(
        response.body.starts_with(&format!("{{\"id\":\"{juspay_id}\",\"object\":\"customer\""))
    );
    assert_eq!(
        response.head,
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
             Date: Mon, 23 Nov 2026 12:00:00 GMT\r\nx-request-id: sim-1\r\n\
             x-response-id: sim-1\r\nx-jp-merchant-id: sim_merchant\r\nContent-Length: {}\r\n\r\n",
            response.body.len()
        )
    );
    let without = peer.exchange(&get_with("alice", CREDENTIALS)).await;
    assert_eq!((without.status, &without.json()["juspay"]), (200, &json!(null)));
    assert!(!without.body.contains("juspay") && without.header("x-request-id") == Some("sim-2"));
    assert_eq!(running.simulator().requests()[1].connection, 1, "the connection was kept");
}

#[tokio::test]
async fn token_option_is_read_from_query_and_form() {
    let (_running, mut peer) = simulator().await;
    let form = "options.get_client_auth_token=true";
    let request = |query: &str, form: &str| {
        let length = form.len();
        format!(
            "GET /customers/a{query} HTTP/1.1\r\n{CREDENTIALS}content-length: {length}\r\n\r\n{form}"
        )
    };
    for (query, form, with_token) in [
        ("?options.get_client_auth_token=true", "", true),
        ("?a=b&options%2Eget_client_auth_token=true", "", true),
        ("", form, true),
        ("?options.get_client_auth_token=false", "", false),
        ("?options.get_client_auth_token=false", form, false),
        ("?options.get_client_auth_token", "", false),
        ("?options.get_client_auth_token=TRUE", "", false),
        ("", "", false),
    ] {
        let response = peer.exchange(&request(query, form)).await;
        assert_eq!(response.json()["juspay"].is_object(), with_token, "{query} {form}");
    }
}

#[tokio::test]
async fn each_call_issues_a_new_token() {
    let (_running, mut peer) = simulator().await;
    let one = peer.exchange(&get("alice")).await.json()["juspay"]["client_auth_token"].clone();
    let two = peer.exchange(&get("alice")).await.json()["juspay"]["client_auth_token"].clone();
    assert_ne!(one, two);
}

#[tokio::test]
async fn key_passes_with_and_without_colon() {
    let (running, mut peer) = simulator().await;
    let merchant = "x-merchantid: sim_merchant\r\n";
    // base64 of "sim_key:", "sim_key", "other:", "sim_key:x"
    for (credentials, status) in [
        ("Authorization: Basic c2ltX2tleTo=\r\n", 200),
        ("authorization: basic c2ltX2tleQ==\r\n", 200),
        ("Authorization: Basic b3RoZXI6\r\n", 401),
        ("Authorization: Basic c2ltX2tleTp4\r\n", 401),
        ("Authorization: Bearer sim_key\r\n", 401),
        ("", 401),
    ] {
        let response = peer.exchange(&get_with("a", &format!("{merchant}{credentials}"))).await;
        assert_eq!(response.status, status, "{credentials}");
        if status == 401 {
            assert_eq!(
                response.body,
                r#"{"status":"error","error_code":"access_denied","error_info":{"user_message":"Unauthorized.","developer_message":"Invalid API Key. Please pass a valid and active api key.","code":"UNAUTHORIZED","category":"USER_ERROR"}}"#
            );
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert!(response.header("x-response-id").is_some());
        }
    }
    running.simulator().set_key("sim_key", false);
    assert_eq!(peer.exchange(&get("a")).await.status, 401);
    running.simulator().set_key("sim_key", true);
    assert_eq!(peer.exchange(&get("a")).await.status, 200);
}

#[tokio::test]
async fn merchant_is_required() {
    let (_running, mut peer) = simulator().await;
    for headers in [AUTHORIZATION.to_owned(), format!("{AUTHORIZATION}x-merchantid:\r\n")] {
        let response = peer.exchange(&get_with("a", &headers)).await;
        assert_eq!(response.status, 400);
        assert_eq!(
            response.body,
            r#"{"error_code":"Mandatory fields are missing","error_message":"Mandatory field x-merchantid is missing","status":"Bad Request"}"#
        );
    }
    let other =
        peer.exchange(&get_with("a", &format!("{AUTHORIZATION}x-merchantid: you\r\n"))).await;
    assert_eq!((other.status, other.json()["error_code"].as_str()), (401, Some("access_denied")));
}

#[tokio::test]
async fn unknown_customer_is_created_or_not_found() {
    let (running, mut peer) = running(Config { provision: false, ..Config::on_free_ports() }).await;
    for path in ["alice", "cst_nobody"] {
        let response = peer.exchange(&get(path)).await;
        assert_eq!(response.status, 404);
        assert_eq!(
            response.body,
            r#"{"error_message":"Cannot find what you are looking for","status":"invalid_request_error","error_code":"object_not_found","error_info":{"user_message":"Cannot process your request as customer account not found.","developer_message":"Customer account not found.","code":"RESOURCE_NOT_FOUND","category":"USER_ERROR"}}"#
        );
    }
    running.simulator().set_provision(true);
    assert_eq!(peer.exchange(&get("alice")).await.status, 200);
    running.simulator().set_provision(false);
    assert_eq!(peer.exchange(&get("alice")).await.status, 200, "the customer stays");
    assert_eq!(running.simulator().calls("alice"), 3, "rejected calls are counted");
}

#[tokio::test]
async fn strict_mode_requires_creation() {
    let (_running, mut peer) =
        running(Config { provision: false, ..Config::on_free_ports() }).await;
    let update = post("/customers/alice", "first_name=A");
    assert_eq!(peer.exchange(&get("alice")).await.json()["error_code"], "object_not_found");
    assert_eq!(peer.exchange(&update).await.json()["error_code"], "object_not_found");
    let form = "object_reference_id=alice&mobile_number=1";
    assert_eq!(peer.exchange(&post("/customers", form)).await.status, 200);
    assert_eq!(peer.exchange(&update).await.json()["first_name"], "A");
    assert_eq!(peer.exchange(&get("alice")).await.json()["first_name"], "A");
    // Magic customers don't need to be created.
    assert!(peer.exchange(&get("sim_expires_20s")).await.json()["juspay"].is_object());
    assert_eq!(peer.exchange(&get("sim_not_found")).await.status, 404);
    let page = peer.exchange("GET /_simulator HTTP/1.1\r\n\r\n").await;
    assert!(page.body.contains("Strict: "), "{}", page.body);
}

#[tokio::test]
async fn both_id_forms_find_the_customer() {
    let (_running, mut peer) = simulator().await;
    let by_reference = peer.exchange(&get("a.b%2Bc%40example.com")).await.json();
    assert_eq!(by_reference["object_reference_id"], "a.b+c@example.com");
    let by_id = peer.exchange(&get(by_reference["id"].as_str().unwrap())).await.json();
    assert_eq!(by_id["object_reference_id"], "a.b+c@example.com");
    assert_eq!(peer.exchange(&get("a%2Fb")).await.json()["object_reference_id"], "a/b");
    let plus = peer.exchange(&get("a+b")).await.json();
    assert_eq!(plus["object_reference_id"], "a+b", "a plus in a path is a plus");
    for path in ["/customers/a/b", "/customers/", "/customers", "/customer/a", "/customersa", "/"] {
        let wrong = peer.exchange(&format!("GET {path} HTTP/1.1\r\n{CREDENTIALS}\r\n")).await;
        assert_eq!(wrong.status, 404, "{path}");
        assert_eq!(wrong.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(wrong.body.starts_with("<html>"));
    }
    let deleted =
        peer.exchange(&format!("DELETE /customers/a HTTP/1.1\r\n{CREDENTIALS}\r\n")).await;
    assert_eq!(deleted.status, 404);
}

#[tokio::test]
async fn customer_is_created_from_the_form() {
    let (_, config) = manual();
    let (_running, mut peer) = running(Config { provision: false, ..config }).await;
    let form = "object_reference_id=a.b%40example.com&mobile_number=9876543210&first_name=Aarav+K\
                &options.get_client_auth_token=true";
    let created = peer.exchange(&post("/customers", form)).await;
    let object = created.json();
    assert_eq!(created.status, 200);
    assert_eq!(
        object,
        json!({
            "id": Simulator::juspay_id("a.b@example.com"),
            "object": "customer",
            "object_reference_id": "a.b@example.com",
            "mobile_number": "9876543210",
            "first_name": "Aarav K",
            "date_created": "2026-11-23T12:00:00+0000",
            "last_updated": "2026-11-23T12:00:00+0000",
            "juspay": object["juspay"],
        })
    );
    assert_eq!(object["juspay"]["client_auth_token_expiry"], "2026-11-23T12:15:00Z");
    let again = peer.exchange(&post("/customers", form)).await;
    assert_eq!(again.status, 400);
    let error = again.json();
    assert_eq!(
        (&error["status"], &error["error_code"]),
        (&json!("invalid_request_error"), &json!("unique"))
    );
    assert_eq!(error["error_info"]["code"], "ALREADY_EXISTS");
    assert_eq!(
        peer.exchange(&get("a.b%40example.com")).await.json()["mobile_number"],
        "9876543210"
    );
}

#[tokio::test]
async fn create_reports_missing_and_empty_fields() {
    let (_running, mut peer) = simulator().await;
    for (form, missing) in [
        ("mobile_number=1", "object_reference_id"),
        ("object_reference_id=a", "mobile_number"),
        ("", "object_reference_id"),
    ] {
        let response = peer.exchange(&post("/customers", form)).await;
        assert_eq!((response.status, &response.json()["status"]), (400, &json!("Bad Request")));
        assert_eq!(response.json()["error_code"], "Mandatory fields are missing");
        let message = response.json()["error_message"].to_string();
        assert!(message.contains(missing), "{message}");
    }
    for (form, empty) in [
        ("object_reference_id=&mobile_number=1", json!(["object_reference_id"])),
        ("object_reference_id=a&mobile_number=&last_name=", json!(["mobile_number", "last_name"])),
    ] {
        let error = peer.exchange(&post("/customers", form)).await.json();
        assert_eq!(
            (&error["status"], &error["error_code"]),
            (&json!("Invalid Request"), &json!("Invalid Request"))
        );
        assert_eq!(error["error_info"]["code"], "INVALID_INPUT");
        let fields = error["error_info"]["fields"].as_array().unwrap().iter();
        let named: Vec<_> = fields.map(|field| field["field_name"].clone()).collect();
        assert_eq!(json!(named), empty);
    }
}

#[tokio::test]
async fn update_changes_contact_fields() {
    let (clock, config) = manual();
    let (running, mut peer) = running(config).await;
    peer.exchange(&get("alice")).await;
    clock.advance(std::time::Duration::from_mins(1));
    let updated =
        peer.exchange(&post("/customers/alice", "mobile_number=12&object_reference_id=x")).await;
    let object = updated.json();
    assert_eq!(
        (&object["mobile_number"], &object["object_reference_id"]),
        (&json!("12"), &json!("alice"))
    );
    assert_eq!(object["date_created"], "2026-11-23T12:00:00+0000");
    assert_eq!(object["last_updated"], "2026-11-23T12:01:00+0000");
    assert!(object.get("juspay").is_none());
    let empty = peer.exchange(&post("/customers/alice", "first_name=")).await;
    assert_eq!(empty.json()["error_info"]["code"], "INVALID_INPUT");
    running.simulator().set_provision(false);
    assert_eq!(peer.exchange(&post("/customers/bob", "first_name=B")).await.status, 404);
}

#[tokio::test]
async fn dates_and_expiries_follow_the_simulators_clock() {
    let (clock, config) = manual();
    let (running, mut peer) = running(config).await;
    running.simulator().set_clock_offset(SignedDuration::from_hours(-1));
    let response = peer.exchange(&get("alice")).await;
    assert_eq!(response.header("date"), Some("Mon, 23 Nov 2026 11:00:00 GMT"));
    let juspay = &response.json()["juspay"];
    assert_eq!(juspay["client_auth_token_expiry"], "2026-11-23T11:15:00Z");
    clock.jump_wall(SignedDuration::from_mins(30));
    let response = peer.exchange(&get("bob")).await;
    assert_eq!(response.json()["date_created"], "2026-11-23T11:30:00+0000");
    let recorded = running.simulator().requests();
    assert_eq!(recorded[1].time.to_string(), "2026-11-23T11:30:00.9Z");
}
