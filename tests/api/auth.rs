//! Which requests are authenticated. Checks status, code and challenge of every rejection exactly.
//!
//! - `corpus`: tables of attacks
//! - `dpop`: tokens bound to a key
//! - `hmac`: issuers with shared secrets
//! - `identity`: which customer a valid token names (P1)
//! - `key_sources`: where keys come from
//! - `keys`: key rotation and unreachable issuers (P6)
//! - `providers`: tokens that settings admit
//! - `recipes`: the recipes of docs/identity-providers.md
//! - `verdicts`: compares results over the corpora with stored ones

mod corpus;
mod der;
mod dpop;
mod hmac;
mod identity;
mod key_sources;
mod keys;
mod providers;
mod recipes;
mod tokens;
mod verdicts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{MintRequest, Running};

use self::verdicts::Verdicts;
use crate::support::{Reply, Stage, World};

/// The default of `auth.jwks_cooldown`.
const COOLDOWN: Duration = Duration::from_secs(10);

const BARE: &str = r#"Bearer realm="juspay-bff""#;
const INVALID_REQUEST: &str = r#"Bearer realm="juspay-bff", error="invalid_request""#;
const INVALID_TOKEN: &str = r#"Bearer realm="juspay-bff", error="invalid_token""#;

/// An issuer that the service does not know, with the world's clock.
async fn second_issuer(stage: &Stage) -> Running {
    let mut config = simulator::Config::on_free_ports();
    config.clock = Arc::new(stage.clock.clone());
    simulator::start(config).await.expect("free ports")
}

fn expired(subject: &str) -> MintRequest {
    MintRequest { life: SignedDuration::from_secs(-31), ..MintRequest::of(subject) }
}

