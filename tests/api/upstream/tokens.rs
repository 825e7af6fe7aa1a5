//! Client auth tokens that are missing or unusable: customers are still served, but no client gets
//! such a token.

use std::time::Duration;

use simulator::{Fault, FaultRule, TokenFault};

use super::owner;
use crate::support::World;

const WITHOUT_TOKEN: &str = "/me/customer?options.get_client_auth_token=false";

/// Checks requests with and without a token under this fault.
async fn is_no_token(fault: TokenFault, outcome: &str) {
    let world = World::new().await;
    let client = world.client("alice");
    world.simulator().inject(FaultRule::once(Fault::Token(fault)).times(2));
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"), "{fault:?}");
    let reply = client.get(WITHOUT_TOKEN).await;
    assert_eq!(owner(&reply), "alice", "{fault:?}");
    assert!(reply.json().get("juspay").is_none(), "{fault:?}");
    assert_eq!(reply.header("juspay-token-expires-in"), None);
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss", "{fault:?}");
    assert_eq!(world.upstream(outcome).await, 2, "{fault:?}");
    // Nothing is cached, except for a second that there was no token.
    world.clock.advance(Duration::from_secs(1));
    let reply = client.me().await;
    assert_eq!(reply.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779", "{fault:?}");
    assert_eq!(world.simulator().calls("alice"), 3, "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_without_a_usable_token_is_invalid_if_a_token_is_requested() {
    for fault in [
        TokenFault::Missing,
        TokenFault::Null,
        TokenFault::NullToken,
        TokenFault::EmptyToken,
        TokenFault::NoExpiry,
        TokenFault::NullExpiry,
        TokenFault::UnreadableExpiry,
    ] {
        is_no_token(fault, "invalid_response").await;
    }
}

/// Juspay's response is valid, but the service's policy rejects the token.
#[tokio::test(flavor = "multi_thread")]
async fn p3_expired_or_expiring_token_is_rejected_on_arrival() {
    for seconds in [-3600, -1, 0, 1, 29, 35] {
        is_no_token(TokenFault::Life { seconds }, "success").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_shortest_usable_token_outlives_the_outage_floor_by_five_seconds() {
    let world = World::new().await;
    let fault = Fault::Token(TokenFault::Life { seconds: 36 });
    world.simulator().inject(FaultRule::once(fault));
    let reply = world.client("alice").me().await;
    assert_eq!(owner(&reply), "alice");
    assert_eq!(reply.header("juspay-token-expires-in"), Some("35"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_date_formats_are_returned_in_one() {
    let world = World::new().await;
    for (id, fault) in [
        ("usual", None),
        ("offset", Some(TokenFault::OffsetExpiry)),
        ("fractional", Some(TokenFault::FractionalExpiry)),
    ] {
        if let Some(fault) = fault {
            world.simulator().inject(FaultRule::once(Fault::Token(fault)).of(id));
        }
        let reply = world.client(id).me().await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.text());
        let object = reply.json();
        // One second less than Juspay's, because `Date` has whole seconds.
        assert_eq!(object["juspay"]["client_auth_token_expiry"], "2026-11-23T12:14:59Z", "{id}");
        assert_eq!(object["date_created"], "2026-11-23T12:00:00Z", "{id}");
        assert_eq!(object["last_updated"], "2026-11-23T12:00:00Z", "{id}");
    }
}
