//! This server's clock and Juspay's: a skew limits the life of tokens and is reported.

use std::time::Duration;

use jiff::SignedDuration;

use super::owner;
use crate::support::{ScriptedServer, World, guard};

/// The gauge as shown in `/metrics`.
async fn skew(world: &World) -> Option<String> {
    let metrics = world.admin().get("/metrics").await.text();
    let value = |line: &str| {
        line.strip_prefix("juspay_bff_upstream_clock_skew_seconds ").map(str::to_owned)
    };
    metrics.lines().find_map(value)
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_server_clock_causes_502_and_a_log_line() {
    let world = World::new().await;
    let client = world.client("alice");
    assert_eq!(skew(&world).await, None, "unknown so far");
    world.simulator().set_clock_offset(SignedDuration::from_secs(-907));
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
    assert!(!reply.text().contains("clock"), "only the code: {}", reply.text());
    assert_eq!(skew(&world).await.as_deref(), Some("-906"));
    let failed = guard::log_lines(
        "a client auth token that is expired by this server's clock, which is 906 s ahead of Juspay's",
    );
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].contains("call to Juspay failed"), "{failed:?}");
    // The object is valid for requests without a token.
    let target = "/me/customer?options.get_client_auth_token=false";
    assert_eq!(owner(&world.client("bob").get(target).await), "bob");
    let warned = || guard::log_lines("this server's clock is 906 s ahead of Juspay's").len();
    assert_eq!(warned(), 1, "once, not for every call");

    world.clock.advance(Duration::from_secs(61));
    world.simulator().set_clock_offset(SignedDuration::ZERO);
    assert_eq!(owner(&client.me().await), "alice");
    assert_eq!(skew(&world).await.as_deref(), Some("0"));
    assert_eq!(warned(), 1);
    assert!(!guard::log_lines("this server's clock agrees with Juspay's again").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_token_life_is_limited_by_both_clocks() {
    let world = World::new().await;
    // How far Juspay's clock is ahead, and the life that the client gets.
    for (offset, expires_in) in [(0, "899"), (3600, "899"), (-10, "889"), (-600, "299")] {
        world.purge_all().await;
        world.simulator().set_clock_offset(SignedDuration::from_secs(offset));
        let reply = world.client("alice").me().await;
        assert_eq!(owner(&reply), "alice", "{offset}");
        assert_eq!(reply.header("juspay-token-expires-in"), Some(expires_in), "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_date_headers_are_ignored() {
    let juspay = ScriptedServer::new().await;
    let world = World::with(&juspay.as_base_url()).await;
    let right = "Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n";
    let later = "Date: Mon, 23 Nov 2026 12:05:00 GMT\r\n";
    // On this server's clock alone 600 s remain; by the second `Date`, 300.
    for (customer, dates, expires_in) in [
        ("alice", right.to_owned(), "599"),
        ("bob", later.to_owned(), "299"),
        ("carol", format!("{right}{later}"), "600"),
        ("dave", format!("{later}{right}"), "600"),
        ("erin", format!("{later}{later}"), "600"),
    ] {
        let client = world.client(customer);
        let waiting = tokio::spawn(async move { client.me().await });
        let mut line = juspay.accept().await;
        line.request().await;
        let body = format!(
            r#"{{"object_reference_id":"{customer}","juspay":{{"client_auth_token":"tkn_0","client_auth_token_expiry":"2026-11-23T12:10:00Z"}}}}"#
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\n{dates}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        line.say(format!("{head}{body}")).await;
        let reply = waiting.await.unwrap();
        assert_eq!(reply.header("juspay-token-expires-in"), Some(expires_in), "{customer}");
    }
}
