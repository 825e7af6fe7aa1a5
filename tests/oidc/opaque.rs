//! Opaque tokens of the provider's, about which it is asked (RFC 7662).

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    app::Tokens,
    meeting::{Meeting, a_secret, anothers, is_refused, is_unavailable, ours, owner},
    provider::INTROSPECTION,
    support::guard,
};

/// `auth.introspection_cache` as shipped.
const REMEMBERED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn p1_each_opaque_token_gets_its_own_users_customer() {
    let meeting = Meeting::by_introspection().await;
    let alice = meeting.phone("alice", "opaque").await;
    let bob = meeting.phone("bob", "opaque").await;
    for _ in ["first sight", "remembered"] {
        assert_eq!(owner(&alice.me().await), "alice");
        assert_eq!(owner(&bob.me().await), "bob");
    }
    assert_eq!(meeting.provider.requests(INTROSPECTION).await, 2);
    assert_eq!(meeting.world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_the_provider_does_not_vouch_for_is_nobodys() {
    let meeting = Meeting::by_introspection().await;
    is_refused(&meeting.world.phone_holding(&"x".repeat(43)).me().await);
    assert_eq!(meeting.refusals("inactive").await, 1);
    let tokens = meeting.app("alice").tokens(&anothers("opaque")).await;
    is_refused(&meeting.world.phone_holding(&tokens.access).me().await);
    assert_eq!(meeting.refusals("audience").await, 1);
    // An ID token isn't even known there, though it is the provider's own.
    is_refused(&meeting.world.phone_holding(&tokens.id).me().await);
    assert_eq!(meeting.refusals("inactive").await, 2);
    let token = meeting.token_of_a_client("opaque").await;
    let reply = meeting.world.phone_holding(&token).me().await;
    assert_eq!((reply.status, &*reply.code()), (403, "no_customer"));
    assert_eq!(meeting.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_opaque_token_is_in_no_answer_and_in_no_log() {
    let meeting = Meeting::by_introspection().await;
    let phone = meeting.phone("alice", "opaque").await;
    let reply = phone.me().await;
    assert_eq!(owner(&reply), "alice");
    meeting.provider.die().await;
    meeting.world.clock.advance(REMEMBERED);
    let refusal = phone.me().await;
    is_unavailable(&refusal);
    let token = phone.token.as_deref().unwrap();
    for reply in [reply, refusal] {
        assert!(!format!("{:?}{}", reply.headers, reply.text()).contains(token));
    }
    assert_eq!(guard::log_lines(token), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_phones_with_one_token_make_the_provider_answer_once() {
    let meeting = Meeting::by_introspection().await;
    let phone = meeting.phone("alice", "opaque").await;
    meeting.provider.order(json!({"hold": INTROSPECTION})).await;
    let pending = join_all((0..50).map(|_| phone.begin())).await;
    meeting.world.until_waiting(50).await;
    meeting.provider.order(json!({"hold": null})).await;
    for pending in pending {
        assert_eq!(owner(&pending.reply().await), "alice");
    }
    assert_eq!(meeting.provider.requests(INTROSPECTION).await, 1);
    assert_eq!(meeting.world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_at_the_provider_ends_with_what_is_remembered_of_it() {
    let meeting = Meeting::by_introspection().await;
    let mut app = meeting.app("alice");
    let Tokens { access, .. } = app.tokens(&ours("opaque")).await;
    let phone = meeting.world.phone_holding(&access);
    assert_eq!(owner(&phone.me().await), "alice");
    app.revoke(&access).await;
    meeting.world.clock.advance(REMEMBERED.checked_sub(Duration::from_secs(1)).unwrap());
    assert_eq!(owner(&phone.me().await), "alice");
    assert_eq!(meeting.provider.requests(INTROSPECTION).await, 1);
    meeting.world.clock.advance(Duration::from_secs(1));
    is_refused(&phone.me().await);
    assert_eq!(meeting.provider.requests(INTROSPECTION).await, 2);
    assert_eq!(owner(&meeting.phone("alice", "opaque").await.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_good_for_longer_is_asked_about_again_and_again() {
    let meeting = Meeting::by_introspection().await;
    let phone = meeting.phone("alice", "opaque").await;
    for questions in 1..=3 {
        assert_eq!(owner(&phone.me().await), "alice");
        assert_eq!(meeting.provider.requests(INTROSPECTION).await, questions);
        meeting.world.clock.advance(REMEMBERED);
    }
    // Its end, by which the provider goes, too.
    meeting.world.clock.advance(Duration::from_hours(1));
    assert_eq!(meeting.provider.requests(INTROSPECTION).await, 3);
    is_refused(&phone.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_while_the_provider_is_down_nobody_gets_in_anew_and_nobody_is_logged_out() {
    let meeting = Meeting::by_introspection().await;
    let (known, new) =
        (meeting.phone("alice", "opaque").await, meeting.phone("bob", "opaque").await);
    assert_eq!(owner(&known.me().await), "alice");
    meeting.provider.die().await;
    assert_eq!(owner(&known.me().await), "alice", "remembered");
    is_unavailable(&new.me().await);
    meeting.world.clock.advance(REMEMBERED);
    for phone in [&known, &new] {
        is_unavailable(&phone.me().await);
    }
    meeting.provider.come_back().await;
    assert_eq!(owner(&known.me().await), "alice");
    assert_eq!(owner(&new.me().await), "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_secret_that_the_provider_does_not_take_is_a_503_until_the_new_one_is_read() {
    let meeting = Meeting::by_introspection().await;
    let phone = meeting.phone("alice", "opaque").await;
    let secret = a_secret();
    meeting.provider.order(json!({"secret": secret})).await;
    is_unavailable(&phone.me().await);
    let rejected = "juspay_bff_auth_introspections_total{issuer=\"provider\",\
                    outcome=\"rejected_credentials\"}";
    assert_eq!(meeting.world.count(rejected).await, 1);
    std::fs::write(meeting.files.path().join("secret"), &secret).unwrap();
    let poll = Duration::from_secs(10);
    let served = async || phone.me().await.status == 200;
    meeting.world.turn_until("the new secret", poll, served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_the_provider_ends_opaque_tokens_when_they_are_asked_about() {
    let meeting = Meeting::by_introspection().await;
    let mut app = meeting.app("alice");
    let tokens = app.tokens(&ours("opaque")).await;
    let phone = meeting.world.phone_holding(&tokens.access);
    assert_eq!(owner(&phone.me().await), "alice");
    app.log_out().await;
    meeting.world.clock.advance(REMEMBERED);
    is_refused(&phone.me().await);
}
