//! Tokens that are revoked: by an operator, in the file (`file`), or by an issuer (`logout`).
//! `races` revokes tokens while their requests wait.

mod file;
mod logout;
mod races;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use simulator::MintRequest;

use crate::support::{Client, Reply, World, guard};

const SECOND: Duration = Duration::from_secs(1);
const EXPOSED: &str = "server.admin_listen = \"0.0.0.0:0\"";
const REJECTED: &str = "juspay_bff_auth_failures_total{reason=\"revoked\"}";
const IN_MEMORY: &str = "juspay_bff_auth_revocations{source=\"memory\"}";

/// An entry that revokes all tokens issued to the subject until now.
fn all_of(world: &World, sub: &str) -> Value {
    let now = world.clock_seconds();
    json!({"issuer": "main", "sub": sub, "issued_before": now + 1, "expires": now + 86_400})
}

fn one(world: &World, jti: &str) -> Value {
    json!({"issuer": "main", "jti": jti, "expires": world.clock_seconds() + 86_400})
}

async fn post(world: &World, entry: &Value) -> Reply {
    world.admin().post("/revocations", entry).await
}

/// Revokes tokens; returns the number of purged customers.
async fn revoke(world: &World, entry: &Value) -> u64 {
    let reply = post(world, entry).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.json()["kept"], "memory");
    assert!(reply.json()["note"].as_str().unwrap().contains("until it ends"));
    reply.json()["purged"].as_u64().unwrap()
}

/// A client with another token of alice.
fn with_jti(world: &World, jti: &str) -> Client {
    world.client_with(&MintRequest::of("alice").with("jti", jti))
}

