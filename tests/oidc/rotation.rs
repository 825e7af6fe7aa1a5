//! The provider's keys come and go. A user whose token is good is never told to log in anew for it
//! (promise P6).

use std::time::Duration;

use crate::{
    meeting::{Meeting, is_refused, is_unavailable, owner},
    provider::JWKS,
    support::until,
};

/// `auth.jwks_cooldown` as shipped.
const COOLDOWN: Duration = Duration::from_secs(10);
/// `auth.jwks_refresh` as shipped.
const REFRESH: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_new_key_beside_the_old_one_is_noticed_by_no_user() {
    let meeting = Meeting::by_keys().await;
    let old = meeting.phone("alice", "ES256").await;
    let old_unseen = meeting.phone("bob", "ES256").await;
    assert_eq!(owner(&old.me().await), "alice");
    assert_eq!(meeting.provider.requests(JWKS).await, 1);

    meeting.provider.add_keys().await;
    let new = meeting.phone("carol", "ES256").await;
    assert_eq!(owner(&new.me().await), "carol");
    assert_eq!(meeting.provider.requests(JWKS).await, 2, "for the unknown kid, at once");
    for (phone, user) in [(&old, "alice"), (&old_unseen, "bob"), (&new, "carol")] {
        assert_eq!(owner(&phone.me().await), user);
    }
    assert_eq!(meeting.provider.requests(JWKS).await, 2);
    meeting.world.clock.advance(REFRESH);
    let refreshed = async || meeting.provider.requests(JWKS).await == 3;
    until("the set has been fetched by the clock", refreshed).await;
    for (phone, user) in [(&old, "alice"), (&old_unseen, "bob"), (&new, "carol")] {
        assert_eq!(owner(&phone.me().await), user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_new_key_in_the_place_of_the_old_one_ends_only_the_old_ones_tokens() {
    let meeting = Meeting::by_keys().await;
    let old = meeting.phone("alice", "ES256").await;
    assert_eq!(owner(&old.me().await), "alice");
    meeting.provider.replace_keys().await;
    assert_eq!(owner(&old.me().await), "alice", "nobody has told the service yet");

    let new = meeting.phone("alice", "ES256").await;
    assert_eq!(owner(&new.me().await), "alice");
    assert_eq!(meeting.provider.requests(JWKS).await, 2);
    // That fetch was made for the new key. The old one may have been left out by mistake.
    is_unavailable(&old.me().await);
    assert_eq!(meeting.provider.requests(JWKS).await, 2, "one a cool-down");
    meeting.world.clock.advance(COOLDOWN);
    is_refused(&old.me().await);
    assert_eq!(meeting.provider.requests(JWKS).await, 3, "to be sure");
    assert_eq!(owner(&new.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_second_rotation_within_a_cool_down_is_a_503_until_the_key_can_be_known() {
    let meeting = Meeting::by_keys().await;
    for user in ["alice", "bob"] {
        meeting.provider.replace_keys().await;
        let first = meeting.phone(user, "RS256").await;
        assert_eq!(owner(&first.me().await), user);
        let fetches = meeting.provider.requests(JWKS).await;
        meeting.provider.replace_keys().await;
        let second = meeting.phone(user, "RS256").await;
        for _ in 0..3 {
            is_unavailable(&second.me().await);
            assert_eq!(owner(&first.me().await), user);
        }
        assert_eq!(meeting.provider.requests(JWKS).await, fetches, "one a cool-down");
        meeting.world.clock.advance(COOLDOWN);
        assert_eq!(owner(&second.me().await), user);
        assert_eq!(meeting.provider.requests(JWKS).await, fetches + 1);
        meeting.world.clock.advance(COOLDOWN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_rotation_while_the_provider_cannot_be_reached_is_a_503_until_it_is_back() {
    let meeting = Meeting::by_keys().await;
    let old = meeting.phone("alice", "EdDSA").await;
    assert_eq!(owner(&old.me().await), "alice");
    meeting.provider.replace_keys().await;
    let new = meeting.phone("alice", "EdDSA").await;
    meeting.provider.die().await;
    is_unavailable(&new.me().await);
    for _ in 0..10 {
        meeting.world.clock.advance(COOLDOWN);
        is_unavailable(&new.me().await);
        assert_eq!(owner(&old.me().await), "alice", "its key is the last that is known");
    }
    meeting.provider.come_back().await;
    meeting.world.clock.advance(COOLDOWN);
    assert_eq!(owner(&new.me().await), "alice");
    meeting.world.clock.advance(COOLDOWN);
    is_refused(&old.me().await);
}
