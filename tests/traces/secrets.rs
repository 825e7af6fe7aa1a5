//! Nothing that the collector receives may contain secrets or customers (promise P2).

use std::{collections::BTreeSet, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use simulator::{Fault, FaultRule, MintRequest};

use crate::{
    collector::{Collector, Plan},
    support::World,
};

/// Every attribute that a span may have.
const KEYS: &[&str] = &[
    "error.type",
    "http.request.method",
    "http.request.resend_count",
    "http.response.status_code",
    "http.route",
    "juspay_bff.attempt",
    "juspay_bff.auth.at_once",
    "juspay_bff.auth.issuer",
    "juspay_bff.auth.outcome",
    "juspay_bff.cache.outcome",
    "juspay_bff.code",
    "juspay_bff.fetch.outcome",
    "juspay_bff.juspay.outcome",
    "juspay_bff.key_slot",
    "juspay_bff.refresh.outcome",
    "juspay_bff.request_id",
    "server.address",
    "server.port",
    "url.scheme",
    "url.template",
];

/// Sends requests of all kinds for a customer. Returns the texts that the collector must not
/// receive.
async fn send_requests(world: &World, customer: &str) -> Vec<String> {
    let token = world.issuer().mint(&MintRequest::of(customer)).unwrap();
    let alice = world.client_with_token(&token);
    let reply = alice.me().await;
    let object = reply.json();
    let text = |name: &str| object[name].as_str().unwrap().to_owned();
    let mut never = vec![
        customer.to_owned(),
        reply.token(),
        world.api_key.clone(),
        STANDARD.encode(format!("{}:", world.api_key)),
        text("id"),
        text("email_address"),
        text("mobile_number"),
        text("first_name"),
        "hush".to_owned(),
    ];
    never.extend(token.split('.').map(str::to_owned));
    alice.me().await;
    alice.get("/me/customer?hush=1&options.get_client_auth_token=false").await;
    alice.get(&format!("/customers/{customer}")).await;
    alice.request("HEAD", "/me/customer", "Cookie: hush\r\nX-Forwarded-For: hush\r\n").await;
    alice.request("HUSH", "/hush", "").await;
    alice.request("GET", "/me/customer", "Cache-Control: hush=\"\r\n").await;
    alice
        .request(
            "GET",
            "/me/customer",
            "traceparent: hush\r\ntracestate: hush=1\r\nbaggage: hush=1\r\n",
        )
        .await;
    let body = "{\"error_message\": \"hush\"}".to_owned();
    let headers = [("X-Hush".to_owned(), "hush".to_owned())].into();
    world.simulator().inject(FaultRule::always(Fault::Status { status: 400, headers, body }));
    world
        .client_with_token(&token)
        .request("GET", "/me/customer", "Cache-Control: no-cache\r\n")
        .await;
    assert_eq!(world.client(&format!("{customer}2")).me().await.status, 502);
    never
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_exported_spans_contain_no_customer_and_no_secret() {
    let collector = Collector::new(Plan::Take).await;
    let customer = "customer-4f3a";
    let world = collector.world("").await;
    let never = send_requests(&world, customer).await;
    let exported = collector.exported_at_stop(world).await;
    assert!(exported.spans.len() > 20, "{exported:#?}");
    for received in collector.received() {
        let text = format!("{}\n{}", received.head, String::from_utf8_lossy(&received.body));
        for never in &never {
            assert!(!text.contains(&**never), "{never} in {text}");
        }
    }
    let keys: BTreeSet<_> = exported.spans.iter().flat_map(|span| span.attributes.keys()).collect();
    for key in keys {
        assert!(KEYS.contains(&&**key), "{key} is a new one: can it name a customer?");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collector_headers_are_sent_and_reloaded() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "Authorization: Bearer canary_one\nX-Scope: shop\n").unwrap();
    let collector = Collector::new(Plan::Take).await;
    let world =
        collector.world(&format!("traces.headers_file = \"{}\"", file.path().display())).await;
    world.client("alice").me().await;
    let step = std::time::Duration::from_millis(20);
    world.advance_until("spans", step, async || !collector.received().is_empty()).await;
    let head = collector.received()[0].head.to_lowercase();
    assert!(head.contains("\r\nauthorization: bearer canary_one\r\n"), "{head}");
    assert!(head.contains("\r\nx-scope: shop\r\n"), "{head}");
    fs::write(&file, "Authorization: Bearer canary_two").unwrap();
    let read = "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"traces_headers\"}";
    let before = world.metric(read).await;
    world.advance_until("the new ones", step, async || world.metric(read).await > before).await;
    world.client("alice").me().await;
    collector.exported_at_stop(world).await;
    let head = collector.received().pop().unwrap().head.to_lowercase();
    assert!(
        head.contains("authorization: bearer canary_two") && !head.contains("x-scope"),
        "{head}"
    );
}
