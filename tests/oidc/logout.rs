//! Logout tokens that the provider sends to the admin listener when a user logs out there (OpenID
//! Connect Back-Channel Logout 1.0).

use std::time::Duration;

use serde_json::json;

use crate::{
    app::CLIENT,
    fixture::{Fixture, assert_rejected, owner, resource},
};

async fn count(fixture: &Fixture, outcome: &str) -> u64 {
    let series = format!("juspay_bff_auth_logouts_total{{outcome=\"{outcome}\"}}");
    fixture.world.count(&series).await
}

/// The service, configured as the receiver of the logout tokens for this client.
async fn with_logout_receiver(audience: &str) -> Fixture {
    let fixture = Fixture::by_keys_and(&[("logout_audiences", &format!("['{audience}']"))]).await;
    let uri = format!("http://{}/backchannel-logout", fixture.world.service.admin);
    fixture.provider.order(json!({"logoutUri": uri})).await;
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_at_the_provider_revokes_only_its_users_tokens() {
    let fixture = with_logout_receiver(CLIENT).await;
    let bob = fixture.client("bob", "ES256").await;
    assert_eq!(owner(&bob.me().await), "bob");
    let mut app = fixture.app("alice");
    let tokens = app.tokens(&resource("ES256")).await;
    let alice = fixture.world.client_with_token(&tokens.access);
    let before = alice.me().await;
    assert_eq!(owner(&before), "alice");

    app.log_out().await;
    assert_eq!(count(&fixture, "success").await, 1);
    assert_rejected(&alice.me().await);
    assert_eq!(owner(&bob.me().await), "bob");

    fixture.world.clock.advance(Duration::from_secs(1));
    let again = fixture.client("alice", "ES256").await.me().await;
    assert_eq!(owner(&again), "alice");
    assert_ne!(again.token(), before.token(), "the new login gets a client auth token of its own");
    assert_rejected(&alice.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_from_another_client_revokes_nothing() {
    let fixture = with_logout_receiver("another").await;
    let mut app = fixture.app("alice");
    let tokens = app.tokens(&resource("ES256")).await;
    let alice = fixture.world.client_with_token(&tokens.access);
    assert_eq!(owner(&alice.me().await), "alice");
    app.log_out().await;
    assert_eq!((count(&fixture, "success").await, count(&fixture, "invalid").await), (0, 1));
    assert_eq!(owner(&alice.me().await), "alice");
}
