//! Create and Update as Juspay's clients call them, and their rejections.

use serde_json::{Value, json};

use super::*;
use crate::{Fault, FaultRule};

const FORM: &str = "object_reference_id=new.person%40example.com&mobile_number=9876543210";

/// A request as `expresscheckout-nodejs` sends it: the key without a colon, an id that isn't encoded, a
/// version, and a chunked body.
fn as_node_client(method: &str, target: &str, body: &str) -> String {
    let chunk =
        if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
    format!(
        "{method} {target} HTTP/1.1\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: NODEJS_SDK/1.0.0\r\n\
         version: 2019-05-07\r\nx-merchantid: sim_merchant\r\n\
         Authorization: Basic c2ltX2tleQ==\r\nHost: localhost\r\nConnection: keep-alive\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    )
}

/// The name of each rejected field, and its reason.
fn rejected(error: &Value) -> Vec<(String, String)> {
    let fields = error["error_info"]["fields"].as_array().unwrap().iter();
    let text = |value: &'_ Value| value.as_str().unwrap().to_owned();
    fields.map(|field| (text(&field["field_name"]), text(&field["reason"]))).collect()
}

fn invalid(field: &str) -> (String, String) {
    (field.to_owned(), "Invalid value.".to_owned())
}

#[tokio::test]
async fn customer_is_created_read_and_updated_as_by_the_node_client() {
    let (running, mut peer) = running(Config { provision: false, ..Config::on_free_ports() }).await;
    let target = "/customers/new.person@example.com";
    let token = "?options.get_client_auth_token=true";
    let unknown = peer.exchange(&as_node_client("GET", target, "")).await;
    assert_eq!((unknown.status, &unknown.json()["error_code"]), (404, &json!("object_not_found")));
    let created = peer.exchange(&as_node_client("POST", "/customers", FORM)).await;
    assert_eq!((created.status, &created.json()["mobile_number"]), (200, &json!("9876543210")));
    let read = peer.exchange(&as_node_client("GET", &format!("{target}{token}"), "")).await;
    assert!(read.json()["juspay"]["client_auth_token"].is_string(), "{}", read.body);
    let updated = peer.exchange(&as_node_client("POST", target, "first_name=Alia+K")).await;
    assert_eq!((updated.status, &updated.json()["first_name"]), (200, &json!("Alia K")));
    let requests = running.simulator().requests();
    assert_eq!(running.simulator().calls("new.person@example.com"), 4);
    assert_eq!(requests[1].form_value("object_reference_id"), Some("new.person@example.com"));
    assert_eq!(requests[1].form_value("first_name"), None);
    assert_eq!(requests[3].form, [("first_name".to_owned(), "Alia K".to_owned())]);
    assert_eq!((&*requests[3].path, requests[3].header("version")), (target, Some("2019-05-07")));
}

#[tokio::test]
async fn missing_merchant_is_accepted_only_if_lenient() {
    for (lenient, status) in [(false, 400), (true, 200)] {
        let (_running, mut peer) = running(Config { lenient, ..Config::on_free_ports() }).await;
        // juspayp3 sends the id a second time.
        let bare = format!("GET /customers/alice?id=alice HTTP/1.1\r\n{AUTHORIZATION}\r\n");
        assert_eq!(peer.exchange(&bare).await.status, status, "lenient: {lenient}");
        let wrong = bare.replace("\r\n\r\n", "\r\nx-merchantid: other\r\n\r\n");
        assert_eq!(peer.exchange(&wrong).await.status, 401);
    }
}

#[tokio::test]
async fn duplicate_gets_the_documented_error() {
    let (_running, mut peer) = simulator().await;
    assert_eq!(peer.exchange(&post("/customers", FORM)).await.status, 200);
    let again = peer.exchange(&post("/customers", FORM)).await;
    assert_eq!(again.status, 400);
    assert_eq!(
        again.json(),
        json!({
            "status": "invalid_request_error",
            "error_code": "unique",
            "error_message": "Customer with given object reference id already exist for your account.",
            "error_info": {
                "user_message": "Already exists.",
                "developer_message": "Customer account with given object reference already exists.",
                "code": "ALREADY_EXISTS",
                "category": "USER_ERROR",
            },
        })
    );
}

#[tokio::test]
async fn strict_fields_reject_what_juspay_advises_against() {
    let config = Config { strict_fields: true, ..Config::on_free_ports() };
    let (_running, mut peer) = running(config).await;
    let (id, number, code) = ("object_reference_id", "mobile_number", "mobile_country_code");
    for (form, fields) in [
        ("object_reference_id=seven77&mobile_number=9876543210", &[id][..]),
        ("object_reference_id=eight888&mobile_number=%2B919876543210", &[number]),
        ("object_reference_id=eight888&mobile_number=919876543210", &[number]),
        (
            "object_reference_id=eight888&mobile_number=98765x&mobile_country_code=%2B91",
            &[number, code],
        ),
        (
            "object_reference_id=eight888&mobile_number=447700900123&mobile_country_code=44",
            &[number],
        ),
        ("object_reference_id=eight888&mobile_number=9198765432&mobile_country_code=91", &[]),
        ("object_reference_id=nine99999&mobile_number=13912345678&mobile_country_code=86", &[]),
    ] {
        let response = peer.exchange(&post("/customers", form)).await;
        assert_eq!(response.status, if fields.is_empty() { 200 } else { 400 }, "{form}");
        if !fields.is_empty() {
            let expected: Vec<_> = fields.iter().map(|field| invalid(field)).collect();
            assert_eq!(rejected(&response.json()), expected, "{form}");
        }
    }
    let update = peer.exchange(&post("/customers/eight888", "mobile_number=%2B1")).await;
    assert_eq!(rejected(&update.json()), [invalid(number)]);
}

#[tokio::test]
async fn rejected_field_is_set_for_a_customer() {
    let (running, mut peer) = simulator().await;
    let fault: Fault =
        serde_json::from_str(r#"{"rejected_field": {"field": "email_address"}}"#).unwrap();
    running.simulator().inject(FaultRule::always(fault).of("new.person@example.com"));
    assert_eq!(peer.exchange(&get("new.person@example.com")).await.status, 404);
    let response = peer.exchange(&post("/customers", FORM)).await;
    assert_eq!(response.status, 400);
    assert_eq!(
        response.json(),
        json!({
            "status": "Invalid Request",
            "error_code": "Invalid Request",
            "error_message": "Wrong value in email_address",
            "error_info": {
                "user_message": "Invalid request params. Please verify your input.",
                "developer_message": "Invalid request params",
                "code": "INVALID_INPUT",
                "category": "USER_ERROR",
                "fields": [{"field_name": "email_address", "reason": "Invalid value."}],
            },
        })
    );
    running.simulator().clear_faults();
    assert_eq!(peer.exchange(&post("/customers", FORM)).await.status, 200);
}

#[tokio::test]
async fn customer_without_creation_is_unknown_although_others_are_provisioned() {
    let (running, mut peer) = simulator().await;
    running.simulator().inject(FaultRule::always(Fault::NotCreated).of("new.person@example.com"));
    assert_eq!(peer.exchange(&get("alice")).await.status, 200);
    for id in ["new.person@example.com", "sim_new"] {
        let create = post("/customers", &format!("object_reference_id={id}&mobile_number=1"));
        assert_eq!(peer.exchange(&get(id)).await.json()["error_code"], "object_not_found");
        assert_eq!(peer.exchange(&post(&format!("/customers/{id}"), "")).await.status, 404);
        assert_eq!(peer.exchange(&create).await.status, 200);
        assert_eq!(peer.exchange(&create).await.json()["error_code"], "unique");
        assert_eq!(peer.exchange(&get(id)).await.json()["mobile_number"], "1");
    }
    let create = post("/customers", "object_reference_id=sim_rejected_field&mobile_number=1");
    assert_eq!(peer.exchange(&get("sim_rejected_field")).await.status, 404);
    assert_eq!(rejected(&peer.exchange(&create).await.json()), [invalid("mobile_number")]);
}
