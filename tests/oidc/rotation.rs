//! Rotations of the provider's keys. A user with a valid token never has to log in again because of
//! one (promise P6).

use std::time::Duration;

use crate::{
    fixture::{Fixture, assert_rejected, assert_unavailable, owner},
    provider::JWKS,
    support::until,
};

/// `auth.jwks_cooldown`, the default.
const COOLDOWN: Duration = Duration::from_secs(10);
/// `auth.jwks_refresh`, the default.
const REFRESH: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn p6_additional_key_affects_no_user() {
    let fixture = Fixture::by_keys().await;
    let old = fixture.client("alice", "ES256").await;
    let old_without_request = fixture.client("bob", "ES256").await;
    assert_eq!(owner(&old.me().await), "alice");
    assert_eq!(fixture.provider.requests(JWKS).await, 1);

    fixture.provider.add_keys().await;
    let new = fixture.client("carol", "ES256").await;
    assert_eq!(owner(&new.me().await), "carol");
    assert_eq!(fixture.provider.requests(JWKS).await, 2, "for the unknown kid, at once");
    for (client, user) in [(&old, "alice"), (&old_without_request, "bob"), (&new, "carol")] {
        assert_eq!(owner(&client.me().await), user);
    }
    assert_eq!(fixture.provider.requests(JWKS).await, 2);
    fixture.world.clock.advance(REFRESH);
    let refreshed = async || fixture.provider.requests(JWKS).await == 3;
    until("the set has been fetched by the clock", refreshed).await;
    for (client, user) in [(&old, "alice"), (&old_without_request, "bob"), (&new, "carol")] {
        assert_eq!(owner(&client.me().await), user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_replaced_key_ends_only_its_own_tokens() {
    let fixture = Fixture::by_keys().await;
    let old = fixture.client("alice", "ES256").await;
    assert_eq!(owner(&old.me().await), "alice");
    fixture.provider.replace_keys().await;
    assert_eq!(owner(&old.me().await), "alice", "the service has not fetched the keys yet");

    let new = fixture.client("alice", "ES256").await;
    assert_eq!(owner(&new.me().await), "alice");
    assert_eq!(fixture.provider.requests(JWKS).await, 2);
    // That fetch began because of the new key. The old key may be missing by mistake.
    assert_unavailable(&old.me().await);
    assert_eq!(fixture.provider.requests(JWKS).await, 2, "one per cool-down");
    fixture.world.clock.advance(COOLDOWN);
    assert_rejected(&old.me().await);
    assert_eq!(fixture.provider.requests(JWKS).await, 3, "to confirm");
    assert_eq!(owner(&new.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_second_rotation_within_a_cool_down_is_a_503_until_the_key_is_fetched() {
    let fixture = Fixture::by_keys().await;
    for user in ["alice", "bob"] {
        fixture.provider.replace_keys().await;
        let first = fixture.client(user, "RS256").await;
        assert_eq!(owner(&first.me().await), user);
        let fetches = fixture.provider.requests(JWKS).await;
        fixture.provider.replace_keys().await;
        let second = fixture.client(user, "RS256").await;
        for _ in 0..3 {
            assert_unavailable(&second.me().await);
            assert_eq!(owner(&first.me().await), user);
        }
        assert_eq!(fixture.provider.requests(JWKS).await, fetches, "one per cool-down");
        fixture.world.clock.advance(COOLDOWN);
        assert_eq!(owner(&second.me().await), user);
        assert_eq!(fixture.provider.requests(JWKS).await, fetches + 1);
        fixture.world.clock.advance(COOLDOWN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_rotation_while_the_provider_is_unreachable_is_a_503_until_it_recovers() {
    let fixture = Fixture::by_keys().await;
    let old = fixture.client("alice", "EdDSA").await;
    assert_eq!(owner(&old.me().await), "alice");
    fixture.provider.replace_keys().await;
    let new = fixture.client("alice", "EdDSA").await;
    fixture.provider.disconnect().await;
    assert_unavailable(&new.me().await);
    for _ in 0..10 {
        fixture.world.clock.advance(COOLDOWN);
        assert_unavailable(&new.me().await);
        assert_eq!(owner(&old.me().await), "alice", "its key is in the last key set");
    }
    fixture.provider.reconnect().await;
    fixture.world.clock.advance(COOLDOWN);
    assert_eq!(owner(&new.me().await), "alice");
    fixture.world.clock.advance(COOLDOWN);
    assert_rejected(&old.me().await);
}
