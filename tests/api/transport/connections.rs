//! Connections of the public listener: their maximum number, the time limits of a request, and that
//! each serves one request at a time.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    Client, World,
    keep_alive::{answer, head, rest},
    until,
};

const OPEN: &str = "juspay_bff_http_connections";

/// A head without its end.
const HALF: &str = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n";

/// A complete request that keeps the connection open.
fn whole(method: &str, target: &str, token: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
}

async fn half_open(client: &Client, number: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..number {
        streams.push(client.open(HALF).await.unwrap());
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_max_connections_wait_until_one_closes() {
    let world = World::with("server.max_connections = 4").await;
    let client = world.client("alice");
    let mut open = half_open(&client, 4).await;
    world.until_count(OPEN, 4).await;
    let waiting = client.begin().await;
    for _ in 0..100 {
        assert_eq!(world.count(OPEN).await, 4, "further connections wait");
    }
    assert!(!waiting.is_answered());
    drop(open.pop());
    assert_eq!(waiting.reply().await.status, 200);
    drop(open);
    world.until_count(OPEN, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_close_their_connections_when_many_are_open() {
    let world = World::with("server.max_connections = 8").await;
    let client = world.client("alice");
    let others = half_open(&client, 6).await;
    world.until_count(OPEN, 6).await;
    let request = whole("GET", "/me/customer", client.token.as_deref().unwrap());
    let mut stream = client.open(&request).await.unwrap();
    assert_eq!(answer(&mut stream).await.header("connection"), Some("close"));
    assert_eq!(rest(stream).await, b"");
    drop(others);
    world.until_count(OPEN, 0).await;
    let mut stream = client.open(&request).await.unwrap();
    assert_eq!(answer(&mut stream).await.header("connection"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_head_must_arrive_in_time() {
    let world = World::new().await;
    let client = world.client("alice");
    let request = whole("GET", "/me/customer", client.token.as_deref().unwrap());
    for length in [0, 40] {
        let (start, remaining) = request.split_at(length);
        let mut stream = client.open(start).await.unwrap();
        let mut slow = client.open(start).await.unwrap();
        world.settle().await;
        world.advance(Duration::from_millis(5_900)).await;
        stream.write_all(remaining.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.status, 200);
        world.advance(Duration::from_millis(100)).await;
        let reply = answer(&mut slow).await;
        assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
        assert_eq!(reply.text(), "");
        // After its response, the connection may be idle.
        world.advance(Duration::from_secs(10)).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_head_must_arrive_in_time() {
    let world = World::new().await;
    let client = world.client("alice");
    let request = whole("GET", "/me/customer", client.token.as_deref().unwrap());
    let (first, second) = request.split_at(40);
    let mut stream = client.open(&request).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    // A head in two pieces.
    stream.write_all(first.as_bytes()).await.unwrap();
    world.advance(Duration::from_millis(5_900)).await;
    stream.write_all(second.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    stream.write_all(first.as_bytes()).await.unwrap();
    let mut ended = tokio::spawn(rest(stream));
    let has_ended = async || ended.is_finished();
    world.advance_until("the end", Duration::from_secs(1), has_ended).await;
    assert_eq!((&mut ended).await.unwrap(), b"");
    assert_eq!(world.client("alice").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_reads_no_responses_is_disconnected() {
    let world = World::new().await;
    let client = world.anonymous();
    let request = whole("GET", "/nothing", "x").repeat(100);
    let mut stream = client.open(&request).await.unwrap();
    let writing =
        tokio::spawn(async move { while stream.write_all(request.as_bytes()).await.is_ok() {} });
    let has_ended = async || writing.is_finished();
    world.advance_until("the end", Duration::from_secs(1), has_ended).await;
    world.until_count(OPEN, 0).await;
    assert_eq!(world.client("alice").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_get_their_responses_in_order() {
    let world = World::new().await;
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    let [alices, bobs] = [&alice, &bob].map(|client| client.token.clone().unwrap());
    for (one, other) in [("GET", "HEAD"), ("HEAD", "GET"), ("GET", "GET")] {
        // Both requests arrive before Juspay responds to the first.
        let latch = world.simulator().hold("alice");
        let both = [whole(one, "/me/customer", &alices), whole(other, "/me/customer", &bobs)];
        let mut stream = alice.open(&both.concat()).await.unwrap();
        latch.arrived(1).await;
        world.settle().await;
        latch.release();
        for (method, owner) in [(one, "alice"), (other, "bob")] {
            let reply =
                if method == "HEAD" { head(&mut stream).await } else { answer(&mut stream).await };
            assert_eq!(reply.status, 200, "{one} {other}");
            if method == "GET" {
                assert_eq!(reply.json()["object_reference_id"], owner, "{one} {other}");
            }
        }
        world.purge_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_served_after_a_response_that_closes() {
    let world = World::new().await;
    let client = world.client("alice");
    let token = client.token.clone().unwrap();
    let next = whole("GET", "/me/customer", &token);
    let with = |line: &str, body: &str| {
        format!(
            "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{line}\r\n{body}"
        )
    };
    for (first, status) in [
        (with("Connection: close\r\n", ""), 200),
        (with("", "").replace("HTTP/1.1", "HTTP/1.0"), 200),
        (with("Content-Length: 3\r\n", "abc"), 413),
        (with("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"), 413),
        (with("Expect: 100-continue\r\nContent-Length: 3\r\n", ""), 413),
        (with("", "").replace("Host: localhost", "Host: a b"), 400),
        (with("X\0: a\r\n", ""), 400),
    ] {
        let responses = client.garbage(format!("{first}{next}").as_bytes()).await;
        let responses = String::from_utf8(responses).unwrap();
        let statuses =
            responses.match_indices("HTTP/1.").map(|(at, _)| &responses[at + 9..at + 12]);
        let final_statuses: Vec<_> = statuses.filter(|status| *status != "100").collect();
        assert_eq!(final_statuses, [status.to_string()], "{first:?}");
    }
    until("the end of all", async || world.count(OPEN).await == 0).await;
}
