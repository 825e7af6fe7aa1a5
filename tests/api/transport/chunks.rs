//! An empty chunked body, as proxies send one with requests that have none: it is no body, and it may
//! come late.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Phone, World,
    keep_alive::{answer, head, rest},
};

const LAST_CHUNK: &str = "0\r\n\r\n";

/// As in `src/server.rs`.
const REQUEST_TIME: Duration = Duration::from_secs(6);

/// The head of a request for each listener, on a connection that stays open.
fn chunked(method: &str, path: &str, phone: &Phone) -> String {
    let token = phone.token.as_deref().unwrap_or("x");
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Transfer-Encoding: chunked\r\nX: y\r\n\r\n"
    )
}

/// Both listeners, with a path that answers `GET` and `HEAD`.
fn listeners(world: &World) -> [(Phone, &'static str); 2] {
    [(world.phone("alice"), "/me/customer"), (world.admin(), "/livez")]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_chunked_body_is_none_in_whatever_pieces_it_comes() {
    let world = World::new().await;
    for (phone, path) in listeners(&world) {
        let request = chunked("GET", path, &phone) + LAST_CHUNK;
        let head_only = chunked("HEAD", path, &phone) + LAST_CHUNK;
        let mut stream = phone.open("").await.unwrap();
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
async fn requests_with_empty_chunked_bodies_can_be_sent_ahead() {
    let world = World::new().await;
    for (phone, path) in listeners(&world) {
        let request = chunked("GET", path, &phone) + LAST_CHUNK;
        let mut stream = phone.open(&request.repeat(50)).await.unwrap();
        for _ in 0..50 {
            assert_eq!(answer(&mut stream).await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_chunk_that_never_comes_is_waited_for_as_long_as_a_head() {
    let world = World::new().await;
    for (phone, path) in listeners(&world) {
        let request = chunked("GET", path, &phone);
        for begun in ["", "0\r\n"] {
            let mut kept = phone.open(&format!("{request}{LAST_CHUNK}")).await.unwrap();
            assert_eq!(answer(&mut kept).await.status, 200, "{path}");
            kept.write_all(format!("{request}{begun}").as_bytes()).await.unwrap();
            let new = phone.open(&format!("{request}{begun}")).await.unwrap();
            world.settle().await;
            assert_eq!(world.admin().get("/livez").await.status, 200);
            world.turn(REQUEST_TIME - Duration::from_millis(1)).await;
            // It holds up nobody else, and comes in time yet.
            let mut late = phone.open(&format!("{request}{begun}")).await.unwrap();
            assert_eq!(world.phone("bob").me().await.status, 200);
            world.turn(Duration::from_millis(1)).await;
            for stream in [kept, new] {
                let mut stream = stream;
                let reply = answer(&mut stream).await;
                assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
                assert_eq!(rest(stream).await, b"");
            }
            late.write_all(&LAST_CHUNK.as_bytes()[begun.len()..]).await.unwrap();
            assert_eq!(answer(&mut late).await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_before_it_sends_chunks_is_told_to_go_on() {
    let world = World::new().await;
    for (phone, path) in listeners(&world) {
        for (before, after) in
            [("X: y", "X: y\r\nExpect: 100-continue"), ("Host", "Expect: 100-continue\r\nHost")]
        {
            let request = chunked("GET", path, &phone).replace(before, after);
            let mut stream = phone.open(&request).await.unwrap();
            for _ in 0..3 {
                assert_eq!(head(&mut stream).await.status, 100, "{path}");
                stream.write_all(format!("{LAST_CHUNK}{request}").as_bytes()).await.unwrap();
                assert_eq!(answer(&mut stream).await.status, 200, "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_with_bytes_is_refused_and_nothing_behind_it_is_answered() {
    let world = World::new().await;
    for ((phone, path), refusal) in listeners(&world).into_iter().zip([413, 411]) {
        let request = chunked("GET", path, &phone);
        for body in ["1\r\nx\r\n0\r\n\r\n", "00\r\n\r\n", "0;x\r\n\r\n", "0\r\nX: y\r\n\r\n"] {
            let mut stream = phone.open(&format!("{request}{body}{request}")).await.unwrap();
            let reply = answer(&mut stream).await;
            assert_eq!((reply.status, reply.header("connection")), (refusal, Some("close")));
            assert_eq!(rest(stream).await, b"");
        }
    }
}