/// The same response as for any invalid token.
fn assert_rejected(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"));
    let challenge = "Bearer realm=\"juspay-bff\", error=\"invalid_token\"";
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
    assert_eq!(reply.header("cache-status"), None);
    let garbage = "The access token is not valid. Get a new one, then retry once.";
    assert_eq!(reply.json()["detail"], garbage, "the detail contains no more than the code");
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_tokens_are_revoked_at_once_and_no_others() {
    let world = World::new().await;
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    let unseen = world.client("alice");
    assert_eq!((alice.me().await.status, bob.me().await.status), (200, 200));
    assert_eq!(revoke(&world, &all_of(&world, "alice")).await, 1);
    for client in [&alice, &unseen, &alice] {
        assert_rejected(&client.me().await);
        assert_rejected(&client.get("/me/customer?options.get_client_auth_token=false").await);
    }
    assert_eq!(bob.me().await.cache_status().split(';').nth(1), Some(" hit"));
    assert_eq!(world.simulator().calls("alice"), 1);
    assert_eq!((world.count(REJECTED).await, world.count(IN_MEMORY).await), (6, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_login_gets_a_new_client_auth_token() {
    let world = World::new().await;
    let old = world.client("alice");
    let old_token = old.me().await.token();
    revoke(&world, &all_of(&world, "alice")).await;
    world.clock.advance(SECOND);
    let new = world.client("alice");
    let reply = new.me().await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_ne!(reply.token(), old_token);
    assert_eq!(new.me().await.token(), reply.token());
    assert_rejected(&old.me().await);
    assert_eq!(new.me().await.token(), reply.token(), "a rejection purges no customer");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_revoked_and_its_subjects_others_are_not() {
    let world = World::new().await;
    let (lost, kept) = (with_jti(&world, "lost"), with_jti(&world, "kept"));
    let old_token = lost.me().await.token();
    assert_eq!(kept.me().await.token(), old_token);
    assert_eq!(revoke(&world, &one(&world, "lost")).await, 1);
    assert_rejected(&lost.me().await);
    let reply = kept.me().await;
    assert_eq!(reply.status, 200);
    assert_ne!(reply.token(), old_token);
}

/// The same token with the other valid ECDSA signature: s becomes n − s (P-256).
fn with_other_signature(token: &str) -> String {
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let n = i32::from_str_radix(&N[2 * at..2 * at + 2], 16).unwrap();
        let difference = n - i32::from(signature[32 + at]) - borrow;
        borrow = i32::from(difference < 0);
        signature[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_token_with_its_other_signature_is_rejected() {
    let world = World::new().await;
    let client = with_jti(&world, "a");
    let token = client.token.clone().unwrap();
    let twin = world.client_with_token(&with_other_signature(&token));
    assert_ne!(twin.token.as_ref(), Some(&token));
    assert_eq!(twin.me().await.status, 200, "both are valid");
    revoke(&world, &one(&world, "a")).await;
    assert_rejected(&client.me().await);
    assert_rejected(&twin.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_entry_is_removed() {
    let world = World::new().await;
    let client = with_jti(&world, "a");
    let entry = |end: i64| json!({"issuer": "main", "jti": "a", "expires": end});
    revoke(&world, &entry(world.clock_seconds() + 60)).await;
    assert_rejected(&client.me().await);
    world.clock.advance(SECOND * 60);
    assert_eq!(client.me().await.status, 200);
    let is_gone = async || world.count(IN_MEMORY).await == 0;
    world.advance_until("the sweep", SECOND, is_gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_expires_at_the_end_of_the_year_9999_at_the_latest() {
    let world = World::new().await;
    for (jti, end) in [("a", json!("9999-12-31T23:59:59Z")), ("b", json!(253_402_300_799_i64))] {
        let client = with_jti(&world, jti);
        assert_eq!(client.me().await.status, 200);
        revoke(&world, &json!({"issuer": "main", "jti": jti, "expires": end})).await;
        assert_rejected(&client.me().await);
    }
    assert_eq!(world.count(IN_MEMORY).await, 2);
    for end in [json!("+010000-01-01T00:00:00Z"), json!(253_402_300_800_i64)] {
        let reply = post(&world, &json!({"issuer": "main", "jti": "c", "expires": end})).await;
        assert_eq!(reply.status, 400, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_entry_is_rejected_with_its_fault() {
    let world = World::with("auth.max_revocations = 1").await;
    let (now, end) = (world.clock_seconds(), world.clock_seconds() + 60);
    let long = "x".repeat(257);
    for (entry, why) in [
        (json!([]), "An entry is a JSON object"),
        (json!(["main", null, null, "a", null, end]), "An entry is a JSON object"),
        (json!({}), "An entry is a JSON object"),
        (json!({"issuer": "main", "jti": 1, "expires": end}), "An entry is a JSON object"),
        (json!({"issuer": "main", "token": "x", "expires": end}), "An entry is a JSON object"),
        (json!({"issuer": "main", "expires": end}), "exactly one of"),
        (json!({"issuer": "main", "jti": "a", "sid": "a", "expires": end}), "exactly one of"),
        (json!({"issuer": "main", "sub": "a", "expires": end}), "issued_before"),
        (json!({"issuer": "main", "jti": "", "expires": end}), "must be 1 to 256 bytes"),
        (json!({"issuer": "main", "jti": long, "expires": end}), "must be 1 to 256 bytes"),
        (json!({"issuer": "main", "jti": "a", "expires": "tomorrow"}), "A time is"),
        (json!({"issuer": "main", "jti": "a"}), "needs expires"),
        (json!({"issuer": "main", "jti": "a", "expires": now}), "in the past"),
        (json!({"issuer": "other", "jti": "a", "expires": end}), "auth.issuers"),
        (
            json!({"issuer": "main", "jti": "x".repeat(8192), "expires": end}),
            "must be 1 to 256 bytes",
        ),
    ] {
        let reply = post(&world, &entry).await;
        assert_eq!((reply.status, &*reply.code()), (400, "invalid_request"), "{entry}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{entry}: {detail}");
    }
    revoke(&world, &one(&world, "a")).await;
    let full = post(&world, &one(&world, "b")).await;
    assert_eq!((full.status, &*full.code()), (503, "revocations_full"));
    assert_eq!(with_jti(&world, "b").me().await.status, 200, "the rejected entry is not stored");
    assert_eq!(world.count(IN_MEMORY).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_can_revoke() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("admin-token");
    std::fs::write(&file, "secret-1").unwrap();
    let with_token = format!("{EXPOSED}\nserver.admin_token_file = {:?}", file.to_str().unwrap());
    for (settings, token, status, code) in [
        (EXPOSED, None, 403, "admin_disabled"),
        (&*with_token, None, 401, "missing_token"),
        (&*with_token, Some("guess"), 401, "invalid_token"),
        (&*with_token, Some("secret-1"), 200, ""),
    ] {
        let world = World::with(settings).await;
        let admin = Client::new(world.service.admin, token.map(str::to_owned));
        let reply = admin.post("/revocations", &all_of(&world, "alice")).await;
        assert_eq!(reply.status, status, "{settings} {token:?}");
        assert!(status == 200 || reply.code() == code);
        let is_revoked = world.client("alice").me().await.status == 401;
        assert_eq!(is_revoked, status == 200);
    }
    let world = World::new().await;
    let body = all_of(&world, "alice").to_string();
    let from_a_page = format!(
        "POST /revocations HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(world.admin().raw(&from_a_page).await.code(), "admin_forbidden");
    let other_method = world.admin().get("/revocations").await;
    assert_eq!(
        (other_method.code().as_str(), other_method.header("allow")),
        ("method_not_allowed", Some("POST"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_revoked_subject_is_in_no_response_metric_or_log() {
    let world = World::new().await;
    let sub = format!("revoked_{:032x}", rand::random::<u128>());
    world.client(&sub).me().await;
    for entry in [all_of(&world, &sub), one(&world, &sub)] {
        let reply = post(&world, &entry).await;
        assert!(!reply.text().contains(&sub));
    }
    assert_rejected(&world.client(&sub).me().await);
    assert!(!world.admin().get("/metrics").await.text().contains(&sub));
    assert_eq!(guard::log_lines(&sub), [""; 0]);
    assert!(!guard::log_lines("access tokens revoked").is_empty());
}
