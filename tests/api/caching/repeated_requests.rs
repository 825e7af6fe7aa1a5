//! A repeated request reaches its customer through a link from the cached token. It gets the same
//! response as through a lookup, and every event that ends a hit also ends it through the link.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::MintRequest;

use super::served;
use crate::support::{Client, Reply, World, guard, keep_alive::answer};

/// The same request with an unknown query parameter.
const LONG: &str = "/me/customer?long";

/// A directive that each hit satisfies. The request uses a lookup instead of the link.
const LOOKUP: &str = "Cache-Control: min-fresh=1\r\n";

/// The same request with an explicit default.
const SHORT: &str = "/me/customer?options.get_client_auth_token=true";

async fn world(settings: &str) -> World {
    World::with(&format!("server.workers = 1\n{settings}")).await
}

/// A client that was served recently, also through the link, with a token valid for a day.
async fn warm_client(world: &World) -> Client {
    let life = SignedDuration::from_hours(24);
    let client = world.client_with(&MintRequest { life, ..MintRequest::of("alice") });
    served(&client).await;
    for _ in 0..3 {
        is_hit(&served(&client).await);
    }
    client
}

#[track_caller]
fn is_hit(reply: &Reply) {
    assert!(reply.cache_status().starts_with("juspay-bff; hit; "), "{}", reply.cache_status());
}

