//! Access tokens that the provider signs (RFC 9068), checked with the keys that it publishes.

use std::time::Duration;

use juspay_bff::settings::Algorithm;

use crate::{
    app::CLIENT,
    meeting::{Meeting, anothers, is_refused, ours, owner},
    provider::{DISCOVERY, INTROSPECTION, JWKS},
};

#[tokio::test(flavor = "multi_thread")]
async fn p1_each_user_of_the_provider_gets_their_own_customer() {
    let meeting = Meeting::by_keys().await;
    for user in ["alice", "bob", "urn:user:é+1"] {
        let phone = meeting.phone(user, "ES256").await;
        assert_eq!(owner(&phone.me().await), user);
        assert_eq!(meeting.world.simulator().calls(user), 1);
    }
    for (path, requests) in [(DISCOVERY, 1), (JWKS, 1), (INTROSPECTION, 0)] {
        assert_eq!(meeting.provider.requests(path).await, requests, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_token_that_stands_for_a_client_is_no_customers() {
    let meeting = Meeting::by_keys().await;
    let token = meeting.token_of_a_client("ES256").await;
    let reply = meeting.world.phone_holding(&token).me().await;
    assert_eq!((reply.status, &*reply.code()), (403, "no_customer"));
    assert_eq!(meeting.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_algorithm_of_ours_is_one_of_the_providers() {
    let meeting = Meeting::by_keys().await;
    let mut app = meeting.app("alice");
    for algorithm in Algorithm::ALL {
        let tokens = app.tokens(&ours(&format!("{algorithm:?}"))).await;
        let reply = meeting.world.phone_holding(&tokens.access).me().await;
        assert_eq!(owner(&reply), "alice", "{algorithm:?}");
    }
    assert_eq!(meeting.provider.requests(JWKS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_is_not_in_the_issuers_list_is_refused() {
    let meeting = Meeting::by_keys_and(&[("algorithms", "['ES256']")]).await;
    is_refused(&meeting.phone("alice", "ES384").await.me().await);
    assert_eq!(meeting.refusals("algorithm").await, 1);
    assert_eq!(owner(&meeting.phone("alice", "ES256").await.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_is_refused_for_its_audience_and_for_what_it_is() {
    let meeting = Meeting::by_keys().await;
    let tokens = meeting.tokens("alice", "ES256").await;
    is_refused(&meeting.world.phone_holding(&tokens.id).me().await);
    assert_eq!(meeting.refusals("audience").await, 1);

    let meeting = Meeting::by_keys_and(&[("audiences", &format!("['{CLIENT}']"))]).await;
    let tokens = meeting.tokens("alice", "ES256").await;
    is_refused(&meeting.world.phone_holding(&tokens.id).me().await);
    assert_eq!(meeting.refusals("id_token").await, 1);
    assert_eq!(meeting.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_resource_is_refused() {
    let meeting = Meeting::by_keys().await;
    let tokens = meeting.app("alice").tokens(&anothers("ES256")).await;
    is_refused(&meeting.world.phone_holding(&tokens.access).me().await);
    assert_eq!(meeting.refusals("audience").await, 1);
    assert_eq!(meeting.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_held_to_the_settings() {
    for (scope, status) in [("pay", 200), ("openid", 403)] {
        let scopes = format!("['{scope}']");
        let meeting = Meeting::by_keys_and(&[("required_scopes", &scopes)]).await;
        let reply = meeting.phone("alice", "ES256").await.me().await;
        assert_eq!(reply.status, status, "{scope}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_when_it_says_and_the_leeway_is_over() {
    let meeting = Meeting::by_keys().await;
    let phone = meeting.phone("alice", "ES256").await;
    assert_eq!(owner(&phone.me().await), "alice");
    meeting.world.clock.advance(Duration::from_secs(3629));
    assert_eq!(owner(&phone.me().await), "alice");
    meeting.world.clock.advance(Duration::from_secs(1));
    let reply = phone.me().await;
    assert_eq!((reply.status, &*reply.code()), (401, "expired_token"));
}
