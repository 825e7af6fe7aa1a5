//! `juspay.create_missing_customers`: a customer that Juspay does not know is created from verified claims
//! of its access token, once, and from nothing else (promises P1 and P4).

mod claims;
mod failures;

use std::sync::Arc;

use futures_util::future::join_all;
use simulator::{Fault, FaultRule, MintRequest, ReceivedRequest};

use crate::support::{Client, Pending, Reply, World, guard};

/// Off by default.
const ON: &str = "juspay.create_missing_customers = true\n";

/// The form for [`newcomer`], without its id.
const FORM: &str = "&mobile_number=9810012345&mobile_country_code=91\
    &email_address=asha%40example.com&first_name=Asha&last_name=Rao\
    &options.get_client_auth_token=true";

/// A world in which Juspay knows no customer.
async fn strict_world(settings: &str) -> World {
    World::with_config(settings, |config| config.provision = false).await
}

/// A token with all claims of OpenID Connect that a customer is created from.
fn newcomer(subject: &str) -> MintRequest {
    MintRequest::of(subject)
        .with("phone_number", "+91 98100 12345")
        .with("phone_number_verified", true)
        .with("email", "asha@example.com")
        .with("email_verified", true)
        .with("given_name", "Asha")
        .with("family_name", "Rao")
}

/// The requests to Juspay, as method and path.
fn calls(world: &World) -> Vec<String> {
    let requests = world.simulator().requests();
    requests.iter().map(|it| format!("{} {}", it.method, it.path)).collect()
}

/// The only Create Customer that Juspay has received.
fn creation(world: &World) -> Arc<ReceivedRequest> {
    let requests = world.simulator().requests();
    let mut creations = requests.iter().filter(|it| it.method == "POST");
    let creation = Arc::clone(creations.next().expect("a creation"));
    assert_eq!(creations.count(), 0, "one creation");
    creation
}

/// `customer_creations_total{outcome}`
async fn outcomes(world: &World, outcome: &str) -> u64 {
    world.count(&format!("juspay_bff_customer_creations_total{{outcome=\"{outcome}\"}}")).await
}

/// The customer in a 200.
fn owner(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["object_reference_id"].as_str().expect("an id").to_owned()
}

