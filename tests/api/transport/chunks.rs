//! Empty chunked bodies, which proxies add to requests without a body: they count as no body, and may
//! arrive late.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Client, World,
    keep_alive::{answer, head, rest},
};

const LAST_CHUNK: &str = "0\r\n\r\n";

/// As in `src/server.rs`.
const REQUEST_TIME: Duration = Duration::from_secs(6);

/// The head of a request for each listener, on a connection that stays open.
fn chunked(method: &str, path: &str, client: &Client) -> String {
    let token = client.token.as_deref().unwrap_or("x");
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Transfer-Encoding: chunked\r\nX: y\r\n\r\n"
    )
}

/// Both listeners, with a path that accepts `GET` and `HEAD`.
fn listeners(world: &World) -> [(Client, &'static str); 2] {
    [(world.client("alice"), "/me/customer"), (world.admin(), "/livez")]
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_chunked_body_split_anywhere_is_accepted() {
    let world = World::new().await;
    for (client, path) in listeners(&world) {
        let request = chunked("GET", path, &client) + LAST_CHUNK;
        let head_only = chunked("HEAD", path, &client) + LAST_CHUNK;
        let mut stream = client.open("").await.unwrap();
        let end = request.len() - LAST_CHUNK.len();
        for at in [10, end - 30, end - 12].into_iter().chain(end - 5..request.len()) {
            let (first, second) = request.split_at(at);
            stream.write_all(first.as_bytes()).await.unwrap();
            world.settle().await;
            assert_eq!(world.admin().get("/livez").await.status, 200);
            stream.write_all(second.as_bytes()).await.unwrap();
            let reply = answer(&mut stream).await;
            assert_eq!((reply.status, reply.header("connection")), (200, None), "{path} {at}");
            stream.write_all(head_only.as_bytes()).await.unwrap();
            assert_eq!(head(&mut stream).await.status, 200, "{path} {at}");
        }
    }
    assert_eq!(world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_empty_chunked_bodies_can_be_pipelined() {
    let world = World::new().await;
    for (client, path) in listeners(&world) {
        let request = chunked("GET", path, &client) + LAST_CHUNK;
        let mut stream = client.open(&request.repeat(50)).await.unwrap();
        for _ in 0..50 {
            assert_eq!(answer(&mut stream).await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_last_chunk_times_out_like_a_head() {
    let world = World::new().await;
    for (client, path) in listeners(&world) {
        let request = chunked("GET", path, &client);
        for start in ["", "0\r\n"] {
            let mut reused = client.open(&format!("{request}{LAST_CHUNK}")).await.unwrap();
            assert_eq!(answer(&mut reused).await.status, 200, "{path}");
            reused.write_all(format!("{request}{start}").as_bytes()).await.unwrap();
            let new = client.open(&format!("{request}{start}")).await.unwrap();
            world.settle().await;
            assert_eq!(world.admin().get("/livez").await.status, 200);
            world.advance(REQUEST_TIME - Duration::from_millis(1)).await;
            // Other requests aren't delayed, and this one still has time.
            let mut late = client.open(&format!("{request}{start}")).await.unwrap();
            assert_eq!(world.client("bob").me().await.status, 200);
            world.advance(Duration::from_millis(1)).await;
            for stream in [reused, new] {
                let mut stream = stream;
                let reply = answer(&mut stream).await;
                assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
                assert_eq!(rest(stream).await, b"");
            }
            late.write_all(&LAST_CHUNK.as_bytes()[start.len()..]).await.unwrap();
            assert_eq!(answer(&mut late).await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_with_chunks_gets_100() {
    let world = World::new().await;
    for (client, path) in listeners(&world) {
        for (before, after) in
            [("X: y", "X: y\r\nExpect: 100-continue"), ("Host", "Expect: 100-continue\r\nHost")]
        {
            let request = chunked("GET", path, &client).replace(before, after);
            let mut stream = client.open(&request).await.unwrap();
            for _ in 0..3 {
                assert_eq!(head(&mut stream).await.status, 100, "{path}");
                stream.write_all(format!("{LAST_CHUNK}{request}").as_bytes()).await.unwrap();
                assert_eq!(answer(&mut stream).await.status, 200, "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_with_bytes_is_rejected_and_closes_the_connection() {
    let world = World::new().await;
    for ((client, path), status) in listeners(&world).into_iter().zip([413, 411]) {
        let request = chunked("GET", path, &client);
        for body in ["1\r\nx\r\n0\r\n\r\n", "00\r\n\r\n", "0;x\r\n\r\n", "0\r\nX: y\r\n\r\n"] {
            let mut stream = client.open(&format!("{request}{body}{request}")).await.unwrap();
            let reply = answer(&mut stream).await;
            assert_eq!((reply.status, reply.header("connection")), (status, Some("close")));
            assert_eq!(rest(stream).await, b"");
        }
    }
}
