//! A revocation applies to requests in progress: waiting requests get 401, and the result of their
//! fetch is not stored. There is still one call at a time (promise P4).

use simulator::issuer::JWKS_PATH;

use super::{REJECTED, SECOND, all_of, assert_rejected, one, revoke, with_jti};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn waiting_requests_are_rejected_at_once_and_the_result_is_not_stored() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let old = world.client("alice");
    let (first, second) = (old.begin().await, old.begin().await);
    latch.arrived(1).await;
    world.until_waiting(2).await;
    assert_eq!(revoke(&world, &all_of(&world, "alice")).await, 0, "nothing was cached yet");
    assert_rejected(&first.reply().await);
    assert_rejected(&second.reply().await);

    world.clock.advance(SECOND);
    let new = world.client("alice");
    let waiting = new.begin().await;
    world.until_waiting(1).await;
    world.settle().await;
    assert_eq!(world.simulator().calls("alice"), 1, "still one call at a time");
    latch.release();
    let reply = waiting.reply().await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 2, "not the result for the old session");
    assert_eq!(new.me().await.token(), reply.token());
    assert_eq!(world.count(REJECTED).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_revoked_one_of_several_waiting_requests_is_rejected() {
    let world = World::new().await;
    let latch = world.simulator().hold("alice");
    let lost = with_jti(&world, "lost").begin().await;
    latch.arrived(1).await;
    let kept = with_jti(&world, "kept").begin().await;
    world.until_waiting(2).await;
    revoke(&world, &one(&world, "lost")).await;
    assert_rejected(&lost.reply().await);
    world.until_waiting(1).await;
    latch.release();
    let reply = kept.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn result_of_a_background_refresh_is_not_stored() {
    let world = World::new().await;
    let old = world.client("alice");
    let first = old.me().await.token();
    // After every jittered start of the refresh.
    world.clock.advance(SECOND * 700);
    let latch = world.simulator().hold("alice");
    assert_eq!(old.me().await.token(), first);
    latch.arrived(1).await;
    revoke(&world, &all_of(&world, "alice")).await;
    world.clock.advance(SECOND);
    let waiting = world.client("alice").begin().await;
    world.until_waiting(1).await;
    latch.release();
    let reply = waiting.reply().await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_revoked_during_a_key_fetch_is_rejected() {
    let world = World::new().await;
    world.issuer().rotate(true).unwrap();
    let latch = world.issuer().hold(JWKS_PATH);
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    let (alices, bobs) = (alice.begin().await, bob.begin().await);
    latch.arrived(1).await;
    world.until_waiting(2).await;
    revoke(&world, &all_of(&world, "alice")).await;
    latch.release();
    assert_rejected(&alices.reply().await);
    assert_rejected(&alice.me().await);
    assert_eq!(bobs.reply().await.status, 200);
    assert_eq!(world.simulator().calls("alice"), 0);
}
