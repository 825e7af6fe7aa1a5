//! Access tokens that the provider signs (RFC 9068), checked with the keys that it publishes.

use std::time::Duration;

use juspay_bff::settings::Algorithm;

use crate::{
    app::CLIENT,
    fixture::{Fixture, another_resource, assert_rejected, owner, resource},
    provider::{DISCOVERY, INTROSPECTION, JWKS},
};

#[tokio::test(flavor = "multi_thread")]
async fn p1_users_of_the_provider_get_their_own_customer() {
    let fixture = Fixture::by_keys().await;
    for user in ["alice", "bob", "urn:user:é+1"] {
        let client = fixture.client(user, "ES256").await;
        assert_eq!(owner(&client.me().await), user);
        assert_eq!(fixture.world.simulator().calls(user), 1);
    }
    for (path, requests) in [(DISCOVERY, 1), (JWKS, 1), (INTROSPECTION, 0)] {
        assert_eq!(fixture.provider.requests(path).await, requests, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_client_credentials_token_has_no_customer() {
    let fixture = Fixture::by_keys().await;
    let token = fixture.token_of_a_client("ES256").await;
    let reply = fixture.world.client_with_token(&token).me().await;
    assert_eq!((reply.status, &*reply.code()), (403, "no_customer"));
    assert_eq!(fixture.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_supported_algorithms_work_with_the_provider() {
    let fixture = Fixture::by_keys().await;
    let mut app = fixture.app("alice");
    for algorithm in Algorithm::ALL {
        let tokens = app.tokens(&resource(&format!("{algorithm:?}"))).await;
        let reply = fixture.world.client_with_token(&tokens.access).me().await;
        assert_eq!(owner(&reply), "alice", "{algorithm:?}");
    }
    assert_eq!(fixture.provider.requests(JWKS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithm_that_is_not_listed_is_rejected() {
    let fixture = Fixture::by_keys_and(&[("algorithms", "['ES256']")]).await;
    assert_rejected(&fixture.client("alice", "ES384").await.me().await);
    assert_eq!(fixture.rejections("algorithm").await, 1);
    assert_eq!(owner(&fixture.client("alice", "ES256").await.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn id_token_is_rejected_for_its_audience_and_its_type() {
    let fixture = Fixture::by_keys().await;
    let tokens = fixture.tokens("alice", "ES256").await;
    assert_rejected(&fixture.world.client_with_token(&tokens.id).me().await);
    assert_eq!(fixture.rejections("audience").await, 1);

    let fixture = Fixture::by_keys_and(&[("audiences", &format!("['{CLIENT}']"))]).await;
    let tokens = fixture.tokens("alice", "ES256").await;
    assert_rejected(&fixture.world.client_with_token(&tokens.id).me().await);
    assert_eq!(fixture.rejections("id_token").await, 1);
    assert_eq!(fixture.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_for_another_resource_is_rejected() {
    let fixture = Fixture::by_keys().await;
    let tokens = fixture.app("alice").tokens(&another_resource("ES256")).await;
    assert_rejected(&fixture.world.client_with_token(&tokens.access).me().await);
    assert_eq!(fixture.rejections("audience").await, 1);
    assert_eq!(fixture.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn required_scopes_are_enforced() {
    for (scope, status) in [("pay", 200), ("openid", 403)] {
        let scopes = format!("['{scope}']");
        let fixture = Fixture::by_keys_and(&[("required_scopes", &scopes)]).await;
        let reply = fixture.client("alice", "ES256").await.me().await;
        assert_eq!(reply.status, status, "{scope}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_expires_at_exp_plus_leeway() {
    let fixture = Fixture::by_keys().await;
    let client = fixture.client("alice", "ES256").await;
    assert_eq!(owner(&client.me().await), "alice");
    fixture.world.clock.advance(Duration::from_secs(3629));
    assert_eq!(owner(&client.me().await), "alice");
    fixture.world.clock.advance(Duration::from_secs(1));
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (401, "expired_token"));
}