/// Checks all parts of a rejection.
fn assert_rejected(what: &str, reply: &Reply, status: u16, code: &str, challenge: Option<&str>) {
    assert_eq!((reply.status, &*reply.code()), (status, code), "{what}");
    assert_eq!(reply.header("www-authenticate"), challenge, "{what}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(reply.header("cache-status"), None, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_authorization_headers_are_distinguished() {
    let world = World::new().await;
    let valid = world.client("alice").token.unwrap();
    let long = "x".repeat(8193);
    for (lines, status, code, challenge) in [
        ("", 401, "missing_token", BARE),
        ("Authorization: \r\n", 401, "missing_token", BARE),
        ("Authorization: Basic YWxpY2U6\r\n", 401, "missing_token", BARE),
        (&format!("Authorization: DPoP {valid}\r\n"), 401, "missing_token", BARE),
        (&format!("X-Authorization: Bearer {valid}\r\n"), 401, "missing_token", BARE),
        (&format!("Cookie: access_token={valid}\r\n"), 401, "missing_token", BARE),
        ("Authorization: Bearer\r\n", 400, "invalid_request", INVALID_REQUEST),
        ("Authorization: Bearer \"a\"\r\n", 400, "invalid_request", INVALID_REQUEST),
        (&format!("Authorization: Bearer {valid} x\r\n"), 400, "invalid_request", INVALID_REQUEST),
        (&format!("Authorization: Bearer {valid},x\r\n"), 400, "invalid_request", INVALID_REQUEST),
        (
            &format!("Authorization: Bearer {valid}\r\nAuthorization: Bearer {valid}\r\n"),
            400,
            "invalid_request",
            INVALID_REQUEST,
        ),
        (
            &format!("Authorization: Bearer {valid}\r\nAuthorization: Basic YWxpY2U6\r\n"),
            400,
            "invalid_request",
            INVALID_REQUEST,
        ),
        (&format!("Authorization: Bearer {long}\r\n"), 400, "token_too_large", INVALID_REQUEST),
    ] {
        let reply = world.anonymous().request("GET", "/me/customer", lines).await;
        assert_rejected(lines, &reply, status, code, Some(challenge));
    }
    assert_eq!(world.simulator().total_requests(), 0);
    // The scheme ignores case, and the rejections before do not count against the token.
    let lines = format!("authorization: bEARER {valid}\r\n");
    assert_eq!(world.anonymous().request("GET", "/me/customer", &lines).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_the_query_are_rejected() {
    let world = World::new().await;
    let token = world.client("alice").token.unwrap();
    for client in [world.anonymous(), world.client("alice")] {
        for query in [format!("access_token={token}"), format!("a=b&access%5Ftoken={token}")] {
            let reply = client.get(&format!("/me/customer?{query}")).await;
            assert_rejected(&query, &reply, 400, "invalid_request", None);
        }
    }
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_invalid_tokens_get_the_same_response() {
    let stage = Stage::set().await;
    let untrusted = second_issuer(&stage).await;
    let world = stage.open_ready("").await;
    let (issuer, untrusted, claims) = (world.issuer(), untrusted.issuer(), tokens::claims(&world));
    let mut responses = BTreeSet::new();
    let mut reasons = BTreeMap::new();
    let mut verdicts = Verdicts::of("tokens");
    // Each group is created when needed, because its times are exact to the second.
    let groups: [&dyn Fn() -> Vec<tokens::Invalid>; 3] = [
        &|| tokens::forged(issuer, &claims, untrusted),
        &|| tokens::with_odd_headers(issuer, &claims),
        &|| tokens::with_unfit_claims(&world, untrusted),
    ];
    for (what, reason, token) in groups.into_iter().flat_map(|group| group()) {
        if reason == "unknown_key" {
            // The fetch of this cool-down was made for the invalid signatures.
            world.clock.advance(COOLDOWN);
        }
        let reply = world.client_with_token(&token).me().await;
        assert_rejected(what, &reply, 401, "invalid_token", Some(INVALID_TOKEN));
        let mut problem = reply.json();
        problem["request_id"].take();
        responses.insert(problem.to_string());
        let series = format!("juspay_bff_auth_failures_total{{reason=\"{reason}\"}}");
        let count = reasons.entry(reason).or_insert(0.0);
        *count += 1.0;
        assert!(
            (world.metric(&series).await - *count).abs() < f64::EPSILON,
            "{what}: not {reason}"
        );
        verdicts.note(reason, what);
    }
    verdicts.compare();
    assert_eq!(responses.len(), 1, "the responses reveal which check failed: {responses:?}");
    assert_eq!(world.simulator().total_requests(), 0);
    assert_eq!(world.client("alice").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_tokens_get_their_own_code_if_otherwise_valid() {
    let world = World::with("auth.issuers.main.required_scopes = [\"pay\"]").await;
    let reply = world.client_with(&expired("alice")).me().await;
    assert_rejected("expired, without a scope", &reply, 401, "expired_token", Some(INVALID_TOKEN));
    let reply = world.client_with(&expired("a/b")).me().await;
    assert_rejected(
        "expired, without a customer",
        &reply,
        401,
        "expired_token",
        Some(INVALID_TOKEN),
    );
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_expire_at_max_token_age() {
    let world = World::with("auth.issuers.main.max_token_age = \"1h\"").await;
    let life = SignedDuration::from_hours(10);
    let client = world.client_with(&MintRequest { life, ..MintRequest::of("alice") });
    assert_eq!(client.me().await.status, 200);
    world.clock.advance(Duration::from_millis(3_629_999));
    assert_eq!(client.me().await.status, 200);
    let not_cached = world.client_with(
        &MintRequest { life, ..MintRequest::of("alice") }.with("iat", world.clock_seconds() - 3629),
    );
    assert_eq!(not_cached.me().await.status, 200);
    world.clock.advance(Duration::from_secs(1));
    for client in [client, not_cached] {
        assert_rejected("too old", &client.me().await, 401, "expired_token", Some(INVALID_TOKEN));
    }
    let without_iat = world.client_with(&MintRequest::of("alice").with("iat", Value::Null));
    assert_rejected("no iat", &without_iat.me().await, 401, "invalid_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_scopes_are_named_in_the_challenge() {
    let world = World::with("auth.issuers.main.required_scopes = [\"pay\", \"read\"]").await;
    let challenge = r#"Bearer realm="juspay-bff", error="insufficient_scope", scope="pay read""#;
    let alice = || MintRequest::of("alice");
    for wish in [
        alice(),
        MintRequest { scope: Some("read".to_owned()), ..alice() },
        MintRequest { scope: Some("payread".to_owned()), ..alice() },
        alice().with("scp", json!(["pay"])),
        MintRequest { scope: Some("write".to_owned()), ..MintRequest::of("a/b") },
    ] {
        let reply = world.client_with(&wish).me().await;
        assert_rejected(&format!("{wish:?}"), &reply, 403, "insufficient_scope", Some(challenge));
    }
    assert_eq!(world.simulator().total_requests(), 0);
    for wish in [
        MintRequest { scope: Some("read x pay".to_owned()), ..alice() },
        alice().with("scp", json!(["pay", "read"])),
        MintRequest { scope: Some("pay".to_owned()), ..alice() }.with("scp", "read"),
    ] {
        assert_eq!(world.client_with(&wish).me().await.status, 200, "{wish:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_without_a_usable_customer_never_reach_juspay() {
    let world = World::new().await;
    let long = "x".repeat(257);
    for subject in [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "../bob",
        "a\\b",
        "a\0",
        "a\nb",
        "a\u{85}b",
        "\u{7f}",
        " bob",
        "bob\t",
        &long,
        // The app itself: `client_id` in the simulator's tokens.
        "juspay-bff-demo-app",
    ] {
        let reply = world.client(subject).me().await;
        assert_rejected(&format!("{subject:?}"), &reply, 403, "no_customer", None);
    }
    for sub in [Value::Null, json!(1.5), json!(true), json!(-0.0)] {
        let reply = world.client_with(&MintRequest::of("x").with("sub", sub.clone())).me().await;
        assert_rejected(&sub.to_string(), &reply, 403, "no_customer", None);
    }
    let reply = world.client_with(&MintRequest::of("app").with("azp", "app")).me().await;
    assert_rejected("azp", &reply, 403, "no_customer", None);
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_email_addresses_are_rejected() {
    for claim in ["email", "phone_number"] {
        let world =
            World::with(&format!("auth.issuers.main.customer_id_claim = \"{claim}\"")).await;
        let wish = MintRequest::of("alice").with(claim, "a@b.example");
        let verified_claim = format!("{claim}_verified");
        for verified in [Value::Null, json!(false), json!("false"), json!(1)] {
            let reply = world.client_with(&wish.clone().with(&verified_claim, verified)).me().await;
            assert_rejected(claim, &reply, 403, "no_customer", None);
        }
        assert_eq!(world.simulator().total_requests(), 0);
        assert_eq!(world.client_with(&wish.with(&verified_claim, true)).me().await.status, 200);
        assert_eq!(world.simulator().calls("a@b.example"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn juspay_id_form_rejects_other_ids() {
    let world = World::with("juspay.customer_id_form = \"juspay\"").await;
    let reply = world.client("alice").me().await;
    assert_rejected("no cst_", &reply, 403, "no_customer", None);
    assert_eq!(world.simulator().total_requests(), 0);
    assert_eq!(world.client("cst_alice").me().await.json()["id"], "cst_alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_reason() {
    let world = World::new().await;
    world.anonymous().me().await;
    world.client_with_token("garbage").me().await;
    world.client_with(&expired("alice")).me().await;
    world.client("a/b").me().await;
    world.client_with(&MintRequest::of("alice").with("aud", "others")).me().await;
    world.client("alice").me().await;
    for reason in ["missing_token", "not_jws", "expired", "no_customer", "audience"] {
        let series = format!("juspay_bff_auth_failures_total{{reason=\"{reason}\"}}");
        assert!((world.metric(&series).await - 1.0).abs() < f64::EPSILON, "{reason}");
    }
}
