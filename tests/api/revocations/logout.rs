//! `POST /backchannel-logout` (OpenID Connect Back-Channel Logout 1.0 §2.5, §2.8). These tests
//! cover the responses to an identity provider; the checks of logout tokens are tested beside their
//! code.

use serde_json::{Value, json};
use simulator::{Algorithm, MintRequest};

use super::{EXPOSED, SECOND, assert_rejected};
use crate::support::{Client, Reply, World};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

fn claims(world: &World) -> Value {
    json!({
        "iss": world.issuer().issuer_url(),
        "aud": "juspay-bff-demo",
        "sub": "alice",
        "jti": format!("{:032x}", rand::random::<u128>()),
        "iat": world.clock_seconds(),
        "exp": world.clock_seconds() + 120,
        "events": {EVENT: {}},
    })
}

fn sign(world: &World, claims: &Value) -> String {
    let issuer = world.issuer();
    let kid = issuer.kid(Algorithm::ES256).unwrap();
    let header = json!({"alg": "ES256", "kid": kid, "typ": "logout+jwt"}).to_string();
    issuer.sign_raw(&header, &claims.to_string(), Algorithm::ES256).unwrap()
}

/// Replaces a claim, or removes it if the value is null.
fn with(mut claims: Value, claim: &str, value: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    members.insert(claim.to_owned(), value);
    members.retain(|_, value| !value.is_null());
    claims
}

async fn send(admin: &Client, content_type: &str, body: &str) -> Reply {
    let request = format!(
        "POST /backchannel-logout HTTP/1.1\r\nHost: bff.example\r\nConnection: close\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    admin.raw(&request).await
}

async fn log_out(world: &World, token: &str) -> Reply {
    send(&world.admin(), FORM, &format!("logout_token={token}")).await
}

fn assert_accepted(reply: &Reply) {
    assert_eq!((reply.status, &*reply.text()), (200, ""));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

/// The response is the same for every fault.
fn assert_not_accepted(what: &str, reply: &Reply) {
    assert_eq!(reply.status, 400, "{what}");
    assert_eq!(reply.text(), "{\"error\":\"invalid_request\"}", "{what}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_session_and_the_next_login_gets_a_new_token() {
    // The provider calls it over the network, where the rest of the admin listener requires the
    // token.
    for settings in ["", EXPOSED] {
        let world = World::with(settings).await;
        let (old, bob) = (world.client("alice"), world.client("bob"));
        let old_token = old.me().await.token();
        bob.me().await;
        assert_accepted(&log_out(&world, &sign(&world, &claims(&world))).await);
        assert_rejected(&old.me().await);
        world.clock.advance(SECOND);
        let reply = world.client("alice").me().await;
        assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
        assert_ne!(reply.token(), old_token);
        assert!(bob.me().await.cache_status().starts_with("juspay-bff; hit"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_of_a_session_revokes_its_tokens() {
    let world = World::new().await;
    let of = |sid: &str| world.client_with(&MintRequest::of("alice").with("sid", sid));
    let (this, other) = (of("s1"), of("s2"));
    let old_token = this.me().await.token();
    other.me().await;
    let logout = with(with(claims(&world), "sub", Value::Null), "sid", json!("s1"));
    assert_accepted(&log_out(&world, &sign(&world, &logout)).await);
    assert_rejected(&this.me().await);
    let reply = other.me().await;
    assert_eq!(reply.status, 200);
    assert_ne!(reply.token(), old_token);
}

/// Invalid tokens, each with its fault.
fn invalid_tokens(world: &World) -> Vec<(String, String)> {
    let valid = claims(world);
    let now = world.clock_seconds();
    let claims = [
        ("iss", json!("https://else.example")),
        ("iss", Value::Null),
        ("aud", json!("else")),
        ("aud", Value::Null),
        ("iat", Value::Null),
        ("iat", json!(now + 31)),
        ("exp", Value::Null),
        ("exp", json!(now - 30)),
        ("jti", Value::Null),
        ("sub", Value::Null),
        ("sub", json!(["alice"])),
        ("sid", json!(1)),
        ("nonce", json!("n")),
        ("events", Value::Null),
        ("events", json!({})),
        ("events", json!([EVENT])),
        ("events", json!({EVENT: "now"})),
    ];
    let mut invalid: Vec<_> = claims
        .into_iter()
        .map(|(claim, value)| {
            let what = format!("{claim}: {value}");
            (what, sign(world, &with(valid.clone(), claim, value)))
        })
        .collect();
    let token = sign(world, &valid);
    let (message, _) = token.rsplit_once('.').unwrap();
    let bobs = world.issuer().mint(&MintRequest::of("bob")).unwrap();
    let (_, bobs_signature) = bobs.rsplit_once('.').unwrap();
    let access = world.client("alice").token.unwrap();
    let as_jwt = MintRequest { typ: "JWT".to_owned(), ..MintRequest::of("alice") };
    for (what, token) in [
        ("another signature", format!("{message}.{bobs_signature}")),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("nothing", String::new()),
        ("an access token", access),
        ("an access token of type JWT", world.issuer().mint(&as_jwt).unwrap()),
        ("a token longer than any", format!("{token}{}", "x".repeat(8192))),
    ] {
        invalid.push((what.to_owned(), token));
    }
    invalid
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tokens_get_the_same_error_and_revoke_nothing() {
    let world = World::new().await;
    let client = world.client("alice");
    assert_eq!(client.me().await.status, 200);
    let invalid = invalid_tokens(&world);
    let number = u64::try_from(invalid.len()).unwrap();
    for (what, token) in invalid {
        assert_not_accepted(&what, &log_out(&world, &token).await);
        assert!(client.me().await.cache_status().starts_with("juspay-bff; hit"), "{what}");
    }
    let count = "juspay_bff_auth_logouts_total{outcome=\"invalid\"}";
    assert_eq!(world.count(count).await, number);
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_token_is_rejected() {
    let world = World::new().await;
    let token = sign(&world, &claims(&world));
    assert_accepted(&log_out(&world, &token).await);
    assert_not_accepted("again", &log_out(&world, &token).await);
    let count = "juspay_bff_auth_logouts_total{outcome=\"replayed\"}";
    assert_eq!(world.count(count).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_get_the_same_error() {
    let world = World::new().await;
    let client = world.client("alice");
    let token = sign(&world, &claims(&world));
    let form = format!("logout_token={token}");
    let as_json = json!({"logout_token": token}).to_string();
    for (what, content_type, body) in [
        ("no token", FORM, "token=x"),
        ("an empty body", FORM, ""),
        ("two tokens", FORM, &*format!("{form}&{form}")),
        ("not UTF-8", FORM, "logout_token=%ff%fe"),
        ("JSON", "application/json", &as_json),
        ("another type", "text/plain", &form),
    ] {
        assert_not_accepted(what, &send(&world.admin(), content_type, body).await);
        assert_eq!(client.me().await.status, 200, "{what}");
    }
    let other = world.admin().get("/backchannel-logout").await;
    assert_eq!(
        (other.code().as_str(), other.header("allow")),
        ("method_not_allowed", Some("POST"))
    );
    let charset = format!("{FORM}; charset=UTF-8");
    let largest = format!("{form}&x={}", "x".repeat(16 * 1024 - form.len() - 3));
    assert_accepted(&send(&world.admin(), &charset, &largest).await);
    assert_rejected(&client.me().await);
}
