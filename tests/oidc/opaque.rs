//! Opaque tokens of the provider, which the service validates by introspection (RFC 7662).

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    app::Tokens,
    fixture::{
        Fixture, a_secret, another_resource, assert_rejected, assert_unavailable, owner, resource,
    },
    provider::INTROSPECTION,
    support::guard,
};

/// `auth.introspection_cache`, the default.
const INTROSPECTION_CACHE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn p1_opaque_token_returns_its_own_users_customer() {
    let fixture = Fixture::by_introspection().await;
    let alice = fixture.client("alice", "opaque").await;
    let bob = fixture.client("bob", "opaque").await;
    for _ in ["first request", "cached"] {
        assert_eq!(owner(&alice.me().await), "alice");
        assert_eq!(owner(&bob.me().await), "bob");
    }
    assert_eq!(fixture.provider.requests(INTROSPECTION).await, 2);
    assert_eq!(fixture.world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_token_that_introspection_rejects_is_rejected() {
    let fixture = Fixture::by_introspection().await;
    assert_rejected(&fixture.world.client_with_token(&"x".repeat(43)).me().await);
    assert_eq!(fixture.rejections("inactive").await, 1);
    let tokens = fixture.app("alice").tokens(&another_resource("opaque")).await;
    assert_rejected(&fixture.world.client_with_token(&tokens.access).me().await);
    assert_eq!(fixture.rejections("audience").await, 1);
    // Introspection does not know ID tokens, although the provider issued this one.
    assert_rejected(&fixture.world.client_with_token(&tokens.id).me().await);
    assert_eq!(fixture.rejections("inactive").await, 2);
    let token = fixture.token_of_a_client("opaque").await;
    let reply = fixture.world.client_with_token(&token).me().await;
    assert_eq!((reply.status, &*reply.code()), (403, "no_customer"));
    assert_eq!(fixture.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_opaque_token_is_in_no_response_and_no_log() {
    let fixture = Fixture::by_introspection().await;
    let client = fixture.client("alice", "opaque").await;
    let reply = client.me().await;
    assert_eq!(owner(&reply), "alice");
    fixture.provider.disconnect().await;
    fixture.world.clock.advance(INTROSPECTION_CACHE);
    let refusal = client.me().await;
    assert_unavailable(&refusal);
    let token = client.token.as_deref().unwrap();
    for reply in [reply, refusal] {
        assert!(!format!("{:?}{}", reply.headers, reply.text()).contains(token));
    }
    assert_eq!(guard::log_lines(token), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_with_one_token_share_one_introspection() {
    let fixture = Fixture::by_introspection().await;
    let client = fixture.client("alice", "opaque").await;
    fixture.provider.order(json!({"hold": INTROSPECTION})).await;
    let pending = join_all((0..50).map(|_| client.begin())).await;
    fixture.world.until_waiting(50).await;
    fixture.provider.order(json!({"hold": null})).await;
    for pending in pending {
        assert_eq!(owner(&pending.reply().await), "alice");
    }
    assert_eq!(fixture.provider.requests(INTROSPECTION).await, 1);
    assert_eq!(fixture.world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_revoked_at_the_provider_is_rejected_once_the_cached_response_expires() {
    let fixture = Fixture::by_introspection().await;
    let mut app = fixture.app("alice");
    let Tokens { access, .. } = app.tokens(&resource("opaque")).await;
    let client = fixture.world.client_with_token(&access);
    assert_eq!(owner(&client.me().await), "alice");
    app.revoke(&access).await;
    fixture.world.clock.advance(INTROSPECTION_CACHE.checked_sub(Duration::from_secs(1)).unwrap());
    assert_eq!(owner(&client.me().await), "alice");
    assert_eq!(fixture.provider.requests(INTROSPECTION).await, 1);
    fixture.world.clock.advance(Duration::from_secs(1));
    assert_rejected(&client.me().await);
    assert_eq!(fixture.provider.requests(INTROSPECTION).await, 2);
    assert_eq!(owner(&fixture.client("alice", "opaque").await.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lived_token_is_introspected_again_whenever_the_cached_response_expires() {
    let fixture = Fixture::by_introspection().await;
    let client = fixture.client("alice", "opaque").await;
    for expected in 1..=3 {
        assert_eq!(owner(&client.me().await), "alice");
        assert_eq!(fixture.provider.requests(INTROSPECTION).await, expected);
        fixture.world.clock.advance(INTROSPECTION_CACHE);
    }
    // The token's expiry, which the provider checks as well.
    fixture.world.clock.advance(Duration::from_hours(1));
    assert_eq!(fixture.provider.requests(INTROSPECTION).await, 3);
    assert_rejected(&client.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_unreachable_provider_rejects_new_tokens_and_logs_out_no_user() {
    let fixture = Fixture::by_introspection().await;
    let (known, new) =
        (fixture.client("alice", "opaque").await, fixture.client("bob", "opaque").await);
    assert_eq!(owner(&known.me().await), "alice");
    fixture.provider.disconnect().await;
    assert_eq!(owner(&known.me().await), "alice", "cached");
    assert_unavailable(&new.me().await);
    fixture.world.clock.advance(INTROSPECTION_CACHE);
    for client in [&known, &new] {
        assert_unavailable(&client.me().await);
    }
    fixture.provider.reconnect().await;
    assert_eq!(owner(&known.me().await), "alice");
    assert_eq!(owner(&new.me().await), "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_rejected_client_secret_is_a_503_until_the_new_one_is_read() {
    let fixture = Fixture::by_introspection().await;
    let client = fixture.client("alice", "opaque").await;
    let secret = a_secret();
    fixture.provider.order(json!({"secret": secret})).await;
    assert_unavailable(&client.me().await);
    let rejected = "juspay_bff_auth_introspections_total{issuer=\"provider\",\
                    outcome=\"rejected_credentials\"}";
    assert_eq!(fixture.world.count(rejected).await, 1);
    std::fs::write(fixture.files.path().join("secret"), &secret).unwrap();
    let poll = Duration::from_secs(10);
    let served = async || client.me().await.status == 200;
    fixture.world.advance_until("the new secret", poll, served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_at_the_provider_ends_opaque_tokens_at_the_next_introspection() {
    let fixture = Fixture::by_introspection().await;
    let mut app = fixture.app("alice");
    let tokens = app.tokens(&resource("opaque")).await;
    let client = fixture.world.client_with_token(&tokens.access);
    assert_eq!(owner(&client.me().await), "alice");
    app.log_out().await;
    fixture.world.clock.advance(INTROSPECTION_CACHE);
    assert_rejected(&client.me().await);
}
