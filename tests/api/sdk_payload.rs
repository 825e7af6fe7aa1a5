//! `GET /me/sdk-payload`: what an app passes to Juspay's SDK, by product.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Fault, FaultRule, MintRequest, Simulator};

use crate::support::{Client, Reply, World};

const EC: &str = "[sdk]\nprofile = 'ec'\nenvironment = 'sandbox'";
const UPI: &str =
    "[sdk]\nprofile = 'upi'\nenvironment = 'sandbox'\nextra = { issuingPsp = 'YES_BIZ' }";

impl Client {
    async fn sdk_payload(&self, query: &str) -> Reply {
        self.get(&format!("/me/sdk-payload?{query}")).await
    }
}

#[track_caller]
fn code(reply: &Reply) -> (u16, String) {
    let code = reply.json()["code"].as_str().map(str::to_owned);
    (reply.status, code.unwrap_or_default())
}

/// The token of a payload.
fn sdk_token(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["payload"]["clientAuthToken"].as_str().expect("a token").to_owned()
}

fn calls(simulator: &Simulator) -> u64 {
    simulator.calls("alice")
}

#[tokio::test(flavor = "multi_thread")]
async fn express_checkout_gets_the_members_to_merge_into_process() {
    let world = World::with(EC).await;
    let alice = world.client("alice");
    let reply = alice.sdk_payload("action=process").await;
    let token = sdk_token(&reply);
    assert_eq!(
        reply.json(),
        json!({
            "service": "in.juspay.hyperapi",
            "payload": { "clientAuthToken": token, "customerId": "alice" },
            "expires_in": 899,
            "refresh_after": reply.json()["refresh_after"],
            "routing_id": "alice",
        })
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("juspay-token-expires-in"), Some("899"));
    // The same entry of the cache as /me/customer.
    assert_eq!(alice.me().await.token(), token);
    assert_eq!(calls(world.simulator()), 1);
    for action in ["initiate", "updateAuth"] {
        let rejected = alice.sdk_payload(&format!("action={action}")).await;
        assert_eq!(code(&rejected), (400, "invalid_request".to_owned()), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upi_gets_each_payload_with_token_and_expiry() {
    let world = World::with(UPI).await;
    let alice = world.client("alice");
    let token = sdk_token(&alice.sdk_payload("action=process").await);
    let merchant = world.simulator().merchant().to_owned();
    let common = json!({ "clientAuthToken": token, "authExpiry": "2026-11-23T12:14:59.000Z" });
    let with = |more: Value| {
        let mut all = common.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::from(all)
    };
    let process = with(json!({ "customerId": "alice", "issuingPsp": "YES_BIZ" }));
    let initiate = with(json!({
        "action": "initiate",
        "merchantId": merchant,
        "clientId": merchant,
        "customerId": "alice",
        "environment": "sandbox",
        "issuingPsp": "YES_BIZ",
    }));
    for (action, payload) in [("process", process), ("initiate", initiate)] {
        let reply = alice.sdk_payload(&format!("action={action}")).await.json();
        assert_eq!(reply["payload"], payload, "{action}");
    }
    let reply = alice.sdk_payload("action=updateAuth").await;
    let new = sdk_token(&reply);
    assert_ne!(new, token);
    let payload = json!({
        "action": "updateAuth",
        "clientAuthToken": new,
        "authExpiry": "2026-11-23T12:14:59.000Z",
    });
    assert_eq!(reply.json()["payload"], payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn update_auth_is_a_new_token_or_429() {
    let world = World::with(UPI).await;
    let alice = world.client("alice");
    // `no-cache` accepts a token of the last 30 s; the SDK's `session_expired` does not.
    let mut tokens = vec![sdk_token(&alice.sdk_payload("action=initiate").await)];
    for _ in 0..3 {
        let reply = alice.sdk_payload("action=updateAuth").await;
        assert_eq!(reply.cache_status(), "juspay-bff; fwd=request; stored; ttl=779");
        let token = sdk_token(&reply);
        assert!(!tokens.contains(&token), "never a token that was returned before");
        tokens.push(token);
    }
    let limited = alice.sdk_payload("action=updateAuth").await;
    assert_eq!(code(&limited), (429, "rate_limited".to_owned()));
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&wait), "3/min, jittered by half: {wait}");
    assert_eq!(calls(world.simulator()), 4);
    let same = sdk_token(&alice.sdk_payload("action=process").await);
    assert_eq!(Some(&same), tokens.last(), "the newest token stays in use");
    world.clock.advance(Duration::from_secs(20));
    assert!(!tokens.contains(&sdk_token(&alice.sdk_payload("action=updateAuth").await)));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_token_is_a_new_token_or_429_for_any_action() {
    for (settings, action) in [(EC, "process"), (UPI, "initiate")] {
        let world = World::with(settings).await;
        let alice = world.client("alice");
        let mut tokens = vec![sdk_token(&alice.sdk_payload(&format!("action={action}")).await)];
        let query = format!("action={action}&new_token=true");
        for _ in 0..3 {
            let token = sdk_token(&alice.sdk_payload(&query).await);
            assert!(!tokens.contains(&token), "never a token that was returned before");
            tokens.push(token);
        }
        assert_eq!(code(&alice.sdk_payload(&query).await), (429, "rate_limited".to_owned()));
        let same = sdk_token(&alice.sdk_payload(&format!("action={action}&new_token=false")).await);
        assert_eq!(Some(&same), tokens.last());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn update_auth_gets_no_old_token_in_an_outage() {
    let world = World::with(UPI).await;
    let alice = world.client("alice");
    let old = sdk_token(&alice.sdk_payload("action=process").await);
    world.simulator().inject(FaultRule::always(Fault::Html).of("alice"));
    let failed = alice.sdk_payload("action=updateAuth").await;
    assert_eq!(code(&failed), (503, "upstream_unavailable".to_owned()));
    assert_eq!(sdk_token(&alice.sdk_payload("action=process").await), old, "it stays cached");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_id_depends_on_audience_and_platform() {
    let settings = format!(
        "{UPI}\nclient_id = 'any'\ntenant_id = 'tenant'\nbeta_assets = true\n\
         service = 'in.juspay.hyperupi'\n\
         client_id_by_audience = {{ shop = 'shop_id' }}\n\
         client_id_by_platform = {{ android = 'android_id' }}\n\
         [auth.issuers.main]\naudiences = ['juspay-bff-demo', 'shop']"
    );
    let world = World::with(&settings).await;
    let shop = MintRequest { audience: "shop".to_owned(), ..MintRequest::of("alice") };
    let [alice, shopper] = [world.client("alice"), world.client_with(&shop)];
    for (client, query, client_id) in [
        (&alice, "", "any"),
        (&alice, "&platform=ios", "any"),
        (&alice, "&platform=android", "android_id"),
        (&shopper, "", "shop_id"),
        (&shopper, "&platform=android", "shop_id"),
    ] {
        let reply = client.sdk_payload(&format!("action=initiate{query}")).await.json();
        assert_eq!(reply["payload"]["clientId"], client_id, "{query}");
        assert_eq!(reply["tenant_id"], "tenant");
        assert_eq!(
            (&reply["betaAssets"], &reply["service"]),
            (&json!(true), &json!("in.juspay.hyperupi"))
        );
    }
}

/// P1: the customer is the one that the token names, whatever the query says.
#[tokio::test(flavor = "multi_thread")]
async fn p1_payload_is_of_the_token_s_customer() {
    let world = World::with(UPI).await;
    let alice = world.client("alice@example.com");
    for query in
        ["customerId=bob", "customer_id=bob&options.customerId=bob", "object_reference_id=bob"]
    {
        let reply = alice.sdk_payload(&format!("action=initiate&{query}")).await.json();
        assert_eq!(reply["payload"]["customerId"], "alice@example.com", "{query}");
        assert_eq!(reply["routing_id"], "alice@example.com");
    }
    assert_eq!(world.simulator().calls("bob"), 0);
    world.simulator().requests().iter().for_each(|request| {
        assert_eq!(request.header("x-routing-id"), Some("alice@example.com"));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_id_is_the_reference_also_with_juspay_s_ids() {
    let settings = format!("{EC}\n[juspay]\ncustomer_id_form = 'juspay'");
    let world = World::with(&settings).await;
    let id = Simulator::juspay_id("alice");
    let reply = world.client(&id).sdk_payload("action=process").await;
    let reference = reply.json()["payload"]["customerId"].clone();
    assert!(reference.is_string() && reference != json!(id), "{}", reply.text());
    assert_eq!(reply.json()["routing_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_malformed_queries_are_rejected() {
    let world = World::with(UPI).await;
    let alice = world.client("alice");
    for query in [
        "",
        "action=",
        "action=Process",
        "action=pay",
        "action=process&action=initiate",
        "action=process&platform=",
        "action=process&platform=windows",
        "action=process&platform=ios&platform=ios",
        "action=process&new_token=",
        "action=process&new_token=1",
        "action=process&new_token=true&new_token=true",
        "action=process&access_token=x",
    ] {
        let reply = alice.sdk_payload(query).await;
        assert_eq!(code(&reply), (400, "invalid_request".to_owned()), "{query}");
    }
    let post =
        alice.request("POST", "/me/sdk-payload?action=process", "Content-Length: 0\r\n").await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(code(&world.anonymous().sdk_payload("action=process").await).0, 401);
    assert_eq!(calls(world.simulator()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_and_hands_out_no_token() {
    let world = World::with(UPI).await;
    let alice = world.client("alice");
    let head = alice.request("HEAD", "/me/sdk-payload?action=initiate", "").await;
    assert_eq!((head.status, head.text()), (200, String::new()));
    let get = alice.sdk_payload("action=initiate").await;
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("juspay-token-expires-in"), Some("899"));
    // A token that was never handed out is new enough.
    let update = alice.request("HEAD", "/me/sdk-payload?action=updateAuth", "").await;
    assert_eq!((update.status, calls(world.simulator())), (200, 2));
    sdk_token(&alice.sdk_payload("action=updateAuth").await);
    assert_eq!(calls(world.simulator()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn route_is_off_without_a_profile() {
    let world = World::new().await;
    let reply = world.client("alice").sdk_payload("action=process").await;
    assert_eq!(code(&reply), (404, "not_found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn directives_apply_as_for_the_customer() {
    let world = World::with(EC).await;
    let alice = world.client("alice");
    let target = "/me/sdk-payload?action=process";
    let cached = alice.request("GET", target, "Cache-Control: only-if-cached\r\n").await;
    assert_eq!(code(&cached), (504, "not_cached".to_owned()));
    let first = sdk_token(&alice.get(target).await);
    world.clock.advance(Duration::from_secs(100));
    let fresher = alice.request("GET", target, "Cache-Control: min-fresh=850\r\n").await;
    assert_ne!(sdk_token(&fresher), first);
    assert_eq!(fresher.cache_status(), "juspay-bff; fwd=request; stored; ttl=779");
    world.clock.advance(Duration::from_secs(100));
    let forced = alice.request("GET", target, "Cache-Control: no-cache\r\n").await;
    assert!(sdk_token(&forced) != first && forced.status == 200);
}

/// A refresh begins when `refresh_after` says.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_after_is_when_a_request_starts_a_refresh() {
    let world = World::with(EC).await;
    let alice = world.client("alice");
    let reply = alice.sdk_payload("action=process").await.json();
    let refresh_after = reply["refresh_after"].as_u64().expect("seconds");
    assert!((590..=650).contains(&refresh_after), "{reply}");
    world.clock.advance(Duration::from_secs(refresh_after - 1));
    let early = alice.sdk_payload("action=process").await.json();
    assert_eq!(early["refresh_after"], 1);
    assert_eq!(calls(world.simulator()), 1);
    world.clock.advance(Duration::from_secs(2));
    let late = alice.sdk_payload("action=process").await.json();
    assert_eq!((&late["refresh_after"], &late["payload"]), (&json!(0), &reply["payload"]));
    crate::support::until("a refresh", async || calls(world.simulator()) == 2).await;
}
