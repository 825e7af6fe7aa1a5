//! Which of the addresses of Juspay's host are tried, and how: `juspay.ip_family`, proxies.

use crate::support::{
    Stage, World,
    process::{Process, bff},
};

/// A world whose Juspay listens on 127.0.0.1 and is called localhost.
async fn by_name(family: &str) -> World {
    let stage = Stage::set().await;
    let base_url = stage.simulator().base_url().replace("127.0.0.1", "localhost");
    let settings = format!("juspay.base_url = \"{base_url}\"\njuspay.ip_family = \"{family}\"\n");
    stage.open_ready(&settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_addresses_of_the_family_are_tried() {
    for family in ["any", "ipv4"] {
        let world = by_name(family).await;
        let reply = world.phone("alice").me().await;
        assert_eq!(reply.status, 200, "{family}: {}", reply.text());
    }
    let settings = "ipv6";
    let world = by_name(settings).await;
    let phone = world.phone("alice");
    let asking = tokio::spawn(async move { phone.me().await });
    crate::support::until("an answer", async || {
        world.clock.advance(std::time::Duration::from_millis(10));
        asking.is_finished()
    })
    .await;
    let reply = asking.await.unwrap();
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
    assert_eq!(world.simulator().total_requests(), 0);
}
