//! Creations that Juspay rejects, that have no certain result, or that are too many.

use std::time::Duration;

use serde_json::json;
use simulator::{Fault, ObjectFault, TokenFault};

use super::{ON, calls, creation, fail_creation, newcomer, outcomes, owner, strict_world};
use crate::support::{World, until};

/// How long a rejected customer is not sent again.
const REJECTED_FOR: Duration = Duration::from_secs(30);

fn status(status: u16, body: impl Into<String>) -> Fault {
    Fault::Status { status, headers: [].into(), body: body.into() }
}

/// Juspay's 400 for these fields.
fn invalid_request(fields: &[&str]) -> Fault {
    let fields: Vec<_> =
        fields.iter().map(|it| json!({"field_name": it, "reason": "hush 9810012345"})).collect();
    let info = json!({"code": "INVALID_INPUT", "category": "USER_ERROR", "fields": fields,
                      "user_message": "hush 9810012345"});
    let body = json!({"status": "Invalid Request", "error_code": "Invalid Request",
                      "error_message": "hush", "error_info": info});
    status(400, body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_field_is_named_and_no_value() {
    let world = strict_world(ON).await;
    for (n, (fields, named)) in [
        (&["object_reference_id"][..], "object_reference_id"),
        (&["objectReferenceId"][..], "object_reference_id"),
        (&["mobile_number", "first_name"][..], "mobile_number"),
        (&["mobile_country_code"][..], "mobile_country_code"),
        (&["unknown", "email_address"][..], "email_address"),
        (&["first_name"][..], "first_name"),
        (&["last_name"][..], "last_name"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("newcomer{n}");
        fail_creation(&world, &id, invalid_request(fields));
        let reply = world.client_with(&newcomer(&id)).me().await;
        assert_eq!((reply.status, &*reply.code()), (422, "customer_not_creatable"), "{fields:?}");
        let problem = reply.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{fields:?}: {detail}");
        for hidden in ["hush", "9810012345", &*id, "Asha"] {
            assert!(!reply.text().contains(hidden), "{fields:?}: {detail}");
        }
        assert_eq!((&problem["retryable"], reply.header("retry-after")), (&json!(false), None));
    }
    assert_eq!(outcomes(&world, "rejected_field").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_customer_is_not_sent_again_for_30_seconds() {
    let world = strict_world(ON).await;
    fail_creation(&world, "newcomer", invalid_request(&["object_reference_id"]));
    let client = world.client_with(&newcomer("newcomer"));
    for _ in 0..3 {
        assert_eq!(client.me().await.code(), "customer_not_creatable");
    }
    world.clock.advance(REJECTED_FOR - Duration::from_millis(1));
    assert_eq!(client.me().await.code(), "customer_not_creatable");
    assert_eq!(calls(&world), ["GET /customers/newcomer", "POST /customers"]);
    world.clock.advance(Duration::from_millis(1));
    client.me().await;
    assert_eq!(calls(&world).len(), 3);
    let others = world.client_with(&newcomer("another_one"));
    assert_eq!(owner(&others.me().await), "another_one");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_client_errors_of_the_creation_are_upstream_errors() {
    let world = strict_world(ON).await;
    for (n, fault) in [
        invalid_request(&[]),
        invalid_request(&["options"]),
        status(400, r#"{"error_code":"Mandatory fields are missing"}"#),
        status(400, "no JSON"),
        status(400, r#"{"error_info":{"fields":{"field_name":"mobile_number"}}}"#),
        status(422, "{}"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("newcomer{n}");
        fail_creation(&world, &id, fault.clone());
        let reply = world.client_with(&newcomer(&id)).me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"), "{fault:?}");
    }
    assert_eq!(outcomes(&world, "failure").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_without_an_answer_is_followed_by_a_get_and_never_repeated() {
    let settings = format!("{ON}juspay.try_timeout = \"2s\"\njuspay.max_retries = 2");
    let world = strict_world(&settings).await;
    fail_creation(&world, "newcomer", Fault::Hang);
    let waiting = world.client_with(&newcomer("newcomer")).begin().await;
    until("the creation", async || world.simulator().calls("newcomer") == 2).await;
    world.advance(Duration::from_secs(2)).await;
    assert_eq!(owner(&waiting.reply().await), "newcomer");
    let get = "GET /customers/newcomer";
    assert_eq!(calls(&world), [get, "POST /customers", get]);
    assert_eq!(outcomes(&world, "failure").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_with_an_unusable_answer_is_followed_by_a_get() {
    let settings = format!("{ON}juspay.max_retries = 2");
    let world = strict_world(&settings).await;
    for (n, fault) in [
        Fault::Close,
        Fault::Reset,
        Fault::CutBody { whole_json: false },
        Fault::Html,
        Fault::Empty,
        status(201, "{}"),
        status(502, ""),
        Fault::Token(TokenFault::Missing),
        Fault::Token(TokenFault::NullToken),
        Fault::Token(TokenFault::NoExpiry),
    ]
    .into_iter()
    .enumerate()
    {
        world.simulator().clear_requests();
        let id = format!("newcomer{n}");
        fail_creation(&world, &id, fault.clone());
        let reply = world.client_with(&newcomer(&id)).me().await;
        assert_eq!(owner(&reply), id, "{fault:?}");
        assert!(reply.token().starts_with("tkn_"), "{fault:?}");
        let get = format!("GET /customers/{id}");
        assert_eq!(calls(&world), [&*get, "POST /customers", &*get], "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_creation_that_returns_another_customer_is_rejected() {
    let world = strict_world(ON).await;
    fail_creation(&world, "newcomer", Fault::Object(ObjectFault::OtherCustomer));
    let reply = world.client_with(&newcomer("newcomer")).me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
    assert!(!reply.text().contains("somebody_else"), "{}", reply.text());
    assert_eq!(calls(&world), ["GET /customers/newcomer", "POST /customers"]);
    assert_eq!(world.count("juspay_bff_upstream_identity_mismatches_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_that_exists_but_is_not_found_is_an_upstream_error() {
    let world = strict_world(ON).await;
    let client = world.client_with(&newcomer("newcomer"));
    owner(&client.me().await);
    world.purge_all().await;
    let not_found = Fault::Error(simulator::ApiError::NotFound);
    for fault in [not_found.clone(), Fault::Latency { ms: 0 }, not_found] {
        world.simulator().inject(simulator::FaultRule::once(fault).of("newcomer"));
    }
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_key_of_a_creation_is_an_upstream_problem() {
    let world = strict_world(ON).await;
    fail_creation(&world, "newcomer", Fault::Error(simulator::ApiError::AccessDenied));
    let reply = world.client_with(&newcomer("newcomer")).me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_rejected_credentials"));
}

/// Requests of this many new customers; returns the codes, or "200".
async fn codes(world: &World, prefix: &str, number: usize) -> Vec<String> {
    let mut codes = Vec::new();
    for n in 0..number {
        let reply = world.client_with(&newcomer(&format!("{prefix}{n}"))).me().await;
        codes.push(if reply.status == 200 { "200".to_owned() } else { reply.code() });
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_of_all_customers_are_limited() {
    let settings = format!("{ON}limits.create_customers = \"2/min\"");
    let world = strict_world(&settings).await;
    assert_eq!(codes(&world, "early_bird", 3).await, ["200", "200", "overloaded"]);
    assert_eq!(outcomes(&world, "limited").await, 1);
    let reply = world.client_with(&newcomer("early_bird2")).me().await;
    assert_eq!(reply.status, 503);
    let retry_after = reply.json()["retry_after"].as_u64().unwrap();
    assert!((30..=45).contains(&retry_after), "{retry_after}");
    assert_eq!(world.simulator().calls("early_bird2"), 1, "remembered");
    // Known customers are not concerned.
    assert_eq!(codes(&world, "early_bird", 2).await, ["200", "200"]);
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(owner(&world.client_with(&newcomer("early_bird2")).me().await), "early_bird2");
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_of_one_creation_is_logged_without_values() {
    let world = strict_world(ON).await;
    fail_creation(&world, "log-subject-72", invalid_request(&["mobile_number"]));
    let reply = world.client_with(&newcomer("log-subject-72")).me().await;
    let lines = crate::support::guard::log_lines(reply.header("x-request-id").unwrap());
    let text = lines.join("\n");
    assert!(text.contains("customer not created: Juspay rejected mobile_number"), "{text}");
    assert!(text.contains("\"reason\":\"rejected_field\""), "{text}");
    for value in ["hush", "9810012345", "log-subject-72"] {
        assert!(!text.contains(value), "{value}: {text}");
    }
    assert!(creation(&world).body.contains("log-subject-72"));
}
