//! Slow or idle clients occupy connections and nothing else.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::all_at_once;
use crate::support::{Reply, World, keep_alive::answer, with_timeout};

const HEAD: &str = "GET /me/customer HTTP/1.1\r\nHost: localhost\r\n";

/// Reads the head of a response with a body length, without the body.
async fn response_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read_buf(&mut bytes).await.expect("a response");
        assert!(read > 0, "the connection ended without a response");
    }
    bytes
}

/// Idle connections: a third has sent part of a head, a third has got its response, a third has
/// sent one byte of an announced body.
async fn slow_clients(world: &World, number: usize) -> Vec<TcpStream> {
    let client = world.client("alice");
    let authorization = format!("Authorization: Bearer {}\r\n", client.token.as_deref().unwrap());
    let mut slow = Vec::new();
    for n in 0..number {
        let mut stream = match n % 3 {
            0 => client.open(HEAD).await.unwrap(),
            1 => client.open(&format!("{HEAD}{authorization}\r\n")).await.unwrap(),
            _ => {
                let body = format!("{HEAD}{authorization}Content-Length: 1000\r\n\r\nx");
                client.open(&body).await.unwrap()
            }
        };
        if n % 3 == 1 {
            assert!(response_head(&mut stream).await.starts_with(b"HTTP/1.1 200 "));
        }
        slow.push(stream);
    }
    slow
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_clients_block_no_other_client() {
    let world = World::with("server.max_in_flight = 64").await;
    assert_eq!(world.client("alice").me().await.status, 200);
    let slow = slow_clients(&world, 200).await;
    for _ in 0..5 {
        for reply in all_at_once((0..32).map(|_| world.client("alice"))).await {
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
    assert_eq!(world.count("juspay_bff_http_requests_in_flight").await, 0);
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn trickling_body_is_not_awaited() {
    let world = World::new().await;
    let client = world.client("alice");
    let token = client.token.as_deref().unwrap();
    let request =
        format!("{HEAD}Authorization: Bearer {token}\r\nContent-Length: 1000000\r\n\r\nx");
    let mut stream = client.open(&request).await.unwrap();
    let mut response = Vec::new();
    with_timeout("the end", async { drop(stream.read_to_end(&mut response).await) }).await;
    assert_eq!(Reply::parse(&response).expect("a response").code(), "body_not_allowed");
    assert_eq!(world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trickling_head_is_cut_off() {
    let world = World::new().await;
    let mut stream = world.anonymous().open(HEAD).await.unwrap();
    world.settle().await;
    for _ in 0..6 {
        stream.write_all(b"x").await.unwrap();
        world.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(answer(&mut stream).await.status, 408);
    assert_eq!(world.count("juspay_bff_http_requests_in_flight").await, 0);
}
