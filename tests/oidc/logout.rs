//! Logout tokens that the provider sends to the admin listener when a user logs out there (OpenID
//! Connect Back-Channel Logout 1.0).

use std::time::Duration;

use serde_json::json;

use crate::{
    app::CLIENT,
    meeting::{Meeting, is_refused, ours, owner},
};

async fn count(meeting: &Meeting, outcome: &str) -> u64 {
    let series = format!("juspay_bff_auth_logouts_total{{outcome=\"{outcome}\"}}");
    meeting.world.count(&series).await
}

/// Where logouts for this client are taken, and where the provider tells them.
async fn told(audience: &str) -> Meeting {
    let meeting = Meeting::by_keys_and(&[("logout_audiences", &format!("['{audience}']"))]).await;
    let uri = format!("http://{}/backchannel-logout", meeting.world.service.admin);
    meeting.provider.order(json!({"logoutUri": uri})).await;
    meeting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_the_provider_ends_its_users_tokens_and_nobody_elses() {
    let meeting = told(CLIENT).await;
    let bob = meeting.phone("bob", "ES256").await;
    assert_eq!(owner(&bob.me().await), "bob");
    let mut app = meeting.app("alice");
    let tokens = app.tokens(&ours("ES256")).await;
    let alice = meeting.world.phone_holding(&tokens.access);
    let before = alice.me().await;
    assert_eq!(owner(&before), "alice");

    app.log_out().await;
    assert_eq!(count(&meeting, "success").await, 1);
    is_refused(&alice.me().await);
    assert_eq!(owner(&bob.me().await), "bob");

    meeting.world.clock.advance(Duration::from_secs(1));
    let again = meeting.phone("alice", "ES256").await.me().await;
    assert_eq!(owner(&again), "alice");
    assert_ne!(again.token(), before.token(), "the new login gets a client auth token of its own");
    is_refused(&alice.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_from_another_client_ends_nothing_here() {
    let meeting = told("another").await;
    let mut app = meeting.app("alice");
    let tokens = app.tokens(&ours("ES256")).await;
    let alice = meeting.world.phone_holding(&tokens.access);
    assert_eq!(owner(&alice.me().await), "alice");
    app.log_out().await;
    assert_eq!((count(&meeting, "success").await, count(&meeting, "invalid").await), (0, 1));
    assert_eq!(owner(&alice.me().await), "alice");
}