/// The parts of a response that are the same each time.
fn stable_parts(reply: &Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut headers = reply.headers.clone();
    headers.retain(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    headers.sort();
    (reply.status, headers, reply.body.clone())
}

/// The log line with this id, without the fields that differ each time.
fn log_line(id: &str) -> Value {
    let lines = guard::log_lines(id);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let mut line: Value = serde_json::from_str(&lines[0]).unwrap();
    for name in ["duration_us", "request_id", "timestamp"] {
        assert!(line.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn link_and_lookup_respond_log_and_count_alike() {
    let world = world("").await;
    let client = warm_client(&world).await;
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let counts = async || {
        let mut counts = Vec::new();
        for series in [
            "juspay_bff_http_requests_total{code=\"ok\",route=\"/me/customer\",status=\"200\"}",
            "juspay_bff_http_request_duration_seconds_count{route=\"/me/customer\"}",
            "juspay_bff_cache_requests_total{outcome=\"hit\"}",
            "juspay_bff_token_remaining_seconds_count",
            "juspay_bff_http_requests_in_flight",
        ] {
            counts.push(world.count(series).await);
        }
        counts
    };
    let mut seen = Vec::new();
    for (id, target, lookup) in [
        ("way-1", "/me/customer", ""),
        ("way-2", SHORT, ""),
        ("way-3", LONG, ""),
        ("way-4", "/me/customer", LOOKUP),
    ] {
        let before = counts().await;
        let lines = format!("X-Request-Id: {id}\r\n{trace}{lookup}");
        let reply = client.request("GET", target, &lines).await;
        assert_eq!(reply.header("x-request-id"), Some(id));
        let after = counts().await;
        let more: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        seen.push((stable_parts(&reply), log_line(id), more));
    }
    for linked in &seen[..3] {
        assert_eq!(*linked, seen[3]);
    }
    assert_eq!(seen[3].2, [1, 1, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_requires_a_traceparent() {
    let world = world("").await;
    let client = warm_client(&world).await;
    let token = client.token.as_deref().unwrap();
    for (id, target) in [("other-1", "/me/customer"), ("other-2", LONG)] {
        // The head contains no second match.
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             X-Request-Id: {id}\r\n\
             X-Other: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
        );
        let mut stream = client.open(&request).await.unwrap();
        is_hit(&answer(&mut stream).await);
        assert_eq!(log_line(id)["trace_id"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_repeated_requests_get_their_own_customer() {
    let world = world("").await;
    let clients: Vec<_> = (0..50).map(|n| (n, world.client(&format!("c{n}")))).collect();
    for round in 0..4 {
        for (n, client) in &clients {
            let reply = served(client).await;
            assert_eq!(reply.json()["object_reference_id"], format!("c{n}"), "{round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_ended_token_is_rejected_at_once() {
    for end in ["revocation", "rotation", "expiry"] {
        let world = world("").await;
        let client = warm_client(&world).await;
        match end {
            "revocation" => {
                let now = world.clock_seconds();
                let entry = json!({
                    "issuer": "main", "sub": "alice", "issued_before": now + 1, "expires": now + 86_400
                });
                assert_eq!(world.admin().post("/revocations", &entry).await.status, 200);
            }
            "rotation" => {
                world.issuer().rotate(false).unwrap();
                served(&world.client("bob")).await;
            }
            _ => world.clock.advance(Duration::from_hours(25)),
        }
        let refused = client.me().await;
        assert_ne!(refused.status, 200, "{end}");
        assert_eq!(stable_parts(&refused).0, client.get(LONG).await.status, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_revoked_token_stays_rejected_when_its_customer_is_cached_again() {
    let world = world("").await;
    let [client, other] =
        ["1", "2"].map(|jti| world.client_with(&MintRequest::of("alice").with("jti", jti)));
    for _ in 0..3 {
        served(&client).await;
        served(&other).await;
    }
    let entry = json!({"issuer": "main", "jti": "1", "expires": world.clock_seconds() + 86_400});
    assert_eq!(world.admin().post("/revocations", &entry).await.status, 200);
    for _ in 0..3 {
        served(&other).await;
        assert_eq!(client.me().await.code(), "invalid_token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_expired_token_is_rejected_despite_recent_acceptance() {
    let world = world("").await;
    let life = SignedDuration::from_secs(60);
    let client = world.client_with(&MintRequest { life, ..MintRequest::of("alice") });
    served(&client).await;
    // Including the leeway of 30 s.
    world.clock.advance(Duration::from_millis(89_600));
    for _ in 0..3 {
        is_hit(&served(&client).await);
    }
    world.clock.advance(Duration::from_millis(400));
    assert_eq!(client.me().await.code(), "expired_token");
    let reply = world.client("alice").me().await;
    is_hit(&reply);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_purged_or_aged_token_is_not_served_again() {
    for end in ["purge", "purge of all", "floor"] {
        let world = world("").await;
        let client = warm_client(&world).await;
        let old = served(&client).await.token();
        match end {
            "purge" => {
                let alice = json!({"customer_id": "alice"});
                let reply = world.admin().post("/cache/purge", &alice).await;
                assert_eq!(reply.json()["purged"], 1);
            }
            "purge of all" => world.purge_all().await,
            _ => world.clock.advance(Duration::from_secs(781)),
        }
        assert_ne!(served(&client).await.token(), old, "{end}");
        assert_eq!(world.simulator().calls("alice"), 2, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_token_is_not_served_again() {
    let world = world("cache.force_refresh_min_age = \"0s\"").await;
    let client = warm_client(&world).await;
    let old = served(&client).await.token();
    let new = client.request("GET", "/me/customer", "Cache-Control: no-cache\r\n").await.token();
    assert_ne!(new, old);
    assert_eq!(served(&client).await.token(), new);
}

#[tokio::test(flavor = "multi_thread")]
async fn next_token_is_still_fetched_ahead() {
    let world = world("cache.max_hand_outs = 6\ncache.force_refresh_min_age = \"0s\"").await;
    let client = warm_client(&world).await;
    let old = served(&client).await.token();
    served(&client).await;
    // Served six times: the next request still gets it, and starts a refresh.
    assert_eq!(served(&client).await.token(), old);
    crate::support::until("another token", async || served(&client).await.token() != old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_rate_limit_applies() {
    let world = world("limits.per_customer = \"6/min\"").await;
    let client = warm_client(&world).await;
    for _ in 0..2 {
        is_hit(&served(&client).await);
    }
    let refused = client.me().await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"));
    world.clock.advance(Duration::from_secs(10));
    is_hit(&served(&client).await);
    assert_eq!(client.me().await.status, 429);
}