/// `fault` for the customer's second call, which creates it.
fn fail_creation(world: &World, customer: &str, fault: Fault) {
    let no_fault = Fault::Latency { ms: 0 };
    for fault in [no_fault, fault] {
        world.simulator().inject(FaultRule::once(fault).of(customer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_by_default_unknown_customer_is_not_found() {
    let world = strict_world("").await;
    let reply = world.client_with(&newcomer("newcomer")).me().await;
    assert_eq!((reply.status, &*reply.code()), (404, "customer_not_found"));
    assert_eq!(calls(&world), ["GET /customers/newcomer"]);
    let metrics = world.admin().get("/metrics").await.text();
    assert!(!metrics.contains("customer_creations_total{"), "only with the setting");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_customer_is_created_and_returned_with_a_token() {
    let world = strict_world(ON).await;
    let metrics = world.admin().get("/metrics").await.text();
    assert!(metrics.contains("juspay_bff_customer_creations_total{outcome=\"limited\"} 0\n"));
    let client = world.client_with(&newcomer("new.comer@example.com"));
    let reply = client.me().await;
    assert_eq!(owner(&reply), "new.comer@example.com");
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert!(reply.token().starts_with("tkn_"));
    let object = reply.json();
    for (field, value) in [
        ("mobile_number", "9810012345"),
        ("mobile_country_code", "91"),
        ("email_address", "asha@example.com"),
        ("first_name", "Asha"),
        ("last_name", "Rao"),
    ] {
        assert_eq!(object[field], value, "{field}");
    }
    assert_eq!(calls(&world), ["GET /customers/new.comer%40example.com", "POST /customers"]);
    assert_eq!(outcomes(&world, "created").await, 1);
    assert_eq!((world.upstream("not_found").await, world.upstream("success").await), (1, 1));
    // From now on it is an ordinary customer.
    assert_eq!(client.me().await.cache_status(), "juspay-bff; hit; ttl=779");
    world.purge_all().await;
    assert_eq!(owner(&client.me().await), "new.comer@example.com");
    assert_eq!(outcomes(&world, "created").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_creation_sends_the_headers_of_get_customer_and_no_other() {
    let settings = format!("{ON}juspay.api_version = \"2019-05-07\"");
    let world = strict_world(&settings).await;
    let lines = "X-Merchantid: other\r\nX-Routing-Id: other\r\nCookie: a=b\r\nVersion: 1\r\n\
        X-Forwarded-For: 10.0.0.1\r\n";
    let client = world.client_with(&newcomer("newcomer"));
    assert_eq!(owner(&client.request("GET", "/me/customer", lines).await), "newcomer");
    let creation = creation(&world);
    let form = format!("object_reference_id=newcomer{FORM}");
    assert_eq!((&*creation.query, &*creation.body), ("", &*form));
    let headers = |request: &ReceivedRequest| {
        let mut headers = request.headers.clone();
        headers
            .retain(|(name, _)| !["date", "content-length"].contains(&&*name.to_ascii_lowercase()));
        headers.sort();
        headers
    };
    let get = &world.simulator().requests()[0];
    assert_eq!((&*get.method, headers(get)), ("GET", headers(&creation)));
    assert_eq!(creation.header("x-routing-id"), Some("newcomer"));
    assert_eq!(creation.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(creation.header("content-length"), Some(&*form.len().to_string()));
    assert_eq!(creation.header("version"), Some("2019-05-07"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_nothing_in_the_request_changes_what_is_created() {
    let world = strict_world(ON).await;
    let values = "object_reference_id=bob_is_here&customer_id=bob_is_here&mobile_number=7000000000\
        &mobile_country_code=1&phone_number=%2B17000000000&email_address=bob%40example.com\
        &first_name=Bob&options.get_client_auth_token=true";
    let headers = "X-Customer-Id: bob_is_here\r\nX-Mobile-Number: 7000000000\r\n\
        X-Phone-Number: +17000000000\r\nX-Email: bob@example.com\r\nobject_reference_id: bob_is_here\r\n\
        mobile_number: 7000000000\r\nX-Original-Url: /customers?mobile_number=7000000000\r\n\
        Cookie: mobile_number=7000000000\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    for (n, target, lines, status) in [
        (0, format!("/me/customer?{values}"), headers, 200),
        (1, "/me/customer".to_owned(), headers, 200),
        (2, format!("/me/customer?{values}&{values}"), "", 400),
        (3, format!("/me/customer/bob_is_here?{values}"), headers, 404),
    ] {
        world.simulator().clear_requests();
        let id = format!("newcomer{n}");
        let client = world.client_with(&newcomer(&id));
        let reply = client.request("GET", &target, lines).await;
        assert_eq!(reply.status, status, "{target}: {}", reply.text());
        if status == 200 {
            assert_eq!(owner(&reply), id);
            assert_eq!(creation(&world).body, format!("object_reference_id={id}{FORM}"));
        } else {
            assert_eq!(calls(&world), [""; 0], "{target}");
        }
    }
    let client = world.client_with(&newcomer("with_a_body"));
    let lines = format!("{headers}Content-Length: {}\r\n", values.len());
    let token = client.token.clone().unwrap();
    let request = format!(
        "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{lines}\r\n\
         {values}"
    );
    assert_eq!(client.raw(&request).await.code(), "body_not_allowed");
    assert!(!world.simulator().counts().contains_key("bob_is_here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_20_first_requests_make_one_get_and_one_creation() {
    let world = strict_world(ON).await;
    let latch = world.simulator().hold("newcomer");
    let client = world.client_with(&newcomer("newcomer"));
    let requests = join_all((0..20).map(|_| client.begin())).await;
    world.until_waiting(20).await;
    latch.release();
    let replies = join_all(requests.into_iter().map(Pending::reply)).await;
    for reply in &replies {
        assert_eq!(owner(reply), "newcomer");
        assert_eq!(reply.token(), replies[0].token());
    }
    assert_eq!(calls(&world), ["GET /customers/newcomer", "POST /customers"]);
}

/// Another replica with the same Juspay.
async fn replica_of(world: &World) -> World {
    let base_url = world.simulator().base_url();
    let replica = World::with(&format!("{ON}juspay.base_url = \"{base_url}\"")).await;
    world.simulator().set_key(&replica.api_key, true);
    replica
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_create_the_same_customer_both_get_it() {
    let world = strict_world(ON).await;
    let replica = replica_of(&world).await;
    let latch = world.simulator().hold("newcomer");
    let clients = [&world, &replica].map(|it| it.client_with(&newcomer("newcomer")));
    let waiting = join_all(clients.iter().map(Client::begin)).await;
    // Both have got 404.
    latch.arrived(2).await;
    latch.release();
    for waiting in waiting {
        let reply = waiting.reply().await;
        assert_eq!(owner(&reply), "newcomer");
        assert!(reply.token().starts_with("tkn_"));
    }
    let mut calls = calls(&world);
    calls.sort();
    let get = "GET /customers/newcomer";
    assert_eq!(calls, [get, get, get, "POST /customers", "POST /customers"]);
    let (here, there) = (outcomes(&world, "created").await, outcomes(&replica, "created").await);
    assert_eq!(here + there, 1);
    let loser = if here == 1 { &replica } else { &world };
    assert_eq!(outcomes(loser, "already_exists").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_token_creates_the_customer_too() {
    let world = strict_world(ON).await;
    let client = world.client_with(&newcomer("newcomer"));
    let reply = client.get("/me/customer?options.get_client_auth_token=false").await;
    assert_eq!(owner(&reply), "newcomer");
    assert!(reply.json().get("juspay").is_none());
    assert_eq!(outcomes(&world, "created").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_customer_is_created_again() {
    let world = strict_world(ON).await;
    let client = world.client_with(&newcomer("newcomer"));
    let first = client.me().await.token();
    world.purge_all().await;
    world
        .simulator()
        .inject(FaultRule::once(Fault::Error(simulator::ApiError::NotFound)).of("newcomer"));
    // The simulator has it, so that its creation answers `unique`.
    let again = client.me().await;
    assert_eq!(owner(&again), "newcomer");
    assert_ne!(again.token(), first);
    assert_eq!(outcomes(&world, "already_exists").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_creation_logs_the_reference_and_nothing_personal() {
    let world = strict_world(ON).await;
    let token = MintRequest::of("log-subject-71")
        .with("phone_number", "+91 98100 77171")
        .with("phone_number_verified", true)
        .with("email", "log-71@example.com")
        .with("email_verified", true)
        .with("given_name", "Firstname71")
        .with("family_name", "Lastname71");
    let reply = world.client_with(&token).me().await;
    assert_eq!(owner(&reply), "log-subject-71");
    let id = reply.header("x-request-id").unwrap();
    let lines = guard::log_lines(id);
    let created: Vec<_> =
        lines.iter().filter(|line| line.contains("customer created at Juspay")).collect();
    let [line] = created[..] else { panic!("{lines:?}") };
    assert!(line.contains("\"customer_ref\":\""), "{line}");
    for value in
        ["log-subject-71", "9810077171", "98100 77171", "log-71", "Firstname71", "Lastname71"]
    {
        assert_eq!(guard::log_lines(value), [""; 0], "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_creates_the_customer_ahead_of_its_use() {
    let world = strict_world(ON).await;
    let client = world.client_with(&newcomer("newcomer"));
    assert_eq!(client.request("POST", "/me/prepare", "").await.status, 202);
    let reply = client.me().await;
    assert_eq!(owner(&reply), "newcomer");
    assert_eq!(calls(&world), ["GET /customers/newcomer", "POST /customers"]);
}
