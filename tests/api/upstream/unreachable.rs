//! Juspay is unreachable.

use std::net::Ipv4Addr;

use tokio::net::TcpSocket;

use super::owner;
use crate::support::{ScriptedServer, World};

/// A world whose Juspay is at this address.
async fn world_with(base_url: &str) -> World {
    World::with(&format!(
        "juspay.base_url = \"{base_url}\"\nauth.allow_local_issuer = true\n\
         juspay.allow_plain_http = true"
    ))
    .await
}

async fn assert_unreachable(base_url: &str) {
    let world = world_with(base_url).await;
    for calls in 1..=2 {
        let reply = world.client("alice").me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"), "{base_url}");
        assert_eq!(world.upstream("connection").await, calls);
        world.purge_all().await;
    }
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connection_is_an_upstream_error() {
    // Bound, so that no other test gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    assert_unreachable(&format!("http://{}", socket.local_addr().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unresolvable_host_is_an_upstream_error() {
    // RFC 6761: this name never exists.
    assert_unreachable("http://juspay.invalid").await;
    assert_unreachable("https://juspay.invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_tls_gets_no_key() {
    let impostor = ScriptedServer::new().await;
    let world = world_with(&format!("https://{}", impostor.address)).await;
    let waiting = world.client("alice").begin().await;
    let mut line = impostor.accept().await;
    line.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    assert_eq!(waiting.reply().await.code(), "upstream_error");
    let received = line.closed().await;
    assert!(!received.windows(6).any(|bytes| bytes == b"Basic "));
}

#[tokio::test(flavor = "multi_thread")]
async fn juspay_is_reachable_by_name() {
    let world = World::new().await;
    let (_, port) = world.simulator().base_url().rsplit_once(':').unwrap();
    let by_name = world_with(&format!("http://localhost:{port}")).await;
    // The simulator has its own API keys.
    by_name.simulator().set_key(&by_name.api_key, true);
    world.simulator().set_key(&by_name.api_key, true);
    assert_eq!(owner(&by_name.client("alice").me().await), "alice");
    assert_eq!(world.simulator().calls("alice"), 1);
}
