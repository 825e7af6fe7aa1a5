//! Revocation takes effect on what is under way: waiters get 401, nothing is stored (design
//! decision 5), and there still is one call at a time (P4).

use simulator::issuer::JWKS_PATH;

use super::{REFUSED, SECOND, all_of, is_refused, one, revoke, with_jti};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_juspay_is_refused_at_once_and_the_answer_is_kept_for_nobody() {
    let world = World::new().await;
    let gate = world.simulator().hold("alice");
    let old = world.phone("alice");
    let (first, second) = (old.begin().await, old.begin().await);
    gate.arrived(1).await;
    world.until_waiting(2).await;
    assert_eq!(revoke(&world, &all_of(&world, "alice")).await, 0, "nothing was in memory yet");
    is_refused(&first.reply().await);
    is_refused(&second.reply().await);

    world.clock.advance(SECOND);
    let new = world.phone("alice");
    let waiting = new.begin().await;
    world.until_waiting(1).await;
    world.settle().await;
    assert_eq!(world.simulator().calls("alice"), 1, "one call at a time, still");
    gate.release();
    let reply = waiting.reply().await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 2, "not what was fetched for the old session");
    assert_eq!(new.me().await.token(), reply.token());
    assert_eq!(world.count(REFUSED).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_wait_for_one_call_only_the_revoked_one_is_refused() {
    let world = World::new().await;
    let gate = world.simulator().hold("alice");
    let lost = with_jti(&world, "lost").begin().await;
    gate.arrived(1).await;
    let kept = with_jti(&world, "kept").begin().await;
    world.until_waiting(2).await;
    revoke(&world, &one(&world, "lost")).await;
    is_refused(&lost.reply().await);
    world.until_waiting(1).await;
    gate.release();
    let reply = kept.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_behind_an_answer_is_kept_for_nobody() {
    let world = World::new().await;
    let old = world.phone("alice");
    let first = old.me().await.token();
    // Past every jittered begin of the refresh.
    world.clock.advance(SECOND * 700);
    let gate = world.simulator().hold("alice");
    assert_eq!(old.me().await.token(), first);
    gate.arrived(1).await;
    revoke(&world, &all_of(&world, "alice")).await;
    world.clock.advance(SECOND);
    let waiting = world.phone("alice").begin().await;
    world.until_waiting(1).await;
    gate.release();
    let reply = waiting.reply().await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_eq!(world.simulator().calls("alice"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_while_its_key_is_fetched_lets_nobody_in() {
    let world = World::new().await;
    world.issuer().rotate(true).unwrap();
    let gate = world.issuer().hold(JWKS_PATH);
    let (alice, bob) = (world.phone("alice"), world.phone("bob"));
    let (alices, bobs) = (alice.begin().await, bob.begin().await);
    gate.arrived(1).await;
    world.until_waiting(2).await;
    revoke(&world, &all_of(&world, "alice")).await;
    gate.release();
    is_refused(&alices.reply().await);
    is_refused(&alice.me().await);
    assert_eq!(bobs.reply().await.status, 200);
    assert_eq!(world.simulator().calls("alice"), 0);
}
